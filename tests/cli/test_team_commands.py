"""`policy-service team`: what each command does, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policy_client import AdminClient
from policy_service.v1.resources_pb2 import Team

from .commands import Cli, run
from .world import build

if TYPE_CHECKING:
    from tests.conftest import RunningServer

# Names that programs rely on: they stay. Those that are not set are left out.
KEYS = [
    "id",
    "display_name",
    "models",
    "default_team_member_models",
    "default_member_limits",
    "model_aliases",
    "blocked",
    "unlisted_users",
    "labels",
    "member_count",
    "etag",
    "create_time",
    "update_time",
]


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    await build(server.target)
    return Cli(server.target)


async def team(cli: Cli, name: str) -> Team:
    async with AdminClient(cli.target) as admin:
        return await admin.get_team(name)


async def test_list(cli: Cli) -> None:
    assert (await cli.done("team", "list")).splitlines() == [
        "TEAM     MODELS                             DEFAULT       UNLISTED    BLOCKED  MEMBERS",
        "empty    NONE                               INHERIT       DENY        false    0",
        "open     ALL without [openai/ft/*]          INHERIT       DENY        false    2",
        "support  ONLY [gpt-4o, cheap] without [o1]  ONLY [cheap]  TEAM_SCOPE  false    3",
    ]


async def test_show(cli: Cli) -> None:
    shown = await team(cli, "support")
    assert (await cli.done("team", "show", "support")).splitlines() == [
        "id                          support",
        "display_name                Support",
        "models                      ONLY gpt-4o, cheap without o1",
        "default_team_member_models  ONLY cheap",
        "default_member_limits       budget_duration=30d, rpm_limit=60",
        "model_aliases               fast=gpt-4o-mini",
        "blocked                     false",
        "unlisted_users              TEAM_SCOPE",
        "labels                      env=prod",
        "member_count                3",
        f"etag                        {shown.etag}",
        f"create_time                 {shown.create_time.ToJsonString()}",
        f"update_time                 {shown.update_time.ToJsonString()}",
    ]


async def test_for_programs(cli: Cli) -> None:
    """The API's names and values; a list has what `show` has."""
    shown = await cli.json("team", "show", "support")
    assert await cli.yaml("team", "show", "support") == shown
    assert list(shown) == KEYS
    found = await team(cli, "support")
    assert shown == {
        "id": "support",
        "display_name": "Support",
        "models": {"mode": "ONLY", "models": ["gpt-4o", "cheap"], "excluded_models": ["o1"]},
        "default_team_member_models": {"mode": "ONLY", "models": ["cheap"], "excluded_models": []},
        "default_member_limits": {"budget_duration": "30d", "rpm_limit": 60},
        "model_aliases": {"fast": "gpt-4o-mini"},
        "blocked": False,
        "unlisted_users": "TEAM_SCOPE",
        "labels": {"env": "prod"},
        "member_count": 3,
        "etag": found.etag,
        "create_time": found.create_time.ToJsonString(),
        "update_time": found.update_time.ToJsonString(),
    }
    listed = await cli.json("team", "list")
    assert await cli.yaml("team", "list") == listed
    assert [each["id"] for each in listed] == ["empty", "open", "support"]
    assert listed[2] == shown
    assert list(listed[0]) == [key for key in KEYS if key != "display_name"]


async def test_lists_of_nothing(server: RunningServer) -> None:
    """Lists for programs are lists; people are told."""
    empty = Cli(server.target)
    for noun in ("team", "group", "model", "audit"):
        assert await empty.done(noun, "list", "-o", "json") == "[]\n"
        assert await empty.done(noun, "list", "-o", "yaml") == "[]\n"
        assert await empty(noun, "list") == (0, "", "none\n")
    assert await empty.done("member", "list", "--user", "ann", "-o", "json") == "[]\n"


CREATE = (
    *("team", "create", "new", "--display-name", "Neu", "--model", "gpt-4o", "--model", "o1", "--exclude", "o1-*"),
    *(
        "--default-model",
        "gpt-4o",
        "--default-exclude",
        "x",
        "--alias",
        "quick=o1",
        "--label",
        "a=b=c",
        "--label",
        "d=",
    ),
    *("--unlisted-users", "TEAM_SCOPE", "--blocked", "--max-budget", "2.5", "--budget-duration", "7d"),
    *("--tpm-limit", "9", "--rpm-limit", "0", "--member", "ann", "--member", "bob"),
)


async def test_create(cli: Cli) -> None:
    before = await cli.revision()
    lines = ["+ team new", "+ member ann of new", "+ member bob of new"]
    dry = await cli.done(*CREATE, "--dry-run")
    assert dry.splitlines() == [*lines, "Dry run. Nothing was changed."]
    assert await cli.revision() == before
    made = await cli.done(*CREATE)
    assert made.splitlines() == [*lines, f"Revision {await cli.revision()}."]
    shown = await cli.json("team", "show", "new")
    for key in ("etag", "create_time", "update_time"):
        del shown[key]
    assert shown == {
        "id": "new",
        "display_name": "Neu",
        "models": {"mode": "ONLY", "models": ["gpt-4o", "o1"], "excluded_models": ["o1-*"]},
        "default_team_member_models": {"mode": "ONLY", "models": ["gpt-4o"], "excluded_models": ["x"]},
        "default_member_limits": {
            "max_budget_in_team": 2.5,
            "budget_duration": "7d",
            "tpm_limit": 9,
            "rpm_limit": 0,
        },
        "model_aliases": {"quick": "o1"},
        "blocked": True,
        "unlisted_users": "TEAM_SCOPE",
        "labels": {"a": "b=c", "d": ""},
        "member_count": 2,
    }
    member = await cli.json("member", "show", "new", "ann")
    assert (member["scope_source"], member["limits"]["rpm_limit"]) == ("SEEDED", 0)


async def test_a_mutation_for_programs(cli: Cli) -> None:
    """The whole answer, `warnings` and `revision` with it, which a dry run has not."""
    given = ("team", "create", "new", "--model", "nowhere")
    dry = await cli.json(*given, "--dry-run")
    made = await cli.yaml(*given)
    assert list(made) == list(dry) == ["team", "revision", "warnings", "members"]
    assert (dry["revision"], made["revision"]) == ("", await cli.revision())
    assert (
        made["warnings"]
        == dry["warnings"]
        == ["team 'new': 'nowhere' in models is no catalogue model, access group or alias"]
    )
    assert made["team"] == await cli.json("team", "show", "new")


async def test_warnings_are_shown(cli: Cli) -> None:
    made = await cli.done("team", "create", "new", "--model", "nowhere", "--alias", "quick=o1")
    assert made.splitlines()[:-1] == [
        "+ team new",
        "  warning: team 'new': 'nowhere' in models is no catalogue model, access group or alias",
        "  warning: team 'new': the team may not use 'o1', the target of alias 'quick'",
    ]


@pytest.mark.parametrize(
    ("team", "options", "words", "changed"),
    [
        (
            "support",
            "--add-model o1-mini --remove-model cheap",
            "models: [+o1-mini, -cheap]",
            {"models": {"mode": "ONLY", "models": ["gpt-4o", "o1-mini"], "excluded_models": ["o1"]}},
        ),
        (
            "support",
            "--add-model gpt-4o --add-exclude x --remove-exclude o1",
            "models: without [+x, -o1]",
            {"models": {"mode": "ONLY", "models": ["gpt-4o", "cheap"], "excluded_models": ["x"]}},
        ),
        (
            "support",
            "--model o1 --exclude y",
            "models: [+o1, -gpt-4o, -cheap] without [+y, -o1]",
            {"models": {"mode": "ONLY", "models": ["o1"], "excluded_models": ["y"]}},
        ),
        (
            "support",
            "--mode NONE",
            "models: ONLY [gpt-4o, cheap] without [o1] -> NONE without [o1]",
            {"models": {"mode": "NONE", "models": [], "excluded_models": ["o1"]}},
        ),
        (
            "open",
            "--model gpt-4o --add-model o1",
            "models: ALL without [openai/ft/*] -> ONLY [gpt-4o, o1] without [openai/ft/*]",
            {"models": {"mode": "ONLY", "models": ["gpt-4o", "o1"], "excluded_models": ["openai/ft/*"]}},
        ),
        (
            "empty",
            "--add-model o1",
            "models: NONE -> ONLY [o1]",
            {"models": {"mode": "ONLY", "models": ["o1"], "excluded_models": []}},
        ),
        (
            "support",
            "--default-mode INHERIT --default-exclude o1",
            "default_team_member_models: ONLY [cheap] -> INHERIT without [o1]",
            {"default_team_member_models": {"mode": "INHERIT", "models": [], "excluded_models": ["o1"]}},
        ),
        (
            "support",
            "--alias slow=gpt-4o --alias fast=gpt-4o",
            "model_aliases: [+fast=gpt-4o, +slow=gpt-4o, -fast=gpt-4o-mini]",
            {"model_aliases": {"fast": "gpt-4o", "slow": "gpt-4o"}},
        ),
        ("support", "--remove-alias fast", "model_aliases: [-fast=gpt-4o-mini]", {"model_aliases": {}}),
        (
            "support",
            "--label site=eu --remove-label env",
            "labels: [+site=eu, -env=prod]",
            {"labels": {"site": "eu"}},
        ),
        (
            "support",
            "--rpm-limit 0 --max-budget 5",
            "default_member_limits.max_budget_in_team: unset -> 5.0; default_member_limits.rpm_limit: 60 -> 0",
            {"default_member_limits": {"max_budget_in_team": 5.0, "budget_duration": "30d", "rpm_limit": 0}},
        ),
        (
            "support",
            "--clear default_member_limits.rpm_limit --clear labels",
            "labels: [-env=prod]; default_member_limits.rpm_limit: 60 -> unset",
            {"default_member_limits": {"budget_duration": "30d"}, "labels": {}},
        ),
        ("support", "--display-name Help", "display_name: Support -> Help", {"display_name": "Help"}),
        ("support", "--blocked", "blocked: false -> true", {"blocked": True}),
        ("support", "--unlisted-users DENY", "unlisted_users: TEAM_SCOPE -> DENY", {"unlisted_users": "DENY"}),
    ],
)
async def test_update(cli: Cli, team: str, options: str, words: str, changed: dict[str, object]) -> None:
    """Changes what is given and nothing else; a dry run says the same and changes nothing."""
    before, old = await cli.revision(), await cli.json("team", "show", team)
    update = ("team", "update", team, *options.split())
    dry = (await cli.done(*update, "--dry-run")).splitlines()
    assert (dry[0], dry[-1]) == (f"~ team {team}: {words}", "Dry run. Nothing was changed.")
    assert (await cli.revision(), await cli.json("team", "show", team)) == (before, old)
    done = (await cli.done(*update)).splitlines()
    assert done[:-1] == dry[:-1]
    assert done[-1] == f"Revision {await cli.revision()}."
    new = await cli.json("team", "show", team)
    assert {key for key in new if new[key] != old.get(key)} == changed.keys() | {"etag", "update_time"}
    assert new | changed == new
    again = await cli("team", "update", team, *options.split())
    assert again.lines[-1:] == ["No changes."] or again.status == 2  # what was removed is not there any more


async def test_clearing_what_is_optional(cli: Cli) -> None:
    await cli.done("team", "update", "support", "--clear", "display_name", "--clear", "default_member_limits")
    shown = await cli.json("team", "show", "support")
    assert "display_name" not in shown
    assert shown["default_member_limits"] == {}


async def test_an_etag_lets_a_change_through_that_nobody_came_before(cli: Cli) -> None:
    etag = (await cli.json("team", "show", "support"))["etag"]
    await cli.done("team", "update", "support", "--blocked", "--etag", etag)
    late = await cli("team", "update", "support", "--unblocked", "--etag", etag)
    assert (late.status, late.out) == (4, "")
    assert (await cli.json("team", "show", "support"))["blocked"] is True


async def test_delete(cli: Cli) -> None:
    before = await cli.revision()
    assert await cli.done("team", "delete", "empty", "--dry-run") == "- team empty\nDry run. Nothing was changed.\n"
    assert await cli.revision() == before
    assert await cli.done("team", "delete", "empty") == f"- team empty\nRevision {await cli.revision()}.\n"
    assert await cli.json("team", "delete", "support", "--force") == {
        "revision": await cli.revision(),
        "warnings": [],
    }
    assert [each["id"] for each in await cli.json("team", "list")] == ["open"]


async def test_wide_names_are_aligned(cli: Cli) -> None:
    """A terminal shows such a letter in two columns."""
    for name in ("東京の支店", "équipe", "zürich"):
        await cli("team", "create", name, "--mode", "ALL")
    lines = (await cli.done("team", "list")).splitlines()
    tokyo = next(line for line in lines if line.startswith("東京"))
    zurich = next(line for line in lines if line.startswith("zürich"))
    assert tokyo.index("ALL") + 5 == zurich.index("ALL") == lines[0].index("MODELS")


async def test_as_a_process(cli: Cli) -> None:
    ended = await run("team", "create", "new", "--mode", "ALL", "--server", cli.target)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out == f"+ team new\nRevision {await cli.revision()}.\n"
