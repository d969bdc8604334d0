"""How fast one replica applies change sets that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path

import grpc

from bench.processes import LIMIT_S, redis_server, serving
from bench.report import Cell, Table
from bench.world import World
from policy_service.domain.changes import Position
from policy_service.domain.feed import MAX_BEHIND, ChangePart, Feed, Head, HeardHead, Manifest, Signable, Snapshot
from policy_service.domain.state import State
from policy_service.replication.grpc_feed import GrpcFeed
from policy_service.replication.log_feed import LogFeed
from policy_service.replication.publisher import Publisher
from policy_service.replication.redis_connection import RedisConnection, RedisLocation
from policy_service.replication.redis_feed import RedisFeed
from policy_service.replication.redis_layout import Keys
from policy_service.replication.replica import Replica, ReplicaOptions
from policy_service.replication.signing import Signer, Verifier, make_keys, unsigned
from policy_service.store.sqlite import SqliteStore

TITLE = "Change sets applied"
WORLD = World(members=100_000, teams=1_000)
BACKLOG = MAX_BEHIND  # a follower further behind gets a snapshot
POLL_S = 0.005
NOTES = f"""{BACKLOG:,} change sets, each of one member, wait when the replica begins to follow, which runs in the
process that measures. *In memory*: the feed is a list, so this is the replica alone. *Change log*: the authority's
own feed over SQLite in the same process, so one core reads, encodes and applies. gRPC: an authority of its own reads
and encodes while the replica applies. Redis holds what the publisher wrote; the last row is the publisher, from the
list, signatures already made. *CPU* is this process's alone."""


class Recorded:
    """Implements Feed from memory."""

    authoritative = True
    location = "memory"

    def __init__(self, manifest: Manifest, chunks: list[bytes], parts: list[ChangePart], head: Head) -> None:
        self.manifest, self.chunks, self.parts, self.newest = manifest, chunks, parts, head

    def signed(self, sign: Callable[[bytes], bytes]) -> Recorded:
        manifest = replace(self.manifest, signature=sign(self.manifest.signed))
        parts = [replace(part, signature=sign(part.signed)) for part in self.parts]
        return Recorded(manifest, self.chunks, parts, replace(self.newest, signature=sign(self.newest.signed)))

    async def head(self) -> HeardHead:
        return HeardHead(self.newest, 0.0)

    async def snapshot(self) -> Snapshot:
        async def chunks() -> AsyncGenerator[bytes, None]:
            for chunk in self.chunks:
                yield chunk

        return Snapshot(self.manifest, chunks())

    async def changes(self, after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        for part in self.parts:
            if part.position.revision > after.revision:
                yield part
        while True:
            yield self.newest
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        """Nothing is open."""


async def measure(folder: Path) -> list[Table]:
    database, key = await WORLD.database(folder), folder / "key.pem"
    public = make_keys(key)
    sign, verify = Signer.read(key).sign, Verifier.read(public).check
    recorded = await _record(database)
    recorded_signed = recorded.signed(sign)
    rows: list[list[Cell]] = []

    async def add(name: str, feed: Feed, verify: Callable[[Signable], None] = lambda _: None) -> None:
        rows.append([name, *await _apply(feed, recorded_signed, verify)])

    await add("in memory", recorded)
    await add("in memory, signed", recorded_signed, verify)
    async with _log_feed(database) as log_feed:
        await add("change log", log_feed)
    async with serving(f"--database={database}") as authority:
        target = await authority.target()
        async with grpc.aio.insecure_channel(target) as channel:
            await add("gRPC", GrpcFeed(channel, target))
    async with redis_server(folder) as url:
        location = RedisLocation(url, "bench")
        published = await _publish(location, recorded_signed, sign)
        for name, check in (("Redis", None), ("Redis, signed", verify)):
            feed = RedisFeed(location)
            await add(name, feed, check or (lambda _: None))
            await feed.close()
    rows.append(["publishing to Redis", *published])
    table = [[*row, f"{float(row[1]) / float(rows[0][1]):.0%}"] for row in rows]
    return [Table("By feed", ("feed", "change sets a second", "CPU µs each", "of in memory"), table, NOTES)]


@contextlib.asynccontextmanager
async def _log_feed(database: Path) -> AsyncGenerator[LogFeed, None]:
    store = await SqliteStore.open(database)
    lineage = await store.lineage()
    feed = LogFeed(store, lambda: lineage, unsigned)
    try:
        yield feed
    finally:
        await feed.close()
        await store.close()


async def _record(database: Path) -> Recorded:
    """A snapshot, and then a backlog, which is added to the database."""
    async with _log_feed(database) as feed:
        snapshot = await feed.snapshot()
        chunks = [chunk async for chunk in snapshot.chunks]
    await WORLD.extend(database, BACKLOG)
    parts: list[ChangePart] = []
    async with _log_feed(database) as feed, contextlib.aclosing(feed.changes(snapshot.manifest.position)) as items:
        async for item in items:
            if isinstance(item, Head):
                return Recorded(snapshot.manifest, chunks, parts, item)
            parts.append(item)
    raise AssertionError("the feed ended")


async def _apply(feed: Feed, recorded: Recorded, verify: Callable[[Signable], None]) -> tuple[float, float]:
    """How many change sets of the backlog a replica takes in a second, and microseconds of this process for each."""
    start = Recorded(recorded.manifest, recorded.chunks, [], recorded.newest)
    replica = Replica(start, ReplicaOptions(), verify=verify)
    await _run(replica, lambda state: True)
    replica.feed = feed
    took = _stopwatch()
    await _run(replica, lambda state: state.position == recorded.newest.position)
    assert replica.counters["snapshots_loaded"] == 1
    return took()


def _stopwatch() -> Callable[[], tuple[float, float]]:
    """Starts; when called, says how many of the backlog come to a second, and to how much processor time each."""
    began, cpu = time.perf_counter(), time.process_time()
    return lambda: (BACKLOG / (time.perf_counter() - began), (time.process_time() - cpu) / BACKLOG * 1e6)


async def _run(replica: Replica, until: Callable[[State], bool]) -> None:
    task = asyncio.create_task(replica.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            while replica.state is None or not until(replica.state):
                assert not task.done()
                await asyncio.sleep(POLL_S)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _publish(location: RedisLocation, source: Feed, sign: Callable[[bytes], bytes]) -> tuple[float, float]:
    """As _apply, until all is in Redis."""

    async def never() -> None:
        raise AssertionError

    async def unknown(_: int) -> str | None:
        return None

    publisher = Publisher(location, source, unknown, never, lambda _: None, sign=sign)
    redis, log = RedisConnection(location), Keys(location.prefix).log((await source.head()).head.position.epoch)
    took = _stopwatch()
    task = asyncio.create_task(publisher.run())
    try:
        while await redis.command("XLEN", log) < BACKLOG:
            assert not task.done()
            await asyncio.sleep(POLL_S)
        return took()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await publisher.close()
        await redis.close()
