"""How old a replica's policy is at most. Pure: times are given, in seconds of one monotonic clock.

Evidence is a head that was asked for at a known time and whose revision is applied: at that time nothing newer was
there. Re-reading the same head is no news, nor is a quiet stream.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import NamedTuple

from policy_service.domain.feed import HeardHead

MAX_PENDING = 100  # heads heard and not applied yet
MAX_PUBLISHERS = 64  # processes of the authority whose clocks are known
DRIFT = 2e-4  # two clocks part by at most this, in the long run


def monotonic_s() -> float:
    """Goes on while the machine is suspended, where the system has such a clock."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class _Offset(NamedTuple):
    """What has to be added to a publisher's clock to get ours: between these, as of a time on ours."""

    least: float
    most: float
    time: float


class Freshness:
    """Kept for one epoch. `evidence` is the newest time at which the policy is known to have been the authority's."""

    def __init__(self) -> None:
        self.evidence: float | None = None
        self._pending: list[tuple[int, float]] = []  # revision, time of the evidence once it is applied
        self._offsets: OrderedDict[str, _Offset] = OrderedDict()  # by publisher, the last heard last

    def heard(self, heard: HeardHead, sent: float, received: float, applied: int) -> None:
        """A head came; it was asked for at `sent`. `applied` is the revision of the policy."""
        head = heard.head
        proven = min(sent - heard.age_s, self._made(head.publisher, head.tick_ms / 1_000, sent, received))
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

    def _made(self, publisher: str, tick: float, sent: float, received: float) -> float:
        """When the head was made, on our clock, as far as its publisher's clock tells: so one that somebody held back
        is as old as it is. Any head bounds the offset from above; one that was made after it was asked for does from
        below, and what is beyond the upper bound was not."""
        known = self._offsets.pop(publisher, None)
        least, most = sent - tick, received - tick
        if known is not None:
            most = min(most, known.most + DRIFT * (received - known.time))
            if known.least <= most:
                least = max(least, known.least) if least <= most else known.least
        self._offsets[publisher] = _Offset(least, most, received)
        if len(self._offsets) > MAX_PUBLISHERS:
            self._offsets.popitem(last=False)
        return tick + least

    def _prove(self, proven: float) -> None:
        self.evidence = proven if self.evidence is None else max(self.evidence, proven)
