"""`policy-service explain` and `policy-service models`: why, and what else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from policy_client import AdminClient
from policy_service.v1.resources_pb2 import TEAM_SCOPE, AccessGroup, Member, Model, ModelScope, Team

from .commands import Cli

if TYPE_CHECKING:
    from tests.conftest import RunningServer

INHERIT, NONE, ALL = (ModelScope(mode=mode) for mode in (ModelScope.INHERIT, ModelScope.NONE, ModelScope.ALL))
MEMBERS = {
    "inherits": INHERIT,
    "names": ModelScope(models=["gpt-4o-mini"]),
    "patterns": ModelScope(models=["gpt-4o-*", "o1"]),
    "new-only": ModelScope(models=["gpt-5*"]),
    "elsewhere": ModelScope(models=["claude"]),
    "none": NONE,
}


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    async with AdminClient(server.target) as admin:
        await admin.upsert_models([Model(name=name, provider="openai") for name in ("gpt-4o", "gpt-4o-mini", "o1")])
        await admin.set_access_group(AccessGroup(name="cheap", models=["gpt-4o-mini"]))
        members = [Member(user=user, allowed_models=scope) for user, scope in MEMBERS.items()]
        members.append(Member(user="blocked", blocked=True))
        gpt = ModelScope(models=["gpt-*"], excluded_models=["gpt-4o-audio"])
        await admin.create_team(
            Team(id="gpt", models=gpt, model_aliases={"fast": "gpt-4o-mini"}, unlisted_users=TEAM_SCOPE), members
        )
        named = ModelScope(models=["o1", "cheap"])
        await admin.create_team(Team(id="named", models=named), [Member(user="inherits"), Member(user="x")])
        await admin.create_team(Team(id="all", models=ALL), [Member(user="inherits", allowed_models=INHERIT)])
        await admin.create_team(
            Team(id="nothing", models=NONE), [Member(user="patterns", allowed_models=ModelScope(models=["gpt-*"]))]
        )
        out = ModelScope(models=["o1"], excluded_models=["O1"])
        await admin.create_team(Team(id="excluded", models=out), [Member(user="inherits")])
        await admin.create_team(Team(id="closed", models=ALL, blocked=True), [Member(user="inherits")])
    return Cli(server.target)


LESS = ", less what is excluded"
TEAMS_GPT = f"what matches the team's gpt-*{LESS}\n"
MEMBERS_SENTENCE = "what of the team's models matches the member's"


@pytest.mark.parametrize(
    ("team", "user", "models", "sentence"),
    [
        ("gpt", "inherits", ["fast", "gpt-4o", "gpt-4o-mini"], f"and {TEAMS_GPT}"),
        ("gpt", "", ["fast", "gpt-4o", "gpt-4o-mini"], f"and {TEAMS_GPT}"),
        ("gpt", "no-member", ["fast", "gpt-4o", "gpt-4o-mini"], f"and {TEAMS_GPT}"),
        ("gpt", "names", ["fast", "gpt-4o-mini"], ""),
        ("gpt", "patterns", ["fast", "gpt-4o-mini"], f"and {MEMBERS_SENTENCE} gpt-4o-*{LESS}\n"),
        ("gpt", "new-only", [], f"{MEMBERS_SENTENCE} gpt-5*{LESS}\n"),
        ("named", "inherits", ["gpt-4o-mini", "o1"], ""),
        ("all", "inherits", ["gpt-4o", "gpt-4o-mini", "o1"], f"and what matches the team's *{LESS}\n"),
        ("gpt", "elsewhere", [], "nothing is allowed (none of the member's models is one of the team's)\n"),
        ("gpt", "none", [], "nothing is allowed (MODEL_NOT_IN_MEMBER_SCOPE)\n"),
        ("gpt", "blocked", [], "nothing is allowed (MEMBER_BLOCKED)\n"),
        ("named", "no-member", [], "nothing is allowed (NOT_A_MEMBER)\n"),
        ("nothing", "patterns", [], "nothing is allowed (MODEL_NOT_IN_TEAM_SCOPE)\n"),
        ("excluded", "inherits", [], "nothing is allowed (every model is excluded)\n"),
        ("closed", "inherits", [], "nothing is allowed (TEAM_BLOCKED)\n"),
        ("ghost", "inherits", [], "nothing is allowed (TEAM_NOT_FOUND)\n"),
    ],
)
async def test_models(cli: Cli, team: str, user: str, models: list[str], sentence: str) -> None:
    """The names alone on standard output, for a script; what cannot be listed, in words."""
    ended = await cli("models", team, user)
    assert (ended.lines, ended.err) == (models, sentence)
    assert ended.status == (1 if "nothing is allowed" in sentence else 0)


async def test_models_for_programs(cli: Cli) -> None:
    found = await cli.json("models", "gpt", "patterns")
    assert await cli.yaml("models", "gpt", "patterns") == found
    assert found == {
        "models": ["fast", "gpt-4o-mini"],
        "team_patterns": ["gpt-*"],
        "member_patterns": ["gpt-4o-*"],
        "reason": "ALLOWED_BY_MEMBER_SCOPE",
        "revision": await cli.revision(),
        "stale": False,
    }
    nothing = await cli("models", "ghost", "x", "-o", "json")
    assert (nothing.status, nothing.err) == (1, "")
    assert json.loads(nothing.out) == found | {
        "models": [],
        "team_patterns": [],
        "member_patterns": [],
        "reason": "TEAM_NOT_FOUND",
    }


async def test_models_of_more_than_a_page(cli: Cli) -> None:
    async with AdminClient(cli.target) as admin:
        for start in (0, 1_000, 2_000):
            names = [f"gpt-{number:04}" for number in range(start, start + 1_000)]
            await admin.upsert_models([Model(name=name, provider="p") for name in names])
    ended = await cli("models", "gpt", "inherits")
    assert ended.lines == ["fast", *(f"gpt-{number:04}" for number in range(3_000)), "gpt-4o", "gpt-4o-mini"]


async def test_explain_an_allow(cli: Cli) -> None:
    shown = await cli.done("explain", "gpt", "names", "fast")
    lines = shown.splitlines()
    assert lines[0] == (
        "allowed: In team 'gpt' user 'names' may use model 'fast'. (ALLOWED_BY_MEMBER_SCOPE; model gpt-4o-mini)"
    )
    assert [line.split()[:2] for line in lines[1:]] == [
        ["TEAM", "PASSED"],
        ["MEMBERSHIP", "PASSED"],
        ["ALIAS", "PASSED"],
        ["TEAM_SCOPE", "GRANTED"],
        ["MEMBER_SCOPE", "GRANTED"],
    ]


async def test_explain_a_deny(cli: Cli) -> None:
    ended = await cli("explain", "gpt", "names", "gpt-4o")
    assert (ended.status, ended.err) == (1, "")
    assert ended.lines[0].startswith("denied: ")
    assert "  MEMBER_SCOPE  NOT_GRANTED  Nothing in the member's allowed_models" in ended.out
    assert "What would allow it:\n  UpdateMember: for user 'names' in team 'gpt' set allowed_models" in ended.out
    assert '"models":["gpt-4o-mini","gpt-4o"]' in ended.out
    assert ended.lines[-1].startswith("Allowed models with a similar name: gpt-4o-mini")


async def test_explain_where_nothing_can_be_suggested(cli: Cli) -> None:
    """No heading without something below it."""
    ended = await cli("explain", "ghost", "names", "gpt-4o")
    assert (ended.status, ended.err) == (1, "")
    assert ended.lines[0].startswith("denied: ")
    assert "similar name" not in ended.out


@pytest.mark.parametrize(("model", "status"), [("fast", 0), ("gpt-4o", 1)])
async def test_explain_for_programs(cli: Cli, model: str, status: int) -> None:
    ended = await cli("explain", "gpt", "names", model, "-o", "json")
    assert (ended.status, ended.err) == (status, "")
    answer: dict[str, Any] = json.loads(ended.out)
    assert yaml.safe_load((await cli("explain", "gpt", "names", model, "-o", "yaml")).out) == answer
    check = await cli("check", "gpt", "names", model, "-o", "json")
    assert answer["decision"] == json.loads(check.out)
    assert answer.keys() == {"decision", "steps", "suggested_changes", "nearest_models"}
    assert [step["layer"] for step in answer["steps"]][-1] == "MEMBER_SCOPE"
    if status:
        (change,) = answer["suggested_changes"]
        assert change.keys() == {"rpc", "description", "request_json"}
        assert json.loads(change["request_json"])["member"]["user"] == "names"
