"""How old a replica's policy is at most. Pure: times are given, in seconds of one monotonic clock.

Evidence is a head that was asked for at a known time and whose revision is applied: at that time nothing newer was
there. Re-reading the same head is no news, nor is a quiet stream.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict

from policy_service.domain.feed import HeardHead

MAX_PENDING = 100  # heads heard and not applied yet
MAX_PUBLISHERS = 64  # processes of the authority whose clocks are known
DRIFT = 2e-4  # two clocks part by at most this, in the long run


def monotonic_s() -> float:
    """Goes on while the machine is suspended, where the system has such a clock."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Freshness:
    """Kept for one epoch. `evidence` is the newest time at which the policy is known to have been the authority's."""

    def __init__(self) -> None:
        self.evidence: float | None = None
        self._pending: list[tuple[int, float]] = []  # revision, time of the evidence once it is applied
        self._offsets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by publisher, the last heard last

    def heard(self, heard: HeardHead, sent: float, received: float, applied: int) -> None:
        """A head came; it was asked for at `sent`. `applied` is the revision of the policy."""
        head = heard.head
        proven = min(sent - heard.age_s, self._made(head.publisher, head.tick_ms / 1_000, received))
        if head.position.revision <= applied:
            self._prove(proven)
        elif len(self._pending) < MAX_PENDING:
            self._pending.append((head.position.revision, proven))

    def applied(self, revision: int) -> None:
        """The policy has come to the revision."""
        if self._pending:
            for _, proven in (item for item in self._pending if item[0] <= revision):
                self._prove(proven)
            self._pending = [item for item in self._pending if item[0] > revision]

    def forget(self) -> None:
        """Nothing is proven any more. What is known of clocks is."""
        self.evidence, self._pending = None, []

    def _made(self, publisher: str, tick: float, received: float) -> float:
        """When the head was made, on our clock, as far as its publisher's clock tells: so one that somebody held back
        is as old as it is. That clock is laid to ours where the two came closest, which is too late by no more than
        the fastest answer took."""
        offset, at = self._offsets.pop(publisher, (math.inf, received))
        offset = min(offset + DRIFT * (received - at), received - tick)
        self._offsets[publisher] = offset, received
        if len(self._offsets) > MAX_PUBLISHERS:
            self._offsets.popitem(last=False)
        return tick + offset

    def _prove(self, proven: float) -> None:
        self.evidence = proven if self.evidence is None else max(self.evidence, proven)
