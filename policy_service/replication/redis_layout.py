"""How policy lies in Redis, under a prefix:

- `<prefix>:head`, a hash: header and signature of the newest head, written_at in microseconds of Redis's clock,
  log_bytes, what the log has grown by since the snapshot, and how many entries it has;
- `<prefix>:<epoch>:log`, a stream: header, payload and signature of the parts, with ids `<revision>-<part>`;
- `<prefix>:<epoch>:snapshot`, a hash: header and signature of the newest snapshot's manifest, and size, the bytes of
  its chunks;
- `<prefix>:<epoch>:snapshot:<revision>:<tag>:<n>`, texts: its chunks. The tag is of the manifest, so that the chunks of
  two snapshots of one revision never mix.

On a cluster the prefix has a hash tag: `{policy}`.
"""

from __future__ import annotations

from typing import NamedTuple

from policy_service.domain.feed import Head, Manifest, checksum
from policy_service.errors import Malformed
from policy_service.replication.redis_connection import RedisConnection, Script


class Keys:
    """The names."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.head = f"{prefix}:head"

    def log(self, epoch: str) -> str:
        return f"{self._prefix}:{epoch}:log"

    def snapshot(self, epoch: str) -> str:
        return f"{self._prefix}:{epoch}:snapshot"

    def chunks(self, manifest: Manifest) -> str:
        """What the number of a chunk is appended to."""
        epoch, revision, *_ = manifest.position
        return f"{self.snapshot(epoch)}:{revision}:{checksum(manifest.header)[:16]}:"


_READ_HEAD = Script("""
local time = redis.call('TIME')
local head = redis.pcall('HMGET', KEYS[1], 'header', 'signature', 'written_at', 'log_bytes', 'entries')
if head.err then head = {} end
return {time[1], time[2], head[1] or '', head[2] or '', head[3] or '', head[4] or '', head[5] or ''}
""")


class StoredHead(NamedTuple):
    """The head as it lies there. `header` is empty when there is none, or something else in its place. `age_s` is
    by Redis's clock, None when it is not said, negative when that clock went back."""

    header: bytes
    signature: bytes
    age_s: float | None
    log_bytes: int
    entries: int

    def read(self) -> Head:
        """Raises Malformed and UnknownFormat."""
        return Head.read(self.header, self.signature)


async def read_head(redis: RedisConnection, keys: Keys) -> StoredHead:
    """Head and time are read in one step. Raises FeedUnavailable."""
    seconds, microseconds, header, signature, *numbers = await redis.run(_READ_HEAD, [keys.head], [])
    written_at, log_bytes, entries = (int(number) if number.isdigit() else None for number in numbers)
    now = int(seconds) * 1_000_000 + int(microseconds)
    age_s = None if written_at is None else (now - written_at) / 1_000_000
    return StoredHead(header, signature, age_s, log_bytes or 0, entries or 0)


async def read_manifest(redis: RedisConnection, keys: Keys, epoch: str) -> Manifest | None:
    """The newest snapshot's; None when there is none. Raises FeedUnavailable, Malformed and UnknownFormat."""
    header, signature = await redis.command("HMGET", keys.snapshot(epoch), "header", "signature")
    if header is None:
        return None
    manifest = Manifest.read(header, signature or b"")
    if manifest.position.epoch != epoch:
        raise Malformed(f"the snapshot of epoch {epoch} says that it is of {manifest.position.epoch}")
    return manifest
