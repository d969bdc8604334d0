"""The example proxy, imported and applied, answers what LiteLLM answers, but for what the findings say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from policy_client import AccessClient
from tests.cli.commands import run

from .commands import EXAMPLE_CONFIG, EXAMPLE_TEAMS, run_import

if TYPE_CHECKING:
    from tests.conftest import RunningServer

ANSWERS = Path(__file__).with_name("answers.yaml")
BATCH = 1_000


class Row(NamedTuple):
    """A question, LiteLLM's answer, and the code of the finding that says why ours differs (empty: it does not)."""

    team: str
    user: str
    model: str
    allowed: bool
    code: str


def rows(door: str) -> list[Row]:
    """The table; `door` is closed or open."""
    answers: dict[str, dict[str, dict[str, dict[str, str]]]] = yaml.safe_load(ANSWERS.read_text())
    return [
        Row(team, user, model, line["litellm"] == "allow", line.get(door, ""))
        for team, users in answers.items()
        for user, lines in users.items()
        for model, line in lines.items()
    ]


async def answers_of(server: RunningServer, table: list[Row]) -> list[bool]:
    """What the service answers."""
    answers: list[bool] = []
    async with AccessClient(server.target) as access:
        for start in range(0, len(table), BATCH):
            part = [(row.team, row.user, row.model) for row in table[start : start + BATCH]]
            answers += [result.decision.allowed for result in (await access.batch_check(part)).results]
    return answers


def wrong(table: list[Row], answers: list[bool], findings: list[dict[str, Any]]) -> list[str]:
    """What is not as the table and the findings say."""
    reported = {(finding["code"], finding["team"]) for finding in findings}
    lines = []
    for row, answer in zip(table, answers, strict=True):
        if (answer != row.allowed) != bool(row.code):
            lines.append(f"{row}: answered {answer}")
        elif row.code and not reported & {(row.code, ""), (row.code, row.team)}:
            lines.append(f"{row}: no such finding")
    return lines


@pytest.mark.parametrize(("door", "options"), [("closed", []), ("open", ["--keep-open-door"])])
async def test_the_example_answers_as_litellm_but_for_the_findings(
    server: RunningServer, tmp_path: Path, door: str, options: list[str]
) -> None:
    file = tmp_path / "imported.yaml"
    files = ["--config", EXAMPLE_CONFIG, "--teams", EXAMPLE_TEAMS, "--file", str(file)]
    imported = run_import(*files, "--output", "json", *options)
    assert (imported.exit_code, imported.stderr) == (0, "")
    applied = await run("apply", "--file", str(file), "--server", server.target)
    assert applied.status == 0, applied.err
    table = rows(door)
    answers = await answers_of(server, table)
    findings = json.loads(imported.stdout)["findings"]
    assert wrong(table, answers, findings) == []
    assert (await run("apply", "--file", str(file), "--server", server.target)).out == "No changes.\n"


def test_the_table_has_every_kind_of_difference_and_answer() -> None:
    closed, opened = rows("closed"), rows("open")
    assert len(closed) > 1_000
    assert sum(row.allowed for row in closed) > 300
    codes = {row.code for row in closed + opened} - {""}
    assert codes == {
        "ALIAS_FOR_MEMBERS",
        "ALIAS_TARGET_ADDED",
        "ALL_TEAM_MODELS",
        "GROUP_AS_MODEL",
        "GROUP_WILDCARD",
        "MEMBERSHIP_WITHOUT_MEMBER",
        "OPEN_DOOR_CLOSED",
        "PATTERN_IS_LITERAL",
        "PROVIDER_FROM_CATALOGUE",
        "PROVIDER_UNKNOWN",
    }


def test_what_is_allowed_beyond_litellm_is_marked_so_in_the_documentation() -> None:
    page = (Path(EXAMPLE_CONFIG).parents[2] / "docs" / "litellm.md").read_text()
    wider = set(re.findall(r"^\| `([A-Z_]+)` \|.*\*\*wider\*\*", page, re.MULTILINE | re.IGNORECASE))
    widened = {row.code for row in rows("closed") + rows("open") if row.code and not row.allowed}
    assert widened == {"ALIAS_TARGET_ADDED", "ALIAS_FOR_MEMBERS", "ALL_TEAM_MODELS", "GROUP_WILDCARD"}
    assert wider == widened | {"PATTERN_IS_LITERAL", "PROVIDER_FROM_CATALOGUE"}
