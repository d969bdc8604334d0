"""Checks over gRPC: the data plane, the grpcio server, and what others have, side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path

from bench.checks_mutations import measure_mutations
from bench.checks_python import time_python
from bench.checks_rates import PERCENTS, h2load_table, latency_table, most_table, take_turns
from bench.checks_sample import measure_batches, verify
from bench.checks_sizes import measure_sizes, processes_table, sizes_table
from bench.checks_tally import Tally
from bench.checks_targets import Found, targets_table
from bench.load.generator import Generator, generator
from bench.load.loops import Spacing
from bench.mix import Asked, loaded, mix, shares
from bench.peers import ours
from bench.peers.ours import DATA_PLANE
from bench.peers.subject import Subject
from bench.plot import draw_checks
from bench.report import PICTURES, Table
from bench.world import World
from policy_service.replication.loading import collector_paused

TITLE = "Checks over gRPC"
WORLD = World(members=1_000_000, teams=10_000)
CHECKS = 100_000
PEERS = ("cerbos", "envoy_direct", "opa", "openfga", "spicedb")
WITH_H2LOAD = (*ours.NAMES, "cerbos", "envoy_direct")
SHOWN = 300  # characters of why a peer did not start


async def measure(folder: Path) -> list[Table]:
    if lacking := ours.missing():
        return [Table("Nothing was measured", ("why",), [(lacking,)])]
    database = await WORLD.database(folder)
    with collector_paused(owns_process=True):  # as in a server
        state = await loaded(database)
        asked = mix(WORLD, state, CHECKS)
    timed = time_python(state, asked)
    async with AsyncExitStack() as stack:
        load = await stack.enter_async_context(generator())
        running = await stack.enter_async_context(ours.running(database, state))
        subjects, left_out = await _peers(stack, folder)
        subjects = {front.name: front for front in running.fronts} | subjects
        tallies = await _tallies(load, subjects, asked)
        with_h2load = [tally for name, tally in tallies.items() if name in WITH_H2LOAD]
        await take_turns(list(tallies.values()), folder, with_h2load)
        tables = [
            shares(WORLD, asked),
            *_compared(tallies, with_h2load),
            *([Table("Left out", ("what", "why"), list(left_out.items()))] if left_out else []),
            await verify(running, asked),
        ]
        batches = await measure_batches(load, running, state, asked)
        fronts = {front.name: tallies[front.name] for front in running.fronts}
        sized = await measure_sizes(folder, load, (WORLD, fronts))
        mutated = await measure_mutations(running, tallies[DATA_PLANE], WORLD, asked)
        tables += [batches.table(), sizes_table(sized), await processes_table(folder, load), mutated.table()]
    return [targets_table(Found(tallies, mutated, batches, sized, timed)), *tables, timed.table()]


async def _peers(stack: AsyncExitStack, folder: Path) -> tuple[dict[str, Subject], dict[str, str]]:
    """Those that run here, and why the others do not."""
    subjects: dict[str, Subject] = {}
    left_out: dict[str, str] = {}
    for name in PEERS:
        peer = import_module(f"bench.peers.{name}")
        if lacking := peer.missing():
            left_out[name] = lacking
            continue
        try:
            subjects[name] = await stack.enter_async_context(peer.running(folder, WORLD))
        except (OSError, RuntimeError) as error:
            left_out[name] = re.sub(r"[\s|]+", " ", f"it did not start: {error}")[:SHOWN]
    return subjects, left_out


async def _tallies(load: Generator, subjects: Mapping[str, Subject], asked: list[Asked]) -> dict[str, Tally]:
    return {name: await Tally.of(load, subject, asked) for name, subject in subjects.items()}


def _compared(tallies: Mapping[str, Tally], with_h2load: list[Tally]) -> list[Table]:
    """All subjects, the best first after ours."""
    ordered = sorted(tallies.values(), key=lambda tally: (tally.name not in ours.NAMES, -tally.rate))
    rates = {tally.name: tally.rate for tally in ordered}
    latencies = {tally.name: [tally.latency_ms(Spacing.EVEN, percent) for percent in PERCENTS] for tally in ordered}
    PICTURES.mkdir(parents=True, exist_ok=True)
    problem = draw_checks(PICTURES / "checks", rates, latencies, PERCENTS, len(ours.NAMES))
    most = most_table(ordered, tallies[DATA_PLANE])
    most = most._replace(notes=f"{most.notes}\n\n{problem}") if problem else most._replace(picture="checks")
    return [most, latency_table(ordered), h2load_table(with_h2load, tallies.get("envoy_direct"))]
