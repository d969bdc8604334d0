"""What was to be reached, beside what was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bench.checks_mutations import Mutated
from bench.checks_python import Timed
from bench.checks_sample import Batches
from bench.checks_sizes import Sized
from bench.checks_tally import Tally
from bench.load.loops import Spacing
from bench.peers.ours import DATA_PLANE, GRPCIO
from bench.report import Cell, Table

NOT_MEASURED = "not measured"


class Found(NamedTuple):
    """All that was measured of the data plane. `tallies`: by the name of a front or of a peer's module."""

    tallies: Mapping[str, Tally]
    mutated: Mutated
    batches: Batches
    sized: Sized
    timed: Timed


def targets_table(found: Found) -> Table:
    tallies, plane = found.tallies, found.tallies[DATA_PLANE]
    grpcio, cerbos, limit = tallies[GRPCIO], tallies.get("cerbos"), tallies.get("envoy_direct")
    fewest, most = (found.sized[members][DATA_PLANE] for members in (min(found.sized), max(found.sized)))
    even = plane.latency_ms(Spacing.EVEN, 99) / plane.latency_ms(Spacing.EVEN, 50)
    rows: list[list[Cell]] = [
        _at_least("requests a second, of the grpcio server's", 6, plane.rate / grpcio.rate),
        _at_most("CPU of a decision, of the grpcio server's", 1 / 6, plane.cpu_us / grpcio.cpu_us),
        _at_least("requests a second, of Cerbos's", 15, plane.rate / cerbos.rate if cerbos else None),
        _at_least("requests a second, of Envoy's direct response", 0.25, plane.rate / limit.rate if limit else None),
        _at_most("p99 of p50 at half load, evenly spaced", 3, even),
        _at_most("µs of Python for a check", 12, found.timed.typical_us),
        _at_least(f"requests a second at {max(found.sized):,} members, of those at {min(found.sized):,}",
                  0.9, most.rate / fewest.rate),
        _at_least("decisions a second in batches, one process", 250_000, found.batches.rate(DATA_PLANE)),
        _at_most("growth of the CPU of a decision with 100 mutations a second", 0.1, found.mutated.growth),
        _at_most("answers older than the staleness", 0, found.mutated.stream.too_old()),
    ]  # fmt: skip
    return Table("Targets", ("what", "target", "reached", ""), rows)


def _at_least(what: str, target: float, value: float | None) -> list[Cell]:
    if value is None:
        return [what, f"at least {target:,g}", NOT_MEASURED, ""]
    return [what, f"at least {target:,g}", value, _word(value >= target)]


def _at_most(what: str, target: float, value: float) -> list[Cell]:
    return [what, f"at most {target:,.3g}", value, _word(value <= target)]


def _word(met: bool) -> str:
    return "met" if met else "missed"
