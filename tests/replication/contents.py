"""What lies in Redis under the prefix, read without the feed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from policy_service.domain.feed import Head, Manifest
from policy_service.errors import PolicyError
from policy_service.replication.publication import inspect
from policy_service.replication.redis_layout import Keys, read_head
from tests.replication.origin import LIMIT_S, Origin
from tests.replication.redis_servers import PREFIX, RedisServer


class Contents:
    def __init__(self, redis: RedisServer, prefix: str = PREFIX) -> None:
        self._redis, self._prefix, self._keys = redis, prefix, Keys(prefix)

    async def head(self) -> Head:
        """Raises Malformed when there is none."""
        header, signature = await self._redis.command("HMGET", self._keys.head, "header", "signature")
        return Head.read(header or b"", signature or b"")

    async def pointer(self) -> Manifest:
        return await self.pointer_of((await self.head()).position.epoch)

    async def pointer_of(self, epoch: str) -> Manifest:
        """Raises Malformed when there is none."""
        header, signature = await self._redis.command("HMGET", self._keys.snapshot(epoch), "header", "signature")
        return Manifest.read(header or b"", signature or b"")

    async def key(self, ending: str) -> str:
        """The one key that ends so, with `:0` a chunk."""
        keys = [key for key in await self._redis.keys(f"{self._prefix}:*") if key.endswith(ending)]
        (key,) = keys
        return key

    async def chunk_keys(self, manifest: Manifest) -> list[str]:
        return await self._redis.keys(f"{self._keys.chunks(manifest)}*")

    async def log_ids(self) -> list[bytes]:
        log = self._keys.log((await self.head()).position.epoch)
        return [entry for entry, _ in await self._redis.command("XRANGE", log, "-", "+")]

    async def until_at(self, origin: Origin) -> None:
        """Waits until the head is at the authority's position."""

        async def is_at() -> bool:
            return (await self.head()).position == origin.position

        await _until(is_at)

    async def until_head_moves(self, tick_ms: int) -> None:
        async def has_moved() -> bool:
            return (await self.head()).tick_ms > tick_ms

        await _until(has_moved)

    async def until_other_pointer(self, former: Manifest) -> None:
        async def is_other() -> bool:
            return await self.pointer() != former

        await _until(is_other)

    async def until_log_has(self, entries: int) -> None:
        async def has() -> bool:
            return len(await self.log_ids()) == entries

        await _until(has)

    async def until_whole(self, origin: Origin) -> None:
        """Waits until a follower that begins with the snapshot would come to the authority's position."""

        async def is_whole() -> bool:
            stored = await read_head(self._redis.admin, self._keys)
            head = stored.read()
            manifest = await self.pointer_of(head.position.epoch)
            content = await inspect(self._redis.admin, self._keys, manifest)
            return head.position == origin.position and content.goes_on(manifest, head, stored.entries)

        await _until(is_whole)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """What cannot be read yet is not as it is to be."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            with contextlib.suppress(PolicyError):
                if await condition():
                    return
            await asyncio.sleep(0.01)
