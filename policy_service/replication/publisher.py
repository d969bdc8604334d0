"""Copies the authority's feed into Redis, goes on where Redis stands, repairs what Redis lost, and leaves alone what
another authority publishes there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Feed, Head, Manifest
from policy_service.errors import (
    FeedUnavailable,
    ForeignEpoch,
    Malformed,
    PolicyError,
    RevisionCompacted,
    UnknownFormat,
)
from policy_service.replication.publication import Damaged, Outdated, Publication, Stored, inspect, reset, store
from policy_service.replication.redis_connection import TIMEOUT_S, RedisConnection, RedisLocation
from policy_service.replication.redis_layout import Keys, StoredHead, read_head, read_manifest

BATCH_BYTES = 1 << 20  # of change sets in one script
CHECK_S = 0.5  # how often is looked whether Redis still has everything
FOREIGN_S = 10.0  # the head of another epoch that is older was left behind
RIVAL_S = 2.0  # a head of this epoch, from another process, that has not changed for so long was left behind
RENEW_PAUSE_S = 75.0  # after a snapshot that was no newer; the feed keeps one for a while
SOURCE_TIMEOUT_S = 10.0  # heads come more often
CATCH_UP_POLL_S = 0.01
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 2.0

log = logging.getLogger(__name__)


class Publisher:
    """`run` it as a task, after `look`. `source` is the authority's feed; `hash_at` that of its log; `begin_epoch`
    makes it start a new epoch; `sign` is what it signs with. `report` hears what is wrong, or None when all is well.
    """

    def __init__(
        self,
        location: RedisLocation,
        source: Feed,
        hash_at: Callable[[int], Awaitable[str | None]],
        begin_epoch: Callable[[], Awaitable[None]],
        report: Callable[[str | None], None],
        *,
        sign: Callable[[bytes], bytes],
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._where = f"{location.text} under {location.prefix!r}"
        self._redis, self._keys = RedisConnection(location, timeout_s), Keys(location.prefix)
        self._source, self._hash_at, self._begin_epoch = source, hash_at, begin_epoch
        self._report, self._sign = report, sign
        self._problem: str | None = ""  # the last that was reported; at first nothing was
        self._seen = b"", 0.0  # the header that was seen last, and since when
        self._published: Manifest | None = None
        self._head: Position | None = None  # what Redis was brought to
        self._begin_anew = False
        self._renewing: asyncio.Task[Stored | None] | None = None
        self._renewed_from = 0  # log_bytes when that began
        self._renew_at = 0.0

    async def look(self, timeout_s: float) -> None:
        """Looks at Redis before the authority accepts a mutation, and begins a new epoch if Redis has revisions that
        the database does not have. A Redis that is away is only reported."""
        try:
            async with asyncio.timeout(timeout_s):
                stored = await read_head(self._redis, self._keys)
                mine, head = (await self._source.head()).head, _read(stored)
                if head is not None and head.position.epoch == mine.position.epoch:
                    await self._is_in_log(head, mine)
        except UnknownFormat:
            pass  # `run` sees to it
        except TimeoutError:
            self._note(f"{self._where}: no answer within {timeout_s:g} s")
        except PolicyError as error:
            self._note(str(error))

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            try:
                await self._publish()
            except PolicyError as error:
                problem = str(error)
            except Exception as error:
                log.exception("publishing failed", extra={"fields": {"redis": self._where}})
                problem = f"unexpected {type(error).__name__}; see the log"
            failures = 0 if self._problem is None else min(failures + 1, 10)
            self._note(problem)
            delay_s = min(MAX_DELAY_S, FIRST_DELAY_S * 2**failures) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            await asyncio.sleep(delay_s)

    async def catch_up(self, timeout_s: float) -> None:
        """Returns when Redis has all that was committed, if it can have that in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._problem is None and await self._is_behind():  # noqa: ASYNC110 - two tasks move it
                    await asyncio.sleep(CATCH_UP_POLL_S)

    async def _is_behind(self) -> bool:
        return self._head != (await self._source.head()).head.position

    async def close(self) -> None:
        """Ends connections."""
        await self._redis.close()

    def _note(self, problem: str | None) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        if problem is None:
            log.info("publishing", extra={"fields": {"redis": self._where}})
        else:
            log.warning("not publishing", extra={"fields": {"redis": self._where, "problem": problem}})
        self._report(problem)

    # Publishing

    async def _publish(self) -> None:
        """One session. Ends with what goes wrong."""
        publication = await self._begin()
        self._published, self._begin_anew = publication.manifest, False
        try:
            async with contextlib.aclosing(self._source.changes(publication.start)) as items:
                await self._copy(items, publication)
        except (RevisionCompacted, Damaged):
            self._begin_anew = True
            raise
        finally:
            self._published = publication.manifest
            await self._stop_renewing()

    async def _copy(self, items: AsyncGenerator[ChangePart | Head, None], publication: Publication) -> None:
        parts: list[ChangePart] = []
        size, check_at = 0, 0.0
        while True:
            item = await self._next(items)
            if isinstance(item, ChangePart):
                parts.append(item)
                size += len(item.payload)
                if size < BATCH_BYTES:
                    continue
            head = item if isinstance(item, Head) else await self._head_after(parts, publication)
            await publication.append(parts, head)
            self._head = publication.head.position
            parts, size = [], 0
            if time.monotonic() >= check_at:
                await publication.check()
                self._note(None)
                check_at = time.monotonic() + CHECK_S
            await self._renew_if_due(publication)

    async def _head_after(self, parts: list[ChangePart], publication: Publication) -> Head:
        """The head while the log is still behind: no further than the log, or followers would miss what is to come."""
        whole = [part.position for part in parts if part.last]
        return await self._head_at(whole[-1] if whole else publication.head.position)

    async def _head_at(self, position: Position) -> Head:
        head = replace((await self._source.head()).head, position=position)
        return replace(head, signature=self._sign(head.signed))

    async def _next(self, items: AsyncGenerator[ChangePart | Head, None]) -> ChangePart | Head:
        try:
            async with asyncio.timeout(SOURCE_TIMEOUT_S):
                return await anext(items)
        except TimeoutError:
            raise FeedUnavailable(f"{self._source.location} said nothing for {SOURCE_TIMEOUT_S:g} s") from None

    # New snapshots, made beside the log that goes on

    async def _renew_if_due(self, publication: Publication) -> None:
        if self._renewing is None:
            if publication.has_outgrown and time.monotonic() >= self._renew_at:
                self._renewed_from = publication.log_bytes
                self._renewing = asyncio.create_task(self._newer_snapshot(publication.manifest))
        elif self._renewing.done():
            new = self._renewing.result()
            if new is None:
                self._renew_at = time.monotonic() + RENEW_PAUSE_S
            elif new.manifest.position.revision > publication.head.position.revision:
                return  # later: with a snapshot ahead of it, the head would seem to go back
            else:
                await publication.switch(new, publication.log_bytes - self._renewed_from)
                self._tell(new)
            self._renewing = None

    async def _newer_snapshot(self, former: Manifest) -> Stored | None:
        snapshot = await self._source.snapshot()
        if snapshot.manifest.position.revision > former.position.revision:
            return await store(self._redis, self._keys, snapshot)
        await snapshot.chunks.aclose()
        return None

    async def _stop_renewing(self) -> None:
        task, self._renewing = self._renewing, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # Where to begin

    async def _begin(self) -> Publication:
        """Goes on where Redis stands, or begins anew. Raises ForeignEpoch when what is there is another's."""
        stored = await read_head(self._redis, self._keys)
        head = await self._continuable(stored)
        if head is not None and not self._begin_anew:
            manifest = await self._manifest(head.position.epoch)
            if manifest is not None and self._sign(manifest.signed) == manifest.signature:
                content = await inspect(self._redis, self._keys, manifest)
                if content.goes_on(manifest, head, stored.entries):
                    return Publication(self._redis, self._keys, manifest, head, content, stored.log_bytes)
        return await self._rebuild(stored)

    async def _continuable(self, stored: StoredHead) -> Head | None:
        """The head to go on from; None: begin anew. Raises ForeignEpoch."""
        age_s = self._age_s(stored)
        mine = (await self._source.head()).head
        try:
            head = _read(stored)
        except UnknownFormat as error:
            if age_s < FOREIGN_S:
                raise ForeignEpoch(f"{self._where} a newer authority publishes ({error})") from None
            return None
        if head is None:
            return None
        is_mine = head.publisher == mine.publisher
        if head.position.epoch != mine.position.epoch:
            if not is_mine and age_s < FOREIGN_S:
                raise self._foreign(head, "another epoch", mine)
            return None
        is_in_log = await self._is_in_log(head, mine)
        if not is_mine:
            await self._outlast(stored, head, mine)
        return head if is_in_log else None

    async def _is_in_log(self, head: Head, mine: Head) -> bool:
        """Whether this authority's log goes on from a head of its epoch. Begins a new epoch and raises ForeignEpoch
        when the two exclude each other; a head that this authority's key did not sign says nothing."""
        if not self._is_signed(head):
            return False
        revision = head.position.revision
        known = await self._hash_at(revision)
        if revision > mine.position.revision or known not in (None, head.position.hash):
            await self._begin_epoch()
            epoch = (await self._source.head()).head.position.epoch
            raise ForeignEpoch(
                f"{self._where} there is revision {head.position.token}, which this database, at "
                f"{mine.position.token}, does not have: it was put back to a former state, or copied. Epoch {epoch} "
                "has begun; restore backups with `policy-service restore`"
            )
        return known is not None

    async def _outlast(self, stored: StoredHead, head: Head, mine: Head) -> None:
        """Waits until it is clear that the other process that published this epoch has ended. Raises ForeignEpoch when
        it goes on; then its lineage is no longer this one's."""
        while self._age_s(stored) < RIVAL_S:
            await asyncio.sleep(RIVAL_S / 10)
            stored = await read_head(self._redis, self._keys)
            now = _read(stored)
            if now is None or now.publisher == mine.publisher:
                raise FeedUnavailable(f"{self._where}: the head was overwritten while it was looked at")
            if now != head:
                if self._is_signed(head):
                    await self._begin_epoch()
                raise self._foreign(head, "the same epoch", mine)

    def _is_signed(self, head: Head) -> bool:
        return self._sign(head.signed) == head.signature

    def _foreign(self, head: Head, what: str, mine: Head) -> ForeignEpoch:
        return ForeignEpoch(
            f"{self._where} another authority publishes {what}: epoch {head.position.epoch}; this one has epoch "
            f"{mine.position.epoch} and does not write. Stop the other, or give one of them another --redis-prefix"
        )

    def _age_s(self, stored: StoredHead) -> float:
        """How long the head has been there at least: by Redis's clock, and by ours, if that went back."""
        if stored.header != self._seen[0]:
            self._seen = stored.header, time.monotonic()
        return max(stored.age_s or 0.0, time.monotonic() - self._seen[1])

    async def _manifest(self, epoch: str) -> Manifest | None:
        """None also for one that cannot be read."""
        try:
            return await read_manifest(self._redis, self._keys, epoch)
        except PolicyError:
            return None

    async def _rebuild(self, stored: StoredHead) -> Publication:
        """Begins anew, in the place of what is there."""
        new = await store(self._redis, self._keys, await self._source.snapshot())
        head = await self._head_at(new.manifest.position)
        epochs = {head.position.epoch}
        with contextlib.suppress(Malformed, UnknownFormat):
            epochs.add(stored.read().position.epoch)
        snapshots = [await self._manifest(epoch) for epoch in epochs] + [self._published]
        outdated = Outdated([manifest for manifest in snapshots if manifest], epochs - {head.position.epoch})
        publication = await reset(self._redis, self._keys, stored, new, head, outdated)
        self._tell(new)
        return publication

    def _tell(self, new: Stored) -> None:
        fields = {"redis": self._where, "revision": new.manifest.position.token, "bytes": new.size}
        log.info("published a snapshot", extra={"fields": fields})


def _read(stored: StoredHead) -> Head | None:
    """None when there is no head, or one that does not decode. Raises UnknownFormat."""
    try:
        return stored.read()
    except Malformed:
        return None
