"""A replica as the source of checks: when it refuses, what it says of staleness, how it waits for a revision."""

from __future__ import annotations

import asyncio

import pytest

from policy_service.errors import InvalidArgument, PreconditionFailed, RevisionNotReached, Unavailable
from policy_service.replication import source as source_module
from policy_service.replication.replica import Condition, Replica
from policy_service.replication.source import MARGIN_S, MAX_WAITERS, ReplicaSource
from tests.replication.feeds import Chronicle, FaultyFeed, caught_up, following, in_no_time, now, replica_of, until
from tests.store.support import model, team

WAIT_S = 2.0


def source_of(replica: Replica, refuse_when_stale: bool = False, wait_s: float = WAIT_S) -> ReplicaSource:
    return ReplicaSource(replica, refuse_when_stale=refuse_when_stale, wait_s=wait_s)


def no_deadline() -> None:
    return None


async def not_reached(source: ReplicaSource, wanted: str, left_s: float | None = None) -> float:
    """How long it was waited in vain."""
    began = now()
    with pytest.raises(RevisionNotReached) as caught:
        await source.reach(wanted, lambda: left_s)
    assert caught.value.subject == wanted
    assert caught.value.current == source.read().state.revision
    return now() - began


def token(origin: Chronicle, more: int) -> str:
    return origin.position._replace(revision=origin.position.revision + more).token


# Reading


@in_no_time
async def test_without_a_policy_nothing_is_answered() -> None:
    replica = replica_of(FaultyFeed(await Chronicle.start(team("t"))))
    source = source_of(replica)
    assert source.problem() == "this replica has no policy yet"
    with pytest.raises(Unavailable, match="no policy yet"):
        source.read()
    with pytest.raises(Unavailable, match="no policy yet"):
        await source.reach("e.1", no_deadline)


@pytest.mark.parametrize("refuse_when_stale", [False, True])
@in_no_time
async def test_fresh_stale_too_old(refuse_when_stale: bool) -> None:
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, max_staleness_s=10.0, max_policy_age_s=100.0)) as replica:
        await caught_up(replica, origin)
        source = source_of(replica, refuse_when_stale)
        assert source.problem() is None
        assert source.read() == (replica.state, False)
        feed.is_down = True
        await until(lambda: replica.condition is Condition.STALE)
        if refuse_when_stale:
            assert "configured to refuse" in str(source.problem())
            with pytest.raises(Unavailable, match="configured to refuse"):
                source.read()
        else:
            assert source.problem() is None
            assert source.read() == (replica.state, True)
        await until(lambda: replica.is_too_old)
        assert "max_policy_age_s" in str(source.problem())
        with pytest.raises(Unavailable, match="older than it may be at all"):
            source.read()
        feed.is_down = False
        await caught_up(replica, origin)
        assert source.problem() is None
        assert source.read() == (replica.state, False)


@in_no_time
async def test_the_state_is_the_one_that_was_loaded_last() -> None:
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        source = source_of(replica)
        former = source.read().state
        await origin.begin_epoch()
        await caught_up(replica, origin)
        assert source.read().state is replica.state is not former


# Reaching a revision


@in_no_time
async def test_what_is_reached_is_not_waited_for() -> None:
    origin = await Chronicle.start(team("t"))
    await origin.put(model("a"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        source = source_of(replica, wait_s=0.0)
        for more in (-2, -1, 0):
            await source.reach(token(origin, more), no_deadline)
        await source.reach(token(origin, 0), lambda: -1.0)


@in_no_time
async def test_what_comes_is_waited_for() -> None:
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        source = source_of(replica)
        waiting = [asyncio.create_task(source.reach(token(origin, more), no_deadline)) for more in (1, 3, 3, 4)]
        for done in ([True, False, False, False], [True, False, False, False], [True, True, True, False]):
            await asyncio.sleep(0.1)
            await origin.put(model("a", str(done)))
            await caught_up(replica, origin)
            assert [task.done() for task in waiting] == done
        await asyncio.gather(*waiting[:3])
        with pytest.raises(RevisionNotReached):
            await waiting[3]


@pytest.mark.parametrize(
    ("wait_s", "left_s", "expected"),
    [
        (2.0, None, 2.0),
        (2.0, 100.0, 2.0),
        (2.0, 1.5, 1.5 - MARGIN_S),
        (2.0, 2.0, 2.0 - MARGIN_S),
        (2.0, MARGIN_S / 2, 0.0),
        (2.0, -5.0, 0.0),
        (0.0, None, 0.0),
        (0.0, 100.0, 0.0),
    ],
)
@in_no_time
async def test_how_long_it_is_waited(wait_s: float, left_s: float | None, expected: float) -> None:
    """As configured, and so that the answer is there before the deadline."""
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        waited = await not_reached(source_of(replica, wait_s=wait_s), token(origin, 1), left_s)
        assert waited == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("wanted", ["another.1", "another.0", "zzz.999999999999999999"])
@in_no_time
async def test_an_unknown_epoch_waits_like_a_higher_revision(wanted: str) -> None:
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        assert await not_reached(source_of(replica), wanted) == pytest.approx(WAIT_S, abs=0.001)


@in_no_time
async def test_an_epoch_that_is_coming_is_waited_for() -> None:
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        feed.is_down = True
        await origin.begin_epoch()
        await asyncio.sleep(5)
        feed.is_down = False
        await source_of(replica, wait_s=20.0).reach(token(origin, 0), no_deadline)
        assert replica.state is not None
        assert replica.state.revision == token(origin, 0)


@in_no_time
async def test_a_former_epoch_is_refused_at_once() -> None:
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        former = [token(origin, 0), token(origin, 100)]
        await caught_up(replica, origin)
        for _ in range(2):
            await origin.begin_epoch()
        await caught_up(replica, origin)
        source, began = source_of(replica), now()
        for wanted in former:
            with pytest.raises(PreconditionFailed) as caught:
                await source.reach(wanted, no_deadline)
            assert (caught.value.reason, caught.value.subject) == ("EPOCH_SUPERSEDED", wanted)
        assert now() == began


@in_no_time
async def test_what_becomes_a_former_epoch_is_not_waited_for_any_longer() -> None:
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        waiting = asyncio.create_task(source_of(replica, wait_s=1e6).reach(token(origin, 1), no_deadline))
        await asyncio.sleep(0.1)
        await origin.begin_epoch()
        await caught_up(replica, origin)
        with pytest.raises(PreconditionFailed) as caught:
            await waiting
        assert caught.value.reason == "EPOCH_SUPERSEDED"


@pytest.mark.parametrize(
    "wanted", ["", "1", "e", "e.", ".1", "e.01", "e.-1", "E.1", "e.1 ", "e.1.1", "e.1234567890123456789"]
)
@in_no_time
async def test_what_is_no_revision_is_invalid_at_once(wanted: str) -> None:
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        began = now()
        with pytest.raises(InvalidArgument) as caught:
            await source_of(replica).reach(wanted, no_deadline)
        assert [violation.field for violation in caught.value.violations] == ["at_least_revision"]
        assert now() == began


@in_no_time
async def test_no_more_than_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_WAITERS == 1_000
    monkeypatch.setattr(source_module, "MAX_WAITERS", 3)
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        source = source_of(replica, wait_s=100.0)
        wanted = token(origin, 1)
        for _ in range(3):  # whoever ends makes room, whatever the reason
            waiting = [asyncio.create_task(source.reach(wanted, no_deadline)) for _ in range(3)]
            await asyncio.sleep(0.01)
            assert await not_reached(source, wanted) == 0
            await source.reach(token(origin, 0), no_deadline)
            waiting.pop().cancel()
            await asyncio.sleep(0.01)
            assert await not_reached(source, wanted, 1.0) == pytest.approx(1.0 - MARGIN_S, abs=0.001)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        await origin.put(model("a"))
        await source.reach(wanted, no_deadline)


@in_no_time
async def test_a_policy_that_may_no_longer_be_used_while_it_is_waited() -> None:
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, max_staleness_s=5.0)) as replica:
        await caught_up(replica, origin)
        feed.is_down = True
        with pytest.raises(Unavailable, match="configured to refuse"):
            await source_of(replica, refuse_when_stale=True, wait_s=30.0).reach(token(origin, 1), no_deadline)


@in_no_time
async def test_revoked_on_one_replica_is_never_allowed_on_another_that_is_asked_with_the_revision() -> None:
    """What a caller saw of a change, no later check is behind: it waits, or it is refused."""
    origin = await Chronicle.start(team("t"))
    feeds = [FaultyFeed(origin) for _ in range(2)]
    async with following(replica_of(feeds[0])) as first, following(replica_of(feeds[1])) as second:
        for replica in (first, second):
            await caught_up(replica, origin)
        source = source_of(second)
        for turn in range(20):
            if turn % 2:
                feeds[1].pause()
            await origin.put(team("t", blocked=turn % 3 == 0))
            await caught_up(first, origin)
            assert first.state is not None
            try:
                await source.reach(first.state.revision, no_deadline)
            except RevisionNotReached:
                assert turn % 2
            else:
                assert source.read().state.teams["t"].blocked is (turn % 3 == 0)
            feeds[1].resume()
