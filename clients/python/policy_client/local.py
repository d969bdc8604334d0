"""A local replica in a gateway's own process: checks without a network, from a policy that follows the authority."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import grpc

from policy_client.access import DEFAULT_RETRY, AccessClient
from policy_client.connection import TLS, Connection, checked_timeout
from policy_client.errors import (
    DeadlineExceeded,
    FieldViolation,
    InvalidArgument,
    PolicyClientError,
    PreconditionFailed,
    PreconditionViolation,
    Unavailable,
)
from policy_service import errors
from policy_service.answers import CheckAnswers
from policy_service.domain.decide import Decision, decide
from policy_service.domain.names import requested_model_problem
from policy_service.domain.source import Reading
from policy_service.domain.validation import Problems, check_asked
from policy_service.replication.following import DEFAULT_PREFIX, Follow, make_replica, source_of
from policy_service.replication.grpc_feed import GrpcFeed
from policy_service.replication.replica import Condition
from policy_service.v1 import access_pb2 as pb

WAIT_STEP_S = 0.02
MIN_TIMEOUT_S = 0.001


class Decisions(NamedTuple):
    """What was decided, at which revision, and whether the policy is stale."""

    decisions: list[Decision]
    revision: str
    stale: bool


class LocalPolicy:
    """Follows an authority and decides in this process. An async context manager, which starts following.

    `follow` is `grpc://HOST:PORT`, the authority itself, or `redis://...` (`rediss://`, `unix://`) that it publishes
    to. Following Redis needs `verify_key`, the file with the authority's public key, or `trust_redis=True`. `token` and
    `tls` are for the authority; with Redis, `authority` (HOST:PORT) lets it confirm a new lineage. `state_cache` is a
    file that keeps the policy over a restart.

    Older than `max_staleness_s` the policy is stale: answers say so, or, with `refuse_when_stale`, are refused. Older
    than `max_policy_age_s`, or absent, it is not used at all. Where the local policy refuses, `check` asks `remote`
    when one is given; that client stays the caller's to close.

    Use it in the event loop it was started in. Raises ValueError for options that do not fit together or files that
    cannot be used, OSError for a TLS file that cannot be read.
    """

    def __init__(
        self,
        follow: str,
        *,
        token: str | None = None,
        tls: TLS | None = None,
        authority: str | None = None,
        redis_prefix: str = DEFAULT_PREFIX,
        verify_key: str | os.PathLike[str] | None = None,
        trust_redis: bool = False,
        state_cache: str | os.PathLike[str] | None = None,
        max_staleness_s: float = 10.0,
        max_policy_age_s: float = 86_400.0,
        refuse_when_stale: bool = False,
        revision_wait_s: float = 2.0,
        remote: AccessClient | None = None,
    ) -> None:
        try:
            self._follow = Follow.of(
                follow,
                authority=authority,
                redis_prefix=redis_prefix,
                verify_key=None if verify_key is None else Path(verify_key),
                trust_redis=trust_redis,
                state_cache=None if state_cache is None else Path(state_cache),
                max_staleness_s=max_staleness_s,
                max_policy_age_s=max_policy_age_s,
                refuse_when_stale=refuse_when_stale,
                revision_wait_s=revision_wait_s,
            )
            address = self._follow.authority_address
        except errors.StartupError as error:
            raise ValueError(str(error)) from None
        self._connection: Connection | None = None
        if address is not None:
            if tls is None and not address.is_local:
                raise ValueError(f"{address.text} is another machine: give tls, so that nobody else answers")
            self._connection = Connection(
                address.text, token=token, tls=tls, channel=None, retry=DEFAULT_RETRY, timeout_s=5.0
            )
        elif token is not None or tls is not None:
            raise ValueError("token and tls are for the authority; with Redis give its address, too, or leave them out")
        self._remote = remote
        self._answers = CheckAnswers()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to follow, if it has not; returns as soon as a state cache is read. Raises ValueError for a key or URL
        that cannot be used."""
        if self._following is not None:
            return
        feed = None
        address = self._follow.authority_address
        try:
            if self._connection is not None and address is not None:
                feed = GrpcFeed(self._connection.channel, f"grpc://{address.text}", self._connection.metadata)
            replica = make_replica(self._follow, feed, owns_process=False)
        except errors.StartupError as error:
            await self.close()
            raise ValueError(str(error)) from None
        try:
            await replica.begin()
        except BaseException:
            await replica.close()
            await replica.feed.close()
            await self.close()
            raise
        self._replica, self._source = replica, source_of(self._follow, replica)
        self._following = asyncio.create_task(replica.run(), name="policy_client.LocalPolicy")

    # How it is

    @property
    def condition(self) -> Condition:
        """SYNCING (no policy yet), FRESH or STALE."""
        return self._replica.condition if self._following else Condition.SYNCING

    @property
    def age_s(self) -> float | None:
        """How many seconds old the policy is at most; None when that is not known."""
        return self._replica.age_s if self._following else None

    @property
    def revision(self) -> str:
        """The revision of the policy, as answers carry it; empty without one."""
        state = self._replica.state if self._following else None
        return "" if state is None else state.revision

    @property
    def last_error(self) -> str:
        """What went wrong last in following; empty since it went well."""
        failure = self._replica.failure if self._following else None
        return "" if failure is None else failure.message

    async def wait_until_fresh(self, timeout_s: float) -> None:
        """Returns once the policy is fresh. Raises DeadlineExceeded, with what stands in the way, and Unavailable when
        this is not started, or closed."""
        try:
            async with asyncio.timeout(timeout_s):
                self._refuse_unless_following("wait_until_fresh")
                while self.condition is not Condition.FRESH:
                    await asyncio.sleep(WAIT_STEP_S)
                    self._refuse_unless_following("wait_until_fresh")
        except TimeoutError:
            words = (
                f"the policy is {self.condition} after {timeout_s:g} s: {self.last_error or 'nothing was heard yet'}"
            )
            raise DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, words, rpc="wait_until_fresh") from None

    # Checks

    def decide(self, team: str, user: str, model: str) -> Decision:
        """The bare decision, from this process alone, in microseconds. Raises InvalidArgument for a bad request and
        Unavailable when there is no policy that may be used."""
        return self.decide_all(team, user, (model,)).decisions[0]

    def decide_all(self, team: str, user: str, models: Iterable[str]) -> Decisions:
        """Bare decisions, one for each model, all at one revision. Raises as `decide`."""
        try:
            state, stale = self._read("decide")
        except Unavailable:
            for model in models:  # what is malformed is so without a policy, too
                _refuse_malformed(team, user, model)
            raise
        known = state.teams.get(team)
        decisions = []
        for model in models:
            if known is None or user not in known.members or requested_model_problem(model):
                _refuse_malformed(team, user, model)  # names that the policy holds are well-formed
            decisions.append(decide(state, team, user, model))
        return Decisions(decisions, state.revision, stale)

    async def check(
        self, team: str, user: str, model: str, *, at_least_revision: str = "", timeout_s: float | None = None
    ) -> pb.CheckModelAccessResponse:
        """As AccessClient.check, and answered by `remote` where the local policy cannot be used. A revision that is not
        reached here is PreconditionFailed, also when `remote` does not answer."""
        _refuse_malformed(team, user, model)
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + checked_timeout(timeout_s)

        def remaining_s() -> float | None:
            return None if deadline is None else deadline - loop.time()

        try:
            if at_least_revision:
                await self._reach(at_least_revision, remaining_s)
            state, stale = self._read("check")
        except (Unavailable, PreconditionFailed) as error:
            if self._remote is None:
                raise
            return await self._ask_remote(team, user, model, at_least_revision, remaining_s(), error)
        decision = decide(state, team, user, model)
        answer = self._answers.encode(decision, team, user, model, state.revision, stale)
        return pb.CheckModelAccessResponse.FromString(answer)

    async def _ask_remote(
        self, team: str, user: str, model: str, revision: str, remaining_s: float | None, refusal: PolicyClientError
    ) -> pb.CheckModelAccessResponse:
        assert self._remote is not None  # noqa: S101 - the caller saw to it
        timeout_s = None if remaining_s is None else max(remaining_s, MIN_TIMEOUT_S)
        try:
            return await self._remote.check(team, user, model, at_least_revision=revision, timeout_s=timeout_s)
        except PolicyClientError as error:
            if error.may_fail_open and not refusal.may_fail_open:
                raise refusal from error
            raise

    def _refuse_unless_following(self, rpc: str) -> None:
        if self._following is None or self._following.done():
            raise Unavailable(grpc.StatusCode.UNAVAILABLE, "the local policy is not started, or closed", rpc=rpc)

    def _read(self, rpc: str) -> Reading:
        self._refuse_unless_following(rpc)
        try:
            return self._source.read()
        except errors.Unavailable as error:
            raise Unavailable(grpc.StatusCode.UNAVAILABLE, str(error), rpc=rpc, reason=error.reason) from None

    async def _reach(self, wanted: str, remaining_s: Callable[[], float | None]) -> None:
        self._refuse_unless_following("check")
        try:
            await self._source.reach(wanted, remaining_s)
        except errors.PolicyError as error:
            raise _translated(error) from None

    async def close(self) -> None:
        """Stops following and closes its connections. May be called twice."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
            await self._replica.close()
            await self._replica.feed.close()
        if self._connection is not None:
            await self._connection.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _refuse_malformed(team: str, user: str, model: str) -> None:
    problems = Problems()
    check_asked(problems, team, user, model)
    if problems.violations:
        raise _translated(errors.InvalidArgument(problems.violations))


def _translated(error: errors.PolicyError) -> PolicyClientError:
    """The error that a remote check would have raised."""
    if isinstance(error, errors.InvalidArgument):
        violations = [FieldViolation(*violation) for violation in error.violations]
        return InvalidArgument(
            grpc.StatusCode.INVALID_ARGUMENT, str(error), rpc="check", reason=error.reason, violations=violations
        )
    if isinstance(error, errors.PreconditionFailed):
        precondition = PreconditionViolation(error.reason, error.subject, error.description)
        return PreconditionFailed(
            grpc.StatusCode.FAILED_PRECONDITION,
            str(error),
            rpc="check",
            reason=error.reason,
            metadata={"current_revision": error.current} if isinstance(error, errors.RevisionNotReached) else {},
            preconditions=[precondition],
        )
    return Unavailable(grpc.StatusCode.UNAVAILABLE, str(error), rpc="check", reason=error.reason)
