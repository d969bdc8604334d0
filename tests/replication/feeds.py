"""Time that passes at once, an authority that remembers all it ever was, and a feed that does what it is told to."""

from __future__ import annotations

import asyncio
import copy
import functools
import selectors
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, NamedTuple

from policy_service.domain.changelog import Lineage
from policy_service.domain.changes import LOG_FORMAT, Change, Position
from policy_service.domain.feed import ChangePart, Head, HeardHead, Manifest, Snapshot
from policy_service.domain.records import Record
from policy_service.errors import FeedUnavailable
from policy_service.replication.log_feed import LogFeed
from policy_service.replication.replica import Condition, Replica, ReplicaOptions
from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import ancestry, new_epoch
from tests.store.support import START, Ledger, dump

Test = Callable[..., Awaitable[None]]

# Time


class _Leaping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Waits for nothing: the time that it would wait for has passed."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            return ready
        assert timeout is not None, "nothing would ever happen any more"
        self.now += max(0.0, timeout)
        return []


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock leaps to the next thing that is due. `probe` is called after every turn."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        self.probe: Callable[[], None] | None = None
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now

    def pass_unnoticed(self, seconds: float) -> None:
        """Lets time pass while nothing runs, as when the process is stopped."""
        self._leaping.now += seconds

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """At once: a thread would take time that does not pass here."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.probe is not None:
            self.probe()


def in_no_time(test: Test) -> Callable[..., None]:
    """Runs an async test on a TimelessLoop."""

    @functools.wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=TimelessLoop) as runner:
            runner.run(test(*arguments, **fixtures))  # type: ignore[arg-type]

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(reached: Callable[[], Any], limit_s: float = 600.0) -> None:
    """Waits, and fails rather than for ever."""
    end = now() + limit_s
    while not reached():
        assert now() < end, "it never came to that"
        await asyncio.sleep(0.01)


# The authority


class Content(NamedTuple):
    """All that an authority was at some time: as a dump of Redis, or a copy of the database, has it."""

    store: MemoryStore
    lineage: Lineage
    head: Head
    time: float


class Chronicle:
    """An authority over a memory store. `states` are those that it had, by position, and `left` when it left them."""

    def __init__(self) -> None:
        self.states: dict[Position, dict[str, Any]] = {}
        self.left: dict[Position, float] = {}
        self.went_back = 0
        self.clock = asyncio.get_running_loop().time

    @classmethod
    async def start(cls, *records: Record) -> Chronicle:
        origin = cls()
        await origin._begin(MemoryStore())
        if records:
            await origin.put(*records)
        return origin

    async def _begin(self, store: MemoryStore) -> None:
        self.store, self.ledger = store, await Ledger.of(store)
        self.feed = log_feed(store, lambda: self.lineage, self.clock)
        self._note()

    @property
    def state(self) -> Any:
        return self.ledger.state

    @property
    def position(self) -> Position:
        return self.ledger.state.position

    @property
    def lineage(self) -> Lineage:
        return Lineage(self.position, self.ledger.state.ancestors)

    def _note(self) -> None:
        self.states[self.position] = dump(self.state)
        self.feed.wake()

    def _leave(self) -> None:
        self.left[self.position] = self.clock()

    async def put(self, *records: Record, **fields: Any) -> None:
        """Creates or replaces the records, in one revision."""
        self._leave()
        await self.ledger.put(*records, **fields)
        self._note()

    async def drop(self, *records: Record) -> None:
        self._leave()
        await self.ledger.drop(*records)
        self._note()

    async def commit(self, *changes: Change) -> None:
        """One revision with more changes than a test wants to wait for."""
        self._leave()
        commit, prepared = self.ledger.prepare(*changes)
        for _ in prepared.rewrite():
            pass
        await self.store.commit(commit)
        assert commit.entry is not None
        self.state.apply(prepared, commit.entry.position)
        self._note()

    async def forget_log(self, *records: Record) -> None:
        """A revision that drops those before it from the log."""
        await self.put(*records, forget_log_before=START.replace(year=2100))

    async def begin_epoch(self) -> None:
        """What follows a restore: another epoch, which names this one."""
        self._leave()
        former, epoch = self.position, new_epoch()
        await self.store.begin_epoch(epoch)
        self.state.move_to(former._replace(epoch=epoch))
        self.state.ancestors = tuple(ancestry((*self.state.ancestors, former.epoch)))
        self._note()

    def copied(self) -> Content:
        """A copy of all that it is now."""
        return Content(copy.deepcopy(self.store), self.lineage, self.feed.head_now(), self.clock())

    async def go_back_to(self, content: Content, epoch: str | None = None) -> None:
        """The database is put back; `epoch` makes it one that names no ancestor."""
        self._leave()
        self.went_back += 1
        store = copy.deepcopy(content.store)
        if epoch is not None:
            store._anchor = store._anchor._replace(epoch=epoch)
            store._ancestors = []
        former = self.feed
        await self._begin(store)
        former.wake()  # its streams end, or go on with what is there now

    def age_of(self, position: Position) -> float:
        """For how long a state has not been the authority's any more."""
        return 0.0 if position == self.position else self.clock() - self.left[position]


def log_feed(store: MemoryStore, lineage: Callable[[], Lineage], clock: Callable[[], float]) -> LogFeed:
    """A LogFeed that does not sign."""
    return LogFeed(store, lineage, lambda _: b"", clock=clock)


# The feed

PART_FAULTS = ("drop", "repeat", "reorder", "truncate", "corrupt", "lie", "cut", "die", "cancel", "newer")
CHUNK_FAULTS = ("drop", "repeat", "reorder", "truncate", "corrupt", "cut")


class FaultyFeed:
    """Implements Feed with what a Chronicle is, or what it was. `faults` are what happens to the parts that come next,
    `chunk_faults` to chunks; the rest happens until `heal`."""

    def __init__(self, origin: Chronicle, authoritative: bool = True) -> None:
        self.origin, self.authoritative = origin, authoritative
        self.location = "the test"
        self.calls: Counter[str] = Counter()
        self.faults: deque[str] = deque()
        self.chunk_faults: deque[str] = deque()
        self.heard: set[str] = set()  # publishers whose heads were handed out as they were made
        self._flowing = asyncio.Event()
        self._switched = 0
        self.heal()

    def heal(self) -> None:
        """Ends everything that is wrong."""
        self.faults.clear()
        self.chunk_faults.clear()
        self.is_down = False
        self.lies = False  # about the digest of heads and snapshots
        self.lies_when_asked = False  # about that of heads which are asked for
        self.ends_quietly = False
        self.spoilt: dict[int, str] = {}  # revision -> what happens to its parts whenever they come
        self.hides_age = False
        self.format = LOG_FORMAT
        self.latency_s = 0.0
        self._flowing.set()
        self.show(None)

    def show(self, content: Content | None) -> None:
        """Shows what was; None shows what is. Streams that run end."""
        self._shown = content
        self._feed: LogFeed | None = None
        if content is not None:
            self._feed = log_feed(content.store, lambda: content.lineage, self.origin.clock)
        self._switched += 1

    def pause(self) -> None:
        """Streams stop where they are."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def _source(self) -> LogFeed:
        if self.is_down:
            raise FeedUnavailable("the test's feed is down")
        return self._feed or self.origin.feed

    async def head(self) -> HeardHead:
        self.calls["head"] += 1
        await asyncio.sleep(self.latency_s / 2)
        source, age_s = self._source(), 0.0
        if self._shown is None:
            head = source.head_now()
            self.heard.add(head.publisher)
        else:
            head = self._shown.head
            age_s = 0.0 if self.hides_age else now() - self._shown.time
        if self.lies_when_asked:
            head = replace(head, position=lied(head.position))
        await asyncio.sleep(self.latency_s / 2)
        return HeardHead(self._sent_head(head), age_s)

    async def snapshot(self) -> Snapshot:
        self.calls["snapshot"] += 1
        manifest, chunks = await self._source().snapshot()
        manifest = replace(manifest, format=self.format)
        if self.lies:
            manifest = replace(manifest, position=lied(manifest.position))
        return Snapshot(Manifest.read(manifest.header, manifest.signature), self._sent_chunks(chunks))

    async def changes(self, after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        self.calls["changes"] += 1
        switched = self._switched
        if self.ends_quietly:
            return
        held: list[ChangePart] = []
        async with aclosing(self._source().changes(after)) as items:
            async for item in items:
                await self._flowing.wait()
                if self._switched != switched or self.is_down:
                    raise FeedUnavailable("the test's stream has ended")
                if isinstance(item, Head):
                    yield self._sent_head(item if self._shown is None else self._shown.head)
                    continue
                fault = self.spoilt.get(item.position.revision, "") or (self.faults.popleft() if self.faults else "")
                if fault == "reorder":
                    held.append(item)
                    continue
                for part in self._sent_parts(item, fault):
                    yield part
                while held:
                    yield _read(held.pop())

    def _sent_head(self, head: Head) -> Head:
        head = replace(head, format=self.format)
        if self.lies:
            head = replace(head, position=lied(head.position))
        return Head.read(head.header, head.signature)

    def _sent_parts(self, part: ChangePart, fault: str) -> list[ChangePart]:
        if self.format != LOG_FORMAT:
            part = replace(part, format=self.format)
        match fault:
            case "drop":
                return []
            case "repeat":
                return [_read(part), _read(part)]
            case "truncate":
                part = replace(part, payload=part.payload[: len(part.payload) // 2])
            case "corrupt":
                part = replace(part, payload=corrupted(part.payload))
            case "lie":
                part = replace(part, position=lied(part.position))
            case "newer":
                part = replace(part, format=LOG_FORMAT + 1)
            case "die":
                raise RuntimeError("a fault of the test")
            case "cancel":
                raise asyncio.CancelledError
            case "cut":
                raise FeedUnavailable("the test's stream was cut")
        return [_read(part)]

    async def _sent_chunks(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        held: list[bytes] = []
        async with aclosing(chunks):
            async for chunk in chunks:
                match self.chunk_faults.popleft() if self.chunk_faults else "":
                    case "drop":
                        continue
                    case "repeat":
                        yield chunk
                    case "reorder":
                        held.append(chunk)
                        continue
                    case "truncate":
                        chunk = chunk[: len(chunk) // 2]
                    case "corrupt":
                        chunk = corrupted(chunk)
                    case "cut":
                        raise FeedUnavailable("the test's snapshot was cut")
                yield chunk
                while held:
                    yield held.pop()

    async def close(self) -> None:
        """Nothing to release."""


def _read(part: ChangePart) -> ChangePart:
    """A part as it comes out of a transport."""
    return ChangePart.read(part.header, part.payload, part.signature)


def lied(position: Position) -> Position:
    return position._replace(digest=f"{int(position.digest, 16) ^ 1:032x}")


def corrupted(content: bytes) -> bytes:
    """With another bit in the middle."""
    at = len(content) // 2
    return content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :]


# The replica


def replica_of(
    feed: FaultyFeed, max_staleness_s: float = 10.0, max_policy_age_s: float = 1e6, **fields: Any
) -> Replica:
    """By the clock of the event loop."""
    options = ReplicaOptions(max_staleness_s=max_staleness_s, max_policy_age_s=max_policy_age_s)
    return Replica(feed, options, clock=asyncio.get_running_loop().time, **fields)


class following:
    """Runs a replica within a block."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def __aenter__(self) -> Replica:
        self._task = asyncio.create_task(self._replica.run())
        return self._replica

    async def __aexit__(self, *_: object) -> None:
        assert not self._task.done(), "the replica's task ended by itself"
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def is_fresh_at_head(replica: Replica, origin: Chronicle) -> bool:
    """Whether it has all that the authority has, and knows."""
    return (
        replica.state is not None
        and replica.state.position == origin.position
        and replica.condition is Condition.FRESH
        and replica.failure is None
    )


async def caught_up(replica: Replica, origin: Chronicle) -> None:
    """Waits for that, and compares everything."""
    await until(lambda: is_fresh_at_head(replica, origin))
    assert replica.state is not None
    assert dump(replica.state) == dump(origin.state)


def changes_of(old: Iterable[Record], new: Iterable[Record]) -> list[Change]:
    """Each record replaced by another."""
    return [Change(before, after) for before, after in zip(old, new, strict=True)]
