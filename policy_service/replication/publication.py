"""What a publisher keeps in Redis. Every change of it is one script, which writes only while the head is still the one
that was last seen or written: of two publishers one goes on, and the other notices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from policy_service.domain.feed import MAX_BEHIND, ChangePart, Head, Manifest, Snapshot
from policy_service.errors import FeedUnavailable, Malformed, UnknownFormat
from policy_service.replication.redis_connection import RedisConnection, Script, Word
from policy_service.replication.redis_layout import Keys, StoredHead

EXPIRY_S = 600  # how long what was replaced stays; also what was not finished
LOG_BYTES = 1 << 20  # a log may always grow to this without a new snapshot
LOG_REVISIONS = MAX_BEHIND // 2  # since the snapshot; a follower that begins with it must not be too far behind
_PART_BYTES = 700  # of an entry, besides its payload

_HEAD = """
local function head_is(header)
  local found = redis.pcall('HGET', KEYS[1], 'header')
  return (type(found) == 'string' and found or '') == header
end
local function put_head(header, signature, log_bytes)
  local time = redis.call('TIME')
  local written_at = time[1] .. string.format('%06d', time[2])
  redis.call('HSET', KEYS[1], 'header', header, 'signature', signature,
             'written_at', written_at, 'log_bytes', log_bytes)
end
local function each(chunks, count, ...)
  for n = 0, count - 1 do redis.call(select(1, ...), chunks .. n, select(2, ...)) end
end
"""

_APPEND = Script(f"""{_HEAD}
if not head_is(ARGV[1]) then return -1 end
for i = 5, #ARGV, 4 do
  redis.call('XADD', KEYS[2], ARGV[i], 'header', ARGV[i + 1], 'payload', ARGV[i + 2], 'signature', ARGV[i + 3])
end
local entries = redis.call('XLEN', KEYS[2])
put_head(ARGV[2], ARGV[3], ARGV[4])
return entries
""")

_RESET = Script(f"""{_HEAD}
if not head_is(ARGV[1]) then return -1 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[3], 'header', ARGV[4], 'signature', ARGV[5])
each(ARGV[6], ARGV[7], 'PERSIST')
put_head(ARGV[2], ARGV[3], 0)
for i = 9, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('EXPIRE', ARGV[i], ARGV[8])
  else each(ARGV[i], ARGV[i + 1], 'EXPIRE', ARGV[8]) end
end
return 0
""")

_SWITCH = Script(f"""{_HEAD}
if not head_is(ARGV[1]) then return -1 end
redis.call('HSET', KEYS[3], 'header', ARGV[2], 'signature', ARGV[3])
each(ARGV[4], ARGV[5], 'PERSIST')
each(ARGV[6], ARGV[7], 'EXPIRE', ARGV[8])
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[9])
redis.call('HSET', KEYS[1], 'log_bytes', ARGV[10])
return redis.call('XLEN', KEYS[2])
""")

_INSPECT = Script("""
local pointer = redis.pcall('HGET', KEYS[2], 'header')
if type(pointer) ~= 'string' then pointer = '' end
local size = 0
for n = 0, ARGV[2] - 1 do
  local length = redis.pcall('STRLEN', ARGV[1] .. n)
  if type(length) ~= 'number' or length == 0 then size = -1 break end
  size = size + length
end
local entries = redis.pcall('XLEN', KEYS[1])
if type(entries) ~= 'number' then return {pointer, size, -1, '', '', ''} end
if entries == 0 then return {pointer, size, 0, '', '', ''} end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return {pointer, size, entries, first[1], last[1], last[2][2]}
""")


class Content(NamedTuple):
    """What is there besides the head: the header of the snapshot's manifest; the size of its chunks, -1 when they are
    not all there; the number of log entries, -1 when it is no log; ids of the first and last; the last one's header."""

    pointer: bytes
    snapshot_bytes: int
    entries: int
    first: bytes = b""
    last: bytes = b""
    last_header: bytes = b""

    def goes_on(self, manifest: Manifest, head: Head) -> bool:
        """Whether a follower gets from the snapshot to the head."""
        if self.pointer != manifest.header or self.snapshot_bytes < 0:
            return False
        if self.entries <= 0 or head.position.revision <= manifest.position.revision:
            return self.entries >= 0 and head.position == manifest.position
        revision, part = map(int, self.first.split(b"-"))
        if (revision, part) > (manifest.position.revision + 1, 0):
            return False
        try:
            last = ChangePart.read(self.last_header, b"", b"")
        except (Malformed, UnknownFormat):
            return False
        return last.last and last.position == head.position and self.last == _id(last)


async def inspect(redis: RedisConnection, keys: Keys, manifest: Manifest) -> Content:
    """Looks at the snapshot and the log. Raises FeedUnavailable."""
    epoch = manifest.position.epoch
    words: list[Word] = [keys.chunks(manifest), len(manifest.checksums)]
    return Content(*await redis.run(_INSPECT, [keys.log(epoch), keys.snapshot(epoch)], words))


class Publication:
    """A snapshot, the log after it and the head, all of one epoch and this publisher's to write. Methods raise
    FeedUnavailable, also when somebody else has written the head; what is there then is not known any more."""

    def __init__(
        self, redis: RedisConnection, keys: Keys, manifest: Manifest, head: Head, content: Content, log_bytes: int
    ) -> None:
        self.manifest, self.head = manifest, head
        self.start = head.position if content.entries else manifest.position  # where the log is to go on
        self.log_bytes = log_bytes  # what the log has grown by since the snapshot
        self._redis, self._keys, self._content = redis, keys, content

    @property
    def has_outgrown(self) -> bool:
        """Whether a new snapshot is due."""
        return (
            self.log_bytes > max(LOG_BYTES, self._content.snapshot_bytes)
            or self.head.position.revision - self.manifest.position.revision > LOG_REVISIONS
        )

    async def append(self, parts: Sequence[ChangePart], head: Head) -> None:
        """Adds parts to the log, in order, and sets the head; without parts it is a heartbeat."""
        log_bytes = self.log_bytes + sum(len(part.payload) + _PART_BYTES for part in parts)
        words: list[Word] = [self.head.header, head.header, head.signature, log_bytes]
        for part in parts:
            words += [_id(part), part.header, part.payload, part.signature]
        entries = await self._run(_APPEND, words)
        last = _id(parts[-1]) if parts else self._content.last
        self.head, self.log_bytes = head, log_bytes
        self._content = self._content._replace(entries=entries, last=last)

    async def check(self) -> None:
        """Raises FeedUnavailable when snapshot or log are not as they were written."""
        found, kept = await inspect(self._redis, self._keys, self.manifest), self._content
        epoch = self.manifest.position.epoch
        if found.pointer != kept.pointer:
            raise _damaged(self._keys.snapshot(epoch))
        if found.snapshot_bytes != kept.snapshot_bytes:
            raise _damaged(f"{self._keys.chunks(self.manifest)}*")
        if (found.entries, found.last) != (kept.entries, kept.last):
            raise _damaged(self._keys.log(epoch))

    async def switch(self, new: Stored, log_bytes: int) -> None:
        """Makes a snapshot that is not ahead of the head the one to begin with, and trims the log to the former one.
        `log_bytes`: what the log has grown by since it was made."""
        manifest, former = new.manifest, self.manifest
        words: list[Word] = [self.head.header, manifest.header, manifest.signature]
        words += [self._keys.chunks(manifest), len(manifest.checksums)]
        words += [self._keys.chunks(former), len(former.checksums), EXPIRY_S]
        words += [f"{former.position.revision + 1}-0", log_bytes]
        entries = await self._run(_SWITCH, words)
        self.manifest, self.log_bytes = manifest, log_bytes
        self._content = Content(manifest.header, new.size, entries, last=self._content.last if entries else b"")

    async def _run(self, script: Script, words: list[Word]) -> int:
        epoch = self.manifest.position.epoch
        keys = [self._keys.head, self._keys.log(epoch), self._keys.snapshot(epoch)]
        return _written(await self._redis.run(script, keys, words), self._keys)


class Stored(NamedTuple):
    """A snapshot whose chunks are in Redis, and their size. They go away by themselves unless it is made the one to
    begin with."""

    manifest: Manifest
    size: int


async def store(redis: RedisConnection, keys: Keys, snapshot: Snapshot) -> Stored:
    """Writes the chunks."""
    size, index = 0, 0
    chunks = keys.chunks(snapshot.manifest)
    async with contextlib.aclosing(snapshot.chunks) as source:
        async for chunk in source:
            await redis.command("SET", f"{chunks}{index}", chunk, "EX", EXPIRY_S)
            size, index = size + len(chunk), index + 1
    return Stored(snapshot.manifest, size)


class Outdated(NamedTuple):
    """What a reset lets expire: snapshots, and the logs and pointers of other epochs."""

    snapshots: Iterable[Manifest]
    epochs: Iterable[str]


async def reset(
    redis: RedisConnection, keys: Keys, former: StoredHead, new: Stored, head: Head, outdated: Outdated
) -> Publication:
    """Begins anew, with a snapshot and an empty log, in the place of what `former` is the head of."""
    manifest, size = new
    epoch, chunks = manifest.position.epoch, keys.chunks(manifest)
    words: list[Word] = [former.header, head.header, head.signature, manifest.header, manifest.signature]
    words += [chunks, len(manifest.checksums), EXPIRY_S]
    for snapshot in outdated.snapshots:
        if keys.chunks(snapshot) != chunks:
            words += [keys.chunks(snapshot), len(snapshot.checksums)]
    for other in outdated.epochs:
        words += [keys.log(other), "", keys.snapshot(other), ""]
    _written(await redis.run(_RESET, [keys.head, keys.log(epoch), keys.snapshot(epoch)], words), keys)
    return Publication(redis, keys, manifest, head, Content(manifest.header, size, 0), log_bytes=0)


def _written(answer: int, keys: Keys) -> int:
    if answer < 0:
        raise _damaged(keys.head)
    return answer


def _damaged(key: str) -> FeedUnavailable:
    return FeedUnavailable(f"{key} in Redis is not as it was written: deleted, trimmed or overwritten")


def _id(part: ChangePart) -> bytes:
    return b"%d-%d" % (part.position.revision, part.part)
