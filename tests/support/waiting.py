"""Waiting for something to become true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

LIMIT_S = 60.0  # far more than anything needs
T = TypeVar("T")


async def until(ask: Callable[[], Awaitable[T]], what: str) -> T:
    """Asks again and again until the answer is true, and returns it."""
    try:
        async with asyncio.timeout(LIMIT_S):
            while not (answer := await ask()):  # noqa: ASYNC110 - what it asks about is elsewhere
                await asyncio.sleep(0.02)
            return answer
    except TimeoutError:
        raise AssertionError(f"never: {what}") from None
