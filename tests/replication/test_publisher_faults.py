"""What can happen to the content of Redis: after each the publisher heals it, and a follower that starts fresh comes to
the authority's state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import chain

import pytest

from policy_service.replication import publisher
from policy_service.replication.redis_feed import RedisFeed
from tests.replication.contents import Contents
from tests.replication.origin import Origin, eventually, followed, publishing
from tests.replication.redis_servers import RedisServer

Fault = Callable[[RedisServer, Contents], Awaitable[None]]

KEYS = (":head", ":log", ":snapshot", ":0")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "RIVAL_S", 0.2)


async def flushed(redis: RedisServer, _: Contents) -> None:
    await redis.command("FLUSHALL")


async def trimmed_to_nothing(redis: RedisServer, contents: Contents) -> None:
    await redis.command("XTRIM", await contents.key(":log"), "MAXLEN", 0)


async def trimmed(redis: RedisServer, contents: Contents) -> None:
    await redis.command("XTRIM", await contents.key(":log"), "MAXLEN", 2)


async def last_entry_gone(redis: RedisServer, contents: Contents) -> None:
    await redis.command("XDEL", await contents.key(":log"), (await contents.log_ids())[-1])


async def first_entry_gone(redis: RedisServer, contents: Contents) -> None:
    await redis.command("XDEL", await contents.key(":log"), (await contents.log_ids())[0])


async def an_entry_between_gone(redis: RedisServer, contents: Contents) -> None:
    await redis.command("XDEL", await contents.key(":log"), (await contents.log_ids())[2])


async def an_entry_more(redis: RedisServer, contents: Contents) -> None:
    await redis.command("XADD", await contents.key(":log"), "900-0", "header", "{}")


async def everything_in_the_log_foreign(redis: RedisServer, contents: Contents) -> None:
    log, ids = await contents.key(":log"), await contents.log_ids()
    await redis.transact(("DEL", log), *[("XADD", log, at.decode(), "a", "b") for at in ids])


async def head_garbage(redis: RedisServer, contents: Contents) -> None:
    await redis.command("HSET", await contents.key(":head"), "header", "{", "written_at", "never")


async def head_without_header(redis: RedisServer, contents: Contents) -> None:
    await redis.command("HDEL", await contents.key(":head"), "header")


async def pointer_garbage(redis: RedisServer, contents: Contents) -> None:
    await redis.command("HSET", await contents.key(":snapshot"), "header", "{")


async def pointer_signature(redis: RedisServer, contents: Contents) -> None:
    await redis.command("HSET", await contents.key(":snapshot"), "signature", "forged")


async def chunk_cut_short(redis: RedisServer, contents: Contents) -> None:
    await redis.command("SET", await contents.key(":0"), "[")


def deleted(ending: str) -> Fault:
    async def fault(redis: RedisServer, contents: Contents) -> None:
        await redis.command("DEL", await contents.key(ending))

    fault.__name__ = f"deleted{ending}"
    return fault


def of_another_type(ending: str) -> Fault:
    async def fault(redis: RedisServer, contents: Contents) -> None:
        key = await contents.key(ending)
        await redis.transact(("DEL", key), ("SADD", key, "x"))

    fault.__name__ = f"of_another_type{ending}"
    return fault


async def killed(redis: RedisServer, _: Contents) -> None:
    await redis.restart_empty()


FAULTS: tuple[Fault, ...] = (
    flushed,
    trimmed_to_nothing,
    trimmed,
    last_entry_gone,
    first_entry_gone,
    an_entry_between_gone,
    an_entry_more,
    everything_in_the_log_foreign,
    head_garbage,
    head_without_header,
    pointer_garbage,
    chunk_cut_short,
    killed,
    *(deleted(ending) for ending in KEYS),
    *(of_another_type(ending) for ending in KEYS),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_it_heals(redis: RedisServer, origin: Origin, feed: RedisFeed, fault: Fault) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location()) as running:
        await contents.until_at(origin)
        await origin.grow(5)
        await contents.until_whole(origin)
        await fault(redis, contents)
        await eventually(lambda: len(running.reports) > 2 and running.is_well, "noticed and healed")
        await contents.until_whole(origin)
        await origin.grow(2)
        await origin.assert_equal(await followed(feed, origin.position))
    chunks = await contents.chunk_keys(await contents.pointer())
    assert [await redis.command("TTL", chunk) for chunk in chunks] == [-1]
    assert origin.begun == 0


@pytest.mark.parametrize("fault", [*FAULTS, pointer_signature], ids=lambda fault: fault.__name__)
async def test_it_heals_what_happened_while_it_was_away(
    redis: RedisServer, origin: Origin, feed: RedisFeed, fault: Fault
) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location()):
        await contents.until_at(origin)
        await origin.grow(5)
        await contents.until_whole(origin)
    await fault(redis, contents)
    origin = origin.restarted()
    async with publishing(origin, redis.location()) as running:
        await contents.until_whole(origin)
        await origin.grow(2)
        await origin.assert_equal(await followed(feed, origin.position))
    assert running.reports == [None]
    pointer = await contents.pointer()
    assert pointer.signature == origin.sign(pointer.signed)
    assert origin.begun == 0


@pytest.mark.parametrize("away", [False, True], ids=["publishing", "away"])
async def test_an_old_dump(redis: RedisServer, origin: Origin, feed: RedisFeed, away: bool) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location()) as running:
        await contents.until_at(origin)
        await origin.grow(3)
        await contents.until_at(origin)
        await redis.dump()
        await origin.grow(3)
        await contents.until_at(origin)
        if not away:
            await redis.restart()
            await origin.grow()
            await contents.until_whole(origin)
            await eventually(lambda: running.is_well, "publishes well")
    if away:
        await redis.restart()
        origin = origin.restarted()
        async with publishing(origin, redis.location()):
            await contents.until_whole(origin)
    await origin.assert_equal(await followed(feed, origin.position))
    assert origin.begun == 0


@pytest.mark.parametrize("fields", [("header", "signature"), ("header", "signature", "log_bytes", "entries")])
async def test_an_old_head(redis: RedisServer, origin: Origin, feed: RedisFeed, fields: tuple[str, ...]) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location()):
        await contents.until_at(origin)
        head = await contents.key(":head")
        for _ in range(2):
            old = await redis.command("HMGET", head, *fields)
            await origin.grow(3)
            await contents.until_at(origin)
            await redis.command("HSET", head, *chain(*zip(fields, old, strict=True)))
            await contents.until_whole(origin)
        await origin.assert_equal(await followed(feed, origin.position))


@pytest.mark.parametrize("ending", KEYS)
async def test_what_was_deleted_is_named(redis: RedisServer, origin: Origin, ending: str) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location()) as running:
        await contents.until_at(origin)
        await origin.grow(5)
        await contents.until_whole(origin)
        key = await contents.key(ending)
        await redis.command("DEL", key)
        await eventually(lambda: len(running.reports) > 2, "noticed and healed")
    named = f"{key.removesuffix('0')}*" if ending == ":0" else key
    assert running.reports[1] == f"{named} in Redis is not as it was written: deleted, trimmed or overwritten"


async def test_paused_for_longer_than_the_timeouts(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location(), timeout_s=0.3) as running:
        await contents.until_at(origin)
        redis.pause()
        await origin.grow(3)
        await eventually(lambda: "no answer within 0.3 s" in running.problem, "reported")
        redis.resume()
        await contents.until_whole(origin)
        await eventually(lambda: running.is_well, "publishes well")
        await origin.assert_equal(await followed(feed, origin.position))
    assert origin.begun == 0


async def test_killed_again_and_again_while_the_authority_goes_on(
    redis: RedisServer, origin: Origin, feed: RedisFeed
) -> None:
    contents = Contents(redis)
    async with publishing(origin, redis.location()):
        for restart in (redis.restart_empty, redis.restart, redis.restart_empty):
            await origin.grow(5)
            await contents.until_at(origin)
            await redis.dump()
            await origin.grow(5)
            await restart()
        await contents.until_whole(origin)
        await origin.assert_equal(await followed(feed, origin.position))
