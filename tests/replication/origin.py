"""An authority without its RPCs, its publisher, and a follower: what the tests of feeds are made of."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from policy_service.domain.changelog import Lineage
from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Feed
from policy_service.domain.records import Record
from policy_service.domain.state import State
from policy_service.errors import FeedUnavailable, Malformed, RevisionCompacted
from policy_service.replication.loading import Taker, load_snapshot
from policy_service.replication.log_feed import LogFeed
from policy_service.replication.publisher import Publisher
from policy_service.replication.redis_connection import RedisLocation
from policy_service.replication.redis_feed import RedisFeed
from policy_service.replication.signing import unsigned
from policy_service.store.memory import MemoryStore
from tests.store.support import Ledger, dump, member, team

LIMIT_S = 60.0
Sign = Callable[[bytes], bytes]


class Origin:
    """A store, who commits to it, and its feed. `begun`: how many epochs it was made to begin."""

    def __init__(self, store: MemoryStore, ledger: Ledger, sign: Sign) -> None:
        self.store, self.ledger, self.sign = store, ledger, sign
        self.feed = LogFeed(store, self._lineage, sign)
        self.begun = 0
        self._users = 0

    @classmethod
    async def make(cls, sign: Sign = unsigned) -> Origin:
        """With one team, at revision 1."""
        origin = await cls.make_empty(sign)
        await origin.put(team("t"))
        return origin

    @classmethod
    async def make_empty(cls, sign: Sign = unsigned) -> Origin:
        store = MemoryStore()
        return cls(store, await Ledger.of(store), sign)

    def _lineage(self) -> Lineage:
        return Lineage(self.ledger.state.position, self.ledger.state.ancestors)

    @property
    def position(self) -> Position:
        return self.ledger.state.position

    async def put(self, *records: Record) -> None:
        """One revision."""
        await self.ledger.put(*records)
        self.feed.wake()

    async def grow(self, revisions: int = 1) -> None:
        """Revisions, each with another member."""
        for _ in range(revisions):
            self._users += 1
            await self.put(member("t", f"user-{self._users}"))

    async def begin_epoch(self) -> None:
        former, epoch = self.position, secrets.token_hex(8)
        await self.store.begin_epoch(epoch)
        self.ledger.state.move_to(former._replace(epoch=epoch))
        self.ledger.state.ancestors = (*self.ledger.state.ancestors, former.epoch)
        self.begun += 1
        self.feed.wake()

    def restarted(self, sign: Sign | None = None) -> Origin:
        """The same database under a new process. Use the former no more."""
        origin = Origin(self.store, self.ledger, sign or self.sign)
        origin._users = self._users
        return origin

    async def copy(self, sign: Sign | None = None) -> Origin:
        """As `cp` makes one of the database: the same epoch and log. Both go on apart."""
        store = copy.deepcopy(self.store)
        copied = Origin(store, await Ledger.of(store), sign or self.sign)
        copied._users = self._users
        return copied

    async def assert_equal(self, state: State) -> None:
        """A follower's state is the authority's."""
        assert dump(state) == dump(self.ledger.state)


class Publishing:
    """A publisher that runs, and what it reported."""

    def __init__(self) -> None:
        self.reports: list[str | None] = []

    @property
    def is_well(self) -> bool:
        return bool(self.reports) and self.reports[-1] is None

    @property
    def problem(self) -> str:
        """The last report, empty when that was that all is well."""
        return (self.reports[-1] if self.reports else None) or ""


@asynccontextmanager
async def publishing(origin: Origin, location: RedisLocation, timeout_s: float = 5.0) -> AsyncIterator[Publishing]:
    running = Publishing()
    publisher = Publisher(
        location,
        origin.feed,
        origin.store.hash_at,
        origin.begin_epoch,
        running.reports.append,
        sign=origin.sign,
        timeout_s=timeout_s,
    )
    await publisher.look(timeout_s)
    task = asyncio.create_task(publisher.run())
    try:
        yield running
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await publisher.close()
        await origin.feed.close()


@asynccontextmanager
async def redis_feed(location: RedisLocation, timeout_s: float = 5.0) -> AsyncIterator[RedisFeed]:
    feed = RedisFeed(location, timeout_s)
    try:
        yield feed
    finally:
        await feed.close()


async def followed(feed: Feed, position: Position) -> State:
    """The state of a follower that starts with nothing, once it has come to the position. It starts over when it is
    told to, as replicas do."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await _follow(feed, position)
            except (FeedUnavailable, Malformed, RevisionCompacted):
                await asyncio.sleep(0.05)


async def _follow(feed: Feed, position: Position) -> State:
    state = await load_snapshot(await feed.snapshot())
    taker = Taker(state)
    async with contextlib.aclosing(feed.changes(state.position)) as items:
        while state.position != position:
            item = await anext(items)
            if isinstance(item, ChangePart):
                await taker.take(item)
    return state


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Waits until the condition holds."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 - what it asks about is other tasks' doing
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
