"""How long an event loop kept everybody waiting."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from bench.report import percentile

SLEEP_S = 0.001


class Gaps(NamedTuple):
    """By how many milliseconds a task that sleeps for 1 ms woke up late; `own`: the processor time that the process
    itself took meanwhile, where the rest is waiting for a core that something else has, or for a disk."""

    samples: int
    p50_ms: float
    p999_ms: float
    max_ms: float
    own_p999_ms: float
    own_max_ms: float


COLUMNS = ("loop late p50 ms", "p99.9 ms", "max ms", "own p99.9 ms", "own max ms")


class Probe:
    """`run` it as a task of the event loop."""

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    async def run(self) -> None:
        while True:
            began, cpu = time.perf_counter(), time.process_time()
            await asyncio.sleep(SLEEP_S)
            late_s = time.perf_counter() - began - SLEEP_S
            self._late.append((late_s * 1e3, min(late_s, time.process_time() - cpu) * 1e3))

    def gaps(self) -> Gaps:
        """Those since it was last asked."""
        seen, self._late = self._late or [(0.0, 0.0)], []
        late, own = zip(*seen, strict=True)
        found = [percentile(late, percent) for percent in (50, 99.9, 100)]
        return Gaps(len(seen), *found, *(percentile(own, percent) for percent in (99.9, 100)))
