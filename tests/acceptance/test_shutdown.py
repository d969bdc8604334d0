"""SIGTERM: what was accepted is finished, what is new is refused, the database is closed, the exit status is 0."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest

from policy_service.v1.admin_pb2 import AddMemberRequest, CreateTeamRequest
from tests.support.messages import check, member, team
from tests.support.paging import members
from tests.support.process import serving
from tests.support.rpc import Rpc, connect, outcome

# What gRPC itself answers a call that reaches a server which no longer takes any: refused, or dropped on the way in.
REFUSED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def add(rpc: Rpc, user: str, request_id: str = ""):
    return rpc.admin.AddMember(AddMemberRequest(member=member("t", user), request_id=request_id))


async def users_after_a_restart(database: Path) -> set[str]:
    """Those who are members, and whom checks take for members, in a server that starts again."""
    async with serving(database) as server, connect(server.target) as rpc:
        listed = {name.removeprefix("t/") for name in await members("t").all(rpc, 1_000)}
        for user in listed:
            assert (await rpc.access.CheckModelAccess(check("t", user, "m"))).allowed
        assert await server.stop() == 0
    return listed


async def test_what_was_accepted_is_finished(tmp_path: Path) -> None:
    """A check that came after them on the same connection is answered, so they had been accepted."""
    database = tmp_path / "policy.db"
    users = {f"u{number}" for number in range(200)}
    async with serving(database, "--drain-timeout-s=60") as server, connect(server.target) as rpc:
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
        calls = [asyncio.ensure_future(add(rpc, user)) for user in users]
        checks = [asyncio.ensure_future(rpc.access.CheckModelAccess(check("t", "u0", "m"))) for _ in range(50)]
        await rpc.access.CheckModelAccess(check("t", "u0", "m"))
        server.terminate()
        answers = await asyncio.gather(*calls)
        assert len({answer.revision for answer in answers}) == len(users)
        await asyncio.gather(*checks)
        assert await server.ended() == 0
    assert "stopped" in server.lines[-1]
    assert "Traceback" not in "".join(server.lines)
    assert not Path(f"{database}-wal").exists(), "SQLite removes it when the last connection closes"
    assert await users_after_a_restart(database) == users


class Caller:
    """Calls one RPC after another until it is refused, and then some more."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.unanswered: list[str] = []
        self.going = asyncio.Event()

    async def run(self, rpc: Rpc, name: str, mutate: bool) -> None:
        for number in range(1_000_000):
            user = f"{name}-{number}"
            call = add(rpc, user, f"id-{user}") if mutate else rpc.access.CheckModelAccess(check("t", user, "m"))
            try:
                await call
            except grpc.aio.AioRpcError as error:
                assert error.code() in REFUSED, error
                self.unanswered.append(user)
                if len(self.unanswered) == 5:
                    return
            else:
                assert not self.unanswered, "once it refuses, it refuses"
                self.done.append(user)
            if number == 5:
                self.going.set()


async def test_under_load(tmp_path: Path) -> None:
    """Ten writers and ten askers: each is answered or refused, and what was acknowledged is there."""
    database = tmp_path / "policy.db"
    writers, askers = [Caller() for _ in range(10)], [Caller() for _ in range(10)]
    async with serving(database) as server, contextlib.AsyncExitStack() as stack:
        target = server.target
        rpc = await stack.enter_async_context(connect(target))
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
        tasks = []
        for number, caller in enumerate((*writers, *askers)):
            own = await stack.enter_async_context(connect(target, use_local_subchannel_pool=1))
            tasks.append(asyncio.create_task(caller.run(own, f"u{number}", caller in writers)))
        await asyncio.gather(*(caller.going.wait() for caller in (*writers, *askers)))
        server.terminate()
        await asyncio.gather(*tasks)
        assert await server.ended() == 0
        assert "Traceback" not in "".join(server.lines)
    acknowledged = {user for writer in writers for user in writer.done}
    possible = acknowledged | {user for writer in writers for user in writer.unanswered}
    assert len(acknowledged) >= 50
    assert acknowledged <= await users_after_a_restart(database) <= possible
    async with serving(database) as server, connect(server.target) as rpc:
        for user in sorted(possible):  # every caller may retry with its request_id
            assert (await add(rpc, user, f"id-{user}")).member.user == user
        assert len(await members("t").all(rpc, 1_000)) == len(possible)


async def test_those_who_only_watch_do_not_hold_it_up_for_ever(tmp_path: Path) -> None:
    async with serving(tmp_path / "policy.db", "--drain-timeout-s=0.5") as server, connect(server.target) as rpc:
        watch = rpc.health.Watch(HealthCheckRequest())
        await watch.read()
        server.terminate()
        server.terminate()
        assert await server.ended() == 0
        await outcome(watch.read())
