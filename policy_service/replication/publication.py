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
local function put_head(header, signature, log_bytes, entries)
  local time = redis.call('TIME')
  local written_at = time[1] .. string.format('%06d', time[2])
  redis.call('HSET', KEYS[1], 'header', header, 'signature', signature,
             'written_at', written_at, 'log_bytes', log_bytes, 'entries', entries)
end
local function each(chunks, count, command, ...)
  for n = 0, count - 1 do redis.call(command, chunks .. n, ...) end
end
local function put_snapshot(header, signature, size, chunks, count)
  redis.call('HSET', KEYS[3], 'header', header, 'signature', signature, 'size', size)
  each(chunks, count, 'PERSIST')
end
"""

_APPEND = Script(f"""{_HEAD}
if not head_is(ARGV[1]) then return -1 end
for i = 6, #ARGV, 4 do
  redis.call('XADD', KEYS[2], ARGV[i], 'header', ARGV[i + 1], 'payload', ARGV[i + 2], 'signature', ARGV[i + 3])
end
local entries = redis.call('XLEN', KEYS[2])
put_head(ARGV[2], ARGV[3], ARGV[4], ARGV[5])
return entries
""")

_RESET = Script(f"""{_HEAD}
if not head_is(ARGV[1]) then return -1 end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
put_snapshot(ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
put_head(ARGV[2], ARGV[3], 0, 0)
for i = 10, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('EXPIRE', ARGV[i], ARGV[9])
  else each(ARGV[i], ARGV[i + 1], 'EXPIRE', ARGV[9]) end
end
return 0
""")

_SWITCH = Script(f"""{_HEAD}
if not head_is(ARGV[1]) then return -1 end
put_snapshot(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
each(ARGV[7], ARGV[8], 'EXPIRE', ARGV[9])
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[10])
local entries = redis.call('XLEN', KEYS[2])
redis.call('HSET', KEYS[1], 'log_bytes', ARGV[11], 'entries', entries)
return entries
""")

_INSPECT = Script("""
local pointer = redis.pcall('HMGET', KEYS[2], 'header', 'size')
if pointer.err then pointer = {} end
local header, size = pointer[1] or '', 0
for n = 0, ARGV[2] - 1 do
  local length = redis.pcall('STRLEN', ARGV[1] .. n)
  if type(length) ~= 'number' or length == 0 then size = -1 break end
  size = size + length
end
if tostring(size) ~= pointer[2] then size = -1 end
local entries = redis.pcall('XLEN', KEYS[1])
if type(entries) ~= 'number' then return {header, size, -1, '', '', ''} end
if entries == 0 then return {header, size, 0, '', '', ''} end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return {header, size, entries, first[1], last[1], last[2][2]}
""")


class Damaged(FeedUnavailable):
    """The snapshot or the log is not as it was written."""


class Content(NamedTuple):
    """What is there besides the head: the header of the snapshot's manifest; the size of its chunks, -1 when it is not
    what it was; the number of log entries, -1 when it is no log; ids of the first and last; the last one's header."""

    manifest: bytes
    snapshot_bytes: int
    entries: int
    first: bytes = b""
    last: bytes = b""
    last_header: bytes = b""

    def goes_on(self, manifest: Manifest, head: Head, entries: int) -> bool:
        """Whether a follower gets from the snapshot to the head. `entries`: how many the log is to have."""
        if self.manifest != manifest.header or self.snapshot_bytes < 0 or self.entries != entries:
            return False
        if not self.entries:
            return head.position == manifest.position
        base = manifest.position.revision
        revision, part = map(int, self.first.split(b"-"))
        if (revision, part) > (base + 1, 0) or head.position.revision < base:
            return False
        try:
            last = ChangePart.read(self.last_header, b"", b"")
        except (Malformed, UnknownFormat):
            return False
        return last.position == head.position and self.last == _id(last)


_EMPTY = Content(b"", 0, 0)


async def inspect(redis: RedisConnection, keys: Keys, manifest: Manifest) -> Content:
    """Looks at the snapshot and the log. Raises FeedUnavailable."""
    epoch = manifest.position.epoch
    words: list[Word] = [keys.chunks(manifest), len(manifest.checksums)]
    return Content(*await redis.run(_INSPECT, [keys.log(epoch), keys.snapshot(epoch)], words))


class Publication:
    """A snapshot, the log after it and the head, all of one epoch and this publisher's to write. Methods raise
    FeedUnavailable, also when somebody else has written the head, and Damaged. None is called after that."""

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
        entries = self._content.entries + len(parts)
        words: list[Word] = [self.head.header, head.header, head.signature, log_bytes, entries]
        for part in parts:
            words += [_id(part), part.header, part.payload, part.signature]
        found = await self._run(_APPEND, words)
        self.head, self.log_bytes = head, log_bytes
        if found != entries:
            raise _damaged(self._keys.log(head.position.epoch))
        if parts:
            last, header = _id(parts[-1]), parts[-1].header
            self._content = self._content._replace(entries=entries, last=last, last_header=header)

    async def check(self) -> None:
        """Raises Damaged when snapshot or log are not as they were written."""
        found, kept = await inspect(self._redis, self._keys, self.manifest), self._content
        epoch = self.manifest.position.epoch
        if found.manifest != kept.manifest:
            raise _damaged(self._keys.snapshot(epoch))
        if found.snapshot_bytes != kept.snapshot_bytes:
            raise _damaged(f"{self._keys.chunks(self.manifest)}*")
        if found._replace(first=b"") != kept._replace(first=b""):
            raise _damaged(self._keys.log(epoch))

    async def switch(self, new: Stored, log_bytes: int) -> None:
        """Makes a snapshot that is not ahead of the head the one to begin with, and trims the log to the former one.
        `log_bytes`: what the log has grown by since it was made."""
        manifest, former = new.manifest, self.manifest
        words: list[Word] = [self.head.header, manifest.header, manifest.signature, new.size]
        words += [self._keys.chunks(manifest), len(manifest.checksums)]
        words += [self._keys.chunks(former), len(former.checksums), EXPIRY_S]
        words += [f"{former.position.revision + 1}-0", log_bytes]
        entries = await self._run(_SWITCH, words)
        self.manifest, self.log_bytes = manifest, log_bytes
        kept = self._content if entries else _EMPTY
        self._content = kept._replace(manifest=manifest.header, snapshot_bytes=new.size, entries=entries)

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
    words: list[Word] = [former.header, head.header, head.signature, manifest.header, manifest.signature, size]
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
        raise FeedUnavailable(_not_as_written(keys.head))
    return answer


def _damaged(key: str) -> Damaged:
    return Damaged(_not_as_written(key))


def _not_as_written(key: str) -> str:
    return f"{key} in Redis is not as it was written: deleted, trimmed or overwritten"


def _id(part: ChangePart) -> bytes:
    return b"%d-%d" % (part.position.revision, part.part)
