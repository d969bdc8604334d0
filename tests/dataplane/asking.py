"""What is asked of a data plane, and of the server that it belongs to."""

from __future__ import annotations

import asyncio
from typing import Any

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from policy_service.v1.admin_pb2 import CreateTeamRequest
from tests.support.messages import check, member, team
from tests.support.rpc import Rpc
from tests.support.waiting import until

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
NAME = "data_plane"


async def health(rpc: Rpc, name: str = NAME) -> int:
    status: int = (await rpc.health.Check(HealthCheckRequest(service=name))).status
    return status


async def shows(rpc: Rpc, status: int) -> None:
    """Waits until the health of the data plane is this."""

    async def shown() -> bool:
        return await health(rpc) == status

    await until(shown, f"the data plane is {HealthCheckResponse.ServingStatus.Name(status)}")


async def make_team(rpc: Rpc, name: str = "t") -> str:
    """A team whose member `ann` may use everything; the revision."""
    answer = await rpc.admin.CreateTeam(CreateTeamRequest(team=team(name), members=[member("", "ann")]))
    return str(answer.revision)


async def answers(rpc: Rpc, revision: str = "", name: str = "t") -> None:
    """`ann` may, and a stranger may not."""
    for user, allowed in (("ann", True), ("mallory", False)):
        answer: Any = await rpc.access.CheckModelAccess(check(name, user, "gpt-4o", revision))
        assert answer.allowed is allowed, answer


def after(revision: str) -> str:
    """The revision that the next mutation makes: for a test only, callers take a revision as it is."""
    epoch, _, number = revision.rpartition(".")
    return f"{epoch}.{int(number) + 1}"


async def ended(task: asyncio.Task[Any]) -> Any:
    async with asyncio.timeout(60):
        return await task
