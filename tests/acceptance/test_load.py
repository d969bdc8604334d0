"""Ten thousand checks at once while the policy changes under them: every answer is right for its revision."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from policy_service.v1.access_pb2 import (
    BatchCheckModelAccessRequest,
    CheckModelAccessResponse,
    ListAccessibleModelsRequest,
)
from policy_service.v1.admin_pb2 import CreateTeamRequest, UpdateMemberRequest, UpdateTeamRequest
from policy_service.v1.resources_pb2 import Team
from tests.support.messages import INHERIT, NONE, check, member, only, team
from tests.support.process import serving
from tests.support.rpc import Rpc, connect, number_of

CHECKS = 10_000
EVERY = 25  # so many checks, then a mutation
MODELS, SCOPES = ("a", "b"), {"INHERIT": INHERIT, "NONE": NONE}


class History:
    """What was true from which revision on, as the acknowledged mutations say."""

    def __init__(self) -> None:
        self._values: dict[int, str] = {}

    def record(self, revision: str, value: str) -> None:
        assert self._values.setdefault(number_of(revision), value) == value

    def at(self, revision: str) -> str:
        numbers = sorted(self._values)
        return self._values[numbers[bisect_right(numbers, number_of(revision)) - 1]]

    @property
    def revisions(self) -> set[int]:
        return set(self._values)


class Load:
    """Two things that change: which model a team may use, and whether Ann may use any of another team."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.model, self.ann = History(), History()

    async def start(self) -> None:
        for made in (team("t", only("a"), unlisted_users="TEAM_SCOPE"), team("u")):
            members = [member("", "ann", allowed_models=INHERIT)] if made.id == "u" else []
            answer = await self.rpc.admin.CreateTeam(CreateTeamRequest(team=made, members=members))
        self.model.record(answer.revision, "a")
        self.ann.record(answer.revision, "INHERIT")

    async def mutate(self, number: int) -> None:
        if number % 2:
            model = MODELS[number // 2 % 2]
            changed = UpdateTeamRequest(team=Team(id="t", models=only(model)))
            answer = await self.rpc.admin.UpdateTeam(changed)
            self.model.record(answer.revision, model)
        else:
            scope = list(SCOPES)[number // 2 % 2]
            changed = UpdateMemberRequest(member=member("u", "ann", allowed_models=SCOPES[scope]))
            answer = await self.rpc.admin.UpdateMember(changed)
            self.ann.record(answer.revision, scope)
        seen = await self.rpc.access.CheckModelAccess(check("t", "", "a", answer.revision))
        assert number_of(seen.revision) >= number_of(answer.revision)

    def verify(self, at_least: int) -> None:
        """Every revision is accounted for, so every answer can be judged."""
        changed = sorted(self.model.revisions | self.ann.revisions)
        assert changed == list(range(changed[0], changed[-1] + 1))
        assert len(changed) > at_least

    async def ask(self, number: int) -> tuple[int, Any]:
        if number % 3:
            return number, await self.rpc.access.CheckModelAccess(check("t", "", MODELS[number % 2]))
        return number, await self.rpc.access.CheckModelAccess(check("u", "ann", "x"))

    def judge(self, number: int, answer: CheckModelAccessResponse) -> None:
        if number % 3:
            assert answer.allowed == (self.model.at(answer.revision) == MODELS[number % 2])
        else:
            assert answer.allowed == (self.ann.at(answer.revision) == "INHERIT")


@pytest.fixture
async def load(tmp_path: Path) -> AsyncIterator[Load]:
    async with serving(tmp_path / "policy.db") as server, connect(server.target) as rpc:
        load = Load(rpc)
        await load.start()
        yield load
        assert await server.stop() == 0
        assert "Traceback" not in "".join(server.lines)


async def test_ten_thousand_checks_at_once(load: Load) -> None:
    """All are under way together, and hundreds of mutations with them. None fails."""
    checks, mutations = [], []
    for number in range(CHECKS):
        checks.append(asyncio.create_task(load.ask(number)))
        if number % EVERY == 0:
            mutations.append(asyncio.create_task(load.mutate(number // EVERY)))
    answers = await asyncio.gather(*checks)
    await asyncio.gather(*mutations)
    load.verify(100)
    for number, answer in answers:
        load.judge(number, answer)


async def test_a_hundred_callers_while_the_policy_changes(load: Load) -> None:
    """Checks, lists and batches go on between the mutations; each is at one revision and right for it."""
    questions = [check("t", "", "a"), check("t", "", "b"), check("u", "ann", "x")] * 5
    answers: list[tuple[int, Any]] = []
    lists, batches = [], []

    async def caller(first: int) -> None:
        for number in range(first, first + 20):
            answers.append(await load.ask(number))
        lists.append(await load.rpc.access.ListAccessibleModels(ListAccessibleModelsRequest(team="t")))
        batches.append(await load.rpc.access.BatchCheckModelAccess(BatchCheckModelAccessRequest(checks=questions)))

    async def writer(first: int) -> None:
        for number in range(first, first + 50):
            await load.mutate(number)

    await asyncio.gather(*(caller(number) for number in range(100)), *(writer(number) for number in range(4)))
    load.verify(20)
    for number, answer in answers:
        load.judge(number, answer)
    for answer in lists:
        assert list(answer.models) == [load.model.at(answer.revision)]
    for answer in batches:
        model, ann = load.model.at(answer.revision), load.ann.at(answer.revision)
        expected = [model == "a", model == "b", ann == "INHERIT"] * 5
        assert [result.decision.allowed for result in answer.results] == expected
        assert {result.decision.revision for result in answer.results} == {answer.revision}
    assert len({answer.revision for _, answer in answers}) > 3
