"""A replica: follows a feed, keeps the whole policy in memory, and knows how old it is at most.

Two tasks share one event loop: one applies what the feed brings, the other asks for heads, which prove how fresh the
policy is. Neither ever ends by itself: whatever goes wrong is noted, shown and tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Feed, Head, Signable
from policy_service.domain.state import State
from policy_service.errors import (
    DigestMismatch,
    FeedUnavailable,
    ForeignEpoch,
    Malformed,
    PolicyError,
    RevisionCompacted,
    Untrusted,
)
from policy_service.replication.cache import Cached, StateCache
from policy_service.replication.freshness import Freshness, monotonic_s
from policy_service.replication.loading import Taker, collector_paused, load_snapshot
from policy_service.slices import in_slices

POLLS_A_STALENESS = 5  # heads asked for within max_staleness_s
MAX_POLL_S = 1.0
FIRST_DELAY_S = 0.1
MAX_DELAY_S = 2.0
MAX_LOGGED = 100  # different problems before the policy has caught up again

log = logging.getLogger(__name__)


class Condition(StrEnum):
    """How a replica's policy is."""

    SYNCING = "SYNCING"
    FRESH = "FRESH"
    STALE = "STALE"


class Failure(NamedTuple):
    """What went wrong last, and when."""

    message: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaOptions:
    """Times in seconds. `owns_process`: whether the garbage collector is ours to tune."""

    max_staleness_s: float = 10.0
    max_policy_age_s: float = 86_400.0
    owns_process: bool = False


class Replica:
    """`begin` it, then `run` it as a task. `state` is None until there is a policy, and another object after each
    snapshot.

    `verify` raises Untrusted for what is not signed as it has to be. `confirm` asks the authority for its epoch, when
    the feed is not its own word.
    """

    def __init__(
        self,
        feed: Feed,
        options: ReplicaOptions,
        *,
        verify: Callable[[Signable], None] = lambda _: None,
        confirm: Callable[[], Awaitable[str]] | None = None,
        cache: StateCache | None = None,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self.state: State | None = None
        self.head: Head | None = None
        self.failure: Failure | None = None
        self.counters: Counter[str] = Counter()
        self.feed, self.options = feed, options
        self._verify, self._confirm, self._cache, self._clock = verify, confirm, cache, clock
        self._freshness = Freshness()
        self._changed = asyncio.Event()
        self._reload = False  # the next session begins with a snapshot
        self._caught_up = False
        self._logged: set[str] = set()
        self._since = clock()  # when the policy was there, for want of better evidence of its age
        self._releases: set[asyncio.Task[None]] = set()

    # What it is

    @property
    def age_s(self) -> float | None:
        """How old the policy is at most; None when that is not known."""
        evidence = self._freshness.evidence
        return None if evidence is None else max(0.0, self._clock() - evidence)

    @property
    def is_too_old(self) -> bool:
        """Whether the policy may no longer be used at all."""
        age_s = self.age_s
        return (self._clock() - self._since if age_s is None else age_s) > self.options.max_policy_age_s

    @property
    def condition(self) -> Condition:
        if self.state is None:
            return Condition.SYNCING
        age_s = self.age_s
        return Condition.FRESH if age_s is not None and age_s <= self.options.max_staleness_s else Condition.STALE

    @property
    def changed(self) -> asyncio.Event:
        """Set when the state moves next."""
        return self._changed

    # The tasks

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_following())
                tasks.create_task(self._keep_asking())
        finally:
            await self.close()

    async def close(self) -> None:
        """To be awaited when `run` has ended, and also when it never began: a task that is cancelled at once does not.
        The feed is the caller's to close."""
        if self._cache is not None:
            self._cache.close()
        for task in self._releases:
            task.cancel()
        await asyncio.gather(*self._releases, return_exceptions=True)

    async def _keep_following(self) -> None:
        """Sessions, one after the other; later and later, until one has caught up."""
        failures = 0
        while True:
            self._caught_up = False
            await self._try(self._follow)
            failures = 0 if self._caught_up else failures + 1
            await asyncio.sleep(_delay_s(failures, MAX_DELAY_S))

    async def _keep_asking(self) -> None:
        failures = 0
        while True:
            failures = 0 if await self._try(self._ask_for_head) else failures + 1
            if failures:
                await asyncio.sleep(_delay_s(failures, MAX_POLL_S))

    async def _try(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Whether the step went well; what goes wrong in it is noted."""
        try:
            await step()
        except PolicyError as error:
            self._note(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            self._note(FeedUnavailable(f"{self.feed.location}: the call was cancelled"))
        except Exception as error:
            log.exception("following failed", extra={"fields": {"feed": self.feed.location}})
            self._note(error)
        else:
            return True
        return False

    def _note(self, error: Exception) -> None:
        """Shows what went wrong. Until the policy has caught up, what repeats is logged once."""
        reason = error.reason if isinstance(error, PolicyError) else "ERROR"
        self.counters[f"errors_{reason.lower()}"] += 1
        message = str(error) if isinstance(error, PolicyError) else type(error).__name__
        if message not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add(message)
            level = logging.WARNING if isinstance(error, (FeedUnavailable, RevisionCompacted)) else logging.ERROR
            fields = {"feed": self.feed.location, "reason": reason, "error": message}
            log.log(level, "the feed cannot be followed", extra={"fields": fields})
        self.failure = Failure(message, datetime.now(UTC))

    # Heads

    async def _ask_for_head(self) -> None:
        if self.state is None:
            await self._changed.wait()
        await self._hear_head()
        await asyncio.sleep(min(MAX_POLL_S, self.options.max_staleness_s / POLLS_A_STALENESS))

    async def _hear_head(self) -> None:
        sent, asking = self._clock(), self.state
        known = asking.position if asking else None
        heard = await self.feed.head()
        received = self._clock()
        head, state = heard.head, self.state
        self._verify(head)
        if state is None or known is None or state is not asking:
            return  # it was replaced meanwhile
        if head.position.epoch != known.epoch:
            await self._approve(head.position.epoch, head.ancestors)
            self._reload = True
            return
        self._compare(state, known, head)
        self._freshness.heard(heard, sent, received, state.position.revision)
        if self._cache is not None and self.age_s is not None:
            self._cache.mark(self.age_s)

    def _compare(self, state: State, known: Position, head: Head) -> None:
        """Compares a head of the state's epoch with the state, which was at `known` before the head was read."""
        if head.position.revision < known.revision:
            if not self.feed.authoritative:
                raise Untrusted(f"{self.feed.location} shows revision {head.position.token} after {known.token}")
            self._reload = True
            raise RevisionCompacted(f"the authority went back from revision {known.token} to {head.position.token}")
        if head.position.revision == state.position.revision and head.position != state.position:
            mine, theirs = state.position, head.position
            self._doubt(state)
            raise DigestMismatch(
                f"at revision {mine.token} the authority has digest {theirs.digest} and hash {theirs.hash}, this "
                f"replica {mine.digest} and {mine.hash}"
            )
        if state is self.state:
            self.head, state.ancestors = head, head.ancestors

    def _doubt(self, state: State) -> None:
        """The state is not what it should be: it is stale from now on, and another has to be loaded."""
        self._reload, self._caught_up = True, False
        if state is self.state:
            if self._freshness.evidence is not None:
                self._since = self._freshness.evidence
            self._freshness.forget()

    async def _approve(self, epoch: str, ancestors: tuple[str, ...]) -> None:
        """Whether another epoch replaces the state's. Raises ForeignEpoch."""
        state = self.state
        if state is None or self.feed.authoritative or state.position.epoch in (epoch, *ancestors):
            return
        if self._confirm is not None and await self._confirm() == epoch:
            return
        raise ForeignEpoch(
            f"{self.feed.location} has epoch {epoch}, which does not say that it replaces {state.position.epoch}: "
            "another authority publishes there. If it is the right one, name it with --authority, or restart this "
            "replica without its state cache"
        )

    # Following

    async def _follow(self) -> None:
        """One session: from the state that is served, or from a new snapshot beside it, until there is a reason to
        begin another."""
        working = self.state
        if working is None or self._reload:
            working = await self._load()
            self._reload = False
        try:
            await self._take_all(working)
        except DigestMismatch:
            self._doubt(working)
            raise
        except (RevisionCompacted, Malformed):
            self._reload = True
            raise
        finally:
            if working is not self.state:
                self._reload = True
                self._release(working.dissolve())

    async def _take_all(self, working: State) -> None:
        taker = Taker(working)
        async with contextlib.aclosing(self.feed.changes(working.position)) as items:
            async for item in items:
                self._verify(item)
                if isinstance(item, Head):
                    await self._take_bookmark(working, item)
                elif await taker.take(item):
                    self._keep(taker.parts)
                    self._moved(working)
                    await self._keep_snapshot(working)
                if self._cache is not None and self._cache.has_outgrown:
                    self._reload = True
                if self._reload:
                    return

    async def _take_bookmark(self, working: State, head: Head) -> None:
        if head.position.epoch != working.position.epoch:
            await self._approve(head.position.epoch, head.ancestors)
            self._reload = True
            return
        self._compare(working, working.position, head)
        if head.position != working.position:
            return
        if working is not self.state and self.feed.authoritative:
            self._moved(working, went_back=True)
            await self._keep_snapshot(working)
        if working is self.state and not self._reload:
            self.failure, self._caught_up = None, True
            self._logged.clear()
            if self._cache is not None:
                self._cache.caught_up()

    def _keep(self, parts: Iterable[ChangePart]) -> None:
        self.counters["change_sets_applied"] += 1
        if self._cache is not None:
            for part in parts:
                self._cache.append(part)

    def _moved(self, working: State, went_back: bool = False) -> None:
        """The state of the session has come to another revision. Within an epoch what is served never goes back, but
        on the authority's word that nothing is newer: a snapshot may be older than what is served."""
        if working.discarded:
            self._release(working.discard())
        if working is not self.state:
            if not (went_back or self._may_serve(working)):
                return
            self._serve(working)
        self._freshness.applied(working.position.revision)
        self._changed.set()
        self._changed = asyncio.Event()

    # Snapshots

    async def _load(self) -> State:
        """A state from a snapshot of the feed; it is served if it may be."""
        snapshot = await self.feed.snapshot()
        manifest = snapshot.manifest
        try:
            self._verify(manifest)
            await self._approve(manifest.position.epoch, manifest.ancestors)
        except BaseException:
            await snapshot.chunks.aclose()
            raise
        if self._cache is not None:
            self._cache.begin(manifest)
            snapshot = snapshot._replace(chunks=_copied(snapshot.chunks, self._cache))
        with collector_paused(self.options.owns_process):
            state = await load_snapshot(snapshot)
        self.counters["snapshots_loaded"] += 1
        self._moved(state)
        await self._keep_snapshot(state)
        return state

    def _may_serve(self, working: State) -> bool:
        served = self.state
        return (
            served is None
            or served.position.epoch != working.position.epoch
            or served.position.revision <= working.position.revision
        )

    def _serve(self, working: State) -> None:
        """Checks are answered from this state from now on."""
        former, self.state = self.state, working
        if former is None or not _goes_on(former.position, working.position):
            self._freshness.forget()
            self.head = None
            self._since = self._clock()
        if former is not None:
            self._release(former.dissolve())
        fields = {"revision": working.revision, "digest": working.digest, "feed": self.feed.location}
        log.info("the policy was loaded", extra={"fields": fields})

    def _release(self, steps: Iterable[None]) -> None:
        task = asyncio.create_task(in_slices(steps))
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)

    # The disk cache

    async def _keep_snapshot(self, working: State) -> None:
        """What is served is worth keeping."""
        if self._cache is not None and working is self.state:
            await self._cache.commit()

    async def begin(self) -> None:
        """To be awaited before `run`: serves what the disk cache holds, if that can be trusted."""
        if self._cache is None:
            return
        cached = await asyncio.to_thread(self._cache.read)
        if cached is None:
            return
        try:
            with collector_paused(self.options.owns_process):
                state = await self._rebuild(cached)
        except Exception as error:
            self._cache.set_aside(str(error) if isinstance(error, PolicyError) else repr(error))
            return
        self._cache.resume(cached)
        self._moved(state)
        self._since -= max(0.0, time.time() - cached.as_of)

    async def _rebuild(self, cached: Cached) -> State:
        self._verify(cached.snapshot.manifest)
        state = await load_snapshot(cached.snapshot)
        taker = Taker(state)
        for part in cached.parts:
            self._verify(part)
            await taker.take(part)
        return state


def _delay_s(failures: int, most_s: float) -> float:
    return min(most_s, FIRST_DELAY_S * (1 << min(failures, 10))) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter


def _goes_on(former: Position, position: Position) -> bool:
    return former.epoch == position.epoch and former.revision <= position.revision


async def _copied(chunks: AsyncGenerator[bytes, None], cache: StateCache) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(chunks):
        async for chunk in chunks:
            cache.chunk(chunk)
            yield chunk
