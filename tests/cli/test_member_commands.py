"""`policy-service member`: what each command does, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .commands import Cli
from .world import build

if TYPE_CHECKING:
    from tests.conftest import RunningServer

# Names that programs rely on: they stay.
KEYS = [
    "team",
    "user",
    "role",
    "allowed_models",
    "scope_source",
    "limits",
    "blocked",
    "labels",
    "etag",
    "create_time",
    "update_time",
]


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    await build(server.target)
    return Cli(server.target)


async def test_list_of_a_team(cli: Cli) -> None:
    assert (await cli.done("member", "list", "support")).splitlines() == [
        "TEAM     USER  MODELS         SOURCE    ROLE    BLOCKED",
        "support  ann   INHERIT        EXPLICIT  MEMBER  false",
        "support  sam   ONLY [cheap]   SEEDED    MEMBER  false",
        "support  zoe   ONLY [gpt-4o]  EXPLICIT  MEMBER  false",
    ]
    assert await cli("member", "list", "empty") == (0, "", "none\n")
    assert await cli.done("member", "list", "empty", "-o", "json") == "[]\n"
    assert await cli.done("member", "list", "empty", "-o", "yaml") == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "members"),
    [
        ("--user ann", ["open/ann", "support/ann"]),
        ("support --user ann", ["support/ann"]),
        ("--user nobody", []),
        ("open --user sam", []),
        ("support --source SEEDED", ["support/sam"]),
        ("support --source EXPLICIT", ["support/ann", "support/zoe"]),
        ("--user ann --source SEEDED", ["open/ann"]),
    ],
)
async def test_which_are_listed(cli: Cli, arguments: str, members: list[str]) -> None:
    """Of a user across all teams, for one who leaves."""
    listed = await cli.json("member", "list", *arguments.split())
    assert await cli.yaml("member", "list", *arguments.split()) == listed
    assert [f"{each['team']}/{each['user']}" for each in listed] == members


async def test_show(cli: Cli) -> None:
    shown = await cli.json("member", "show", "support", "zoe")
    assert await cli.yaml("member", "show", "support", "zoe") == shown
    assert list(shown) == KEYS
    assert shown in await cli.json("member", "list", "support")
    times = {key: shown[key] for key in ("etag", "create_time", "update_time")}
    assert shown == {
        "team": "support",
        "user": "zoe",
        "role": "MEMBER",
        "allowed_models": {"mode": "ONLY", "models": ["gpt-4o"], "excluded_models": []},
        "scope_source": "EXPLICIT",
        "limits": {"budget_duration": "30d", "rpm_limit": 60},
        "blocked": False,
        "labels": {"desk": "2"},
        **times,
    }
    assert (await cli.done("member", "show", "support", "zoe")).splitlines() == [
        "team                        support",
        "user                        zoe",
        "role                        MEMBER",
        "allowed_models              ONLY gpt-4o",
        "scope_source                EXPLICIT",
        "limits                      budget_duration=30d, rpm_limit=60",
        "blocked                     false",
        "labels                      desk=2",
        *(f"{key:<27} {value}" for key, value in times.items()),
    ]


async def test_add_seeds(cli: Cli) -> None:
    before = await cli.revision()
    lines = [f"+ member {user} of support: seeded with the team's default" for user in ("kim", "lee")]
    add = ("member", "add", "support", "kim", "lee")
    assert (await cli.done(*add, "--dry-run")).splitlines() == [*lines, "Dry run. Nothing was changed."]
    assert await cli.revision() == before
    assert (await cli.done(*add)).splitlines() == [*lines, f"Revision {await cli.revision()}."]
    for user in ("kim", "lee"):
        shown = await cli.json("member", "show", "support", user)
        assert (shown["scope_source"], shown["allowed_models"]["models"]) == ("SEEDED", ["cheap"])
        assert shown["limits"] == {"budget_duration": "30d", "rpm_limit": 60}


async def test_add_with_a_scope(cli: Cli) -> None:
    """The same for each; a limit that is given takes the place of the team's, the others are seeded."""
    scope = ("--model", "gpt-4o", "--exclude", "gpt-4o-x", "--role", "TEAM_ADMIN", "--blocked")
    more = ("--tpm-limit", "7", "--rpm-limit", "0", "--label", "desk=1")
    added = await cli.json("member", "add", "support", "kim", "lee", *scope, *more)
    assert list(added) == ["members", "revision", "warnings"]
    assert [each["user"] for each in added["members"]] == ["kim", "lee"]
    for member in added["members"]:
        assert member == member | {
            "team": "support",
            "role": "TEAM_ADMIN",
            "allowed_models": {"mode": "ONLY", "models": ["gpt-4o"], "excluded_models": ["gpt-4o-x"]},
            "scope_source": "EXPLICIT",
            "limits": {"budget_duration": "30d", "tpm_limit": 7, "rpm_limit": 0},
            "blocked": True,
            "labels": {"desk": "1"},
        }
    assert (await cli.done("member", "add", "open", "kim", "--mode", "INHERIT")).splitlines()[
        0
    ] == "+ member kim of open"


async def test_a_warning_is_shown(cli: Cli) -> None:
    added = await cli.done("member", "add", "support", "kim", "--model", "o1")
    warning = "  warning: team 'support': the team may not use 'o1', listed in allowed_models of 'kim'"
    assert added.splitlines()[1] == warning


ZOE = {"mode": "ONLY", "models": ["gpt-4o"], "excluded_models": []}


@pytest.mark.parametrize(
    ("user", "options", "words", "changed"),
    [
        (
            "zoe",
            "--add-model cheap --add-exclude x",
            "allowed_models: [+cheap] without [+x]",
            {"allowed_models": {"mode": "ONLY", "models": ["gpt-4o", "cheap"], "excluded_models": ["x"]}},
        ),
        (
            "zoe",
            "--add-model cheap --remove-model gpt-4o",
            "allowed_models: [+cheap, -gpt-4o]",
            {"allowed_models": ZOE | {"models": ["cheap"]}},
        ),
        (
            "zoe",
            "--mode INHERIT",
            "allowed_models: ONLY [gpt-4o] -> INHERIT",
            {"allowed_models": {"mode": "INHERIT", "models": [], "excluded_models": []}},
        ),
        (
            "ann",
            "--model gpt-4o",
            "allowed_models: INHERIT -> ONLY [gpt-4o]",
            {"allowed_models": ZOE},
        ),
        (
            "ann",
            "--exclude gpt-4o",
            "allowed_models: without [+gpt-4o]",
            {"allowed_models": {"mode": "INHERIT", "models": [], "excluded_models": ["gpt-4o"]}},
        ),
        (
            "sam",
            "--model cheap",
            "allowed_models: seeded ONLY [cheap] -> ONLY [cheap]",
            {"scope_source": "EXPLICIT"},
        ),
        (
            "zoe",
            "--clear allowed_models",
            "allowed_models: ONLY [gpt-4o] -> seeded ONLY [cheap]",
            {"allowed_models": ZOE | {"models": ["cheap"]}, "scope_source": "SEEDED"},
        ),
        (
            "zoe",
            "--clear limits.rpm_limit --tpm-limit 5",
            "limits.tpm_limit: unset -> 5; limits.rpm_limit: 60 -> unset",
            {"limits": {"budget_duration": "30d", "tpm_limit": 5}},
        ),
        (
            "zoe",
            "--clear limits",
            "limits.budget_duration: 30d -> unset; limits.rpm_limit: 60 -> unset",
            {"limits": {}},
        ),
        (
            "zoe",
            "--label desk=3 --label floor=1",
            "labels: [+desk=3, +floor=1, -desk=2]",
            {"labels": {"desk": "3", "floor": "1"}},
        ),
        ("zoe", "--remove-label desk", "labels: [-desk=2]", {"labels": {}}),
        ("zoe", "--role TEAM_ADMIN", "role: MEMBER -> TEAM_ADMIN", {"role": "TEAM_ADMIN"}),
        ("zoe", "--blocked", "blocked: false -> true", {"blocked": True}),
    ],
)
async def test_update(cli: Cli, user: str, options: str, words: str, changed: dict[str, object]) -> None:
    """Changes what is given and nothing else; a dry run says the same and changes nothing."""
    before, old = await cli.revision(), await cli.json("member", "show", "support", user)
    update = ("member", "update", "support", user, *options.split())
    dry = (await cli.done(*update, "--dry-run")).splitlines()
    assert (dry[0], dry[-1]) == (f"~ member {user} of support: {words}", "Dry run. Nothing was changed.")
    assert (await cli.revision(), await cli.json("member", "show", "support", user)) == (before, old)
    done = (await cli.done(*update)).splitlines()
    assert (done[:-1], done[-1]) == (dry[:-1], f"Revision {await cli.revision()}.")
    new = await cli.json("member", "show", "support", user)
    assert {key for key in new if new[key] != old[key]} == changed.keys() | {"etag", "update_time"}
    assert new | changed == new


async def test_what_changes_nothing_makes_no_revision(cli: Cli) -> None:
    before = await cli.revision()
    assert await cli.done("member", "update", "support", "zoe", "--model", "gpt-4o") == "No changes.\n"
    assert await cli.done("member", "update", "support", "zoe", "--unblocked", "--dry-run") == "No changes.\n"
    assert await cli.revision() == before


async def test_remove(cli: Cli) -> None:
    before = await cli.revision()
    line = "- member ann of support\n"
    dry = await cli.done("member", "remove", "support", "ann", "--dry-run")
    assert (dry, await cli.revision()) == (f"{line}Dry run. Nothing was changed.\n", before)
    assert await cli.done("member", "remove", "support", "ann") == f"{line}Revision {await cli.revision()}.\n"
    assert await cli.json("member", "remove", "support", "sam", "--force") == {
        "revision": await cli.revision(),
        "warnings": [],
    }
    assert [each["user"] for each in await cli.json("member", "list", "support")] == ["zoe"]


async def test_reseed(cli: Cli) -> None:
    """Those whose scope is still the team's; the others have their own."""
    assert await cli.done("member", "reseed", "support") == "No changes.\n"
    await cli.done("team", "update", "support", "--default-model", "gpt-4o")
    before = await cli.revision()
    line = "~ member sam of support: seeded again\n"
    dry = await cli.done("member", "reseed", "support", "--dry-run")
    assert (dry, await cli.revision()) == (f"{line}Dry run. Nothing was changed.\n", before)
    assert await cli.done("member", "reseed", "support") == f"{line}Revision {await cli.revision()}.\n"
    assert (await cli.json("member", "show", "support", "sam"))["allowed_models"]["models"] == ["gpt-4o"]
    again = await cli.json("member", "reseed", "support")
    assert again == {"reseeded_count": 0, "users": [], "revision": await cli.revision(), "warnings": []}


async def test_reseed_of_more_than_are_named(cli: Cli) -> None:
    users = [f"u{number:04}" for number in range(1_500)]
    for start in range(0, len(users), 500):
        await cli.done("member", "add", "support", *users[start : start + 500])
    await cli.done("team", "update", "support", "--default-model", "gpt-4o")
    lines = (await cli.done("member", "reseed", "support")).splitlines()
    assert len(lines) == 1_002
    assert lines[-2:] == [
        "~ 501 more members of support: seeded again",
        f"Revision {await cli.revision()}.",
    ]
    listed = await cli.json("member", "list", "support")
    assert [each["user"] for each in listed] == ["ann", "sam", *users, "zoe"]
