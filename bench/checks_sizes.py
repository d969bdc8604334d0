"""Our two fronts with more and fewer members, and the data plane with more processes."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.checks_tally import Tally
from bench.load.generator import Generator
from bench.mix import from_records, mix
from bench.peers import ours
from bench.peers.ours import DATA_PLANE
from bench.report import Cell, Table
from bench.world import World

ROUNDS, ROUND_S = 3, 1.0
WORLDS = (World(members=1_000, teams=10), World(members=10_000, teams=100), World(members=100_000, teams=1_000))
CHECKS = 30_000
PROCESSES, CONNECTIONS, STREAMS = (1, 2), 32, 4
SIZES = f"""Closed loop as above, the same mix of each world, medians of {ROUNDS} rounds in which the worlds take turns;
*of the smallest*: of the same front. The members who ask most are the same share of the checks in every world."""
SEVERAL = f"""Closed loop, {CONNECTIONS} connections with {STREAMS} checks in flight on each, which the kernel
distributes over the processes; {WORLDS[-1].members:,} members, medians of {ROUNDS} rounds in turn. The processes, the
authority and the load generator share the cores of this machine, so this shows what a second process costs, and not
what it would bring on a machine with a core for each."""

Sized = dict[int, dict[str, Tally]]  # by the number of members, and by front


async def measure_sizes(folder: Path, generator: Generator, largest: tuple[World, Mapping[str, Tally]]) -> Sized:
    """`largest` runs already; its rounds so far are left out."""
    async with AsyncExitStack() as stack:
        sized: Sized = {}
        for world in WORLDS:
            tallies = await stack.enter_async_context(_served(folder, generator, world))
            sized[world.members] = {tally.name: tally for tally in tallies}
        sized[largest[0].members] = {
            name: Tally(tally.subject, tally.load, tally.calls) for name, tally in largest[1].items()
        }
        await _take_turns([tally for tallies in sized.values() for tally in tallies.values()])
    return sized


@asynccontextmanager
async def _served(
    folder: Path, generator: Generator, world: World, processes: int = 1, connections: int = 0
) -> AsyncIterator[list[Tally]]:
    own = Path(tempfile.mkdtemp(dir=folder))
    state = from_records(world)
    async with ours.running(await world.database(own), state, processes) as running:
        asked = mix(world, state, CHECKS)
        yield [await Tally.of(generator, front, asked, connections) for front in running.fronts]


async def _take_turns(tallies: Sequence[Tally], streams: int = 0) -> None:
    for _ in range(ROUNDS):
        for tally in tallies:
            await tally.run_closed(ROUND_S, streams)


def sizes_table(sized: Sized) -> Table:
    smallest = sized[min(sized)]
    rows: list[list[Cell]] = [
        [f"{members:,}", name, tally.rate, f"{tally.rate / smallest[name].rate:.2f}", tally.cpu_us]
        for members, tallies in sized.items()
        for name, tally in tallies.items()
    ]
    columns = ("members", "front", "checks a second", "of the smallest", "CPU µs")
    return Table("From few members to many", columns, rows, SIZES)


async def processes_table(folder: Path, generator: Generator) -> Table:
    async with AsyncExitStack() as stack:
        tallies = []
        for processes in PROCESSES:
            served = _served(folder, generator, WORLDS[-1], processes, CONNECTIONS)
            tallies += [tally for tally in await stack.enter_async_context(served) if tally.name == DATA_PLANE]
        await _take_turns(tallies, STREAMS)
        rows: list[list[Cell]] = [
            [str(processes), tally.rate, f"{tally.rate / tallies[0].rate:.2f}", tally.cpu_us, tally.memory_mib()]
            for processes, tally in zip(PROCESSES, tallies, strict=False)
        ]
    columns = ("processes", "checks a second", "of one", "CPU µs", "RSS MiB")
    return Table("Processes of the data plane", columns, rows, SEVERAL)
