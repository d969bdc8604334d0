"""The writer task: one mutation at a time, in the order commit, apply to state, acknowledge.

A caller that goes away never interrupts a mutation that has begun; one that has not begun is dropped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from policy_service.authority.mutations import Plan, World
from policy_service.domain.changes import Change, ChangeImage, ChangesHash, LogEntry, entry_hash, image_of
from policy_service.domain.source import Reading, has_reached
from policy_service.domain.state import Prepared, State
from policy_service.errors import (
    InvalidArgument,
    PolicyError,
    RequestIdReused,
    RevisionNotReached,
    Unavailable,
    Violation,
)
from policy_service.slices import in_slices
from policy_service.store.protocol import Commit, RecordedRequest, Store, ancestry, new_epoch

MAX_WAITING = 1_000
MAX_RECORD_BYTES = 1_900_000  # before and after fit one message of the audit log
MAX_ANSWER_BYTES = 4_000_000  # clients refuse messages above 4 MiB unless told otherwise
REQUESTS_KEPT = timedelta(hours=48)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """A mutation to run: who asks for it and how, its plan, and how its answer is encoded (given the revision)."""

    rpc: str
    actor: str
    peer: str
    plan: Callable[[World], Awaitable[Plan]]
    encode: Callable[[Plan, str], bytes]
    request_id: str = ""
    request_hash: bytes = b""
    validate_only: bool = False


@dataclass(slots=True)
class _Job:
    mutation: Mutation | None  # None only begins the epoch that is due
    answer: asyncio.Future[bytes]


class Authority:
    """Owns the writing of a store and the state. `run` it as a task; `state` may be read from the same event loop.

    It is a PolicySource. `wake` is called when the state has moved.
    """

    def __init__(
        self,
        store: Store,
        state: State,
        log_retention: timedelta | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.store, self.state = store, state
        self._wake = wake
        self._log_retention, self._clock = log_retention, clock
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue(MAX_WAITING)
        self._closing = False
        self._epoch_is_due = False

    def read(self) -> Reading:
        """The state. It is never stale."""
        return Reading(self.state, stale=False)

    async def reach(self, wanted: str, remaining_s: Callable[[], float | None]) -> None:
        """Never waits: nothing is ahead of the authority."""
        if not has_reached(self.state, wanted):
            raise RevisionNotReached(wanted, self.state.revision)

    async def begin_epoch(self) -> None:
        """Starts a new epoch before the next mutation: the log has not gone on as somebody saw it. Raises Unavailable
        when it cannot be stored; no mutation is accepted until it is."""
        self._epoch_is_due = True
        job = _Job(None, asyncio.get_running_loop().create_future())
        await self._jobs.put(job)
        await job.answer

    async def mutate(self, mutation: Mutation) -> bytes:
        """Runs a mutation and returns its encoded answer. Raises what its plan raises, and Unavailable."""
        if self._closing:
            raise Unavailable("the server is shutting down")
        job = _Job(mutation, asyncio.get_running_loop().create_future())
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise Unavailable(f"{MAX_WAITING} mutations are waiting; try again later") from None
        return await job.answer

    async def finish(self) -> None:
        """Takes no more mutations; those that wait are still run, then `run` returns."""
        self._closing = True
        await self._jobs.put(None)

    async def run(self) -> None:
        """The writer task. Returns after `finish`; raises when the outcome of a commit cannot be found out."""
        while (job := await self._jobs.get()) is not None:
            if job.answer.done():  # the caller went away before it began
                continue
            try:
                answer = await self._run_one(job.mutation)
            except PolicyError as error:
                _fail(job, error)
            except _OutcomeUnknown:
                _fail(job, Unavailable("whether the change was committed is unknown; the server stops to find out"))
                self._closing = True
                self._fail_waiting()
                raise
            except Exception as error:
                rpc = "" if job.mutation is None else job.mutation.rpc
                log.exception("mutation failed", extra={"fields": {"rpc": rpc}})
                _fail(job, error)
            else:
                if not job.answer.done():
                    job.answer.set_result(answer)

    def _fail_waiting(self) -> None:
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                _fail(job, Unavailable("the server is shutting down"))

    async def _run_one(self, mutation: Mutation | None) -> bytes:
        if self._epoch_is_due:
            await self._begin_epoch()
        return b"" if mutation is None else await self._run_mutation(mutation)

    async def _begin_epoch(self) -> None:
        former, epoch = self.state.position, new_epoch()
        await self.store.begin_epoch(epoch)
        self._epoch_is_due = False
        self.state.move_to(former._replace(epoch=epoch))
        self.state.ancestors = tuple(ancestry((*self.state.ancestors, former.epoch)))
        self._wake()
        log.warning("a new epoch began", extra={"fields": {"epoch": epoch, "former": former.token}})

    async def _run_mutation(self, mutation: Mutation) -> bytes:
        if mutation.request_id:
            recorded = await self.store.recorded_request(mutation.rpc, mutation.request_id)
            if recorded is not None:
                if recorded.request_hash != mutation.request_hash:
                    raise RequestIdReused
                return recorded.response
        position = self.state.position
        token = position._replace(revision=position.revision + 1).token
        now = self._clock()
        plan = await mutation.plan(World(self.state, self.store, now, etag=token))
        prepared, images, hash_of_changes = await self._prepare(plan)
        revision = token if plan.changes else position.token
        answer = mutation.encode(plan, "" if mutation.validate_only else revision)
        if len(answer) > MAX_ANSWER_BYTES:
            words = f"the answer would have {len(answer)} bytes, more than a client takes; send fewer items at once"
            raise InvalidArgument([Violation("", words)])
        if mutation.validate_only:
            return answer
        request = None
        if mutation.request_id:
            fields = (mutation.rpc, mutation.request_id, mutation.request_hash, answer, now)
            request = RecordedRequest(*fields)
        if plan.changes:
            entry = self._entry(mutation, now, prepared.digest, len(images), hash_of_changes)
            await self._commit(entry, plan, prepared, images, request)
        elif request is not None:
            await self.store.commit(Commit(request=request, forget_requests_before=now - REQUESTS_KEPT))
        return answer

    async def _prepare(self, plan: Plan) -> tuple[Prepared, list[ChangeImage], str]:
        """Compiles the changes beside the state, encodes and hashes them. Refuses a record that is too big to be read
        back."""
        prepared, images, total = Prepared(self.state), list[ChangeImage](), ChangesHash()
        await in_slices(_take(plan.changes, prepared, images, total))
        await in_slices(prepared.rewrite())
        return prepared, images, total.hex

    async def _commit(
        self,
        entry: LogEntry,
        plan: Plan,
        prepared: Prepared,
        images: list[ChangeImage],
        request: RecordedRequest | None,
    ) -> None:
        commit = Commit(
            entry=entry,
            changes=plan.changes,
            images=images,
            request=request,
            forget_requests_before=entry.time - REQUESTS_KEPT,
            forget_log_before=entry.time - self._log_retention if self._log_retention else None,
        )
        try:
            await self.store.commit(commit)
        except Exception as error:
            if not await self._landed(entry, error):
                raise
        self.state.apply(prepared, entry.position)
        self._wake()
        for _ in self.state.discard():
            await asyncio.sleep(0)

    def _entry(
        self, mutation: Mutation, now: datetime, digest: str, change_count: int, hash_of_changes: str
    ) -> LogEntry:
        position = self.state.position
        entry = LogEntry(
            epoch=position.epoch,
            revision=position.revision + 1,
            time=now,
            actor=mutation.actor,
            peer=mutation.peer,
            rpc=mutation.rpc,
            digest=digest,
            previous_hash=position.hash,
            hash="",
            change_count=change_count,
        )
        return replace(entry, hash=entry_hash(entry, hash_of_changes))

    async def _landed(self, entry: LogEntry, error: Exception) -> bool:
        """Whether a commit that failed is in the database all the same. Raises _OutcomeUnknown."""
        try:
            position = await self.store.position()
        except Exception:
            raise _OutcomeUnknown from error
        if position == entry.position:
            return True
        if position != self.state.position:
            raise _OutcomeUnknown from error
        return False


class _OutcomeUnknown(Exception):
    """The database does not say whether the last commit is in it, or another process wrote to it."""


def _take(
    changes: Sequence[Change], prepared: Prepared, images: list[ChangeImage], total: ChangesHash
) -> Iterator[None]:
    for change in changes:
        prepared.add(change)
        key, before, after = image = image_of(change)
        if len(after.encode()) > MAX_RECORD_BYTES:
            words = f"is larger than {MAX_RECORD_BYTES} bytes as JSON; give fewer or shorter entries"
            raise InvalidArgument([Violation(key.kind.value, words)])
        images.append(image)
        total.add(key.kind.value, str(key), before, after)
        yield


def _fail(job: _Job, error: Exception) -> None:
    if not job.answer.done():
        job.answer.set_exception(error)
