"""All subjects side by side: how many checks each answers at most, how long its answers take at half of that, and what
h2load says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.checks_tally import Tally
from bench.load import h2load
from bench.load.generator import CONNECTIONS, STREAMS
from bench.load.loops import Spacing
from bench.peers.ours import NAMES
from bench.report import Cell, Table

ROUNDS = 3
ROUND_S, H2LOAD_S = 1.5, 1
HALF = 0.5  # of the most that a subject answers
PERCENTS = (50, 90, 99, 99.9)

MOST = f"""Closed loop: {CONNECTIONS} connections with {STREAMS} checks in flight on each. The subjects take turns,
{ROUNDS} rounds; shown are medians. Every answer is checked while it is measured: HTTP status, grpc-status and the
message. All share the cores of this machine with the load generator. *CPU*: of all the subject's processes;
*generator*: the processor time of the load generator for each check.

{{notes}}"""
LATENCY = """Open loop: checks are sent when they are due, whatever the answers do, at half of the most that each
subject answered above, and latency counts from the moment that a check was due. *Evenly*: each as long after the one
before; *Poisson*: as from many callers that know nothing of each other, so that some come together. Checks that are
sent one by one take more of the processors than those of the closed loop, which come several at once: where the cores
of this machine, which the generator shares, do not suffice for half of a very high rate, a queue grows, and its length
is what is shown. *Late*: how long after they were due the generator sent the last hundredth of the checks; it is part
of the latency."""
STANDARD = f"""The closed loop again, with h2load: {CONNECTIONS} connections, {STREAMS} requests in flight on each, one
thread, and one request repeated, so that nothing is checked but the HTTP status. *Ours*: the load generator of the
tables above, for comparison."""


async def take_turns(tallies: Sequence[Tally], folder: Path, with_h2load: Sequence[Tally]) -> None:
    """Runs all the rounds."""
    for _ in range(ROUNDS):
        for tally in tallies:
            await tally.run_closed(ROUND_S)
    for _ in range(ROUNDS):
        for tally in tallies:
            for spacing in Spacing if tally.name in NAMES else [Spacing.EVEN]:
                await tally.run_open(HALF * tally.rate, ROUND_S, spacing)
    if not h2load.missing():
        for _ in range(ROUNDS):
            for tally in with_h2load:
                rate = await h2load.h2load(folder, tally.subject.port, tally.calls[0], H2LOAD_S)
                tally.h2load_rates.append(rate)


def most_table(tallies: Sequence[Tally], reference: Tally) -> Table:
    columns = ("subject", "checks a second", "of the data plane's", "CPU µs", "RSS MiB", "generator µs")
    rows: list[list[Cell]] = [
        [
            *(tally.name, tally.rate, f"{tally.rate / reference.rate:.2f}"),
            *(tally.cpu_us, tally.memory_mib(), tally.generator_us),
        ]
        for tally in tallies
    ]
    notes = "\n".join(f"- *{tally.name}*: {' '.join(tally.subject.notes.split())}" for tally in tallies)
    return Table("At most", columns, rows, MOST.format(notes=notes))


def latency_table(tallies: Sequence[Tally]) -> Table:
    columns = (
        *("subject", "checks a second", "spaced"),
        *(f"p{percent:g} ms" for percent in PERCENTS),
        *("p99 / p50", "late p99 ms"),
    )
    rows: list[list[Cell]] = []
    for tally in tallies:
        for spacing in tally.open:
            found = {percent: tally.latency_ms(spacing, percent) for percent in PERCENTS}
            rate = tally.open[spacing][-1].rate
            rows.append([tally.name, rate, spacing, *found.values(), found[99] / found[50], tally.late_ms(spacing, 99)])
    return Table("Latency at half load", columns, rows, LATENCY)


def h2load_table(tallies: Sequence[Tally], limit: Tally | None) -> Table:
    """`limit`: Envoy's direct response."""
    if h2load.missing():
        return Table("h2load", ("what",), [(h2load.missing(),)])
    rows: list[list[Cell]] = [
        [tally.name, tally.h2load_rate, _ratio(tally.h2load_rate, limit), tally.rate] for tally in tallies
    ]
    return Table("h2load", ("subject", "requests a second", "of Envoy's direct response", "ours"), rows, STANDARD)


def _ratio(rate: float, limit: Tally | None) -> str:
    return f"{rate / limit.h2load_rate:.2f}" if limit else ""
