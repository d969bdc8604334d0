"""The feed from Redis: what a follower gets, and what it is told when Redis does not have it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Head, HeardHead
from policy_service.errors import FeedUnavailable, Malformed, RevisionCompacted, UnknownFormat
from policy_service.replication import log_feed, redis_feed
from policy_service.replication.redis_feed import RedisFeed
from tests.replication import origin as origins
from tests.replication.contents import Contents
from tests.replication.origin import LIMIT_S, Origin, eventually, followed, publishing
from tests.replication.redis_servers import PREFIX, RedisServer, front
from tests.store.support import member

HEAD = f"{PREFIX}:head"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_feed, "TRY_AGAIN_S", 0.02)


@pytest.fixture
async def published(redis: RedisServer, origin: Origin) -> Origin:
    """An authority that published revisions 1 (in the snapshot) to 6 (the last of the log), and does so no more."""
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: running.is_well, "published")
        await origin.grow(5)
        await _published_up_to(redis, origin.position)
    return origin


async def _published_up_to(redis: RedisServer, position: Position) -> None:
    async with origins.redis_feed(redis.location()) as feed:
        await followed(feed, position)


async def _changes(feed: RedisFeed, after: Position, count: int) -> list[ChangePart | Head]:
    async with asyncio.timeout(LIMIT_S), contextlib.aclosing(feed.changes(after)) as items:
        return [await anext(items) for _ in range(count)]


async def _at(origin: Origin, revision: int) -> Position:
    hash_ = await origin.store.hash_at(revision)
    assert hash_ is not None
    return Position(origin.position.epoch, revision, hash_, "0" * 32)


def _log(origin: Origin) -> str:
    return f"{PREFIX}:{origin.position.epoch}:log"


def _pointer(origin: Origin) -> str:
    return f"{PREFIX}:{origin.position.epoch}:snapshot"


# Heads


async def test_nobody_has_published(feed: RedisFeed) -> None:
    for ask in (feed.head, feed.snapshot):
        with pytest.raises(FeedUnavailable, match=f"nobody has published a head as {HEAD} yet"):
            await ask()


async def test_a_head_has_its_age_on_the_clock_of_redis(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    heard = await feed.head()
    assert heard.head.position == published.position
    assert 0 <= heard.age_s < LIMIT_S
    seconds, _ = await redis.command("TIME")
    await redis.command("HSET", HEAD, "written_at", (int(seconds) - 1_000) * 1_000_000)
    assert 1_000 <= (await feed.head()).age_s < 1_000 + LIMIT_S


async def test_a_head_from_the_future_is_none(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    seconds, _ = await redis.command("TIME")
    await redis.command("HSET", HEAD, "written_at", (int(seconds) + 1_000) * 1_000_000)
    with pytest.raises(FeedUnavailable, match="from the future"):
        await feed.head()


async def test_a_head_that_does_not_decode(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    header = json.loads(await redis.command("HGET", HEAD, "header"))
    for fields, error in (
        ({"written_at": "soon"}, Malformed),
        ({"written_at": ""}, Malformed),
        ({"header": "{"}, Malformed),
        ({"header": json.dumps(header | {"revision": -1})}, Malformed),
        ({"header": json.dumps(header | {"format": 1_000})}, UnknownFormat),
        ({"header": ""}, FeedUnavailable),
    ):
        whole = await redis.command("HGETALL", HEAD)
        await redis.command("HSET", HEAD, *(word for pair in fields.items() for word in pair))
        with pytest.raises(error):
            await feed.head()
        await redis.command("HSET", HEAD, *whole)
    await feed.head()


# Changes


async def test_a_fresh_follower_gets_everything(published: Origin, feed: RedisFeed) -> None:
    await published.assert_equal(await followed(feed, published.position))


async def test_changes_come_in_order_with_their_head_after_them(published: Origin, feed: RedisFeed) -> None:
    items = await _changes(feed, await _at(published, 2), 5)
    assert [item.position.revision for item in items if isinstance(item, ChangePart)] == [3, 4, 5, 6]
    assert isinstance(items[-1], Head)
    assert items[-1].position == published.position


async def test_heads_come_while_changes_never_end(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    async def grow() -> None:
        while True:
            await origin.grow()
            await asyncio.sleep(0.01)

    async with publishing(origin, redis.location()):
        await followed(feed, origin.position)
        start = origin.position
        growing = asyncio.create_task(grow())
        at, heads = start.revision, 0
        async with asyncio.timeout(LIMIT_S), contextlib.aclosing(feed.changes(start)) as items:
            while heads < 4:
                item = await anext(items)
                if isinstance(item, Head):
                    assert item.position.revision <= at
                    heads += 1
                else:
                    at += 1
                    assert item.position.revision == at
        growing.cancel()
    assert at > start.revision


async def test_heads_come_although_each_is_ahead_of_what_was_read(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_feed, "BLOCK_S", 0.05)
    head = feed.head

    async def later_head() -> HeardHead:
        await origin.grow()
        await Contents(redis).until_at(origin)
        return await head()

    async with publishing(origin, redis.location()):
        await followed(feed, origin.position)
        monkeypatch.setattr(feed, "head", later_head)
        items = await _changes(feed, origin.position, 8)
    assert [type(item) for item in items] == [ChangePart, Head] * 4
    assert [item.position.revision for item in items] == [2, 2, 3, 3, 4, 4, 5, 5]


async def test_heads_come_while_nothing_changes(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    async with publishing(origin, redis.location()):
        await followed(feed, origin.position)
        heads = await _changes(feed, origin.position, 3)
    assert all(isinstance(head, Head) and head.position == origin.position for head in heads)
    ticks = [head.tick_ms for head in heads if isinstance(head, Head)]
    assert ticks == sorted(ticks)
    assert len(set(ticks)) > 1


async def test_a_large_set_comes_in_parts(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "PART_BYTES", 1_000)
    async with publishing(origin, redis.location()):
        await followed(feed, origin.position)
        before = origin.position
        await origin.put(*(member("t", f"member-{number}") for number in range(500)))
        await origin.grow()
        await origin.assert_equal(await followed(feed, origin.position))
        items = await _changes(feed, before, 10)
    parts = [item for item in items if isinstance(item, ChangePart)]
    assert [part.part for part in parts] == list(range(len(parts)))


async def test_another_epoch_is_handed_out_for_the_follower_to_decide(published: Origin, feed: RedisFeed) -> None:
    (head,) = await _changes(feed, published.position._replace(epoch="other"), 1)
    assert isinstance(head, Head)
    assert head.position == published.position


async def test_a_head_that_went_back_is_handed_out(published: Origin, feed: RedisFeed) -> None:
    (head,) = await _changes(feed, published.position._replace(revision=1_000), 1)
    assert head.position == published.position


# The log does not go on


async def _compacted(feed: RedisFeed, after: Position) -> str:
    with pytest.raises(RevisionCompacted) as caught:
        await _changes(feed, after, 100)
    return str(caught.value)


async def test_a_gap(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    after = await _at(published, 2)
    await redis.command("XDEL", _log(published), "4-0")
    assert "after 0 parts of the next comes part 0 of" in await _compacted(feed, after)


async def test_a_part_that_is_missing(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "PART_BYTES", 1_000)
    async with publishing(origin, redis.location()):
        await followed(feed, origin.position)
        before = origin.position
        await origin.put(*(member("t", f"member-{number}") for number in range(200)))
        await followed(feed, origin.position)
    await redis.command("XDEL", _log(origin), f"{origin.position.revision}-1")
    assert "after 1 parts of the next comes part 2" in await _compacted(feed, before)


async def test_a_trimmed_log(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.command("XTRIM", _log(published), "MAXLEN", 2)
    await _compacted(feed, await _at(published, 2))
    assert len(await _changes(feed, await _at(published, 4), 3)) == 3


async def test_a_log_that_is_gone(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.command("DEL", _log(published))
    assert "lost or trimmed" in await _compacted(feed, await _at(published, 2))


async def test_a_log_that_began_again_at_lower_ids(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    (first,) = await redis.command("XRANGE", _log(published), "-", "+", "COUNT", 1)
    await redis.command("DEL", _log(published))
    await redis.command("XADD", _log(published), *first[:1], *first[1])
    assert "lost or trimmed" in await _compacted(feed, await _at(published, 4))


async def test_a_log_of_another_epoch(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.command("RENAME", _log(published), f"{PREFIX}:other:log")
    await _compacted(feed, (await _at(published, 2))._replace(epoch="other"))


async def test_far_behind(published: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_feed, "MAX_BEHIND", 3)
    assert "more than 3 behind" in await _compacted(feed, await _at(published, 2))
    assert len(await _changes(feed, await _at(published, 3), 4)) == 4


# Snapshots


async def _chunks(feed: RedisFeed) -> list[bytes]:
    snapshot = await feed.snapshot()
    return [chunk async for chunk in snapshot.chunks]


async def test_no_pointer(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.command("DEL", _pointer(published))
    with pytest.raises(FeedUnavailable, match=f"there is no {_pointer(published)}"):
        await feed.snapshot()


async def test_no_chunks(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.command("DEL", *await redis.keys(f"{PREFIX}:*:snapshot:*"))
    with pytest.raises(FeedUnavailable, match="lacks chunks"):
        await feed.snapshot()


async def test_a_pointer_that_is_switched_meanwhile(
    redis: RedisServer, published: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_feed, "TRIES", 1_000)
    (chunk,) = await redis.keys(f"{PREFIX}:*:snapshot:*")
    await redis.command("RENAME", chunk, "elsewhere")
    reading = asyncio.create_task(_chunks(feed))
    await asyncio.sleep(0.2)
    assert not reading.done()
    await redis.command("RENAME", "elsewhere", chunk)
    async with asyncio.timeout(LIMIT_S):
        assert len(await reading) == 1


async def test_a_chunk_that_goes_away_meanwhile(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "CHUNK_BYTES", 200)
    await origin.put(*(member("t", f"member-{number}") for number in range(50)))
    async with publishing(origin, redis.location()):
        await followed(feed, origin.position)
    snapshot = await feed.snapshot()
    assert len(snapshot.manifest.checksums) > 1
    await anext(snapshot.chunks)
    await redis.command("DEL", *await redis.keys(f"{PREFIX}:*:snapshot:*"))
    with pytest.raises(FeedUnavailable, match=r"chunk 1 of the snapshot of revision .* is gone"):
        await anext(snapshot.chunks)


async def test_a_snapshot_of_another_epoch(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    header = json.loads(await redis.command("HGET", _pointer(published), "header"))
    await redis.command("HSET", _pointer(published), "header", json.dumps(header | {"epoch": "other"}))
    with pytest.raises(Malformed, match="says that it is of other"):
        await feed.snapshot()


# What is no policy


async def _read_everything(feed: RedisFeed, after: Position) -> None:
    await _chunks(feed)
    await _changes(feed, after, 100)


async def test_wrong_types(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    after = await _at(published, 2)
    for key in await redis.keys():
        kept = await redis.command("DUMP", key)
        await redis.transact(("DEL", key), ("SADD", key, "x"))
        with pytest.raises(FeedUnavailable):
            await _read_everything(feed, after)
        await redis.command("RESTORE", key, 0, kept, "REPLACE")
    assert len(await _changes(feed, after, 5)) == 5


async def test_an_entry_that_is_none(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.command("XADD", _log(published), "7-0", "header", "{}", "payload", "[]")
    with pytest.raises(Malformed, match="has no signature"):
        await _changes(feed, await _at(published, 2), 100)


# Redis does not answer


async def _assert_every_call_fails(feed: RedisFeed, items: Any) -> None:
    for asking in (anext(items), feed.head(), feed.snapshot()):
        with pytest.raises(FeedUnavailable):
            async with asyncio.timeout(LIMIT_S):
                await asking


async def test_a_paused_server_holds_nobody_up(redis: RedisServer, published: Origin) -> None:
    async with origins.redis_feed(redis.location(), timeout_s=0.2) as feed:
        items = feed.changes(published.position)
        await anext(items)
        redis.pause()
        await _assert_every_call_fails(feed, items)
        redis.resume()
        await published.assert_equal(await followed(feed, published.position))


async def test_a_network_that_drops_everything_holds_nobody_up(redis: RedisServer, published: Origin) -> None:
    async with front(redis) as passing:
        location = origins.RedisLocation(f"redis://127.0.0.1:{passing.port}", PREFIX)
        async with origins.redis_feed(location, timeout_s=0.2) as feed:
            items = feed.changes(published.position)
            await anext(items)
            passing.cut()
            await _assert_every_call_fails(feed, items)
            passing.mend()
            await published.assert_equal(await followed(feed, published.position))


async def test_a_killed_server(redis: RedisServer, published: Origin, feed: RedisFeed) -> None:
    await redis.dump()
    items = feed.changes(published.position)
    await anext(items)
    await redis.kill()
    await _assert_every_call_fails(feed, items)
    await redis.start()
    await published.assert_equal(await followed(feed, published.position))


async def test_a_head_is_read_while_changes_are_awaited(
    redis: RedisServer, published: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_feed, "BLOCK_S", 2 * LIMIT_S)
    async with origins.redis_feed(redis.location(), timeout_s=4 * LIMIT_S) as feed:
        items = feed.changes(published.position)
        await anext(items)
        waiting = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(LIMIT_S):
            await feed.head()
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_closing_twice(feed: RedisFeed) -> None:
    await feed.close()
    await feed.close()
