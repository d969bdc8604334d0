"""The tour: what an administrator does with real grpcurl against a real server, and what it answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import Serving, grpcurl, serving

ADMIN, ACCESS = "policy_service.v1.AdminService", "policy_service.v1.AccessService"


class Shell:
    """grpcurl against one server."""

    def __init__(self, server: Serving) -> None:
        self.server = server

    async def __call__(self, *arguments: str) -> str:
        status, output = await grpcurl(self.server.target, *arguments)
        assert status == 0, output
        return output

    async def call(self, method: str, **body: Any) -> dict[str, Any]:
        status, output = await grpcurl("-d", json.dumps(body), self.server.target, method)
        assert status == 0, output
        return json.loads(output)

    async def refused(self, method: str, **body: Any) -> str:
        status, output = await grpcurl("-d", json.dumps(body), self.server.target, method)
        assert status != 0
        return output

    async def check(self, team: str, user: str, model: str) -> dict[str, Any]:
        return await self.call(f"{ACCESS}/CheckModelAccess", team=team, user=user, model=model)


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    async with serving(tmp_path / "policy.db") as server:
        yield Shell(server)


async def test_the_tour(shell: Shell) -> None:
    assert {ADMIN, ACCESS, "grpc.health.v1.Health"} <= set((await shell("list")).split())
    assert f"{ADMIN}.CreateTeam" in await shell("list", ADMIN)
    described = await shell("describe", "policy_service.v1.ModelScope")
    assert "// Every model. Only for teams." in described
    assert "Creates a team" in await shell("describe", f"{ADMIN}.CreateTeam")

    made = await shell.call(
        f"{ADMIN}/CreateTeam",
        team={
            "id": "ml",
            "models": {"models": ["gpt-4o", "gpt-4o-mini"]},
            "default_team_member_models": {"models": ["gpt-4o-mini"]},
            "default_member_limits": {"tpm_limit": 1000, "max_budget_in_team": 5},
        },
    )
    assert made["team"]["models"] == {"mode": "ONLY", "models": ["gpt-4o", "gpt-4o-mini"]}
    assert made["revision"].endswith(".1")

    seeded = (await shell.call(f"{ADMIN}/AddMember", member={"team": "ml", "user": "ann"}))["member"]
    assert seeded["allowedModels"] == {"mode": "ONLY", "models": ["gpt-4o-mini"]}
    assert seeded["scopeSource"] == "SEEDED"
    assert seeded["limits"] == {"tpmLimit": "1000", "maxBudgetInTeam": 5}
    given = {"team": "ml", "user": "bob", "allowed_models": {"mode": "INHERIT"}}
    assert (await shell.call(f"{ADMIN}/AddMember", member=given))["member"]["scopeSource"] == "EXPLICIT"

    allowed = await shell.check("ml", "ann", "gpt-4o-mini")
    assert (allowed["allowed"], allowed["reason"]) == (True, "ALLOWED_BY_MEMBER_SCOPE")
    assert allowed["limits"]["tpmLimit"] == "1000"
    assert (await shell.check("ml", "bob", "gpt-4o"))["reason"] == "ALLOWED_BY_TEAM_SCOPE"
    for user, model, reason in (
        ("ann", "claude", "MODEL_NOT_IN_TEAM_SCOPE"),
        ("ann", "gpt-4o", "MODEL_NOT_IN_MEMBER_SCOPE"),
        ("eve", "gpt-4o", "NOT_A_MEMBER"),
    ):
        denied = await shell.check("ml", user, model)
        assert denied["reason"] == reason
        assert "allowed" not in denied
        assert "limits" not in denied

    update = {"member": {"team": "ml", "user": "ann", "allowed_models": {"models": ["gpt-4o"]}}}
    changed = (await shell.call(f"{ADMIN}/UpdateMember", **update))["member"]
    assert changed["allowedModels"]["models"] == ["gpt-4o"]
    assert changed["limits"] == seeded["limits"]
    masked = {"member": {"team": "ml", "user": "ann"}, "update_mask": {"paths": ["limits.tpm_limit"]}}
    changed = (await shell.call(f"{ADMIN}/UpdateMember", **masked))["member"]
    assert changed["limits"] == {"maxBudgetInTeam": 5}

    explained = await shell.call(f"{ACCESS}/ExplainModelAccess", team="ml", user="ann", model="gpt-4o-mini")
    assert explained["decision"]["reason"] == "MODEL_NOT_IN_MEMBER_SCOPE"
    assert [step["layer"] for step in explained["steps"]] == ["TEAM", "MEMBERSHIP", "TEAM_SCOPE", "MEMBER_SCOPE"]
    assert explained["nearestModels"] == ["gpt-4o"]
    (change,) = explained["suggestedChanges"]
    await shell.call(f"{ADMIN}/{change['rpc']}", **json.loads(change["requestJson"]))
    assert (await shell.check("ml", "ann", "gpt-4o-mini"))["allowed"]

    events = (await shell.call(f"{ADMIN}/ListAuditEvents"))["events"]
    told = [event["rpc"] for event in events]
    assert told == ["CreateTeam", "AddMember", "AddMember", "UpdateMember", "UpdateMember", "UpdateMember"]


async def test_a_refusal_says_what_to_change(shell: Shell) -> None:
    for method, body, words in (
        ("CreateTeam", {"team": {"id": "t", "models": {"models": []}}}, "an empty list is never a grant"),
        ("CreateTeam", {"team": {"id": "t", "models": {"models": ["all-proxy-models"]}}}, "use mode ALL"),
        ("GetTeam", {"team": "t"}, "there is no team 't'"),
        ("UpdateTeam", {"team": {"id": "t"}, "update_mask": {"paths": ["*"]}}, "cannot be updated; use display_name"),
    ):
        assert words in await shell.refused(f"{ADMIN}/{method}", **body)
