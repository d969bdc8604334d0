"""A million members: how a replica comes to them, over each feed, and what it costs the authority."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc

from bench import gaps
from bench.processes import LOADED, Loaded, Server, free_port, redis_server, serving
from bench.report import Cell, Table, percentile
from bench.world import World
from policy_client import AccessClient
from policy_service.replication.signing import make_keys
from policy_service.store.protocol import new_epoch
from policy_service.store.sqlite import SqliteStore
from policy_service.v1.replication_pb2 import WatchRequest
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub

TITLE = "A million members"
WORLD = World(members=1_000_000, teams=10_000)
IDLE_S = 3.0
WARM_UP_S = 0.5
SETTLE_S = 3.0  # in which the old state is let go
CHECK_EVERY_S = 0.005
LOADING = """Target: at most 20 s. From the start of the process, Python's own start included, until checks are
answered. The authority has its snapshot made (the table before says how long that takes); the disk cache needs
nobody. *RSS above empty* is compared with a replica of an empty policy; *most* is the peak while loading. Over Redis
everything is signed and verified."""
RELOADING = f"""Target: at most 20 ms. The authority restarts with a new epoch, so that its replica, which goes on
answering from its old policy, loads the new one beside it. A task that sleeps for 1 ms watches the loop, from when
the authority serves until {SETTLE_S:.0f} s after the new policy does, in which the old one is let go. *Seconds* is
from when the authority serves, and contains the making of the snapshot. A check is sent to the replica every
{CHECK_EVERY_S * 1e3:.0f} ms meanwhile. Three processes share the cores: *idle* is the same replica, watched before.
*Own* is the processor time of the process itself within a gap: what is left on a machine with a core to spare."""


async def measure(folder: Path) -> list[Table]:
    database, key = await WORLD.database(folder), folder / "key.pem"
    public = make_keys(key)
    listen = f"127.0.0.1:{free_port()}"
    from_grpc = ["--role=replica", f"--follow=grpc://{listen}"]
    cache = f"--state-cache={folder / 'cache'}"
    authority_options = [f"--database={database}"]
    empty = await _empty(folder)

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(redis_server(folder))
        from_redis = ["--role=replica", f"--follow={url}", f"--verify-key={public}"]
        publishing = [*authority_options, f"--publish={url}", f"--signing-key={key}"]

        async with serving(*authority_options, listen=listen, probed=True) as authority:
            await authority.target()
            making = await _make_snapshot(authority, listen)
            loads = {
                "gRPC": await _load(*from_grpc),
                "gRPC, writing a disk cache": await _load(*from_grpc, cache),
                "disk cache": await _load(*from_grpc, cache),
            }
            follower = await stack.enter_async_context(serving(*from_grpc, probed=True))
            await follower.said(LOADED)
            await authority.end(signal.SIGTERM)
        reloads = await _reload("gRPC", follower, database, authority_options, listen)
        await follower.end()

        async with serving(*publishing, listen=listen) as authority:
            published_at, _ = await authority.said(" published a snapshot ")
            published_s = published_at - (await authority.said(" serving "))[0]
            making.append(["making one and publishing it to Redis", published_s, *[""] * len(gaps.COLUMNS)])
            loads["Redis"] = await _load(*from_redis)
            follower = await stack.enter_async_context(serving(*from_redis, probed=True))
            await follower.said(LOADED)
            await authority.end(signal.SIGTERM)
        reloads += await _reload("Redis", follower, database, publishing, listen)

    load_rows: list[list[Cell]] = [
        [name, found.seconds, found.cpu_s, found.memory - empty.memory, found.peak]
        for name, found in ({"empty policy, gRPC": empty} | loads).items()
    ]
    return [
        Table("The authority makes a snapshot", ("what", "seconds", *gaps.COLUMNS), making),
        Table(
            "Start of a replica until it has the policy",
            ("feed", "seconds", "CPU s", "RSS above empty MiB", "most MiB"),
            load_rows,
            LOADING,
        ),
        Table(
            "A replica loads while it serves an older policy",
            ("feed", "seconds", *gaps.COLUMNS, "check p50 ms", "check p99.9 ms", "check max ms", "most MiB"),
            reloads,
            RELOADING,
        ),
    ]


async def _empty(folder: Path) -> Loaded:
    """A replica without a policy."""
    async with serving(f"--database={folder / 'empty.db'}") as authority:
        return await _load("--role=replica", f"--follow=grpc://{await authority.target()}")


async def _load(*options: str) -> Loaded:
    async with serving(*options) as replica:
        there = max((await replica.said(LOADED))[0], (await replica.said(" serving "))[0])
        return Loaded.of(replica, there)


async def _make_snapshot(authority: Server, target: str) -> list[list[Cell]]:
    """Makes the authority make one, and takes it."""
    await authority.gaps()
    await asyncio.sleep(IDLE_S)
    rows: list[list[Cell]] = [["idle", IDLE_S, *(await authority.gaps())[1:]]]
    async with grpc.aio.insecure_channel(target) as channel:
        began = time.perf_counter()
        watch: Any = ReplicationServiceStub(channel).Watch(WatchRequest())
        manifest = (await watch.read()).snapshot
        rows.append(["making it", time.perf_counter() - began, *(await authority.gaps())[1:]])
        began, size = time.perf_counter(), 0
        for _ in manifest.checksums:
            size += len((await watch.read()).chunk.payload)
        name = f"sending its {size / 1e6:.0f} MB to one who only takes them"
        rows.append([name, time.perf_counter() - began, *(await authority.gaps())[1:]])
        watch.cancel()
    return rows


async def _reload(feed: str, follower: Server, database: Path, options: list[str], listen: str) -> list[list[Cell]]:
    store = await SqliteStore.open(database)
    await store.begin_epoch(new_epoch())
    await store.close()
    async with AccessClient(await follower.target(), timeout_s=30.0) as client:
        ask = cycle(partial(client.check, *check) for check in WORLD.checks(10_000, seed=1))
        await _watch(follower, ask, asyncio.sleep(WARM_UP_S))
        idle = await _watch(follower, ask, asyncio.sleep(IDLE_S))
        async with serving(*options, listen=listen) as authority:
            serves, _ = await authority.said(" serving ")

            async def reloaded() -> float:
                there, _ = await follower.said(LOADED, serves)
                await asyncio.sleep(SETTLE_S)
                return there - serves

            waiting = asyncio.create_task(reloaded())
            loading = await _watch(follower, ask, waiting)
            await authority.end(signal.SIGTERM)
    rows: list[list[Cell]] = [[f"{feed}, idle", IDLE_S, *idle, ""]]
    return [*rows, [feed, waiting.result(), *loading, follower.memory_mib("VmHWM")]]


async def _watch(
    follower: Server, ask: Iterator[Callable[[], Awaitable[object]]], work: Awaitable[object]
) -> list[Cell]:
    """Loop gaps and latencies of checks, in milliseconds, while something is awaited."""
    late: list[float] = []

    async def keep_asking() -> None:
        for check in ask:
            began = time.perf_counter()
            await check()
            late.append((time.perf_counter() - began) * 1e3)
            await asyncio.sleep(CHECK_EVERY_S)

    await follower.gaps()
    checking = asyncio.create_task(keep_asking())
    await work
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)
    return [*(await follower.gaps())[1:], *(percentile(late, percent) for percent in (50, 99.9, 100))]
