"""Clients that go away at random moments: the state and the database stay equal, and others see what was committed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from policy_service.v1.access_pb2 import BatchCheckModelAccessRequest
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    GetTeamRequest,
    ListAuditEventsRequest,
    ListMembersRequest,
    ListTeamsRequest,
    UpdateTeamRequest,
)
from policy_service.v1.resources_pb2 import Team
from tests.support.audit import read, verify
from tests.support.database import load
from tests.support.messages import check, member, team
from tests.support.paging import members
from tests.support.rpc import Rpc, connect

CANCELS = 100  # of each of three callers, at least; a fifth as many are not given up
GONE = (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)


class Impatient:
    """Starts mutations and lists and gives most of them up at random moments: before they begin, while they are run
    and when they are done."""

    def __init__(self, rpc: Rpc, name: str) -> None:
        self.rpc, self.name, self.chance = rpc, name, random.Random(name)
        self.acknowledged: set[str] = set()
        self.gave_up: set[str] = set()

    async def run(self) -> None:
        for number in range(100_000):
            users = [f"{self.name}-{number}-{at}" for at in range(1 + number % 3)]
            if len(users) == 1:
                call = self.rpc.admin.AddMember(AddMemberRequest(member=member("t", users[0])))
            else:
                request = BatchAddMembersRequest(team="t", members=[member("", user) for user in users])
                call = self.rpc.admin.BatchAddMembers(request)
            finished = await self._give_up(call)
            (self.acknowledged if finished else self.gave_up).update(users)
            lists = [
                self.rpc.admin.ListTeams(ListTeamsRequest(page_size=1_000)),
                self.rpc.admin.ListMembers(ListMembersRequest(team="t", page_size=1_000)),
                self.rpc.admin.ListAuditEvents(ListAuditEventsRequest(page_size=50)),
            ]
            await asyncio.gather(*map(self._give_up, lists))
            if len(self.gave_up) >= CANCELS and len(self.acknowledged) >= CANCELS / 5:
                return

    async def _give_up(self, call: Awaitable) -> bool:
        """Whether it was answered before the moment came."""
        await asyncio.sleep(self.chance.random() * self.chance.choice((0.002, 0.02, 0.1)))
        call.cancel()
        try:
            await call
        except asyncio.CancelledError:
            return False
        except grpc.aio.AioRpcError as error:
            assert error.code() in GONE, error
            return False
        return True


class Steady:
    """Changes one field of a team and reads it back: it has to see its own write and nobody's older one."""

    def __init__(self, rpc: Rpc, field: str) -> None:
        self.rpc, self.field, self.written = rpc, field, 0
        self.done = asyncio.Event()

    def value(self, found: Team) -> int:
        return int(getattr(found, self.field) or 0) if self.field == "display_name" else int(found.labels["n"])

    async def run(self, other: Steady | None = None) -> None:
        while not self.done.is_set():
            number = self.written + 1
            changed = Team(id="shared")
            if self.field == "display_name":
                changed.display_name = str(number)
            else:
                changed.labels["n"] = str(number)
            before = other.written if other else 0
            answer = await self.rpc.admin.UpdateTeam(UpdateTeamRequest(team=changed))
            self.written = number
            found = await self.rpc.admin.GetTeam(GetTeamRequest(team="shared"))
            assert self.value(found) == number, "reads its own write"
            if other:
                assert other.value(answer.team) >= before, "no update is lost"


async def test_clients_that_go_away(start_server, tmp_path: Path) -> None:
    running = await start_server()
    async with connect(running.target) as rpc, connect(running.target) as other:
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("shared", display_name="0", labels={"n": "0"})))
        for number in range(100):
            await rpc.admin.CreateTeam(CreateTeamRequest(team=team(f"x{number}", labels={"k": "v" * 200})))
        callers = [Impatient(other, f"c{number}") for number in range(3)]
        labels, names = Steady(rpc, "labels"), Steady(rpc, "display_name")
        async with asyncio.TaskGroup() as steady:
            steady.create_task(labels.run(names))
            steady.create_task(names.run(labels))
            await asyncio.gather(*(caller.run() for caller in callers))
            labels.done.set()
            names.done.set()

        found = await rpc.admin.GetTeam(GetTeamRequest(team="shared"))
        assert (labels.value(found), names.value(found)) == (labels.written, names.written)
        users = sorted(user for caller in callers for user in caller.acknowledged | caller.gave_up)
        listed = {name.removeprefix("t/") for name in await members("t").all(rpc, 1_000)}
        assert {user for caller in callers for user in caller.acknowledged} <= listed <= set(users)
        assert await whom_checks_allow(rpc, users) == listed
        assert (await rpc.admin.GetTeam(GetTeamRequest(team="t"))).member_count == len(listed)
        for service in ("", "writer"):
            health = await rpc.health.Check(HealthCheckRequest(service=service))
            assert health.status == HealthCheckResponse.SERVING
        events = await read(rpc, 1_000)
        verify(events)
        for event in events:
            if event.rpc == "BatchAddMembers":
                batches = {change.name.rpartition("-")[0] for change in event.changes}
                assert len(batches) == 1
                assert len(event.changes) == 1 + int(batches.pop().rpartition("-")[2]) % 3
        head = await rpc.head()
    await running.stop()
    state = await load(tmp_path / "policy.db")
    assert state.revision == head
    assert set(state.teams["t"].members) == listed


async def whom_checks_allow(rpc: Rpc, users: list[str]) -> set[str]:
    allowed = set()
    for at in range(0, len(users), 1_000):
        part = users[at : at + 1_000]
        request = BatchCheckModelAccessRequest(checks=[check("t", user, "m") for user in part])
        answer = await rpc.access.BatchCheckModelAccess(request)
        allowed |= {user for user, result in zip(part, answer.results, strict=True) if result.decision.allowed}
    return allowed
