"""The decision cases through real servers: every world built by AdminService, every question asked in three ways of
the authority and of a replica, and of a local policy."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from policy_client import LocalPolicy
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
from tests.support.replicas import equal, following
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


async def assert_answers(rpc: Rpc, cases: list[Case], revision: str) -> list[CheckModelAccessResponse]:
    """A server's answers to all the cases, at this revision, are as expected; returns them."""
    checks = [check(case.team, case.user, case.model) for case in cases]
    request = BatchCheckModelAccessRequest(checks=checks, at_least_revision=revision)
    batch = await rpc.access.BatchCheckModelAccess(request)
    answers = []
    for case, asked, result in zip(cases, checks, batch.results, strict=True):
        answer = await rpc.access.CheckModelAccess(asked)
        assert said(case, answer) == expected(case), case.id
        assert answer.resolved_model
        assert answer.HasField("limits") == answer.allowed
        assert result.decision == answer, case.id
        question = ExplainModelAccessRequest(team=case.team, user=case.user, model=case.model)
        assert (await rpc.access.ExplainModelAccess(question)).decision == answer, case.id
        answers.append(answer)
    return answers


@pytest.mark.parametrize(("world", "cases"), WORLDS, ids=[world.name for world, _ in WORLDS])
async def test_decides(start_server, world: World, cases: list[Case]) -> None:
    """The replica and the local policy follow while the world is built."""
    authority = await start_server(database=None)
    replica = await start_server(follow=following(authority.target))
    async with (
        connect(authority.target) as rpc,
        connect(replica.target) as to_replica,
        LocalPolicy(f"grpc://{authority.target}", revision_wait_s=60) as policy,
    ):
        await policy.wait_until_fresh(60)
        await equal(to_replica, rpc)
        await build(rpc, world)
        revision = await rpc.head()
        answers = await assert_answers(rpc, cases, revision)
        assert await assert_answers(to_replica, cases, revision) == answers
        for case, answer in zip(cases, answers, strict=True):
            local = await policy.check(case.team, case.user, case.model, at_least_revision=revision)
            assert local == answer, case.id
            assert policy.decide(case.team, case.user, case.model).allowed == answer.allowed
