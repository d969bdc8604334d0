"""What can happen to Redis, while an authority writes and a replica answers: never a wrong answer, STALE in time, and
in the end the authority's digest, without help."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from policy_client import AccessClient
from policy_service.domain.changes import Position
from policy_service.domain.feed import Head
from policy_service.replication import publisher
from tests.conftest import StartServer
from tests.replication.redis_servers import PREFIX
from tests.replication.stage import FREE_PORT, MAX_STALENESS_S, Stage
from tests.replication.truth import under_watch, until_equal, until_stale

Fault = Callable[[Stage], Awaitable[None]]


async def killed_and_restarted_empty(stage: Stage) -> None:
    await stage.redis.kill()
    await until_stale(stage.replica)
    await stage.redis.restart_empty()


async def killed_and_restarted_with_an_old_dump(stage: Stage) -> None:
    await stage.redis.dump()
    await asyncio.sleep(0.5)  # the authority goes on
    await stage.redis.kill()
    await until_stale(stage.replica)
    await stage.redis.start()


async def flushed(stage: Stage) -> None:
    await stage.redis.command("FLUSHALL")


async def log_trimmed_to_nothing(stage: Stage) -> None:
    await stage.redis.command("XTRIM", await stage.key(":log"), "MAXLEN", 0)


def deleted(ending: str) -> Fault:
    async def fault(stage: Stage) -> None:
        await stage.redis.command("DEL", await stage.key(ending))

    return fault


def of_a_wrong_type(ending: str) -> Fault:
    async def fault(stage: Stage) -> None:
        key = await stage.key(ending)
        await stage.redis.transact(("DEL", key), ("LPUSH", key, "not what belongs here"))

    return fault


async def overwritten_by_another_authority(stage: Stage) -> None:
    """The head is of another lineage, as somebody else's authority would write it."""
    head = Head(position=Position("0ther", 7, "0" * 64, "0" * 32), publisher="0ther", tick_ms=1)
    seconds, micros = await stage.redis.command("TIME")
    fields = ("header", head.header, "signature", b"", "written_at", b"%s%06d" % (seconds, int(micros)))
    await stage.redis.command("HSET", f"{PREFIX}:head", *fields)
    await until_stale(stage.replica)


ENDINGS = {"head": ":head", "log": ":log", "pointer": ":snapshot", "chunk": ":0"}
FAULTS: dict[str, Fault] = {
    "killed, restarted empty": killed_and_restarted_empty,
    "killed, restarted with an old dump": killed_and_restarted_with_an_old_dump,
    "flushed": flushed,
    "log trimmed to nothing": log_trimmed_to_nothing,
    "another authority's epoch": overwritten_by_another_authority,
    **{f"{name} deleted": deleted(ending) for name, ending in ENDINGS.items()},
    **{f"{name} of a wrong type": of_a_wrong_type(ending) for name, ending in ENDINGS.items()},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_it_heals_by_itself(stage: Stage, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "FOREIGN_S", 2 * MAX_STALENESS_S)
    async with under_watch(stage.admin, [stage.replica], stage.truth):
        await asyncio.sleep(0.3)
        await fault(stage)
        await asyncio.sleep(0.5)
    await until_equal(stage.authority, [stage.replica])
    assert stage.truth.fresh_answers + stage.truth.stale_answers > 10
    assert stage.truth.refusals == 0, "a replica that has a policy serves it"


async def test_paused_for_longer_than_the_timeouts(stage: Stage) -> None:
    async with under_watch(stage.admin, [stage.replica], stage.truth):
        await asyncio.sleep(0.3)
        stage.redis.pause()
        try:
            status = await until_stale(stage.replica)
            assert status.staleness.ToTimedelta().total_seconds() > MAX_STALENESS_S
            await asyncio.sleep(11)  # connecting and each answer have 5 s
        finally:
            stage.redis.resume()
    assert stage.truth.stale_answers > 100
    await until_equal(stage.authority, [stage.replica])


async def test_a_replica_that_starts_after_the_fault_gets_everything(stage: Stage, start_server: StartServer) -> None:
    await stage.redis.command("FLUSHALL")
    late = await start_server(listen=FREE_PORT, database=None, follow=stage.follow)
    async with AccessClient(late.target, timeout_s=5) as asked:
        await until_equal(stage.authority, [stage.replica, asked])
