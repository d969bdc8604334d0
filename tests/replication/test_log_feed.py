"""The authority's own feed: the log in order, whole sets, heads after them, and one reading for many followers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from policy_service.domain.changelog import Lineage, LogSlice, Visitor
from policy_service.domain.changes import Change, Position
from policy_service.domain.feed import MAX_BEHIND, ChangePart, Head, Manifest, checksum
from policy_service.domain.state import State
from policy_service.errors import FeedUnavailable, RevisionCompacted, Unavailable
from policy_service.replication import log_feed as log_feed_module
from policy_service.replication.loading import Taker, load_snapshot
from policy_service.replication.log_feed import BOOKMARK_S, HEAD_KEPT_S, SNAPSHOT_BEHIND, SNAPSHOT_KEPT_S, LogFeed
from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import PAGE_BYTES
from tests.replication.feeds import Chronicle, in_no_time, now
from tests.store.support import Ledger, dump, member, model, only, team

Items = AsyncGenerator[ChangePart | Head, None]


class CountingStore(MemoryStore):
    """Counts what is read of it, and can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.visits = self.readings = 0
        self.is_away = False

    def _come(self) -> None:
        if self.is_away:
            raise Unavailable("the database is away")

    async def visit(self, visitor: Visitor) -> Lineage:
        self.visits += 1
        self._come()
        return await super().visit(visitor)

    async def log_after(self, revision: int, change: int) -> list[LogSlice]:
        self.readings += 1
        self._come()
        return await super().log_after(revision, change)

    async def hash_at(self, revision: int) -> str | None:
        self._come()
        return await super().hash_at(revision)


class Log:
    """A ledger and its feed."""

    def __init__(self, store: CountingStore, ledger: Ledger) -> None:
        self.store, self.ledger = store, ledger
        clock = asyncio.get_running_loop().time
        self.feed = LogFeed(store, lambda: Lineage(ledger.state.position, ledger.state.ancestors), sign, clock=clock)

    @classmethod
    async def start(cls, revisions: int = 0) -> Log:
        store = CountingStore()
        log = cls(store, await Ledger.of(store))
        await log.grow(revisions)
        store.visits = 0
        return log

    @property
    def position(self) -> Position:
        return self.ledger.state.position

    async def grow(self, revisions: int = 1) -> None:
        for _ in range(revisions):
            await self.ledger.put(model("m", f"{self.position.revision}"))

    async def begin_epoch(self, epoch: str) -> None:
        await self.store.begin_epoch(epoch)
        state = self.ledger.state
        state.ancestors = (*state.ancestors, state.position.epoch)
        state.move_to(state.position._replace(epoch=epoch))


def sign(content: bytes) -> bytes:
    return b"signed " + checksum(content).encode()


def is_signed(item: Head | ChangePart | Manifest) -> bool:
    return item.signature == sign(item.signed)


async def some(items: Items, count: int) -> list[ChangePart | Head]:
    return [await anext(items) for _ in range(count)]


async def refused(log: Log, after: Position) -> str:
    with pytest.raises(RevisionCompacted) as caught:
        await anext(log.feed.changes(after))
    return str(caught.value)


# Changes


@in_no_time
async def test_the_log_in_order_then_its_head() -> None:
    log = await Log.start()
    beginning = log.position
    await log.grow(5)
    async with aclosing(log.feed.changes(beginning)) as items:
        found = await some(items, 6)
        parts, head = found[:-1], found[-1]
        assert [part.position.revision for part in parts] == [1, 2, 3, 4, 5]
        assert isinstance(head, Head)
        assert head.position == log.position
        former = beginning
        for part in parts:
            assert isinstance(part, ChangePart)
            assert (part.previous_hash, part.part, part.last) == (former.hash, 0, True)
            former = part.position
        assert all(is_signed(item) for item in found)
        state = State(beginning.epoch)
        taker = Taker(state)
        for part in parts:
            assert isinstance(part, ChangePart)
            assert await taker.take(part)
        assert dump(state) == dump(log.ledger.state)


@in_no_time
async def test_from_any_revision_of_the_log() -> None:
    log = await Log.start(5)
    positions = [log.position]
    for _ in range(3):
        await log.grow()
        positions.append(log.position)
    for at, position in enumerate(positions):
        async with aclosing(log.feed.changes(position)) as items:
            found = await some(items, len(positions) - at)
            assert [item.position for item in found] == [*positions[at + 1 :], log.position]


@in_no_time
async def test_a_hint_brings_a_change_at_once() -> None:
    log = await Log.start(1)
    async with aclosing(log.feed.changes(log.position)) as items:
        assert isinstance(await anext(items), Head)
        began = now()
        coming = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0.01)
        await log.grow()
        log.feed.wake()
        assert (await coming).position == log.position
        assert now() - began < 0.02


@in_no_time
async def test_without_a_hint_it_comes_a_little_later() -> None:
    log = await Log.start(1)
    async with aclosing(log.feed.changes(log.position)) as items:
        await anext(items)
        coming = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0.01)
        began = now()
        await log.grow()
        assert (await coming).position == log.position
        assert now() - began <= BOOKMARK_S


@in_no_time
async def test_a_change_between_a_head_and_the_wait_for_the_next_is_not_missed() -> None:
    """What comes while the follower has the head in its hands."""
    log = await Log.start(1)
    async with aclosing(log.feed.changes(log.position)) as items:
        await anext(items)
        await log.grow()
        log.feed.wake()
        began = now()
        assert (await anext(items)).position == log.position
        assert now() == began


@in_no_time
async def test_heads_come_all_the_time_and_after_every_change_up_to_them() -> None:
    assert BOOKMARK_S <= 1.0
    log = await Log.start(1)
    position, last_head = log.position, now()
    async with aclosing(log.feed.changes(position)) as items:
        for turn in range(60):
            if turn % 4 == 3:
                await log.grow(3)
            item = await anext(items)
            if isinstance(item, Head):
                assert item.position == position, "all changes up to it have come"
                assert now() - last_head <= 1.0
                last_head = now()
            else:
                assert item.position.revision == position.revision + 1
                position = item.position


@in_no_time
async def test_a_head_that_has_not_moved_is_signed_now_and_then() -> None:
    signed = 0

    def counting(content: bytes) -> bytes:
        nonlocal signed
        signed += 1
        return b""

    log = await Log.start(1)
    position = log.position
    feed = LogFeed(log.store, lambda: Lineage(position, ()), counting, clock=asyncio.get_running_loop().time)
    ticks = set()
    for _ in range(1_000):
        ticks.add((await feed.head()).head.tick_ms)
        await asyncio.sleep(0.001)
    assert len(ticks) == signed
    assert 3 <= signed <= 1 / HEAD_KEPT_S + 1
    position = position._replace(revision=2)
    assert feed.head_now().position == position


# Large sets


def large(count: int, models: str) -> list[Change]:
    """Members, each with a scope of its own of about 30 kB."""
    scopes = [only(f"{models}{at}", *(f"{models}-{more}-{'x' * 1_000}" for more in range(30))) for at in range(count)]
    return [Change(None, member("t", f"u{at}", scope)) for at, scope in enumerate(scopes)]


@in_no_time
async def test_a_set_larger_than_a_part_is_applied_with_its_last_part() -> None:
    log = await Log.start()
    await log.ledger.put(team("t"))
    beginning = log.position
    await log.ledger.commit(*large(100, "a"))
    await log.grow()
    state = await load_snapshot(await log.feed.snapshot())
    assert state.position == log.position

    state = State(beginning.epoch)
    taker = Taker(state)
    async with aclosing(log.feed.changes(State(beginning.epoch).position)) as items:
        first = await anext(items)
        assert isinstance(first, ChangePart)
        assert await taker.take(first)
        before, parts = dump(state), []
        while not parts or not parts[-1].last:
            part = await anext(items)
            assert isinstance(part, ChangePart)
            assert is_signed(part)
            assert len(part.payload) <= log_feed_module.PART_BYTES + 40_000
            parts.append(part)
            assert await taker.take(part) is part.last
            assert part.last or dump(state) == before
        assert [part.part for part in parts] == list(range(len(parts)))
        assert len(parts) >= 100 * 30_000 // log_feed_module.PART_BYTES
        assert {part.position.revision for part in parts} == {2}
        assert len(state.teams["t"].members) == 100
        following = await anext(items)
        assert isinstance(following, ChangePart)
        assert await taker.take(following)
    assert dump(state) == dump(log.ledger.state)


async def applied(log: Log, after: Position, parts: int) -> list[ChangePart]:
    """The parts that come after the beginning, applied: they must lead to the state."""
    state, found = State(after.epoch), []
    taker = Taker(state)
    async with aclosing(log.feed.changes(after)) as items:
        for item in await some(items, parts):
            assert isinstance(item, ChangePart)
            await taker.take(item)
            found.append(item)
    assert dump(state) == dump(log.ledger.state)
    return found


@in_no_time
async def test_a_set_that_the_store_cuts_and_one_part_holds() -> None:
    """What the store shows of it passes a page; what decides about it does not."""
    log = await Log.start()
    beginning = log.position
    labels = {"k": "x" * (PAGE_BYTES // 2)}
    await log.ledger.commit(*(Change(None, team(name, labels=labels)) for name in "abcdefg"))
    await log.grow()
    found = await applied(log, beginning, 2)
    assert [(part.position.revision, part.last) for part in found] == [(1, True), (2, True)]
    assert sum(len(part.payload) for part in found) < 10_000


@in_no_time
async def test_a_set_of_several_parts_that_the_store_does_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_feed_module, "PART_BYTES", 100)
    log = await Log.start()
    beginning = log.position
    await log.grow()
    await log.ledger.put(team("t"), *(member("t", f"u{at}") for at in range(20)))
    await log.grow()
    found = await applied(log, beginning, 7)
    assert [(part.position.revision, part.part, part.last) for part in found] == [
        (1, 0, True),
        *((2, at, at == 4) for at in range(5)),
        (3, 0, True),
    ]


@in_no_time
async def test_the_log_is_trimmed_in_the_middle_of_a_large_set() -> None:
    log = await Log.start()
    await log.ledger.put(team("t"))
    after = log.position
    await log.ledger.commit(*large(100, "a"))
    await log.grow()
    async with aclosing(log.feed.changes(after)) as items:
        await anext(items)
        await log.ledger.put(model("z"), forget_log_before=log.ledger.time.replace(year=2100))
        with pytest.raises(RevisionCompacted, match="no longer has revision 2"):
            await some(items, 10)


# What the log does not go on from


@in_no_time
async def test_positions_that_are_not_in_the_log() -> None:
    log = await Log.start(3)
    position = log.position
    for not_in in (
        position._replace(epoch="other"),
        position._replace(hash="1" * 64),
        position._replace(revision=2),
        position._replace(revision=4),
        position._replace(revision=2**62),
        Position("", 0, "", ""),
    ):
        assert "the log does not" in await refused(log, not_in)
    async with aclosing(log.feed.changes(position._replace(digest=""))) as items:
        assert isinstance(await anext(items), Head), "the digest is for the follower"


@in_no_time
async def test_what_was_trimmed() -> None:
    log = await Log.start(3)
    old, kept_from = State(log.position.epoch).position, log.position
    await log.ledger.put(model("z"), forget_log_before=log.ledger.time.replace(year=2100))
    assert "does not go on" in await refused(log, old)
    async with aclosing(log.feed.changes(kept_from)) as items:
        assert (await anext(items)).position == log.position


@in_no_time
async def test_a_log_that_is_trimmed_beyond_a_follower() -> None:
    log = await Log.start(1)
    async with aclosing(log.feed.changes(log.position)) as items:
        await anext(items)
        await log.grow(5)
        await log.ledger.put(model("z"), forget_log_before=log.ledger.time.replace(year=2100))
        with pytest.raises(RevisionCompacted, match="no longer has revision 2"):
            await anext(items)


@in_no_time
async def test_too_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BEHIND == log_feed_module.MAX_BEHIND == 10_000
    monkeypatch.setattr(log_feed_module, "MAX_BEHIND", 3)
    log = await Log.start(1)
    position = log.position
    await log.grow(3)
    async with aclosing(log.feed.changes(position)) as items:
        assert (await anext(items)).position.revision == 2
        await log.grow(10)
        assert [item.position.revision for item in await some(items, 12)] == list(range(3, 15)), "once it has begun"
    assert "more than 3 behind" in await refused(log, position)


@pytest.mark.parametrize("is_hinted", [True, False])
@in_no_time
async def test_another_epoch_ends_a_stream(is_hinted: bool) -> None:
    log = await Log.start(3)
    async with aclosing(log.feed.changes(log.position)) as items:
        await anext(items)
        coming = asyncio.ensure_future(anext(items))
        await asyncio.sleep(0)
        await log.begin_epoch("2")
        if is_hinted:
            log.feed.wake()
        began = now()
        with pytest.raises(RevisionCompacted, match="2 replaces it"):
            await coming
        assert now() - began <= (0 if is_hinted else BOOKMARK_S)
    head = log.feed.head_now()
    assert (head.position.token, len(head.ancestors)) == ("2.3", 1)
    await log.grow()
    async with aclosing(log.feed.changes(head.position)) as items:
        assert (await anext(items)).position.token == "2.4"


@in_no_time
async def test_a_store_that_is_away() -> None:
    log = await Log.start(3)
    log.store.is_away = True
    with pytest.raises(FeedUnavailable, match="the database is away"):
        await anext(log.feed.changes(log.position))
    with pytest.raises(FeedUnavailable, match="the database is away"):
        await log.feed.snapshot()
    log.store.is_away = False
    async with aclosing(log.feed.changes(log.position)) as items:
        await anext(items)
        await log.grow()
        log.store.is_away = True
        with pytest.raises(FeedUnavailable):
            await anext(items)


# One reading for many


@in_no_time
async def test_many_followers_cost_one_reading() -> None:
    log = await Log.start(1)
    position = log.position
    await log.grow(50)

    async def follow() -> list[Position]:
        async with aclosing(log.feed.changes(position)) as items:
            return [item.position for item in await some(items, 51)]

    found = await asyncio.gather(*(follow() for _ in range(20)))
    assert all(positions == found[0] for positions in found)
    assert log.store.readings == 1


@in_no_time
async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_feed_module, "PARTS_KEPT_BYTES", 5_000)
    log = await Log.start(1)
    position = log.position
    await log.grow(50)
    async with aclosing(log.feed.changes(position)) as items:
        assert [item.position.revision for item in await some(items, 51)] == [*range(2, 52), 51]
    assert len(log.feed._parts._kept) < 5
    assert log.feed._parts._size <= 5_000


# Snapshots


@in_no_time
async def test_a_snapshot_is_the_state() -> None:
    members = [member("t", f"u{at}", only(f"{at % 7}")) for at in range(5_000)]
    origin = await Chronicle.start(team("t"), *members, model("a"))
    await origin.begin_epoch()
    state = await load_snapshot(await origin.feed.snapshot())
    assert dump(state) == dump(origin.state)
    assert state.ancestors == origin.lineage.ancestors


@in_no_time
async def test_a_snapshot_of_nothing() -> None:
    log = await Log.start()
    snapshot = await log.feed.snapshot()
    assert is_signed(snapshot.manifest)
    assert dump(await load_snapshot(snapshot)) == dump(log.ledger.state)


@in_no_time
async def test_twenty_followers_at_once_cost_one_snapshot() -> None:
    log = await Log.start(5)
    snapshots = await asyncio.gather(*(log.feed.snapshot() for _ in range(20)))
    assert log.store.visits == 1
    for snapshot in snapshots:
        assert dump(await load_snapshot(snapshot)) == dump(log.ledger.state)
    await log.grow(SNAPSHOT_BEHIND)
    assert (await log.feed.snapshot()).manifest.position.revision == 5
    assert log.store.visits == 1


@in_no_time
async def test_a_snapshot_whose_maker_goes_away() -> None:
    log = await Log.start(5)
    maker = asyncio.create_task(log.feed.snapshot())
    others = [asyncio.create_task(log.feed.snapshot()) for _ in range(3)]
    await asyncio.sleep(0)
    maker.cancel()
    assert {(await other).manifest.position for other in others} == {log.position}
    assert log.store.visits == 2


@in_no_time
async def test_when_another_snapshot_is_made() -> None:
    log = await Log.start(5)

    async def revision() -> int:
        return (await log.feed.snapshot()).manifest.position.revision

    assert await revision() == 5
    await log.grow(SNAPSHOT_BEHIND)
    assert await revision() == 5
    await log.grow()
    assert await revision() == log.position.revision, "too far behind"
    await log.grow(2)
    await log.ledger.put(model("z"), forget_log_before=log.ledger.time.replace(year=2100))
    while len(log.store._log) > 2:
        await log.ledger.put(model("z"), forget_log_before=log.ledger.time.replace(year=2100))
    assert await revision() == log.position.revision, "no longer in the log"
    await log.begin_epoch("2")
    snapshot = await log.feed.snapshot()
    assert snapshot.manifest.position == log.position, "of another epoch"
    assert log.store.visits == 4


@in_no_time
async def test_a_snapshot_is_forgotten_however_often_it_is_asked_for() -> None:
    log = await Log.start(5)
    began = now()
    while now() < began + SNAPSHOT_KEPT_S - 1:
        await log.feed.snapshot()
        await log.grow()
        await asyncio.sleep(5)
    assert log.store.visits == 1
    await asyncio.sleep(5)
    assert log.feed._snapshot is None
    assert (await log.feed.snapshot()).manifest.position == log.position
    await log.feed.close()
    await log.feed.close()
