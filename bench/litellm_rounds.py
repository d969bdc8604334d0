"""What litellm_inside.py measures, by which LiteLLM's environment and the bench's tell each other of it."""

from __future__ import annotations

import statistics
from typing import NamedTuple

OWN, LOCAL, REMOTE = "LiteLLM", "local", "remote"
HOOKS = ("member's limits", "before the call", "before a deployment is chosen", "before a deployment is called")
ROUNDS, REQUESTS, REMOTE_REQUESTS = 15, 1_000, 150  # a round


class Rounds(NamedTuple):
    """Microseconds of a request in each round. `cpu_us` and `wall_us` by kind and way, `hooks_us` by way and hook."""

    version: str
    cpu_us: dict[str, dict[str, list[float]]]
    wall_us: dict[str, dict[str, list[float]]]
    hooks_us: dict[str, dict[str, list[float]]]

    def cpu(self, kind: str, way: str) -> float:
        """Of a processor, the median."""
        return statistics.median(self.cpu_us[kind][way])

    def wall(self, kind: str, way: str) -> float:
        """By the clock, the median."""
        return statistics.median(self.wall_us[kind][way])

    def hook(self, way: str, hook: str) -> float:
        """By the clock, the median."""
        return statistics.median(self.hooks_us[way][hook])
