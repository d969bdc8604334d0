"""`policy-service apply`: what it changes, says and leaves alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from policy_client import AccessClient, AdminClient
from policy_service.v1.access_pb2 import NOT_A_MEMBER
from policy_service.v1.resources_pb2 import (
    Model,
    Team,
)

from .commands import Ended, invoke, run_and_answer
from .terminal import on_terminal

if TYPE_CHECKING:
    from tests.conftest import RunningServer

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "acme.yaml")
SMALL = """\
models:
  - {name: gpt-4o, provider: openai}
groups:
  - {name: cheap, models: [gpt-4o-mini]}
teams:
  - id: support
    models: {models: [cheap, gpt-4o]}
    default_team_member_models: {models: [cheap]}
    default_member_limits: {rpm_limit: 60}
    members:
      - {user: sam}
      - {user: ann, allowed_models: {mode: INHERIT}, limits: {tpm_limit: 9}}
"""


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator[AdminClient]:
    async with AdminClient(server.target) as client:
        yield client


async def apply(server: RunningServer, manifest: str, *options: str) -> Ended:
    return await invoke("apply", "-f", "-", *options, "--server", server.target, text=manifest)


async def revision(server: RunningServer) -> str:
    async with AccessClient(server.target) as access:
        return (await access.check("x", "x", "x")).revision


async def test_the_example_is_applied_and_a_second_time_nothing_is_to_do(server: RunningServer) -> None:
    first = await invoke("apply", "--file", EXAMPLE, "--server", server.target)
    assert (first.status, first.err) == (0, "")
    at = await revision(server)
    assert first.lines[-1] == f"Applied: 208 created. Revision {at}."
    assert [line for line in first.lines[:-1] if not line.startswith("+ ")] == ["  and 86 more"]
    second = await invoke("apply", "--file", EXAMPLE, "--server", server.target)
    assert second == (0, "No changes.\n", "")
    pruned = await invoke("apply", "--file", EXAMPLE, "--prune", "--yes", "--server", server.target)
    assert pruned == (0, "No changes.\n", "")
    assert await revision(server) == at


async def test_it_says_what_it_creates_and_updates(server: RunningServer) -> None:
    created = await apply(server, SMALL)
    assert created.lines[:-1] == [
        "+ model gpt-4o",
        "+ group cheap",
        "+ team support",
        "+ member sam of support",
        "+ member ann of support",
    ]
    changed = (
        SMALL.replace("provider: openai", "provider: azure, labels: {family: gpt}")
        .replace("[gpt-4o-mini]", "[gpt-4o-mini, o3]")
        .replace("[cheap, gpt-4o]", "[cheap, gpt-4], excluded_models: [o3]")
        .replace("default_member_limits: {rpm_limit: 60}", "display_name: '[red]Support'")
        .replace("{user: sam}", "{user: sam, blocked: true, labels: {why: left}}")
        .replace("tpm_limit: 9", "tpm_limit: 10")
    )
    updated = await apply(server, changed)
    assert updated.err == ""
    assert updated.lines == [
        "~ model gpt-4o: provider: openai -> azure; labels: [+family=gpt]",
        "~ group cheap: models: [+o3]",
        "~ team support: display_name: unset -> [red]Support; models: [+gpt-4, -gpt-4o] without [+o3]; "
        "default_member_limits.rpm_limit: 60 -> unset",
        "  warning: team 'support': 'gpt-4' in models is no catalogue model, access group or alias",
        "~ member sam of support: blocked: false -> true; labels: [+why=left]",
        "~ member ann of support: limits.tpm_limit: 9 -> 10",
        f"Applied: 5 updated. Revision {await revision(server)}.",
    ]
    assert (await apply(server, changed)).out == "No changes.\n"


async def test_a_dry_run_shows_the_difference_and_changes_nothing(server: RunningServer, admin: AdminClient) -> None:
    ended = await apply(server, SMALL, "--dry-run")
    assert ended.status == 0
    assert ended.lines[0] == "+ model gpt-4o"
    assert ended.lines[-1] == "Dry run: 5 created. Nothing was changed."
    assert (await revision(server)).endswith(".0")
    await apply(server, SMALL)
    at = await revision(server)
    everything = await apply(server, "models: []\ngroups: []\nteams: []\n", "--dry-run", "--prune")
    assert everything.lines == [
        "- team support: with 2 members",
        "- group cheap",
        "- model gpt-4o",
        "Dry run: 3 deleted. Nothing was changed.",
    ]
    assert await revision(server) == at


async def test_prune_without_a_terminal_needs_yes(server: RunningServer, tmp_path: Path) -> None:
    await apply(server, SMALL)
    at = await revision(server)
    file = tmp_path / "empty.yaml"
    file.write_text("teams: []")
    for ended in (
        await invoke("apply", "-f", str(file), "--prune", "--server", server.target),
        await apply(server, "teams: []", "--prune"),
    ):
        assert ended.status == 2
        assert "add --yes" in ended.err
    assert await revision(server) == at


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 2), ("", 2)])
async def test_prune_on_a_terminal_asks(server: RunningServer, tmp_path: Path, answer: str, status: int) -> None:
    await apply(server, SMALL)
    file = tmp_path / "empty.yaml"
    file.write_text("teams: []")

    async def nothing() -> None: ...

    ended = await run_and_answer(
        "apply", "-f", str(file), "--prune", "--server", server.target, answer=answer, meanwhile=nothing
    )
    assert ended.status == status
    assert ended.lines[0] == "- team support: with 2 members"
    assert ("nothing was changed" in ended.err) is (status == 2)
    async with AccessClient(server.target) as access:
        reason = (await access.check("support", "eve", "gpt-4o")).reason
    assert (reason == NOT_A_MEMBER) is (status == 2)


async def test_a_terminal_shows_the_changes_above_the_bar(server: RunningServer, tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL + "  - {id: last, models: {models: [x]}, model_aliases: {cheaper: x}}\n")
    options = ("apply", "-f", str(file), "--server", server.target)
    async with on_terminal(*options) as terminal:
        assert await terminal.ended() == 0
    done = ["+ model gpt-4o", "+ group cheap", "+ team support", "+ member sam of support", "+ member ann of support"]
    assert [line for line in terminal.lines if "+" in line] == [*done, "+ team last"]
    assert f"Applied: 6 created. Revision {await revision(server)}." in terminal.lines
    file.write_text("groups: [{name: dear, models: [x]}, {name: gpt-4o, models: [x]}]")
    async with on_terminal(*options) as terminal:
        assert await terminal.ended() == 2
    failed = [line for line in terminal.lines if line and not line.startswith("applying, ")][-3:]
    assert failed[0] == "+ group dear"
    assert failed[1].startswith("policy-service: group gpt-4o: the catalogue has a model 'gpt-4o'")
    assert failed[2].startswith("Applied 1 created before that.")


async def test_ctrl_c_is_an_answer_too(server: RunningServer, tmp_path: Path) -> None:
    await apply(server, SMALL)
    at = await revision(server)
    file = tmp_path / "empty.yaml"
    file.write_text("groups: []\nteams: []\n")
    async with on_terminal("apply", "-f", str(file), "--prune", "--server", server.target) as terminal:
        await terminal.shows("Delete these 2 and apply the rest? [y/N]:")
        assert "- team support: with 2 members" in terminal.screen
        assert "- group cheap" in terminal.screen
        assert await terminal.interrupted() == 130
    assert "interrupted; nothing was changed" in terminal.screen
    assert "Traceback" not in terminal.screen
    assert await revision(server) == at


async def test_for_programs(server: RunningServer, tmp_path: Path) -> None:
    """The same whatever it does; what went wrong is on standard error alone."""
    created = {"action": "created", "kind": "member", "name": "sam", "team": "support", "details": ""}
    dry = json.loads((await apply(server, SMALL, "--dry-run", "-o", "json")).out)
    assert (dry["dry_run"], dry["revision"], dry["warnings"]) == (True, "", [])
    assert dry["changes"][3] == created
    done = yaml.safe_load((await apply(server, SMALL, "-o", "yaml")).out)
    assert done == dry | {"dry_run": False, "revision": await revision(server)}
    nothing = json.loads((await apply(server, SMALL, "-o", "json")).out)
    assert nothing == {"dry_run": False, "revision": "", "changes": [], "warnings": []}
    more = SMALL.replace("[cheap, gpt-4o]", "[cheap, gpt-4]")
    warned = json.loads((await apply(server, more, "-o", "json")).out)
    (change,), (warning,) = warned["changes"], warned["warnings"]
    assert change == {
        "action": "updated",
        "kind": "team",
        "name": "support",
        "team": "",
        "details": "models: [+gpt-4, -gpt-4o]",
    }
    assert warning == "team 'support': 'gpt-4' in models is no catalogue model, access group or alias"
    refused = await apply(server, "groups:\n  - {name: gpt-4o, models: [x]}\n", "-o", "json")
    assert (refused.status, refused.out) == (2, "")
    assert "the catalogue has a model 'gpt-4o'" in refused.err
    file = tmp_path / "empty.yaml"
    file.write_text("teams: []")
    options = ("-f", str(file), "--prune", "-o", "json", "--server", server.target)
    async with on_terminal("apply", *options) as terminal:
        assert await terminal.ended() == 2
    assert "add --yes" in terminal.screen


async def test_of_many_changes_some_are_shown(server: RunningServer) -> None:
    models = "".join(f"  - {{name: model-{number:04d}, provider: p}}\n" for number in range(1_500))
    ended = await apply(server, "models:\n" + models)
    assert ended.lines[:20] == [f"+ model model-{number:04d}" for number in range(20)]
    assert ended.lines[20:22] == ["  and 980 more", "+ model model-1000"]
    assert ended.lines[-2:] == ["  and 480 more", f"Applied: 1,500 created. Revision {await revision(server)}."]
    assert ended.err == ""
    dry = await apply(server, "models: []", "--prune", "--dry-run")
    assert dry.lines[-2:] == ["- model model-1499", "Dry run: 1,500 deleted. Nothing was changed."]


async def test_a_change_that_somebody_made_in_between_is_not_overwritten(
    server: RunningServer, admin: AdminClient, tmp_path: Path
) -> None:
    await apply(server, SMALL)
    file = tmp_path / "small.yaml"
    file.write_text(
        SMALL.replace("models: {models: [cheap, gpt-4o]}", "models: {mode: ALL}").replace("gpt-4o-mini", "o3")
    )
    options = ("apply", "-f", str(file), "--prune", "--server", server.target)

    async def block() -> None:
        await admin.update_team(Team(id="support", blocked=True))

    await admin.upsert_models([Model(name="o1", provider="openai")])
    ended = await run_and_answer(*options, answer="y", meanwhile=block)
    assert ended.status == 4
    assert ended.lines[-1].endswith("~ group cheap: models: [+o3, -gpt-4o-mini]")
    assert "team support: team 'support' has changed since the etag was read" in ended.err
    assert "Applied 1 updated before that. Somebody changed it since it was read: run apply again" in ended.err
    assert (await admin.get_team("support")).blocked
    assert (await invoke(*options, "--yes")).status == 0
    assert not (await admin.get_team("support")).blocked


async def test_a_refusal_in_the_middle_says_what_was_done_and_apply_goes_on_from_there(
    server: RunningServer, admin: AdminClient
) -> None:
    await admin.upsert_models([Model(name="cheap", provider="openai")])
    ended = await apply(server, SMALL)
    assert ended.status == 2
    assert ended.out == "+ model gpt-4o\n"
    assert ended.err == (
        "policy-service: group cheap: the catalogue has a model 'cheap'; choose another name for the group\n"
        "Applied 1 created before that. Correct this and run apply again; it goes on from what is there.\n"
    )
    await admin.delete_models(["cheap"])
    assert (await apply(server, SMALL)).lines[-1].startswith("Applied: 4 created.")


async def test_warnings_of_the_server_are_shown(server: RunningServer) -> None:
    manifest = "teams:\n  - {id: x, models: {models: [a]}, default_team_member_models: {models: [b]}}\n"
    ended = await apply(server, manifest)
    assert ended.status == 0
    assert ended.lines[:2] == [
        "+ team x",
        "  warning: team 'x': the team may not use 'b', listed in default_team_member_models",
    ]


async def test_what_is_wrong_with_the_file_is_told_before_anything_is_changed(
    server: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "acme.yaml"
    file.write_text(SMALL + "      - {user: ' eve'}\n      - {usr: bob}\n")
    ended = await invoke("apply", "-f", str(file), "--server", server.target)
    assert (ended.status, ended.out) == (2, "")
    assert f"{file}:13: teams[0].members[2].user: has white space" in ended.err
    assert f"{file}:14: teams[0].members[3]: there is no key 'usr'" in ended.err
    assert (await revision(server)).endswith(".0")
    assert "<stdin>:1: the document is empty" in (await apply(server, "")).err
    nowhere = await invoke("apply", "-f", str(tmp_path / "nowhere.yaml"), "--server", server.target)
    assert (nowhere.status, "nowhere.yaml" in nowhere.err) == (2, True)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    ended = await invoke("apply", "-f", EXAMPLE, "--server", "127.0.0.1:1")
    assert (ended.status, ended.out) == (5, "")
    assert "no answer from 127.0.0.1:1" in ended.err
    assert "Nothing was changed." in ended.err
    assert "Traceback" not in ended.err
