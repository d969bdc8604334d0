"""Who writes at an authority and watches what replicas answer meanwhile, and knows what is true.

One member may use one model, another with every revision. So an answer about all the models tells the revision that it
was made at, and one that is a mixture of two is seen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from policy_client import AccessClient, AdminClient, PolicyClientError
from policy_service.v1.replication_pb2 import GetStatusRequest, GetStatusResponse
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub
from tests.support.messages import member, only, team

MODELS = [f"model-{number}" for number in range(10)]
ASKED = [("truth", "ann", model) for model in MODELS]
SETTLE_S = 60.0  # far more than it takes; a fleet that does not converge fails
# The clock of an authority's process is laid to a replica's where two heads came closest; heads come every half second.
SLACK_S = 0.75


class Truth:
    """What was committed. `written` has, of each revision, the one model that may be used and when it was acknowledged;
    revisions of another epoch than the writer saw last are no longer judged."""

    def __init__(self, max_staleness_s: float) -> None:
        self.max_staleness_s = max_staleness_s
        self.written: dict[str, tuple[str, float]] = {}
        self.acknowledged: list[tuple[float, int]] = []
        self.epoch = ""
        self.stale_answers = self.fresh_answers = self.refusals = 0

    def note(self, revision: str, model: str) -> None:
        """A mutation was acknowledged."""
        epoch, _, number = revision.rpartition(".")
        if epoch != self.epoch:
            self.epoch, self.acknowledged = epoch, []
        self.written[revision] = model, time.monotonic()
        self.acknowledged.append((time.monotonic(), int(number)))

    def newest_before(self, moment: float) -> int:
        """The newest revision that was acknowledged before a moment."""
        return max((number for time_, number in self.acknowledged if time_ < moment), default=0)

    def judge(self, asked_at: float, revision: str, stale: bool, allowed: list[str]) -> None:
        """An answer is that of one revision, and a fresh one not older than the staleness allows."""
        if revision in self.written:
            assert allowed == [self.written[revision][0]], f"a mixture at {revision}: {allowed}"
        self.stale_answers += stale
        self.fresh_answers += not stale
        epoch, _, number = revision.rpartition(".")
        if not stale and epoch == self.epoch:
            newest = self.newest_before(asked_at - self.max_staleness_s - SLACK_S)
            assert int(number) >= newest, f"revision {number} passed as fresh after {newest}"


def is_no_answer(error: PolicyClientError) -> bool:
    """Nobody answered: a server that is away, or, as grpc says of calls that it had not handed over, shutting down."""
    return error.may_fail_open or error.code is grpc.StatusCode.CANCELLED


async def prepare(admin: AdminClient, truth: Truth) -> None:
    """The team and the member."""
    await admin.create_team(team("truth", only(*MODELS)))
    answer = await admin.add_member(member("truth", "ann", allowed_models=only(MODELS[0])))
    truth.note(answer.revision, MODELS[0])


async def write(admin: AdminClient, truth: Truth, pause_s: float = 0.02) -> None:
    """A revision after the other, until cancelled. An authority that is away is waited for."""
    turn = 0
    while True:
        turn += 1
        model = MODELS[turn % len(MODELS)]
        try:
            answer = await admin.update_member(member("truth", "ann", allowed_models=only(model)), timeout_s=5.0)
            truth.note(answer.revision, model)
        except PolicyClientError as error:
            assert is_no_answer(error), error
        await asyncio.sleep(pause_s)


async def watch(access: AccessClient, truth: Truth, pause_s: float = 0.02) -> None:
    """Asks a replica all the time, until cancelled; a wrong answer ends it."""
    former: dict[str, int] = {}
    while True:
        asked_at = time.monotonic()
        try:
            answer = await access.batch_check(ASKED)
        except PolicyClientError as error:
            assert is_no_answer(error), error
            truth.refusals += 1
            former.clear()  # it may have been started anew
        else:
            allowed = [model for model, result in zip(MODELS, answer.results, strict=True) if result.decision.allowed]
            truth.judge(asked_at, answer.revision, answer.stale, allowed)
            epoch, _, number = answer.revision.rpartition(".")
            assert former.get(epoch, 0) <= int(number), f"went back from {former[epoch]} to {number}"
            former[epoch] = int(number)
        await asyncio.sleep(pause_s)


@asynccontextmanager
async def under_watch(admin: AdminClient, replicas: list[AccessClient], truth: Truth) -> AsyncIterator[None]:
    """Writes and watches while the block runs. What the watchers found wrong is raised at its end."""
    writer = asyncio.create_task(write(admin, truth))
    watchers = [asyncio.create_task(watch(replica, truth)) for replica in replicas]
    try:
        yield
    finally:
        for task in (writer, *watchers):
            task.cancel()
        outcomes = await asyncio.gather(writer, *watchers, return_exceptions=True)
    for outcome in outcomes:
        if not isinstance(outcome, asyncio.CancelledError):
            raise outcome if isinstance(outcome, BaseException) else AssertionError("a watcher ended")


async def status_of(access: AccessClient) -> GetStatusResponse:
    stub = ReplicationServiceStub(access._connection.channel)
    return await stub.GetStatus(GetStatusRequest(), timeout=30, wait_for_ready=True)


async def until_stale(replica: AccessClient) -> GetStatusResponse:
    """Waits until a replica says that it is."""
    async with asyncio.timeout(SETTLE_S):
        while (status := await status_of(replica)).state != GetStatusResponse.STALE:  # noqa: ASYNC110 - it is remote
            await asyncio.sleep(0.05)
    return status


async def until_equal(authority: AccessClient, replicas: list[AccessClient]) -> None:
    """Waits until all replicas are fresh, at the authority's revision, with its digest. Nobody may write meanwhile, but
    for a mutation whose caller went away."""
    for replica in replicas:
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    wanted, found = await status_of(authority), await status_of(replica)
                    if found.state == GetStatusResponse.FRESH and found.revision == wanted.revision:
                        break
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"it does not converge to {wanted.revision}: {found}") from None
        assert found.digest == wanted.digest
