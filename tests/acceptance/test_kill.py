"""SIGKILL in the middle of a stream of mutations, again and again on one database.

Afterwards: every acknowledged mutation is there, no half mutation, the records are those of the log, the server starts
by itself, and a retry with the same request_id is answered as before or does it exactly once.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from policy_service.domain.state import State
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    GetTeamRequest,
    RemoveMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.resources_pb2 import Team
from tests.support.audit import read, verify
from tests.support.database import load
from tests.support.messages import member, team
from tests.support.paging import TEAMS, members
from tests.support.process import Serving, serving
from tests.support.rpc import DEADLINE_S, Rpc, connect

ROUNDS = 8
WRITERS = 6
HOME = "home"


@dataclass
class Mutation:
    """A request with an id of its own, the members it makes or removes, and what it was answered, if it was."""

    rpc: str
    request: Any
    adds: frozenset[str] = frozenset()
    removes: frozenset[str] = frozenset()
    answer: bytes | None = None

    async def run(self, rpc: Rpc) -> bytes:
        answer = await rpc.call(self.rpc, self.request)
        return answer.SerializeToString(deterministic=True)


@dataclass
class Writer:
    """Sends one mutation after another. Its names are its own, so that what it did can be told."""

    name: str
    chance: random.Random
    sent: list[Mutation] = field(default_factory=list)
    counted: int = 0
    singles: list[str] = field(default_factory=list)

    def next(self) -> Mutation:
        number = len(self.sent)
        unique, request_id = f"{self.name}-{number}", f"id-{self.name}-{number}"
        kind = self.chance.choice(("batch", "team", "count", "add", "remove"))
        if kind == "batch":
            users = [f"{unique}-{at}" for at in range(20)]
            request: Any = BatchAddMembersRequest(team=HOME, members=[member("", user) for user in users])
            made = Mutation("BatchAddMembers", request, adds=frozenset(f"{HOME}/{user}" for user in users))
        elif kind == "team":
            users = [f"m{at}" for at in range(5)]
            request = CreateTeamRequest(team=team(unique), members=[member("", user) for user in users])
            made = Mutation("CreateTeam", request, adds=frozenset(f"{unique}/{user}" for user in users))
        elif kind == "remove" and self.singles:
            user = self.singles.pop()
            request = RemoveMemberRequest(team=HOME, user=user)
            made = Mutation("RemoveMember", request, removes=frozenset({f"{HOME}/{user}"}))
        elif kind == "count":
            self.counted += 1
            request = UpdateTeamRequest(team=Team(id=self.name, labels={"count": str(self.counted)}))
            made = Mutation("UpdateTeam", request)
        else:
            request = AddMemberRequest(member=member(HOME, unique))
            made = Mutation("AddMember", request, adds=frozenset({f"{HOME}/{unique}"}))
            self.singles.append(unique)
        made.request.request_id = request_id
        self.sent.append(made)
        return made

    async def run(self, rpc: Rpc, acknowledged: asyncio.Semaphore) -> None:
        """Until the server is gone. What is in flight then stays unanswered."""
        while True:
            mutation = self.next()
            try:
                mutation.answer = await mutation.run(rpc)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE, error
                return
            acknowledged.release()


async def everybody(rpc: Rpc) -> set[str]:
    found: set[str] = set()
    for name in await TEAMS.all(rpc, 1_000):
        found.update(await members(name).all(rpc, 1_000))
    return found


async def load_a_copy(database: Path, copy: Path) -> State:
    """What the files hold as the killed server left them."""
    copy.mkdir()
    for file in database.parent.glob(f"{database.name}*"):
        if not file.name.endswith((".lock", "-shm")):
            shutil.copy(file, copy / file.name)
    return await load(copy / database.name)


async def check_and_finish(rpc: Rpc, writers: list[Writer]) -> None:
    """Of all mutations so far; those without an answer are sent again."""
    there = await everybody(rpc)
    for writer in writers:
        for mutation in writer.sent:
            if mutation.answer is None:
                present = mutation.adds & there
                assert present in (mutation.adds, frozenset()), "half a mutation"
        counts = [m.request.team.labels["count"] for m in writer.sent if m.rpc == "UpdateTeam" and m.answer]
        shown = (await rpc.admin.GetTeam(GetTeamRequest(team=writer.name))).labels["count"]
        assert int(shown) in {int((counts or ["0"])[-1]), writer.counted}
    for mutation in (mutation for writer in writers for mutation in writer.sent[-30:]):
        answer = await mutation.run(rpc)
        assert answer == (mutation.answer or answer), "a retry is answered as before"
        mutation.answer = answer
    expected: Counter[str] = Counter()
    for mutation in (mutation for writer in writers for mutation in writer.sent):
        expected.update(mutation.adds)
        expected.subtract(mutation.removes)
    assert await everybody(rpc) == {name for name, count in expected.items() if count}


async def run_until_killed(server: Serving, writers: list[Writer], chance: random.Random) -> None:
    """The kill comes some mutations later, and at any point of the one that is then being run."""
    acknowledged = asyncio.Semaphore(0)
    async with connect(server.target) as rpc:
        tasks = [asyncio.create_task(writer.run(rpc, acknowledged)) for writer in writers]
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(5 + chance.randrange(60)):
                await acknowledged.acquire()
        await asyncio.sleep(chance.random() * 0.02)
        await server.kill()
        await asyncio.gather(*tasks)


async def test_killed_again_and_again(tmp_path: Path) -> None:
    chance = random.Random(4)
    database = tmp_path / "data" / "policy.db"
    writers = [Writer(f"w{number}", random.Random(number)) for number in range(WRITERS)]
    async with serving(database) as server, connect(server.target) as rpc:
        for name in (HOME, *(writer.name for writer in writers)):
            await rpc.admin.CreateTeam(CreateTeamRequest(team=team(name, labels={"count": "0"})))
        assert await server.stop() == 0
    for at in range(ROUNDS):
        async with serving(database) as server:
            if at:
                async with connect(server.target) as rpc:
                    await check_and_finish(rpc, writers)
            await run_until_killed(server, writers, chance)
        state = await load_a_copy(database, tmp_path / f"copy-{at}")
    async with serving(database) as server, connect(server.target) as rpc:
        assert await rpc.head() == state.revision == server.announced("revision")
        await check_and_finish(rpc, writers)
        events = await read(rpc, 1_000)
        verify(events)
        created = Counter(c.name for event in events for c in event.changes if not c.before_json and c.kind == "member")
        assert max(created.values()) == 1, "exactly once"
        head = await rpc.head()
        await check_and_finish(rpc, writers)
        assert await rpc.head() == head, "a retry does nothing"
    assert sum(len(writer.sent) for writer in writers) > 200
