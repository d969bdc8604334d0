"""An authority with a million members: its start from SQLite, its memory, its event loop once it serves."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from bench import gaps
from bench.processes import Loaded, serving
from bench.report import Cell, Table
from bench.world import World
from policy_client import AccessClient, AdminClient
from policy_service.v1.resources_pb2 import Member, ModelScope

TITLE = "Start and size of an authority"
WORLD = World(members=1_000_000, teams=10_000)
STARTS = 3
WATCHED_S = 5.0
CHECK_EVERY_S, CHANGE_EVERY_S = 0.005, 0.02
EMPTY, FULL = "empty", f"{WORLD.members:,} members"
STARTING = f"""Targets: at most 15 s, at most 300 MiB above empty. From the start of the process, Python's own start
included, until it serves; medians of {STARTS} starts of each, in turns. *Most*: the peak until then."""
PAUSING = f"""Target: at most 20 ms once it serves. {FULL}; a task that sleeps for 1 ms watches the loop. *Busy*: a
check every {CHECK_EVERY_S * 1e3:.0f} ms and a changed member every {CHANGE_EVERY_S * 1e3:.0f} ms, from this process.
*Own* is the processor time of the server itself within a gap: what is left on a machine with a core to spare."""


async def measure(folder: Path) -> list[Table]:
    databases = {EMPTY: folder / "empty.db", FULL: await WORLD.database(folder)}
    starts: dict[str, list[Loaded]] = {name: [] for name in databases}
    for _ in range(STARTS):
        for name, database in databases.items():
            async with serving(f"--database={database}") as server:
                starts[name].append(Loaded.of(server, (await server.said(" serving "))[0]))
    return [
        Table(
            "Start from SQLite",
            ("policy", "seconds", "CPU s", "RSS MiB", "above empty MiB", "most MiB"),
            _start_rows(starts),
            STARTING,
        ),
        Table("The event loop", ("when", "seconds", *gaps.COLUMNS), await _pauses(databases[FULL]), PAUSING),
    ]


def _start_rows(starts: dict[str, list[Loaded]]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    empty_memory = statistics.median(loaded.memory for loaded in starts[EMPTY])
    for name, found in starts.items():
        seconds, cpu_s, memory, peak = (statistics.median(values) for values in zip(*found, strict=True))
        rows.append([name, seconds, cpu_s, memory, memory - empty_memory, peak])
    return rows


async def _pauses(database: Path) -> list[list[Cell]]:
    async with serving(f"--database={database}", "--drain-timeout-s=1", probed=True) as server:
        target = await server.target()
        starting = await server.gaps()
        rows: list[list[Cell]] = [["until it serves", time.perf_counter() - server.began, *starting[1:]]]
        await asyncio.sleep(WATCHED_S)
        rows.append(["idle", WATCHED_S, *(await server.gaps())[1:]])
        await _ask_and_change(target)
        rows.append(["busy", WATCHED_S, *(await server.gaps())[1:]])
    return rows


async def _ask_and_change(target: str) -> None:
    checks, numbers = iter(WORLD.checks(10_000, seed=1)), count()

    async with AccessClient(target, timeout_s=30.0) as access, AdminClient(target, timeout_s=30.0) as admin:

        async def change() -> None:
            team, user = WORLD.member_of(next(numbers) * 7_919 % WORLD.members)
            await admin.update_member(Member(team=team, user=user, allowed_models=ModelScope(mode=ModelScope.NONE)))

        async def ask() -> None:
            await access.check(*next(checks))

        await asyncio.gather(_again(ask, CHECK_EVERY_S), _again(change, CHANGE_EVERY_S))


async def _again(work: Callable[[], Awaitable[None]], pause_s: float) -> None:
    ends = time.perf_counter() + WATCHED_S
    while time.perf_counter() < ends:
        await work()
        await asyncio.sleep(pause_s)
