"""Checks in the gateway's own process, and the same checks over gRPC."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from bench.gaps import COLUMNS, Probe
from bench.processes import serving
from bench.report import Cell, Table
from bench.world import Check, World
from policy_client import AccessClient, LocalPolicy

TITLE = "LocalPolicy and gRPC"
WORLD = World(members=1_000_000, teams=10_000)
ROUNDS = 5
CONCURRENT = 64
LOCAL_CHECKS, SEQUENTIAL_CHECKS, CONCURRENT_CHECKS = 50_000, 1_500, 6_000  # a round
NOTES = f"""{WORLD.members:,} members. Every check is of a random member, its texts built for it; none comes twice.
The ways take turns, {ROUNDS} rounds; shown are medians. The server is another process on this machine; client and
server each have a core when nothing else runs."""


async def measure(folder: Path) -> list[Table]:
    async with serving(f"--database={await WORLD.database(folder)}", "--drain-timeout-s=1") as authority:
        target = await authority.target()
        probe = Probe()
        probing = asyncio.create_task(probe.run())
        began = time.perf_counter()
        async with LocalPolicy(f"grpc://{target}") as policy, AccessClient(target, timeout_s=30.0) as client:
            await policy.wait_until_fresh(120.0)
            loaded_s = time.perf_counter() - began
            probing.cancel()
            gaps = probe.gaps()
            rows = await _rates(policy, client)
    loading = Table(
        "LocalPolicy: loading in the gateway's process",
        ("what", "seconds", *COLUMNS),
        [("from its start to a fresh policy, the making of the snapshot included", loaded_s, *gaps[1:])],
        "A host's garbage collector is left alone: its full collections are in here.",
    )
    return [Table("Checks a second", ("way", "a second", "µs each", "times gRPC, one at a time"), rows, NOTES), loading]


async def _rates(policy: LocalPolicy, client: AccessClient) -> list[list[Cell]]:
    async def decide(checks: list[Check]) -> None:
        for check in checks:
            policy.decide(*check)

    async def check_locally(checks: list[Check]) -> None:
        for check in checks:
            await policy.check(*check)

    async def one_at_a_time(checks: list[Check]) -> None:
        for check in checks:
            await client.check(*check)

    async def concurrently(checks: list[Check]) -> None:
        left = iter(checks)

        async def caller() -> None:
            for check in left:
                await client.check(*check)

        await asyncio.gather(*(caller() for _ in range(CONCURRENT)))

    ways: list[tuple[str, Callable[[list[Check]], Awaitable[None]], int]] = [
        ("LocalPolicy.decide", decide, LOCAL_CHECKS),
        ("LocalPolicy.check", check_locally, LOCAL_CHECKS),
        ("gRPC, one at a time", one_at_a_time, SEQUENTIAL_CHECKS),
        (f"gRPC, {CONCURRENT} at a time", concurrently, CONCURRENT_CHECKS),
    ]
    rates: dict[str, list[float]] = {name: [] for name, _, _ in ways}
    seeds = count()
    for _ in range(ROUNDS):
        for name, way, checks in ways:
            asked = WORLD.checks(checks, next(seeds))
            began = time.perf_counter()
            await way(asked)
            rates[name].append(len(asked) / (time.perf_counter() - began))
    found = {name: statistics.median(values) for name, values in rates.items()}
    reference = found["gRPC, one at a time"]
    return [[name, rate, 1e6 / rate, rate / reference] for name, rate in found.items()]
