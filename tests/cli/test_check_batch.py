"""`policy-service check --batch`: many questions, in order."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .commands import Cli, load_yaml, run
from .world import build

if TYPE_CHECKING:
    from tests.conftest import RunningServer

ALLOWED = "support,sam,gpt-4o-mini\nsupport,,gpt-4o\n"
DENIED = "support,sam,o1\n"
WRONG = "support,sam,a*\n"


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    await build(server.target)
    return Cli(server.target)


async def test_text(cli: Cli) -> None:
    ended = await cli("check", "--batch", "-", text=ALLOWED + DENIED)
    assert (ended.status, ended.err) == (1, "")
    assert ended.lines == [
        "VERDICT  TEAM     USER  MODEL        REASON",
        "allowed  support  sam   gpt-4o-mini  ALLOWED_BY_MEMBER_SCOPE",
        "allowed  support        gpt-4o       ALLOWED_BY_TEAM_SCOPE",
        "denied   support  sam   o1           MODEL_NOT_IN_TEAM_SCOPE",
    ]


@pytest.mark.parametrize(
    ("text", "status"),
    [(ALLOWED, 0), (DENIED, 1), (DENIED + ALLOWED, 1), (WRONG, 2), (ALLOWED + WRONG + DENIED, 2)],
)
@pytest.mark.parametrize("output", ["text", "json", "yaml"])
async def test_exit_status(cli: Cli, text: str, status: int, output: str) -> None:
    """0 all are allowed, 1 any is denied, 2 any is no question."""
    ended = await cli("check", "--batch", "-", "-o", output, text=text)
    assert (ended.status, ended.err) == (status, "")


async def test_json_and_yaml(cli: Cli) -> None:
    """Each question with what `check` answers, or why there is no answer."""
    ended = await cli("check", "--batch", "-", "-o", "json", text=ALLOWED + DENIED + WRONG)
    answers = json.loads(ended.out)
    again = await cli("check", "--batch", "-", "-o", "yaml", text=ALLOWED + DENIED + WRONG)
    assert load_yaml(again.out) == answers
    allowed, unlisted, denied, wrong = answers
    alone = await cli.json("check", "support", "sam", "gpt-4o-mini")
    assert allowed == {"verdict": "allowed", "team": "support", "user": "sam", "model": "gpt-4o-mini"} | alone
    assert (unlisted["verdict"], unlisted["user"]) == ("allowed", "")
    assert (denied["verdict"], denied["reason"], "limits" in denied) == ("denied", "MODEL_NOT_IN_TEAM_SCOPE", False)
    assert wrong.pop("reason").startswith("model: holds one of")
    assert wrong == {"verdict": "error", "team": "support", "user": "sam", "model": "a*"}


async def test_more_than_a_request_holds(cli: Cli, tmp_path: Path) -> None:
    """In order, whatever the output; a file, with a heading, a byte order mark and other line ends."""
    questions = [("support", "sam", "gpt-4o-mini" if number % 3 else f"m-{number}") for number in range(1_200)]
    content = io.StringIO()
    csv.writer(content).writerows([("team", "user", "model"), *questions])
    file = tmp_path / "questions.csv"
    file.write_text(content.getvalue(), "utf-8-sig", newline="")
    ended = await cli("check", "--batch", str(file))
    verdict = {True: "allowed", False: "denied"}
    wanted = [[verdict[model == "gpt-4o-mini"], team, user, model] for team, user, model in questions]
    assert (ended.status, [line.split()[:4] for line in ended.lines[1:]]) == (1, wanted)
    assert len({line.index("sam") for line in ended.lines[1:]}) == 1
    for output, load in (("json", json.loads), ("yaml", load_yaml)):
        answers = load((await cli("check", "--batch", str(file), "-o", output)).out)
        assert [[answer[key] for key in ("verdict", "team", "user", "model")] for answer in answers] == wanted
        assert len({answer["revision"] for answer in answers}) == 1


async def test_what_csv_can_say(cli: Cli) -> None:
    """Quoted commas and quotes, spaces after commas, empty lines; a heading is one on the first line alone."""
    text = 'support, "Smith, ""Al""", gpt-4o\n\nteam,user,model\n"support",zoe,"gpt-4o"'
    ended = await cli("check", "--batch", "-", "-o", "json", text=text)
    assert (ended.status, ended.err) == (1, "")
    asked = [(each["team"], each["user"], each["model"]) for each in json.loads(ended.out)]
    assert asked == [("support", 'Smith, "Al"', "gpt-4o"), ("team", "user", "model"), ("support", "zoe", "gpt-4o")]


async def test_as_a_process(cli: Cli) -> None:
    ended = await run("check", "--batch", "-", "--server", cli.target, text=ALLOWED)
    assert (ended.status, ended.err, len(ended.lines)) == (0, "", 3)
