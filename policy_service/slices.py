"""Long work of the event loop, in slices that leave it free for others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

SLICE_S = 0.004  # how long a slice may keep the event loop

T = TypeVar("T")
R = TypeVar("R")


async def in_slices(steps: Iterable[object]) -> None:
    """Runs through the steps; the event loop gets a turn whenever they took SLICE_S."""
    began = time.perf_counter()
    for _ in steps:
        if time.perf_counter() - began > SLICE_S:
            await asyncio.sleep(0)
            began = time.perf_counter()
    await asyncio.sleep(0)


async def each_in_slices(make: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What `make` makes of each."""
    made: list[R] = []

    def steps() -> Iterator[None]:
        for item in items:
            made.append(make(item))
            yield

    await in_slices(steps())
    return made
