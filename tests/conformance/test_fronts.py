"""The decision cases over every front: the same decision, in the same words, in each way that the front can be asked.

Every world is built by AdminService; the engine has its records as the service should make them.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from policy_service.v1.access_pb2 import (
    BatchCheckModelAccessRequest,
    CheckModelAccessResponse,
    ExplainModelAccessRequest,
    Reason,
)
from policy_service.v1.resources_pb2 import MemberLimits
from tests.conformance.cases import WORLDS, Case, World
from tests.support.fronts import ENGINE, FRONTS, LOCAL, Fleet, Local, that_can
from tests.support.messages import check

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY_WORLD = pytest.mark.parametrize(
    ("world", "cases"), WORLDS, ids=[world.name for world, _ in WORLDS], indirect=["world"]
)


def said(case: Case, answer: CheckModelAccessResponse) -> dict[str, Any]:
    """What the answer says of all that the case says."""
    told: dict[str, Any] = {"allowed": answer.allowed, "reason": Reason.Name(answer.reason)}
    if case.resolved is not None:
        told["resolved"] = answer.resolved_model
    if case.limits is not None:
        told["limits"] = answer.limits
    return told


def expected(case: Case) -> dict[str, Any]:
    told: dict[str, Any] = {"allowed": case.allowed, "reason": case.reason}
    if case.resolved is not None:
        told["resolved"] = case.resolved
    if case.limits is not None:
        told["limits"] = MemberLimits(**case.limits)
    return told


def questions(case: Case) -> tuple[Message, Message, Message]:
    """The three ways to ask it."""
    asked = check(case.team, case.user, case.model)
    explained = ExplainModelAccessRequest(team=case.team, user=case.user, model=case.model)
    return asked, explained, BatchCheckModelAccessRequest(checks=[asked])


def decision_in(answer: Any) -> CheckModelAccessResponse:
    if hasattr(answer, "results"):
        (result,) = answer.results
        return result.decision
    return answer.decision if hasattr(answer, "decision") else answer


@pytest.mark.parametrize("front", FRONTS)
@EVERY_WORLD
async def test_decides(fleet: Fleet, world: World, cases: list[Case], front: str) -> None:
    """As the table has it, and to the last field as the engine does, the words too."""
    told, wanted = {}, {}
    for case in cases:
        asked, *others = questions(case)
        answer: Any = await fleet[front].ask(asked)
        told[case.id], wanted[case.id] = said(case, answer), expected(case)
        assert answer.resolved_model, case.id
        assert answer.HasField("limits") == answer.allowed, case.id
        for other in others:
            if front in that_can(other):
                assert decision_in(await fleet[front].ask(other)) == answer, case.id
        of_engine: Any = await fleet[ENGINE].ask(asked)
        answer.revision = of_engine.revision  # which is its own
        assert answer == of_engine, case.id
    assert told == wanted


@EVERY_WORLD
async def test_a_batch_is_answered_in_order(fleet: Fleet, world: World, cases: list[Case]) -> None:
    checks = [check(case.team, case.user, case.model) for case in cases]
    request = BatchCheckModelAccessRequest(checks=checks, at_least_revision=await fleet.authority.head())
    for front in that_can(request):
        batch: Any = await fleet[front].ask(request)
        assert [result.decision for result in batch.results] == [await fleet[front].ask(asked) for asked in checks]


@EVERY_WORLD
async def test_the_bare_decision_of_a_local_replica(fleet: Fleet, world: World, cases: list[Case]) -> None:
    local = fleet[LOCAL]
    assert isinstance(local, Local)
    for case in cases:
        assert local.policy.decide(case.team, case.user, case.model).allowed == case.allowed, case.id
