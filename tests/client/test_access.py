"""AccessClient against the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from policy_client import (
    AccessClient,
    AdminClient,
    InvalidArgument,
    PermissionDenied,
    PreconditionFailed,
    RetryPolicy,
    Unauthenticated,
)
from policy_service.addresses import Address
from policy_service.services.auth import hash_token, new_token
from policy_service.v1 import access_pb2 as pb
from policy_service.v1.resources_pb2 import Member, MemberLimits, Model, ModelScope, Team

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

MANY = 2_345


@pytest.fixture
async def access(server: RunningServer) -> AsyncIterator[AccessClient]:
    """A client of a server with a team `support`, in it `sam` who may use `gpt-4o-mini` and the alias `fast`."""
    async with AdminClient(server.target) as admin:
        await admin.create_team(
            Team(
                id="support",
                models=ModelScope(models=["gpt-*"]),
                model_aliases={"fast": "gpt-4o-mini"},
                default_team_member_models=ModelScope(models=["gpt-4o-mini"]),
                default_member_limits=MemberLimits(rpm_limit=60),
            ),
            [Member(user="sam"), Member(user="ann", allowed_models=ModelScope(mode=ModelScope.INHERIT))],
        )
    async with AccessClient(server.target) as client:
        yield client


async def test_check(access: AccessClient) -> None:
    allowed = await access.check("support", "sam", "fast")
    assert (allowed.allowed, allowed.reason) == (True, pb.ALLOWED_BY_MEMBER_SCOPE)
    assert (allowed.resolved_model, allowed.limits.rpm_limit) == ("gpt-4o-mini", 60)
    denied = await access.check("support", "sam", "gpt-4o")
    assert (denied.allowed, denied.reason) == (False, pb.MODEL_NOT_IN_MEMBER_SCOPE)
    assert not (await access.check("support", "", "gpt-4o")).allowed
    assert not (await access.check("nobody", "sam", "gpt-4o")).allowed


async def test_a_check_sees_the_write_whose_revision_it_names(access: AccessClient, server: RunningServer) -> None:
    async with AdminClient(server.target) as admin:
        change = await admin.update_member(Member(team="support", user="sam", blocked=True))
    answer = await access.check("support", "sam", "fast", at_least_revision=change.revision)
    assert (answer.allowed, answer.reason) == (False, pb.MEMBER_BLOCKED)


async def test_a_revision_that_is_not_reached_is_no_reason_to_fail_open(access: AccessClient) -> None:
    epoch, _, number = (await access.check("support", "sam", "fast")).revision.partition(".")
    for call in (access.check, access.explain):
        with pytest.raises(PreconditionFailed) as caught:
            await call("support", "sam", "fast", at_least_revision=f"{epoch}.{int(number) + 1}", timeout_s=5)
        assert (caught.value.reason, caught.value.may_fail_open) == ("REVISION_NOT_REACHED", False)


async def test_a_bad_request_says_what_to_change(access: AccessClient) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await access.check("", "sam", "a,b")
    assert [violation.field for violation in caught.value.violations] == ["team", "model"]
    assert caught.value.reason == "INVALID_ARGUMENT"


async def test_batch_check(access: AccessClient) -> None:
    asked = [("support", "sam", "fast"), ("support", "sam", "gpt-4o"), ("support", "sam", "a,b")] * 2
    answer = await access.batch_check(asked)
    results = [r.decision.allowed if r.HasField("decision") else r.error.code for r in answer.results]
    assert results == [True, False, 3] * 2
    assert {r.decision.revision for r in answer.results if r.HasField("decision")} == {answer.revision}


async def test_a_batch_may_come_from_anything_iterable(access: AccessClient) -> None:
    answer = await access.batch_check(("support", user, "gpt-4o") for user in ("sam", "ann"))
    assert [result.decision.allowed for result in answer.results] == [False, True]


async def test_a_batch_of_none_is_refused(access: AccessClient) -> None:
    with pytest.raises(InvalidArgument):
        await access.batch_check([])


async def test_list_accessible_models(access: AccessClient) -> None:
    found = await access.list_accessible_models("support", "sam")
    assert found.models == ("fast", "gpt-4o-mini")
    assert (found.team_patterns, found.member_patterns) == (("gpt-*",), ())
    assert (found.reason, found.stale) == (pb.ALLOWED_BY_MEMBER_SCOPE, False)
    nobody = await access.list_accessible_models("support", "eve")
    assert (nobody.models, nobody.reason) == ((), pb.NOT_A_MEMBER)


async def test_list_accessible_models_reads_all_pages(access: AccessClient, server: RunningServer) -> None:
    names = sorted(f"gpt-{n}" for n in range(MANY))
    async with AdminClient(server.target) as admin:
        for start in range(0, MANY, 1_000):
            await admin.upsert_models(Model(name=n, provider="openai") for n in names[start : start + 1_000])
    found = await access.list_accessible_models("support", "ann")
    assert found.models == tuple(sorted([*names, "fast"]))
    assert found.team_patterns == ("gpt-*",)


async def test_explain(access: AccessClient) -> None:
    answer = await access.explain("support", "sam", "gpt-4o")
    assert not answer.decision.allowed
    assert [step.layer for step in answer.steps][-1] == pb.ExplainStep.MEMBER_SCOPE
    assert answer.suggested_changes[0].rpc == "UpdateMember"
    assert "gpt-4o-mini" in answer.nearest_models


async def test_a_client_survives_restarts_of_the_service(start_server: StartServer) -> None:
    first = await start_server()
    retry = RetryPolicy(attempts=50, initial_delay_s=0.1, max_delay_s=0.1)
    async with AccessClient(first.target, retry=retry) as client:
        await client.check("support", "sam", "gpt-4o")
        for _ in range(2):
            await first.stop()
            waiting = asyncio.create_task(client.check("support", "sam", "gpt-4o", timeout_s=10))
            await asyncio.sleep(0.3)
            first = await start_server(listen=Address(first.target))
            assert (await waiting).reason == pb.TEAM_NOT_FOUND


async def test_a_token_is_needed_where_the_server_says_so(start_server: StartServer, tmp_path: Path) -> None:
    token = new_token()
    principal = {"name": "gateway", "token_sha256": hash_token(token), "permissions": ["check"]}
    path = tmp_path / "credentials.yaml"
    path.write_text(yaml.safe_dump({"principals": [principal]}))
    target = (await start_server(credentials=path)).target
    async with AccessClient(target, token=token) as client:
        assert (await client.check("support", "sam", "gpt-4o")).reason == pb.TEAM_NOT_FOUND
    for wrong in (None, "wrong"):
        async with AccessClient(target, token=wrong) as client:
            with pytest.raises(Unauthenticated) as caught:
                await client.check("support", "sam", "gpt-4o")
            assert not caught.value.may_fail_open
    async with AdminClient(target, token=token) as client_of_gateway:
        with pytest.raises(PermissionDenied):
            await client_of_gateway.create_team(Team(id="x", models=ModelScope(mode=ModelScope.ALL)))
