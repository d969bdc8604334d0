"""The feed that reads what an authority's publisher keeps in Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

from policy_service.domain.changes import Position
from policy_service.domain.feed import MAX_BEHIND, ChangePart, Head, HeardHead, Manifest, Snapshot
from policy_service.errors import FeedUnavailable, Malformed, RevisionCompacted
from policy_service.replication.redis_connection import TIMEOUT_S, RedisConnection, RedisLocation
from policy_service.replication.redis_layout import Keys, read_head, read_manifest

BLOCK_S = 0.5  # how long Redis waits for new changes; then the head is read
READ_AT_ONCE = 8  # parts, each of at most about 1 MiB
TRIES = 5  # for a snapshot that is being replaced
TRY_AGAIN_S = 0.2
_LAST_PART = 2**64 - 1


class RedisFeed:
    """Implements Feed. Whoever can write to Redis could have written what it hands out."""

    authoritative = False

    def __init__(self, location: RedisLocation, timeout_s: float = TIMEOUT_S) -> None:
        self.location = location.text
        self._redis, self._keys = RedisConnection(location, timeout_s), Keys(location.prefix)

    async def head(self) -> HeardHead:
        stored = await read_head(self._redis, self._keys)
        if not stored.header:
            raise FeedUnavailable(f"{self.location}: nobody has published a head as {self._keys.head} yet")
        if stored.age_s is None:
            raise Malformed(f"{self.location}: {self._keys.head} does not say when it was written")
        if stored.age_s < 0:
            raise FeedUnavailable(f"{self.location}: the head is from the future; the clock of Redis went back")
        return HeardHead(stored.read(), stored.age_s)

    # Snapshots

    async def snapshot(self) -> Snapshot:
        problem = ""
        for tried in range(TRIES):
            await asyncio.sleep(TRY_AGAIN_S * bool(tried))
            epoch = (await self.head()).head.position.epoch
            manifest = await read_manifest(self._redis, self._keys, epoch)
            if manifest is None:
                problem = f"there is no {self._keys.snapshot(epoch)}"
            elif manifest.checksums and await self._chunk(manifest, 0) is None:
                problem = f"the snapshot of revision {manifest.position.token} lacks chunks"
            else:
                return Snapshot(manifest, self._chunks(manifest))
        raise FeedUnavailable(f"{self.location}: {problem}; the authority's publisher has to make a new one")

    async def _chunks(self, manifest: Manifest) -> AsyncGenerator[bytes, None]:
        for index in range(len(manifest.checksums)):
            chunk = await self._chunk(manifest, index)
            if chunk is None:
                raise FeedUnavailable(
                    f"{self.location}: chunk {index} of the snapshot of revision {manifest.position.token} is gone; "
                    "another snapshot has to be read"
                )
            yield chunk

    async def _chunk(self, manifest: Manifest, index: int) -> bytes | None:
        chunk: bytes | None = await self._redis.command("GET", f"{self._keys.chunks(manifest)}{index}")
        return chunk

    # Changes

    async def changes(self, after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        log = _Log(self._redis, self._keys.log(after.epoch), after)
        head = (await self.head()).head
        if log.is_behind(head) and head.position.revision - after.revision > MAX_BEHIND:
            raise RevisionCompacted(f"revision {after.token} is more than {MAX_BEHIND} behind; a snapshot is cheaper")
        awaited: Head | None = None  # a head that the log has not come to
        quiet = False
        while True:
            if not log.is_behind(head):
                awaited = None
                yield head
            elif quiet and awaited is not None:
                raise RevisionCompacted(
                    f"{self.location}: the head is at revision {head.position.token}, but the log does not go on from "
                    f"{log.revision}; it was lost or trimmed"
                )
            else:
                awaited = head
            due = time.monotonic() + BLOCK_S
            quiet = False
            while not quiet and time.monotonic() < due:
                parts = await log.read()
                quiet = not parts
                for part in parts:
                    yield log.take(part)
                    if awaited is not None and not log.is_behind(awaited):
                        yield awaited
                        awaited = None
            head = (await self.head()).head

    async def close(self) -> None:
        await self._redis.close()


class _Log:
    """Reads a log from a position on, and sees to it that nothing is left out: Redis goes on from the next entry it
    has, whatever is missing before it."""

    def __init__(self, redis: RedisConnection, key: str, after: Position) -> None:
        self._redis, self._key, self._epoch = redis, key, after.epoch
        self.revision = after.revision  # handed out whole
        self._next_part = 0
        self._id = b"%d-%d" % (after.revision, _LAST_PART)

    def is_behind(self, head: Head) -> bool:
        return head.position.epoch == self._epoch and self.revision < head.position.revision

    async def read(self) -> list[ChangePart]:
        """The entries that come next; none when nothing came for a while. Each is due to be taken."""
        words = ("XREAD", "COUNT", READ_AT_ONCE, "BLOCK", int(BLOCK_S * 1_000), "STREAMS", self._key, self._id)
        answer = await self._redis.command(*words, block_s=BLOCK_S)
        entries = answer[0][1] if answer else []
        if entries:
            self._id = entries[-1][0]
        return [_part_of(words) for _, words in entries]

    def take(self, part: ChangePart) -> ChangePart:
        """The part, if it continues what was taken before. Raises RevisionCompacted."""
        epoch, revision, *_ = part.position
        if (epoch, revision, part.part) != (self._epoch, self.revision + 1, self._next_part):
            raise RevisionCompacted(
                f"the log in Redis does not go on from revision {self._epoch}.{self.revision}: after "
                f"{self._next_part} parts of the next comes part {part.part} of {part.position.token}"
            )
        self._next_part += 1
        if part.last:
            self.revision, self._next_part = revision, 0
        return part


def _part_of(words: list[bytes]) -> ChangePart:
    fields = dict(zip(words[::2], words[1::2], strict=True))
    try:
        return ChangePart.read(fields[b"header"], fields[b"payload"], fields[b"signature"])
    except KeyError as error:
        raise Malformed(f"an entry of the log has no {error.args[0].decode()}") from None
