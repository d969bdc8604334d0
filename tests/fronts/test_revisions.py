"""`at_least_revision`: one table of revisions, one answer or refusal from every front that has revisions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message

from policy_service.v1.admin_pb2 import UpdateTeamRequest
from policy_service.v1.resources_pb2 import Team
from tests.support.fronts import AUTHORITY, FRONTS, Fleet, Front, Outcome, Refusal, that_can
from tests.support.messages import ALL, NONE, check
from tests.support.rpc import number_of
from tests.support.waiting import until

from .bad_questions import at_least

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID, PRECONDITION = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION
WITH_REVISIONS = that_can(check("t", "u", "m", "e.1"))
FOLLOWING = [name for name in WITH_REVISIONS if name not in (AUTHORITY, "client library")]
assert FRONTS.keys() > set(WITH_REVISIONS) > set(FOLLOWING)
SHORT_S = 1.0


class Wanted(NamedTuple):
    """A revision, made of the one that the authority is at, and the refusal that it gets; `reason` empty for none."""

    revision: Callable[[str], str]
    code: grpc.StatusCode = PRECONDITION
    reason: str = ""


def moved(by: int) -> Callable[[str], str]:
    return lambda head: f"{head.partition('.')[0]}.{number_of(head) + by}"


def in_another_epoch(head: str) -> str:
    epoch, _, number = head.partition(".")
    return f"{'0' if epoch[0] != '0' else '1'}{epoch[1:]}.{number}"


TABLE: Mapping[str, Wanted] = {
    "none": Wanted(lambda head: ""),
    "the one it is at": Wanted(lambda head: head),
    "the one before": Wanted(moved(-1)),
    "the first": Wanted(lambda head: f"{head.partition('.')[0]}.0"),
    "the next": Wanted(moved(1), reason="REVISION_NOT_REACHED"),
    "one far ahead": Wanted(moved(10**15), reason="REVISION_NOT_REACHED"),
    "of another epoch": Wanted(in_another_epoch, reason="REVISION_NOT_REACHED"),
    "the first of another epoch": Wanted(lambda head: "x.0", reason="REVISION_NOT_REACHED"),
    "malformed": Wanted(lambda head: "x", INVALID, "INVALID_ARGUMENT"),
    "another's, malformed": Wanted(lambda head: head.upper() + ".1", INVALID, "INVALID_ARGUMENT"),
}


def revision_in(answer: Any) -> str:
    return str((answer.decision if hasattr(answer, "decision") else answer).revision)


async def assert_answered(front: Front, question: Message, head: str, wanted: Wanted) -> None:
    found = await ask_in_time(front, question)
    if not wanted.reason:
        assert not isinstance(found, Refusal), found
        assert revision_in(found) == head
        return
    assert isinstance(found, Refusal)
    assert (found.code, found.reason) == (wanted.code, wanted.reason)
    if wanted.code is PRECONDITION:
        assert found.metadata == {"current_revision": head}
        (violation,) = found.preconditions
        assert violation == (wanted.reason, wanted.revision(head), found.message)
        assert head in found.message
    else:
        assert [field for field, _ in found.violations] == ["at_least_revision"]


async def ask_in_time(front: Front, question: Message) -> Outcome:
    """The refusal of a revision that does not come goes out 0.1 s before the deadline, for DEADLINE_EXCEEDED would let
    a gateway fail open. On a busy machine that may be too little: then it is asked again, with more time."""
    timeout_s = SHORT_S
    while True:
        found = await front.ask(question, timeout_s)
        if not isinstance(found, Refusal) or found.code is not grpc.StatusCode.DEADLINE_EXCEEDED or timeout_s > 8:
            return found
        timeout_s *= 2


@pytest.mark.parametrize("front", WITH_REVISIONS)
@pytest.mark.parametrize("name", TABLE)
async def test_a_revision(fleet: Fleet, name: str, front: str) -> None:
    """By every RPC that takes one, at once."""
    head, wanted = await fleet.authority.head(), TABLE[name]
    questions = [question for question in at_least(wanted.revision(head)) if front in that_can(question)]
    await asyncio.gather(*(assert_answered(fleet[front], question, head, wanted) for question in questions))


async def touch(fleet: Fleet, scope: Any = None) -> str:
    """A small mutation; its revision."""
    count = int((await fleet.authority.head()).rpartition(".")[2])
    fields = Team(id="other", labels={"touched": str(count)}) if scope is None else Team(id="other", models=scope)
    return str((await fleet.authority.admin.UpdateTeam(UpdateTeamRequest(team=fields))).revision)


@pytest.mark.parametrize("front", FOLLOWING)
async def test_one_that_comes_is_waited_for(fleet: Fleet, front: str) -> None:
    """Longer than nothing: a data plane waits 2 s, in which the mutation is made."""
    head = await fleet.catch_up()
    one = moved(1)(head)
    questions = [question for question in at_least(one) if front in that_can(question)]
    waiting = [asyncio.ensure_future(fleet[front].ask(question)) for question in questions]
    await fleet[front].ask(check("ml", "ann", "gpt-4", head))
    assert not any(call.done() for call in waiting)
    made = await touch(fleet)
    assert made == one
    assert [revision_in(answer) for answer in await asyncio.gather(*waiting)] == [made] * len(questions)


@pytest.mark.parametrize("front", WITH_REVISIONS)
async def test_a_write_is_seen_by_who_names_its_revision(fleet: Fleet, front: str) -> None:
    for number in range(30):
        revision = await touch(fleet, (ALL, NONE)[number % 2])
        found: list[Any] = await asyncio.gather(
            *(fleet[front].ask(check("other", "ann", "m", revision)) for _ in range(5))
        )
        assert {(answer.allowed, answer.revision) for answer in found} == {(number % 2 == 0, revision)}


@pytest.mark.parametrize("front", FOLLOWING)
async def test_without_one_it_is_seen_soon(fleet: Fleet, front: str) -> None:
    revision = await touch(fleet)

    async def seen() -> bool:
        return revision_in(await fleet[front].ask(check("other", "ann", "m"))) == revision

    await until(seen, f"{front} is at {revision}")
