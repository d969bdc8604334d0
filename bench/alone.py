"""What a service needs to run alone in this process: a policy that stays as it is, and no event loop."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from policy_service.domain.source import Reading
from policy_service.domain.state import State

T = TypeVar("T")


class Still:
    """Implements PolicySource."""

    def __init__(self, state: State) -> None:
        self._reading = Reading(state, False)

    def read(self) -> Reading:
        return self._reading

    async def reach(self, wanted: str, remaining_s: object) -> None:
        raise AssertionError(f"nothing here asks for a revision, but {wanted} was")


def now(work: Awaitable[T]) -> T:
    """The result of what waits for nothing."""
    try:
        work.__await__().__next__()
    except StopIteration as done:
        result: T = done.value
        return result
    raise RuntimeError("it waits for something")
