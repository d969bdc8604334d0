"""The authority's own feed: its change log, read from the store and encoded. `Watch` and the publisher serve it on.

The log is the truth, `wake` only a hint that it has grown. What was encoded is kept a while, so that many followers
cost one reading, and snapshots are made by one task at a time and shared.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from policy_service.domain.changelog import ChangeLog, Lineage
from policy_service.domain.changes import LogEntry, Position
from policy_service.domain.feed import (
    CHUNK_BYTES,
    MAX_BEHIND,
    PART_BYTES,
    ChangePart,
    Head,
    HeardHead,
    Manifest,
    Snapshot,
    checksum,
)
from policy_service.domain.transfer import Packer
from policy_service.errors import DatabaseError, FeedUnavailable, RevisionCompacted, Unavailable
from policy_service.replication.freshness import monotonic_s

BOOKMARK_S = 0.5
HEAD_KEPT_S = 0.25  # a head that has not moved is signed again after this
SNAPSHOT_KEPT_S = 60.0  # from when it was made, so that one after a set that cannot be applied comes soon
SNAPSHOT_BEHIND = 1_000  # revisions; a snapshot further behind the head is made anew
PARTS_KEPT_BYTES = 8 << 20

Sign = Callable[[bytes], bytes]


class _Encoded(NamedTuple):
    """A snapshot that was made."""

    manifest: Manifest
    chunks: list[bytes]


class LogFeed:
    """Implements Feed. `lineage` tells where the authority's state stands; `sign` makes signatures."""

    authoritative = True
    location = "the change log"

    def __init__(
        self,
        log: ChangeLog,
        lineage: Callable[[], Lineage],
        sign: Sign,
        *,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self._log, self._lineage, self._sign, self._clock = log, lineage, sign, clock
        self._publisher = secrets.token_hex(8)
        self._woken = asyncio.Event()
        self._head: Head | None = None
        self._parts = _Parts()
        self._reading = asyncio.Lock()
        self._making = asyncio.Lock()
        self._snapshot: _Encoded | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Says that the log has grown, or that the epoch is another."""
        self._woken.set()
        self._woken = asyncio.Event()

    async def head(self) -> HeardHead:
        return HeardHead(self.head_now(), 0.0)

    def head_now(self) -> Head:
        """The head, signed."""
        position, ancestors = self._lineage()
        tick_ms = int(self._clock() * 1_000)
        head = self._head
        if head is None or head.position != position or tick_ms - head.tick_ms > HEAD_KEPT_S * 1_000:
            head = Head(position=position, ancestors=ancestors, publisher=self._publisher, tick_ms=tick_ms)
            self._head = head = replace(head, signature=self._sign(head.signed))
        return head

    # Changes

    async def changes(self, after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        try:
            await self._check(after)
            epoch, revision = after.epoch, after.revision
            while True:
                woken = self._woken
                head = self.head_now()
                if head.position.epoch != epoch:
                    raise RevisionCompacted(f"epoch {epoch} has ended; {head.position.epoch} replaces it")
                if head.position.revision == revision:
                    yield head
                    await _wait(woken)
                    continue
                async for part in self._set_after(revision):
                    yield part
                revision += 1
        except (DatabaseError, Unavailable) as error:
            raise FeedUnavailable(str(error)) from error

    async def _check(self, after: Position) -> None:
        position = self._lineage().position
        if after.epoch != position.epoch or after.revision > position.revision:
            raise RevisionCompacted(f"the log does not contain revision {after.token}")
        if position.revision - after.revision > MAX_BEHIND:
            raise RevisionCompacted(f"revision {after.token} is more than {MAX_BEHIND} behind; a snapshot is cheaper")
        if await self._log.hash_at(after.revision) != after.hash:
            raise RevisionCompacted(f"the log does not go on from revision {after.token}")

    async def _set_after(self, revision: int) -> AsyncGenerator[ChangePart, None]:
        """The change set of the next revision."""
        kept = self._parts.get(revision + 1)
        if kept is None:
            async with self._reading:
                if revision + 1 not in self._parts:
                    await self._read_after(revision)
            kept = self._parts.get(revision + 1)
        if kept is not None:
            yield kept
        else:
            async for part in self._large_set_after(revision):
                yield part

    async def _read_after(self, revision: int) -> None:
        """Reads and keeps the sets that come next and are whole in one piece of the log."""
        for entry, first, images in await self._log.log_after(revision, _LAST_CHANGE):
            if first or len(images) < entry.change_count:
                break
            encoder = _Encoder(entry, self._sign)
            for image in images:
                encoder.packer.put(image)
            parts = list(encoder.parts(last=True))
            if len(parts) > 1:
                break
            self._parts.keep(parts[0])

    async def _large_set_after(self, revision: int) -> AsyncGenerator[ChangePart, None]:
        """Reads a set piece by piece and keeps nothing."""
        encoder: _Encoder | None = None
        at, change = revision, _LAST_CHANGE
        while True:
            pieces = await self._log.log_after(at, change)
            if not pieces or pieces[0].entry.revision != revision + 1:
                raise RevisionCompacted(f"the log no longer has revision {revision + 1}")
            entry, first, images = pieces[0]
            encoder = encoder or _Encoder(entry, self._sign)
            for count, image in enumerate(images):
                encoder.packer.put(image)
                if count % 100 == 99:
                    await asyncio.sleep(0)
            at, change = entry.revision, first + len(images) - 1
            last = change + 1 == entry.change_count
            for part in encoder.parts(last):
                yield part
            if last:
                return

    # Snapshots

    async def snapshot(self) -> Snapshot:
        try:
            encoded = await self._encoded()
        except (DatabaseError, Unavailable) as error:
            raise FeedUnavailable(str(error)) from error
        return Snapshot(encoded.manifest, _each(encoded.chunks))

    async def _encoded(self) -> _Encoded:
        async with self._making:
            made = self._snapshot
            if made is None or not await self._is_usable(made.manifest.position):
                self._snapshot = made = await self._make()
                if self._expiry is not None:
                    self._expiry.cancel()
                self._expiry = asyncio.get_running_loop().call_later(SNAPSHOT_KEPT_S, self._forget_snapshot)
        return made

    async def _is_usable(self, position: Position) -> bool:
        now = self._lineage().position
        if position.epoch != now.epoch or now.revision - position.revision > SNAPSHOT_BEHIND:
            return False
        return await self._log.hash_at(position.revision) == position.hash

    async def _make(self) -> _Encoded:
        packer = Packer(CHUNK_BYTES)
        position, ancestors = await self._log.visit(packer)
        chunks = packer.finish()
        checksums = []
        for chunk in chunks:
            checksums.append(checksum(chunk))
            await asyncio.sleep(0)
        manifest = Manifest(position=position, ancestors=ancestors, checksums=tuple(checksums))
        return _Encoded(replace(manifest, signature=self._sign(manifest.signed)), chunks)

    def _forget_snapshot(self) -> None:
        self._snapshot = None

    async def close(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()


_LAST_CHANGE = 2**62  # beyond any change of a revision


class _Encoder:
    """Encodes the change set of an entry, part by part."""

    def __init__(self, entry: LogEntry, sign: Sign) -> None:
        self.packer = Packer(PART_BYTES)
        self._entry, self._sign = entry, sign
        self._count = 0

    def parts(self, last: bool) -> Iterable[ChangePart]:
        """The parts that are full; with `last` also the rest."""
        if last:
            payloads = self.packer.finish()
        else:
            payloads, self.packer.ready = self.packer.ready, []
        for at, payload in enumerate(payloads):
            part = ChangePart(
                position=self._entry.position,
                previous_hash=self._entry.previous_hash,
                part=self._count,
                last=last and at == len(payloads) - 1,
                format=self._entry.format,
                payload=payload,
            )
            self._count += 1
            yield replace(part, signature=self._sign(part.signed))


class _Parts:
    """Change sets of one part, by revision; the oldest go when there are too many bytes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, ChangePart] = OrderedDict()
        self._size = 0

    def __contains__(self, revision: int) -> bool:
        return revision in self._kept

    def get(self, revision: int) -> ChangePart | None:
        return self._kept.get(revision)

    def keep(self, part: ChangePart) -> None:
        revision = part.position.revision
        if revision in self._kept:
            return
        self._kept[revision] = part
        self._size += len(part.payload) + 1_000
        while self._size > PARTS_KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._size -= len(dropped.payload) + 1_000


async def _wait(woken: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(BOOKMARK_S):
            await woken.wait()
    except TimeoutError:
        pass


async def _each(chunks: list[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
