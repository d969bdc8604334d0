"""Many members: applied with progress, interrupted in the middle, and gone on with from there.

As many as `MEMBERS_APPLIED` says, by default 24,000; `make soak` does it with 100,000.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from policy_service.v1.admin_pb2 import ListTeamsRequest
from tests.support.rpc import Rpc, connect

from .commands import invoke, running
from .terminal import on_terminal

if TYPE_CHECKING:
    from tests.conftest import RunningServer

TEAMS = 4
MEMBERS = int(os.environ.get("MEMBERS_APPLIED", "24000")) // TEAMS
ALL = TEAMS * (1 + MEMBERS)
LIMIT_S = 600  # far more than it needs
STEP = 501  # changes that one step makes at most: a team and 500 members


@pytest.fixture
async def rpc(server: RunningServer) -> AsyncIterator[Rpc]:
    async with connect(server.target) as rpc:
        yield rpc


@pytest.fixture
def file(tmp_path: Path) -> Path:
    lines = ["teams:\n"]
    for team in range(TEAMS):
        lines.append(f"  - id: team-{team}\n    models: {{mode: ALL}}\n    members:\n")
        lines += [f"      - {{user: user-{number:05d}@acme.example}}\n" for number in range(MEMBERS)]
    path = tmp_path / "large.yaml"
    path.write_text("".join(lines))
    return path


async def there(rpc: Rpc) -> int:
    """How many of the teams and members there are."""
    teams = (await rpc.admin.ListTeams(ListTeamsRequest())).teams
    return len(teams) + sum(team.member_count for team in teams)


def number_in(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, text[-2_000:]
    return int(found[1].replace(",", ""))


async def test_many_members(rpc: Rpc, file: Path) -> None:
    arguments = ("apply", "--file", str(file), "--server", rpc.target)
    async with running(*arguments) as first:
        while not any(line.startswith("applying, changes: 1") for line in first.err):
            assert not first.has_ended, (await first.ended(), first.out, first.err)
            await asyncio.sleep(0.02)
        first.interrupt()
        assert await first.ended() == 130
    done = await there(rpc)
    assert 10_000 < done < ALL
    assert re.fullmatch(rf"applying, changes: 1\d,\d{{3}} of {ALL:,}", first.err[0])
    assert re.fullmatch(
        r"policy-service: member user-\d{5}@acme.example of team-\d and 499 more: interrupted", first.err[-2]
    )
    told = number_in(
        r"^Applied ([0-9,]+) created before that. Whether this step took effect is not known: run apply again; "
        r"it goes on from what is there.$",
        first.err[-1],
    )
    assert told <= done <= told + STEP
    assert_short(first.out)

    rest = ALL - done
    async with on_terminal(*arguments, out_piped=True) as second:
        assert await second.ended(LIMIT_S) == 0
    assert second.out.splitlines()[-1] == f"Applied: {rest:,} created. Revision {await rpc.head()}."
    assert_short(second.out.splitlines())
    assert await there(rpc) == ALL
    counts = [int(count) for count in re.findall(rf"m *(\d+)/{rest}\b", second.screen)]
    assert counts == sorted(counts)
    assert len(set(counts)) > 2
    assert "+ member" not in second.screen

    at = await rpc.head()
    third = await invoke(*arguments)
    assert (third.status, third.out) == (0, "No changes.\n")
    assert third.err.splitlines()[-1] == f"reading what is there, records: {ALL:,}"
    assert await rpc.head() == at


def assert_short(lines: list[str]) -> None:
    """Of each step some are shown, and how many more there are."""
    shown, steps = 0, 0
    for line in lines:
        shown = shown + 1 if line.startswith("+ ") else 0
        steps += line.startswith("  and ")
        assert shown <= 20
    assert steps > 10
