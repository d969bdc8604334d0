"""What a replica does about each thing that goes wrong, and what it says."""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import replace

import pytest

from policy_service import slices
from policy_service.domain.feed import ChangePart, Head, HeardHead, Manifest, Signable
from policy_service.domain.state import LARGE, SLICE, State
from policy_service.errors import DigestMismatch, FeedUnavailable, Untrusted
from policy_service.replication import loading
from policy_service.replication.loading import collector_paused, load_snapshot
from policy_service.replication.log_feed import BOOKMARK_S
from policy_service.replication.replica import MAX_DELAY_S, Condition, Replica
from policy_service.slices import each_in_slices, in_slices
from tests.replication.feeds import (
    Chronicle,
    FaultyFeed,
    TimelessLoop,
    caught_up,
    changes_of,
    following,
    in_no_time,
    lied,
    now,
    replica_of,
    until,
)
from tests.store.support import Change, dump, member, model, only, team

BEGINNING = (team("t"), member("t", "ann", only("a")), model("a"))


def loop() -> TimelessLoop:
    found = asyncio.get_running_loop()
    assert isinstance(found, TimelessLoop)
    return found


def said(replica: Replica) -> str:
    return "" if replica.failure is None else replica.failure.message


def seldom(calls: int, seconds: float) -> bool:
    """Whether so many calls are what is left once they have become as rare as they do: half of MAX_DELAY_S at least
    lies between two. Some more come at the beginning, and a session may last a moment."""
    return seconds / (MAX_DELAY_S + BOOKMARK_S + 1) <= calls <= seconds / (MAX_DELAY_S / 2) + 10


# The usual


@in_no_time
async def test_it_follows() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    replica = replica_of(feed)
    assert (replica.condition, replica.state, replica.age_s, replica.head) == (Condition.SYNCING, None, None, None)
    async with following(replica):
        await caught_up(replica, origin)
        served = replica.state
        for at in range(5):
            await origin.put(member("t", f"u{at}"), model("a", f"{at}"))
            await caught_up(replica, origin)
        await origin.drop(team("t"))
        await caught_up(replica, origin)
        assert replica.state is served
        assert replica.head is not None
        assert replica.head.position == origin.position
    assert feed.calls["snapshot"] == feed.calls["changes"] == 1
    assert replica.counters == {"snapshots_loaded": 1, "change_sets_applied": 6}


@in_no_time
async def test_a_stream_that_is_cut_goes_on_where_it_was() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        for at, fault in enumerate(("cut", "die", "cancel", "repeat", "newer") * 3):
            await caught_up(replica, origin)
            feed.faults.append(fault)
            await origin.put(model("a", f"{at}"))
        await caught_up(replica, origin)
    assert feed.calls["snapshot"] == 1


@in_no_time
async def test_neither_task_ends_by_itself() -> None:
    """A call that is cancelled by somebody else, as gRPC does when a channel is closed, is a call that failed."""

    class Cancelled(FaultyFeed):
        cancels = False

        async def head(self) -> HeardHead:
            if self.cancels:
                raise asyncio.CancelledError
            return await super().head()

    origin = await Chronicle.start(*BEGINNING)
    feed = Cancelled(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        feed.cancels = True
        await asyncio.sleep(30)
        assert replica.condition is Condition.STALE
        feed.cancels = False
        await caught_up(replica, origin)
    assert replica.counters["errors_feed_unavailable"] > 10


@in_no_time
async def test_cancelling_it_ends_it() -> None:
    origin = await Chronicle.start(*BEGINNING)
    for wait_s in (0.0, 0.01, 0.05, 1.0, 5.0):
        feed = FaultyFeed(origin)
        feed.is_down = wait_s == 5.0
        task = asyncio.create_task(replica_of(feed).run())
        await asyncio.sleep(wait_s)
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()


@in_no_time
async def test_a_stream_that_ends_at_once_is_not_asked_for_again_and_again() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    feed.ends_quietly = True
    async with following(replica_of(feed)) as replica:
        await asyncio.sleep(60)
        assert seldom(feed.calls["changes"], 60)
        feed.ends_quietly = False
        await caught_up(replica, origin)


@in_no_time
async def test_it_asks_less_and_less_often_and_at_once_after_a_good_time() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        for _ in range(2):
            feed.is_down = True
            calls = feed.calls["changes"]
            await asyncio.sleep(3)
            assert feed.calls["changes"] > calls + 2, "soon at first"
            await asyncio.sleep(100)
            calls = feed.calls["changes"]
            await asyncio.sleep(100)
            assert seldom(feed.calls["changes"] - calls, 100)
            feed.is_down = False
            await caught_up(replica, origin)


@in_no_time
async def test_what_repeats_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        for _ in range(2):
            await caught_up(replica, origin)
            caplog.clear()
            feed.is_down = True
            await asyncio.sleep(200)
            assert {record.getMessage() for record in caplog.records} == {"the feed cannot be followed"}
            assert {record.levelno for record in caplog.records} == {logging.WARNING}
            errors = [record.fields["error"] for record in caplog.records]
            assert sorted(errors) == ["the test's feed is down", "the test's stream has ended"]
            assert said(replica) == "the test's feed is down"
            feed.is_down = False
    assert replica.counters["errors_feed_unavailable"] > 100


# Age


@in_no_time
async def test_fresh_until_the_feed_has_been_silent_for_too_long() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, max_staleness_s=10.0)) as replica:
        await caught_up(replica, origin)
        feed.is_down = True
        await until(lambda: replica.age_s is not None and replica.age_s > 1.1)
        began = now()
        await asyncio.sleep(8)
        assert replica.condition is Condition.FRESH
        await until(lambda: replica.condition is Condition.STALE)
        assert now() - began == pytest.approx(8.9, abs=0.1)
        assert replica.state is not None


@in_no_time
async def test_a_process_that_was_stopped_is_stale_at_once() -> None:
    """What the streams bring meanwhile, and an answer that was under way, is as old as it is."""
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, max_staleness_s=10.0)) as replica:
        await caught_up(replica, origin)
        feed.latency_s = 1.0
        for seconds in (1.1, 1.3, 1.7):
            await asyncio.sleep(seconds)
            assert replica.condition is Condition.FRESH
            heads = feed.calls["head"]
            loop().pass_unnoticed(60)
            while feed.calls["head"] == heads:
                assert replica.condition is Condition.STALE
                await asyncio.sleep(0.01)
            await caught_up(replica, origin)


@in_no_time
async def test_a_head_proves_the_time_at_which_it_was_asked_for() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    feed.latency_s = 4.0
    async with following(replica_of(feed, max_staleness_s=3.0)) as replica:
        await until(lambda: replica.age_s is not None)
        for _ in range(2_000):
            assert replica.age_s is not None
            assert replica.age_s >= 4.0
            assert replica.condition is Condition.STALE
            await asyncio.sleep(0.01)


@in_no_time
async def test_a_head_that_is_not_applied_yet_proves_nothing_until_it_is() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        feed.pause()
        await origin.put(model("b"))
        changed = now()
        await asyncio.sleep(30)
        assert replica.condition is Condition.STALE
        assert replica.age_s is not None
        assert replica.age_s >= now() - changed
        assert replica.head is not None
        assert replica.head.position == origin.position
        feed.resume()
        await until(lambda: replica.condition is Condition.FRESH, limit_s=1.0)
        await caught_up(replica, origin)


@in_no_time
async def test_a_head_that_was_asked_for_another_state_says_nothing_of_this_one() -> None:
    """It is under way while the epoch changes."""
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        feed.latency_s = 4.0
        for wait_s in (3.1, 3.7, 4.3, 4.9, 5.5, 6.1):
            await asyncio.sleep(wait_s)
            former = replica.state
            await origin.begin_epoch()
            await until(lambda former=former: replica.state is not former)
            assert (replica.condition, replica.age_s) == (Condition.STALE, None)
            await caught_up(replica, origin)
            assert replica.age_s is not None
            assert replica.age_s >= 4.0
    assert replica.counters["errors_digest_mismatch"] == 0


@in_no_time
async def test_a_quiet_stream_is_no_evidence() -> None:
    """Bookmarks come, and heads that are asked for do not."""

    class Deaf(FaultyFeed):
        async def head(self) -> HeardHead:
            raise FeedUnavailable("no heads")

    origin = await Chronicle.start(*BEGINNING)
    async with following(replica_of(Deaf(origin))) as replica:
        await asyncio.sleep(30)
        assert replica.state is not None
        assert (replica.condition, replica.age_s) == (Condition.STALE, None)


@in_no_time
async def test_too_old_when_nobody_has_answered_for_a_day() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, max_policy_age_s=100.0)) as replica:
        await caught_up(replica, origin)
        await asyncio.sleep(500)
        assert not replica.is_too_old
        feed.is_down = True
        await asyncio.sleep(95)
        assert not replica.is_too_old
        await asyncio.sleep(7)
        assert replica.is_too_old


# Digests


@in_no_time
async def test_a_digest_that_does_not_match_makes_it_stale_at_once() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        former = replica.state
        feed.lies = True
        await until(lambda: replica.counters["errors_digest_mismatch"])
        assert (replica.condition, replica.age_s) == (Condition.STALE, None)
        assert not replica.is_too_old
        assert "the authority has digest" in said(replica)
        assert replica.state is former, "it is served all the same"
        feed.lies = False
        await caught_up(replica, origin)
        assert replica.state is not former


@in_no_time
async def test_a_set_whose_digest_does_not_match_is_not_applied(caplog: pytest.LogCaptureFixture) -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        before = dump(origin.state)
        feed.spoilt[2] = "lie"
        await origin.put(model("b"))
        await until(lambda: replica.counters["errors_digest_mismatch"])
        assert replica.condition is Condition.STALE
        assert replica.state is not None
        assert dump(replica.state) == before
        del feed.spoilt[2]
        await caught_up(replica, origin)
        assert feed.calls["snapshot"] == 2
    assert "ERROR" in {record.levelname for record in caplog.records if "cannot be followed" in record.getMessage()}


@pytest.mark.parametrize("fault", ["lies", "lies_when_asked"])
@in_no_time
async def test_digests_that_never_match_make_no_storm_of_snapshots(fault: str) -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        setattr(feed, fault, True)
        await asyncio.sleep(60)
        snapshots = feed.calls["snapshot"]
        await asyncio.sleep(300)
        assert seldom(feed.calls["snapshot"] - snapshots, 300)
        assert replica.condition is Condition.STALE
        assert replica.counters["errors_digest_mismatch"] > 60
        setattr(feed, fault, False)
        await caught_up(replica, origin)


@pytest.mark.parametrize("fault", ["corrupt", "truncate", "lie", "drop"])
@in_no_time
async def test_a_set_that_is_spoilt_for_good_is_passed_by_a_snapshot(fault: str) -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        feed.spoilt[2] = fault
        await origin.put(model("b"))
        await origin.put(model("c"))
        await caught_up(replica, origin)


# Formats


@in_no_time
async def test_a_newer_format_is_not_applied_and_said() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        before = dump(origin.state)
        feed.format += 1
        await origin.put(model("b"))
        await asyncio.sleep(300)
        assert replica.condition is Condition.STALE
        assert "update this instance" in said(replica)
        assert replica.state is not None
        assert dump(replica.state) == before
        assert feed.calls["snapshot"] == 1, "there is no use in another snapshot"
        assert seldom(feed.calls["changes"], 300)
        feed.format -= 1
        await caught_up(replica, origin)
    assert feed.calls["snapshot"] == 1


@in_no_time
async def test_a_snapshot_in_a_newer_format() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    feed.format += 1
    async with following(replica_of(feed)) as replica:
        await asyncio.sleep(300)
        assert replica.condition is Condition.SYNCING
        assert "update this instance" in said(replica)
        assert seldom(feed.calls["snapshot"], 300)
        feed.format -= 1
        await caught_up(replica, origin)


# Whose word counts


@in_no_time
async def test_what_is_not_signed_as_it_has_to_be_is_not_taken() -> None:
    trusts: set[type] = {Head, ChangePart, Manifest}

    def verify(item: Signable) -> None:
        if type(item) not in trusts:
            raise Untrusted(f"{type(item).__name__} is not signed")

    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, verify=verify)) as replica:
        await caught_up(replica, origin)
        for kind in (Head, ChangePart):
            trusts.remove(kind)
            before = dump(origin.state)
            await origin.put(model("b", kind.__name__))
            await asyncio.sleep(30)
            assert replica.condition is Condition.STALE
            assert f"{kind.__name__} is not signed" in said(replica)
            assert replica.state is not None
            if kind is ChangePart:
                assert dump(replica.state) == before
            trusts.add(kind)
            await caught_up(replica, origin)
    assert feed.calls["snapshot"] == 1
    trusts.remove(Manifest)
    async with following(replica_of(feed, verify=verify)) as replica:
        await asyncio.sleep(30)
        assert replica.condition is Condition.SYNCING


@in_no_time
async def test_another_epoch_that_names_its_ancestor_is_followed() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin, authoritative=False)
    async with following(replica_of(feed)) as replica:
        for at in range(3):
            await caught_up(replica, origin)
            former = origin.position.epoch
            await origin.begin_epoch()
            await origin.put(model("a", f"{at}"))
            await caught_up(replica, origin)
            assert replica.state is not None
            assert replica.state.ancestors[-1] == former


@pytest.mark.parametrize(
    ("authoritative", "confirmed", "is_followed"),
    [(False, None, False), (False, False, False), (False, True, True), (True, None, True)],
)
@in_no_time
async def test_another_epoch_that_does_not(authoritative: bool, confirmed: bool | None, is_followed: bool) -> None:
    """Who follows Redis keeps its policy and says why, but when the authority itself confirms the epoch."""
    origin = await Chronicle.start(*BEGINNING)
    other = await Chronicle.start(team("t"), member("t", "mallory"))
    feed = FaultyFeed(origin, authoritative)
    asked = 0

    async def confirm() -> str:
        nonlocal asked
        asked += 1
        return other.position.epoch if confirmed else origin.position.epoch

    async with following(replica_of(feed, confirm=None if confirmed is None else confirm)) as replica:
        await caught_up(replica, origin)
        feed.origin = other
        feed.show(None)
        if is_followed:
            await caught_up(replica, other)
        else:
            await asyncio.sleep(60)
            assert replica.condition is Condition.STALE
            assert f"has epoch {other.position.epoch}, which does not say" in said(replica)
            assert "--authority" in said(replica)
            assert replica.state is not None
            assert dump(replica.state) == dump(origin.state)
            assert replica.counters["snapshots_loaded"] == 1
            feed.origin = origin
            feed.show(None)
            await caught_up(replica, origin)
    assert (asked > 0) == (confirmed is not None)


@in_no_time
async def test_an_authority_that_does_not_answer_confirms_nothing() -> None:
    async def confirm() -> str:
        raise FeedUnavailable("the authority is away")

    origin, other = await Chronicle.start(*BEGINNING), await Chronicle.start(team("u"))
    feed = FaultyFeed(origin, authoritative=False)
    async with following(replica_of(feed, confirm=confirm)) as replica:
        await caught_up(replica, origin)
        feed.show(other.copied())
        await asyncio.sleep(60)
        assert replica.condition is Condition.STALE
        assert said(replica) == "the authority is away"
        assert replica.state is not None
        assert dump(replica.state) == dump(origin.state)


@in_no_time
async def test_a_feed_that_goes_back_in_its_epoch_is_not_followed() -> None:
    """As Redis restarted with an old dump. Once its publisher has put it right, nothing was lost."""
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin, authoritative=False)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        old = origin.copied()
        for at in range(3):
            await origin.put(model("a", f"{at}"))
        await caught_up(replica, origin)
        before = dump(origin.state)
        feed.show(old)
        await asyncio.sleep(60)
        assert replica.condition is Condition.STALE
        assert f"shows revision {old.lineage.position.token} after" in said(replica)
        assert replica.state is not None
        assert dump(replica.state) == before
        assert feed.calls["snapshot"] < 20
        feed.show(None)
        await origin.put(model("b"))
        await caught_up(replica, origin)


@in_no_time
async def test_an_authority_that_goes_back_in_its_epoch_is_followed() -> None:
    """Its database was put back by hand, and nothing else was there to notice."""
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        old = origin.copied()
        for at in range(3):
            await origin.put(model("a", f"{at}"))
        await caught_up(replica, origin)
        await origin.go_back_to(old)
        await caught_up(replica, origin)
        await origin.put(model("b"))
        await caught_up(replica, origin)


@in_no_time
async def test_a_snapshot_that_is_older_than_what_is_served_is_caught_up_with_first() -> None:
    """Snapshots are shared for a while: taking one for a reason of its own, a replica must not go back."""
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    served: list[int] = []

    def note() -> None:
        if replica.state is not None:
            served.append(replica.state.position.revision)

    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        for at in range(20):
            await origin.put(member("t", f"u{at}"))
        await caught_up(replica, origin)
        loop().probe = note
        feed.faults.append("drop")
        await origin.put(model("b"))
        await origin.put(model("c"))
        await caught_up(replica, origin)
        loop().probe = None
    assert (feed.calls["snapshot"], replica.counters["snapshots_loaded"]) == (2, 2)
    assert served == sorted(served)


# Large sets


@pytest.mark.parametrize("change", ["replaced", "dropped", "team dropped"])
@in_no_time
async def test_a_large_set_is_applied_in_one_go(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two slices a check sees the old policy or the new one, and what is left behind is let go of."""
    monkeypatch.setattr(slices, "SLICE_S", -1.0)
    count = 2 * LARGE + 500
    old = [member("t", f"u{at}", only("a")) for at in range(count)]
    rest = [member("u", "ann"), member("t", "rest")]
    origin = await Chronicle.start(team("t"), team("u"), *old, *rest)
    await asyncio.sleep(0)
    async with following(replica_of(FaultyFeed(origin))) as replica:
        await caught_up(replica, origin)
        state = replica.state
        assert state is not None
        before = dump(state)
        members = state.teams["t"].members
        seen: list[dict[str, object]] = []
        turns = 0

        def note() -> None:
            nonlocal turns
            turns += 1
            assert replica.state is state
            sizes = len(state.teams["t"].members) if "t" in state.teams else -1, state.revision
            if not seen or seen[-1]["sizes"] != sizes:
                seen.append(dump(state) | {"sizes": sizes})

        loop().probe = note
        match change:
            case "replaced":
                await origin.commit(*changes_of(old, [member("t", one.user, only("b")) for one in old]))
            case "dropped":
                await origin.commit(*(Change(one, None) for one in old))
            case "team dropped":
                await origin.drop(team("t"))
        await caught_up(replica, origin)
        loop().probe = None
        assert [{**one, "sizes": 0} for one in seen] == [{**before, "sizes": 0}, {**dump(origin.state), "sizes": 0}]
        assert state.digest == origin.position.digest
        assert turns > count // SLICE
        await until(lambda: not state.discarded and not members)


@in_no_time
async def test_a_whole_state_is_let_go_of_in_slices() -> None:
    origin = await Chronicle.start(team("t"), *(member("t", f"u{at}") for at in range(3 * SLICE)))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        await caught_up(replica, origin)
        former = replica.state
        assert former is not None
        await origin.begin_epoch()
        await caught_up(replica, origin)
        assert replica.state is not former
        await until(lambda: not former.teams)


@in_no_time
async def test_a_state_that_is_never_served_is_let_go_of_too() -> None:
    origin = await Chronicle.start(team("t"), *(member("t", f"u{at}") for at in range(SLICE)))
    feed = FaultyFeed(origin, authoritative=False)
    loaded: list[State] = []

    class Watched(Replica):
        async def _load(self) -> State:
            loaded.append(await super()._load())
            return loaded[-1]

    async with following(Watched(feed, replica_of(feed).options, clock=loop().time)) as replica:
        await caught_up(replica, origin)
        old = origin.copied()
        await origin.put(model("b"))
        await caught_up(replica, origin)
        feed.show(old)
        await until(lambda: len(loaded) > 1)
        feed.show(None)
        await caught_up(replica, origin)
        await until(lambda: not loaded[1].teams)
        assert len(origin.state.teams["t"].members) == SLICE


async def test_slices_leave_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    monkeypatch.setattr(slices, "SLICE_S", -1.0)
    await in_slices(turns.append(others) for _ in range(100))
    assert turns[-1] - turns[0] >= 98
    turns.clear()
    monkeypatch.setattr(slices, "SLICE_S", 1e9)
    await in_slices(turns.append(others) for _ in range(100))
    assert len(turns) == 100
    assert turns[-1] == turns[0]
    task.cancel()
    assert await each_in_slices(str, range(3)) == ["0", "1", "2"]


@pytest.mark.parametrize("owns_process", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_the_collector_is_ours_in_a_process_of_our_own_alone(owns_process: bool, fails: bool) -> None:
    assert gc.isenabled()
    frozen, thresholds = gc.get_freeze_count(), gc.get_threshold()
    try:
        with collector_paused(owns_process):
            assert gc.isenabled() is not owns_process
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert gc.isenabled()
    assert (gc.get_freeze_count() > frozen) is owns_process
    assert (gc.get_threshold() > thresholds) is owns_process
    gc.unfreeze()
    gc.set_threshold(*thresholds)


# Snapshots


@pytest.mark.parametrize("fault", ["drop", "repeat", "reorder", "truncate", "corrupt", "cut"])
@in_no_time
async def test_a_snapshot_that_is_spoilt_is_not_served(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_service.replication.log_feed.CHUNK_BYTES", 100)
    origin = await Chronicle.start(*(team(f"t{at}") for at in range(10)))
    feed = FaultyFeed(origin)
    for chunk in range(3):
        feed.chunk_faults.extend([""] * chunk + [fault])
        replica = replica_of(feed)
        async with following(replica):
            await caught_up(replica, origin)
        assert not feed.chunk_faults
        assert sum(count for name, count in replica.counters.items() if name.startswith("errors_")) >= 1


@in_no_time
async def test_a_snapshot_of_another_time_than_its_manifest_says() -> None:
    origin = await Chronicle.start(*BEGINNING)
    feed = FaultyFeed(origin)
    feed.lies = True
    async with following(replica_of(feed)) as replica:
        await asyncio.sleep(30)
        assert replica.condition is Condition.SYNCING
        assert "has digest" in said(replica)
        feed.lies = False
        await caught_up(replica, origin)


@in_no_time
async def test_a_state_that_turns_out_wrong_is_let_go_of_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[State] = []

    class Noted(State):
        def __init__(self, epoch: str) -> None:
            super().__init__(epoch)
            made.append(self)

    monkeypatch.setattr(loading, "State", Noted)
    origin = await Chronicle.start(team("t"), *(member("t", f"u{at}") for at in range(SLICE)))
    snapshot = await origin.feed.snapshot()
    manifest = replace(snapshot.manifest, position=lied(origin.position))
    with pytest.raises(DigestMismatch):
        await load_snapshot(snapshot._replace(manifest=manifest))
    assert [state.teams for state in made] == [{}]


@in_no_time
async def test_the_log_goes_on_while_a_snapshot_is_loaded() -> None:
    origin = await Chronicle.start(team("t"), *(member("t", f"u{at}") for at in range(3 * SLICE)))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed)) as replica:
        for at in range(10):
            await origin.put(model("a", f"{at}"))
            await asyncio.sleep(0)
        await caught_up(replica, origin)
    assert feed.calls["snapshot"] == 1
