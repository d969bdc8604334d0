"""What one server was seen to do: the rounds of one subject of the benchmark of checks."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.load.call import Call
from bench.load.generator import Generator, Load
from bench.load.loops import Closed, Open, Spacing
from bench.mix import Asked
from bench.peers.subject import Subject
from bench.report import percentile


@dataclass
class Tally:
    """Rounds, which are added as they are run; what is asked of a tally is the median of its rounds."""

    subject: Subject
    load: Load
    calls: list[Call]
    closed: list[Closed] = field(default_factory=list)
    open: dict[Spacing, list[Open]] = field(default_factory=dict)
    h2load_rates: list[float] = field(default_factory=list)

    @classmethod
    async def of(cls, generator: Generator, subject: Subject, asked: Sequence[Asked], connections: int = 0) -> Tally:
        """Asks the subject what it can be asked."""
        made = (subject.call(found.check, found.decision.allowed) for found in asked)
        calls = [call for call in made if call is not None]
        options = {"connections": connections} if connections else {}
        return cls(subject, await generator.load(subject.port, calls, token=subject.token, **options), calls)

    @property
    def name(self) -> str:
        return self.subject.name

    async def run_closed(self, seconds: float, streams: int = 0) -> None:
        options = {"streams": streams} if streams else {}
        self.closed.append(await self.load.closed(seconds, self.subject.pids(), **options))

    async def run_open(self, rate: float, seconds: float, spacing: Spacing) -> None:
        rounds = self.open.setdefault(spacing, [])
        rounds.append(await self.load.open(rate, seconds, self.subject.pids(), spacing=spacing))

    @property
    def rate(self) -> float:
        """Answers a second, at most."""
        return statistics.median(found.rate for found in self.closed)

    @property
    def cpu_us(self) -> float:
        """Processor time of an answer, of all the server's processes, at most load."""
        return statistics.median(sum(found.cpu_s) / found.answers for found in self.closed) * 1e6

    @property
    def generator_us(self) -> float:
        """The generator's own."""
        return statistics.median(found.own_cpu_s / found.answers for found in self.closed) * 1e6

    @property
    def h2load_rate(self) -> float:
        return statistics.median(self.h2load_rates)

    def latency_ms(self, spacing: Spacing, percent: float) -> float:
        return statistics.median(percentile(found.latencies_ms, percent) for found in self.open[spacing])

    def late_ms(self, spacing: Spacing, percent: float) -> float:
        """How late the generator was."""
        return statistics.median(percentile(found.late_ms, percent) for found in self.open[spacing])

    def memory_mib(self) -> float:
        """Resident, now."""
        return sum(map(_memory_mib, self.subject.pids()))


def _memory_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1_024 if found else 0.0
