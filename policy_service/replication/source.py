"""A replica as the source of checks: what it answers from, when it refuses, how it waits for a revision."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from policy_service.domain.source import Reading, has_reached
from policy_service.errors import RevisionNotReached, Unavailable
from policy_service.replication.replica import Condition, Replica

MAX_WAITERS = 1_000
MARGIN_S = 0.1  # an answer has to reach the caller before its deadline: what comes later looks like nobody answered


class ReplicaSource:
    """Implements PolicySource. `wait_s` bounds how long a check waits for the revision it asks for."""

    def __init__(self, replica: Replica, *, refuse_when_stale: bool, wait_s: float) -> None:
        self._replica, self._refuse_when_stale, self._wait_s = replica, refuse_when_stale, wait_s
        self._waiters = 0

    def problem(self) -> str | None:
        """Why no check is answered now; None when they are."""
        return self._problem(self._replica.condition)

    def _problem(self, condition: Condition) -> str | None:
        if condition is Condition.FRESH:
            return None
        if condition is Condition.SYNCING:
            return "this replica has no policy yet"
        if self._replica.is_too_old:
            return "the policy of this replica is older than it may be at all (max_policy_age_s)"
        if self._refuse_when_stale:
            return "the policy of this replica is stale, and it is configured to refuse then"
        return None

    def read(self) -> Reading:
        condition, state = self._replica.condition, self._replica.state
        problem = self._problem(condition)
        if problem is not None or state is None:
            raise Unavailable(problem or "this replica has no policy yet")
        return Reading(state, stale=condition is not Condition.FRESH)

    async def reach(self, wanted: str, remaining_s: Callable[[], float | None]) -> None:
        if has_reached(self.read().state, wanted):
            return
        if self._waiters >= MAX_WAITERS:
            raise RevisionNotReached(wanted, self.read().state.revision)
        left_s = remaining_s()
        wait_s = self._wait_s if left_s is None else min(self._wait_s, left_s - MARGIN_S)
        self._waiters += 1
        try:
            async with asyncio.timeout(max(0.0, wait_s)):
                while not has_reached(self.read().state, wanted):
                    await self._replica.changed.wait()
        except TimeoutError:
            raise RevisionNotReached(wanted, self.read().state.revision) from None
        finally:
            self._waiters -= 1
