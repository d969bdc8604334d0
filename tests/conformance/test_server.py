"""The decision cases through a real server: every world built by AdminService, every question asked in three ways."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from policy_service.v1.access_pb2 import (
    BatchCheckModelAccessRequest,
    CheckModelAccessResponse,
    ExplainModelAccessRequest,
    Reason,
)
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    CreateTeamRequest,
    SetAccessGroupRequest,
    UpsertModelsRequest,
)
from policy_service.v1.resources_pb2 import MemberLimits
from tests.conformance.cases import WORLDS, Case, World
from tests.support.messages import check, model
from tests.support.rpc import Rpc, connect


async def build(rpc: Rpc, world: World) -> None:
    if world.catalogue:
        models = [model(name, provider) for name, provider in world.catalogue.items()]
        await rpc.admin.UpsertModels(UpsertModelsRequest(models=models))
    for name, fields in world.groups.items():
        await rpc.admin.SetAccessGroup(ParseDict({"group": {"name": name} | fields}, SetAccessGroupRequest()))
    for name, fields in world.teams.items():
        await rpc.admin.CreateTeam(ParseDict({"team": {"id": name} | fields}, CreateTeamRequest()))
    for team, members in world.members.items():
        for user, fields in members.items():
            request = ParseDict({"member": {"team": team, "user": user} | fields}, AddMemberRequest())
            await rpc.admin.AddMember(request)


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


@pytest.mark.parametrize(("world", "cases"), WORLDS, ids=[world.name for world, _ in WORLDS])
async def test_decides(server, world: World, cases: list[Case]) -> None:
    async with connect(server.target) as rpc:
        await build(rpc, world)
        checks = [check(case.team, case.user, case.model) for case in cases]
        batch = await rpc.access.BatchCheckModelAccess(BatchCheckModelAccessRequest(checks=checks))
        for case, asked, result in zip(cases, checks, batch.results, strict=True):
            answer = await rpc.access.CheckModelAccess(asked)
            assert said(case, answer) == expected(case), case.id
            assert answer.resolved_model
            assert answer.HasField("limits") == answer.allowed
            assert result.decision == answer, case.id
            question = ExplainModelAccessRequest(team=case.team, user=case.user, model=case.model)
            assert (await rpc.access.ExplainModelAccess(question)).decision == answer, case.id
