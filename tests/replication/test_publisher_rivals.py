"""More than one authority on one prefix, databases that were put back, and heads that somebody made up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from policy_service.domain.feed import Head, Snapshot
from policy_service.errors import Unavailable
from policy_service.replication import publication, publisher
from policy_service.replication.publisher import Publisher
from policy_service.replication.redis_feed import RedisFeed
from policy_service.replication.signing import Signer, make_keys
from tests.replication.contents import Contents
from tests.replication.origin import Origin, Publishing, eventually, followed, publishing
from tests.replication.redis_servers import PREFIX, RedisServer

HEAD = f"{PREFIX}:head"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RIVAL_S", 0.2)


@pytest.fixture
def soon_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody writes any more counts as left behind after two seconds."""
    monkeypatch.setattr(publisher, "FOREIGN_S", 2.0)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who goes on is always seen going on, on however slow a machine."""
    monkeypatch.setattr(publisher, "RIVAL_S", 10.0)
    monkeypatch.setattr(publisher, "FOREIGN_S", 60.0)


@asynccontextmanager
async def published(origin: Origin, redis: RedisServer) -> AsyncIterator[Publishing]:
    async with publishing(origin, redis.location()) as running:
        await Contents(redis).until_whole(origin)
        await eventually(lambda: running.is_well, "publishes well")
        yield running


async def _everything(redis: RedisServer) -> dict[str, bytes]:
    return {key: await redis.command("DUMP", key) for key in await redis.keys()}


# Other epochs


@pytest.mark.usefixtures("patient")
async def test_a_foreign_head_that_is_fresh_is_left_alone(redis: RedisServer, origin: Origin) -> None:
    other = await Origin.make()
    async with published(other, redis):
        pass
    before = await _everything(redis)
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: bool(running.problem), "reported")
        assert other.position.epoch in running.problem
        assert origin.position.epoch in running.problem
        assert "another authority publishes another epoch" in running.problem
        assert await _everything(redis) == before
    assert len(running.reports) == 1
    assert (origin.begun, other.begun) == (0, 0)


@pytest.mark.usefixtures("soon_old")
async def test_a_foreign_head_that_is_old_is_taken_over(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    other = await Origin.make()
    async with published(other, redis):
        await other.grow(3)
        await Contents(redis).until_at(other)
    async with published(origin, redis):
        await origin.grow()
        await origin.assert_equal(await followed(feed, origin.position))
    for key in await redis.keys():
        ttl = await redis.command("TTL", key)
        if other.position.epoch in key:
            assert 0 < ttl <= publication.EXPIRY_S
        else:
            assert ttl == -1
    assert len(await redis.keys()) == 7


@pytest.mark.usefixtures("soon_old")
async def test_who_stops_is_followed_by_who_waits(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    other = await Origin.make()
    async with AsyncExitStack() as stack:
        async with published(other, redis):
            waiting = await stack.enter_async_context(publishing(origin, redis.location()))
            await eventually(lambda: bool(waiting.problem), "reported")
        await eventually(lambda: waiting.is_well, "publishes well")
        await origin.assert_equal(await followed(feed, origin.position))


@pytest.mark.usefixtures("patient")
async def test_of_two_that_start_at_once_one_publishes(redis: RedisServer, origin: Origin) -> None:
    other = await Origin.make()
    async with publishing(origin, redis.location()) as first, publishing(other, redis.location()) as second:
        await eventually(lambda: first.is_well != second.is_well and bool(first.problem or second.problem), "decided")
        winner, loser = (origin, second) if first.is_well else (other, first)
        await _assert_that_it_stays_so(redis, winner)
        assert not loser.is_well
    assert (first if loser is second else second).reports.count(None) == 1


@pytest.mark.usefixtures("patient")
async def test_who_is_overtaken_while_it_makes_a_snapshot_gives_way(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await Origin.make()
    make, is_making, may_go_on = origin.feed.snapshot, asyncio.Event(), asyncio.Event()

    async def snapshot() -> Snapshot:
        is_making.set()
        await may_go_on.wait()
        return await make()

    monkeypatch.setattr(origin.feed, "snapshot", snapshot)
    async with publishing(origin, redis.location()) as overtaken:
        await is_making.wait()
        async with published(other, redis) as overtaking:
            may_go_on.set()
            await eventually(lambda: "another authority" in overtaken.problem, "reported")
            await _assert_that_it_stays_so(redis, other)
        assert overtaking.reports == [None]


async def _assert_that_it_stays_so(redis: RedisServer, winner: Origin) -> None:
    """Every head that is written for some seconds is the winner's."""
    contents, process = Contents(redis), (await winner.feed.head()).head.publisher
    for _ in range(6):
        head = await contents.head()
        assert head.publisher == process
        await contents.until_head_moves(head.tick_ms)


@pytest.mark.usefixtures("soon_old")
async def test_a_foreign_head_from_the_future_is_left_behind_when_it_does_not_change(
    redis: RedisServer, origin: Origin
) -> None:
    """As when the clock of Redis went back: its age is seen here."""
    async with published(await Origin.make(), redis):
        pass
    await redis.command("HSET", HEAD, "written_at", 10**17)
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: running.is_well, "publishes well")
    assert "another authority" in (running.reports[0] or "")


@pytest.mark.usefixtures("soon_old")
async def test_a_head_in_a_newer_format(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    head = (await (await Origin.make()).feed.head()).head
    header = json.dumps(json.loads(head.header) | {"format": 1_000})
    await redis.command("HSET", HEAD, "header", header)
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: running.is_well, "publishes well")
        await origin.assert_equal(await followed(feed, origin.position))
    assert "a newer authority publishes (format 1000 is newer" in (running.reports[0] or "")


# The same epoch


@pytest.mark.usefixtures("soon_old")
async def test_redis_is_ahead_of_a_database_that_was_put_back(
    redis: RedisServer, origin: Origin, feed: RedisFeed
) -> None:
    put_back = await origin.copy()
    async with published(origin, redis):
        await origin.grow(2)
        await Contents(redis).until_at(origin)
    async with publishing(put_back, redis.location()) as running:
        assert put_back.begun == 1  # before a mutation could be accepted
        assert f"revision {origin.position.token}" in running.problem
        assert "policy-service restore" in running.problem
        await put_back.grow()
        await eventually(lambda: running.is_well, "publishes well")
        await put_back.assert_equal(await followed(feed, put_back.position))
        assert (await feed.head()).head.ancestors == (origin.position.epoch,)
    assert put_back.begun == 1


@pytest.mark.usefixtures("soon_old")
async def test_redis_has_another_hash_than_a_database_that_was_put_back(redis: RedisServer, origin: Origin) -> None:
    put_back = await origin.copy()
    async with published(origin, redis):
        await origin.grow(2)
        await Contents(redis).until_at(origin)
    put_back.ledger.time = put_back.ledger.time.replace(year=2031)
    await put_back.grow(5)
    async with publishing(put_back, redis.location()) as running:
        assert put_back.begun == 1
        await eventually(lambda: running.is_well, "publishes well")


async def test_a_database_that_redis_is_behind_of_keeps_its_epoch(redis: RedisServer, origin: Origin) -> None:
    async with published(origin, redis):
        pass
    await origin.grow(3)
    origin = origin.restarted()
    async with published(origin, redis):
        pass
    assert origin.begun == 0


async def test_a_head_before_what_the_log_keeps_is_no_contradiction(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with published(origin, redis):
        pass
    await origin.grow(3)
    origin = origin.restarted()

    async def hash_at(revision: int) -> str | None:
        return None if revision < origin.position.revision else origin.position.hash

    monkeypatch.setattr(origin.store, "hash_at", hash_at)
    async with published(origin, redis):
        pass
    assert origin.begun == 0


@pytest.mark.usefixtures("patient")
async def test_a_copy_beside_the_original_becomes_another_lineage(redis: RedisServer, origin: Origin) -> None:
    copied = await origin.copy()
    async with published(origin, redis) as original:
        async with publishing(copied, redis.location()) as running:
            await eventually(lambda: "another authority publishes" in running.problem, "reported")
            await _assert_that_it_stays_so(redis, origin)
            await origin.grow()
            await copied.grow()
            await _assert_that_it_stays_so(redis, origin)
            assert not running.is_well
        assert original.reports == [None]
    assert (origin.begun, copied.begun) == (0, 1)


@pytest.mark.usefixtures("patient")
async def test_a_copy_with_another_key_beside_the_original(redis: RedisServer, tmp_path: Path) -> None:
    for name in ("first", "second"):
        make_keys(tmp_path / name)
    origin = await Origin.make(Signer.read(tmp_path / "first").sign)
    copied = await origin.copy(Signer.read(tmp_path / "second").sign)
    async with published(origin, redis) as original:
        async with publishing(copied, redis.location()) as running:
            await eventually(lambda: "another authority publishes the same epoch" in running.problem, "reported")
            await _assert_that_it_stays_so(redis, origin)
        assert original.reports == [None]
    assert (origin.begun, copied.begun) == (0, 0)


@pytest.mark.usefixtures("soon_old")
async def test_a_new_epoch_that_cannot_be_stored_is_tried_again(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back = await origin.copy()
    async with published(origin, redis):
        await origin.grow()
        await Contents(redis).until_at(origin)

    async def fail() -> None:
        raise Unavailable("the disk is full")

    begin_epoch = put_back.begin_epoch
    monkeypatch.setattr(put_back, "begin_epoch", lambda: put_back_epoch())
    put_back_epoch = fail
    async with publishing(put_back, redis.location()) as running:
        assert running.reports == ["the disk is full"]
        put_back_epoch = begin_epoch
        await eventually(lambda: running.is_well, "publishes well")
    assert put_back.begun == 1


# Heads that somebody made up


async def _write_head(redis: RedisServer, head: Head) -> None:
    seconds, _ = await redis.command("TIME")
    words = ("header", head.header, "signature", head.signature, "written_at", int(seconds) * 1_000_000)
    await redis.command("HSET", HEAD, *words)


@pytest.mark.parametrize("keeps_publisher", [True, False])
async def test_a_forged_head_begins_no_epoch(redis: RedisServer, tmp_path: Path, keeps_publisher: bool) -> None:
    make_keys(tmp_path / "key")
    origin = await Origin.make(Signer.read(tmp_path / "key").sign)
    async with published(origin, redis) as running:
        head = await Contents(redis).head()
        forged = replace(head, position=head.position._replace(revision=1_000), tick_ms=10**15)
        await _write_head(redis, forged if keeps_publisher else replace(forged, publisher="x"))
        await eventually(lambda: len(running.reports) > 2 and running.is_well, "noticed and healed")
        await Contents(redis).until_whole(origin)
    assert origin.begun == 0


async def test_a_forged_head_at_the_start_begins_no_epoch(redis: RedisServer, tmp_path: Path) -> None:
    make_keys(tmp_path / "key")
    origin = await Origin.make(Signer.read(tmp_path / "key").sign)
    head = (await origin.feed.head()).head
    await _write_head(redis, replace(head, position=head.position._replace(revision=1_000), publisher="x"))
    async with published(origin, redis):
        pass
    assert origin.begun == 0


# The look at the start


async def _look(origin: Origin, redis: RedisServer) -> list[str | None]:
    reports: list[str | None] = []
    looking = Publisher(
        redis.location(), origin.feed, origin.store.hash_at, origin.begin_epoch, reports.append, sign=origin.sign
    )
    await looking.look(0.5)
    await looking.close()
    return reports


async def test_a_look_at_an_empty_redis(redis: RedisServer, origin: Origin) -> None:
    assert await _look(origin, redis) == []
    assert await redis.keys() == []


async def test_a_look_at_what_is_its_own(redis: RedisServer, origin: Origin) -> None:
    async with published(origin, redis):
        pass
    before = await _everything(redis)
    assert await _look(origin.restarted(), redis) == []
    assert await _everything(redis) == before


async def test_a_look_at_a_redis_that_does_not_answer(redis: RedisServer, origin: Origin) -> None:
    redis.pause()
    async with asyncio.timeout(20):
        (problem,) = await _look(origin, redis)
    redis.resume()
    assert "no answer within 0.5 s" in (problem or "")


async def test_a_look_at_a_redis_that_is_away(redis: RedisServer, origin: Origin) -> None:
    await redis.kill()
    (problem,) = await _look(origin, redis)
    assert str(redis.socket) in (problem or "")
