"""The publisher with real servers: what it keeps in Redis, how it goes on, when it makes a new snapshot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Head, Snapshot
from policy_service.errors import Unavailable
from policy_service.replication import log_feed, publication, publisher
from policy_service.replication.redis_feed import RedisFeed
from policy_service.replication.signing import Signer, Verifier, make_keys
from tests.replication.contents import Contents
from tests.replication.origin import Origin, Publishing, eventually, followed, publishing
from tests.replication.redis_servers import RedisServer
from tests.store.support import member, team


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that begins waits less for another that may go on."""
    monkeypatch.setattr(publisher, "RIVAL_S", 0.2)


@asynccontextmanager
async def published(origin: Origin, redis: RedisServer) -> AsyncIterator[Publishing]:
    """A publisher that has brought Redis up to date."""
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: running.is_well, "publishes well")
        await Contents(redis).until_at(origin)
        yield running


async def test_a_fresh_follower_gets_everything(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    async with published(origin, redis) as running:
        await origin.grow(3)
        await origin.assert_equal(await followed(feed, origin.position))
    assert running.reports == [None]


async def test_nothing_that_is_needed_expires(redis: RedisServer, origin: Origin) -> None:
    async with published(origin, redis):
        await origin.grow(3)
        await Contents(redis).until_at(origin)
    keys = await redis.keys()
    assert len(keys) == 4
    assert [await redis.command("TTL", key) for key in keys] == [-1] * 4


async def test_an_empty_database(redis: RedisServer, feed: RedisFeed) -> None:
    origin = await Origin.make_empty()
    async with published(origin, redis):
        await origin.assert_equal(await followed(feed, origin.position))
        await origin.put(team("t"))
        await origin.assert_equal(await followed(feed, origin.position))


async def test_heads_come_while_nothing_changes(redis: RedisServer, origin: Origin) -> None:
    contents = Contents(redis)
    async with published(origin, redis):
        first = await contents.head()
        await contents.until_head_moves(first.tick_ms)


async def test_a_restart_goes_on(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    contents = Contents(redis)
    async with published(origin, redis):
        await origin.grow(3)
        await contents.until_at(origin)
    before = await contents.pointer(), await contents.log_ids()
    await origin.grow(2)  # the publisher is away
    async with published(origin.restarted(), redis):
        await origin.assert_equal(await followed(feed, origin.position))
    assert await contents.pointer() == before[0]
    assert await contents.log_ids() == [*before[1], b"5-0", b"6-0"]


async def test_a_follower_goes_on_over_a_restart(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    async with published(origin, redis):
        before = origin.position
        await origin.grow(2)
        await Contents(redis).until_at(origin)
    origin = origin.restarted()
    async with published(origin, redis):
        await origin.grow()
        items = feed.changes(before)
        revisions = [(await anext(items)).position.revision for _ in range(3)]
        await items.aclose()
    assert revisions == [2, 3, 4]


async def test_a_log_that_does_not_reach_back_is_begun_anew(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "MAX_BEHIND", 2)
    async with published(origin, redis):
        pass
    await origin.grow(5)
    origin = origin.restarted()
    async with published(origin, redis):
        await origin.assert_equal(await followed(feed, origin.position))
    assert await Contents(redis).log_ids() == []


async def test_scripts_that_redis_forgot(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    async with published(origin, redis) as running:
        await redis.command("SCRIPT", "FLUSH")
        await origin.grow(2)
        await origin.assert_equal(await followed(feed, origin.position))
    assert running.reports == [None]


# Large sets


async def test_a_large_set_goes_over_in_batches(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "PART_BYTES", 1_000)
    monkeypatch.setattr(publisher, "BATCH_BYTES", 3_000)
    async with published(origin, redis) as running:
        await origin.put(*(member("t", f"member-{number}") for number in range(500)))
        await origin.grow()
        await origin.assert_equal(await followed(feed, origin.position))
    assert running.reports == [None]


async def test_a_set_that_was_left_half_done_is_not_gone_on_with(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_feed, "PART_BYTES", 1_000)
    monkeypatch.setattr(publisher, "BATCH_BYTES", 2_500)
    changes = origin.feed.changes

    async def broken_off(after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        async with contextlib.aclosing(changes(after)) as items:
            async for item in items:
                if isinstance(item, ChangePart) and item.part == 4:
                    await asyncio.Event().wait()
                yield item

    monkeypatch.setattr(origin.feed, "changes", broken_off)
    contents = Contents(redis)
    async with published(origin, redis):
        await origin.put(*(member("t", f"member-{number}") for number in range(200)))
        await contents.until_log_has(4)
        assert (await contents.head()).position.revision == 1
    origin = origin.restarted()
    async with published(origin, redis):
        await origin.assert_equal(await followed(feed, origin.position))


# New snapshots


@pytest.mark.parametrize("limit", ["LOG_REVISIONS", "LOG_BYTES"])
async def test_a_log_that_outgrew_its_snapshot(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(publication, limit, {"LOG_REVISIONS": 10, "LOG_BYTES": 10_000}[limit])
    monkeypatch.setattr(log_feed, "SNAPSHOT_BEHIND", 0)
    contents, snapshots = Contents(redis), [(await origin.feed.snapshot()).manifest]
    async with published(origin, redis) as running:
        for _ in range(100):
            if len(snapshots) == 4:
                break
            await origin.grow()
            await contents.until_at(origin)
            manifest = await contents.pointer()
            if manifest != snapshots[-1]:
                assert manifest.position.revision - snapshots[-1].position.revision >= 10
                snapshots.append(manifest)
                await origin.assert_equal(await followed(feed, origin.position))
    assert len(snapshots) == 4
    assert running.reports == [None]
    assert (await contents.log_ids())[0] == b"%d-0" % (snapshots[-2].position.revision + 1)
    for manifest in snapshots:
        ttls = [await redis.command("TTL", key) for key in await contents.chunk_keys(manifest)]
        assert len(ttls) == 1
        if manifest == snapshots[-1]:
            assert ttls == [-1]
        else:
            assert 0 < ttls[0] <= publication.EXPIRY_S


async def test_an_old_pointer_whose_log_was_trimmed(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "LOG_REVISIONS", 10)
    monkeypatch.setattr(log_feed, "SNAPSHOT_BEHIND", 0)
    contents = Contents(redis)
    async with published(origin, redis):
        pointer = await contents.key(":snapshot")
        old = await redis.command("HGETALL", pointer)
        for _ in range(3):
            former = await contents.pointer()
            await origin.grow(11)
            await contents.until_other_pointer(former)
        await contents.until_at(origin)
    await redis.command("HSET", pointer, *old)
    monkeypatch.setattr(publication, "LOG_REVISIONS", 10_000)  # no other reason for a new snapshot
    origin = origin.restarted()
    async with published(origin, redis):
        await origin.assert_equal(await followed(feed, origin.position))


async def test_a_log_that_outgrew_its_snapshot_before_a_restart(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = Contents(redis)
    async with published(origin, redis):
        await origin.grow(15)
        await contents.until_at(origin)
        former = await contents.pointer()
    monkeypatch.setattr(publication, "LOG_BYTES", 10_000)
    async with published(origin.restarted(), redis):
        await contents.until_other_pointer(former)


async def test_a_snapshot_that_is_no_newer_is_not_published_again_and_again(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "LOG_BYTES", 0)
    asked = 0
    snapshot = origin.feed.snapshot

    async def counted() -> Snapshot:
        nonlocal asked
        asked += 1
        return await snapshot()

    monkeypatch.setattr(origin.feed, "snapshot", counted)
    contents = Contents(redis)
    async with published(origin, redis) as running:
        former = await contents.pointer()
        for _ in range(20):
            await origin.grow()
            await contents.until_at(origin)
        assert await contents.pointer() == former
    assert running.reports == [None]
    assert asked == 2


async def test_an_unfinished_snapshot_cleans_itself_up(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> Any:
        raise Unavailable("the authority stops here")

    monkeypatch.setattr(publisher, "reset", fail)
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: "stops here" in running.problem, "reported")
    (chunk,) = await redis.keys()
    assert 0 < await redis.command("TTL", chunk) <= publication.EXPIRY_S


# Signatures


async def test_another_key_signs_everything_anew(redis: RedisServer, feed: RedisFeed, tmp_path: Path) -> None:
    signers, verifiers = [], []
    for name in ("first", "second"):
        verifiers.append(Verifier.read(make_keys(tmp_path / name)))
        signers.append(Signer.read(tmp_path / name))
    origin = await Origin.make(signers[0].sign)
    async with published(origin, redis):
        await origin.grow(2)
        await _assert_signed(feed, origin.position, verifiers[0])
    origin = origin.restarted(signers[1].sign)
    async with published(origin, redis):
        await origin.grow(2)
        await _assert_signed(feed, origin.position, verifiers[1])


async def _assert_signed(feed: RedisFeed, position: Position, verifier: Verifier) -> None:
    await followed(feed, position)
    verifier.check((await feed.head()).head)
    manifest = (await feed.snapshot()).manifest
    verifier.check(manifest)
    items = feed.changes(manifest.position)
    while (item := await anext(items)).position != position:
        verifier.check(item)
    await items.aclose()


# Failures


async def test_redis_that_is_away_at_first(redis: RedisServer, origin: Origin, feed: RedisFeed) -> None:
    await redis.kill()
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: str(redis.socket) in running.problem, "reported")
        await redis.start()
        await eventually(lambda: running.is_well, "publishes well")
        await origin.assert_equal(await followed(feed, origin.position))


async def test_redis_that_is_paused_at_first(redis: RedisServer, origin: Origin) -> None:
    redis.pause()
    async with publishing(origin, redis.location(), timeout_s=0.2) as running:
        await eventually(lambda: "no answer within 0.2 s" in running.problem, "reported")
        redis.resume()
        await eventually(lambda: running.is_well, "publishes well")


async def test_what_goes_wrong_unexpectedly_is_reported_and_tried_again(
    redis: RedisServer, origin: Origin, feed: RedisFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Position) -> Any:
        raise RuntimeError("secret")

    async with published(origin, redis) as running:
        monkeypatch.setattr(origin.feed, "changes", fail)
        await redis.command("FLUSHALL")
        await eventually(lambda: running.problem.startswith("unexpected "), "reported")
        assert "secret" not in running.problem
        monkeypatch.undo()
        await eventually(lambda: running.is_well, "publishes well")
        await origin.assert_equal(await followed(feed, origin.position))


async def test_a_feed_that_says_nothing_is_reported(
    redis: RedisServer, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "SOURCE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(log_feed, "BOOKMARK_S", 3_600.0)
    async with publishing(origin, redis.location()) as running:
        await eventually(lambda: "said nothing for 0.2 s" in running.problem, "reported")
        monkeypatch.undo()
        origin.feed.wake()
        await eventually(lambda: running.is_well, "publishes well")


async def test_a_publisher_can_be_stopped_at_any_moment(redis: RedisServer, origin: Origin) -> None:
    """What it waits for when it is cancelled must not swallow that."""
    for round_ in range(100):
        async with publishing(origin, redis.location()):
            await origin.grow()
            await asyncio.sleep(round_ * 0.0002)
