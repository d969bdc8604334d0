"""Health: overall, of each service and of each named check, from the start to the end of a drain."""

from __future__ import annotations

import asyncio
import sqlite3

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from policy_service.addresses import Address
from policy_service.store import sqlite
from policy_service.v1.admin_pb2 import CreateTeamRequest, UpsertModelsRequest
from tests.support.messages import model, team
from tests.support.rpc import ACCESS, ADMIN, DEADLINE_S, REPLICATION, Rpc, connect, failure_of, refused

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
NAMES = ("", ACCESS.full_name, ADMIN.full_name, REPLICATION.full_name, "writer")


@pytest.mark.parametrize("name", NAMES)
async def test_it_serves(rpc: Rpc, name: str) -> None:
    answer = await rpc.health.Check(HealthCheckRequest(service=name))
    assert answer.status == SERVING
    watch = rpc.health.Watch(HealthCheckRequest(service=name))
    assert (await watch.read()).status == SERVING
    watch.cancel()


@pytest.mark.parametrize("name", ["nothing", "Writer", "policy_service.v1.AccessService/Check", "x" * 1_000, "é"])
async def test_an_unknown_name(rpc: Rpc, name: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc.health.Check(HealthCheckRequest(service=name))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    watch = rpc.health.Watch(HealthCheckRequest(service=name))
    assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


@pytest.mark.parametrize("name", NAMES)
async def test_a_drain_says_so_before_it_refuses(start_server, name: str) -> None:
    running = await start_server(drain_timeout_s=0.2)
    async with connect(running.target) as rpc:
        watch = rpc.health.Watch(HealthCheckRequest(service=name))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(running.stop())
        assert (await watch.read()).status == NOT_SERVING
        await stopping
        await refused(rpc.admin.CreateTeam(CreateTeamRequest(team=team("late"))), UNAVAILABLE)


async def test_each_listener_has_it(start_server, tmp_path) -> None:
    running = await start_server(admin_listen=Address(f"unix:{tmp_path}/admin.sock"))
    for target in (running.target, running.admin_target):
        async with connect(target) as rpc:
            assert (await rpc.health.Check(HealthCheckRequest())).status == SERVING


async def test_a_database_that_is_busy_is_unavailable_for_now(start_server, tmp_path, monkeypatch) -> None:
    """The caller is told when to try again; nothing was changed; afterwards all is well."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    running = await start_server()
    other = sqlite3.connect(tmp_path / "policy.db", isolation_level=None)
    async with connect(running.target) as rpc:
        head = await rpc.head()
        other.execute("BEGIN IMMEDIATE")
        failure = await refused(rpc.admin.CreateTeam(CreateTeamRequest(team=team("t"))), UNAVAILABLE)
        assert [type(detail).__name__ for detail in failure.details] == ["ErrorInfo", "RetryInfo"]
        assert failure.details[1].retry_delay.seconds > 0
        assert await rpc.head() == head
        other.execute("ROLLBACK")
        other.close()
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
        assert (await rpc.health.Check(HealthCheckRequest(service="writer"))).status == SERVING


async def test_more_mutations_than_may_wait_are_refused(start_server, tmp_path, monkeypatch) -> None:
    """While the writer is held up a bounded number waits, the rest hears UNAVAILABLE; all that waited are then run."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", DEADLINE_S)
    running = await start_server()
    other = sqlite3.connect(tmp_path / "policy.db", isolation_level=None)
    async with connect(running.target) as rpc:
        other.execute("BEGIN IMMEDIATE")
        requests = [UpsertModelsRequest(models=[model(f"m{number}")]) for number in range(1_200)]
        calls = [asyncio.ensure_future(rpc.admin.UpsertModels(request)) for request in requests]
        first, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert await rpc.head()  # checks go on
        refusal = failure_of(next(iter(first)).exception())
        assert refusal.code is UNAVAILABLE
        assert "waiting" in refusal.message
        other.execute("ROLLBACK")
        other.close()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        done = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert 1_000 <= len(done) < 1_200
        assert len({answer.revision for answer in done}) == len(done)
        failures = [failure_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert {failure.code for failure in failures} == {UNAVAILABLE}


async def test_a_log_that_somebody_else_wrote_stops_the_server(start_server, tmp_path) -> None:
    """Another program wrote to the database: nothing more is committed, health says so, the server ends."""
    running = await start_server()
    async with connect(running.target) as rpc:
        watch = rpc.health.Watch(HealthCheckRequest(service="writer"))
        assert (await watch.read()).status == SERVING
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
        with sqlite3.connect(tmp_path / "policy.db") as other:
            columns = "revision, epoch, time, actor, peer, rpc, format, digest, previous_hash, hash, change_count"
            values = columns.replace("revision", "revision + 1").replace("previous_hash, hash", "hash, 'foreign'")
            other.execute(f"INSERT INTO log ({columns}) SELECT {values} FROM log ORDER BY revision DESC LIMIT 1")
        other.close()
        await refused(rpc.admin.CreateTeam(CreateTeamRequest(team=team("u"))), UNAVAILABLE)
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        await asyncio.wait_for(running.server.failed.wait(), DEADLINE_S)
