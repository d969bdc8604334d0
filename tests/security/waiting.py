"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

DEADLINE_S = 10.0


async def eventually(condition: Callable[[], Awaitable[bool]], what: str, deadline_s: float = DEADLINE_S) -> float:
    """Seconds until the condition held."""
    start = time.monotonic()
    while not await condition():
        assert time.monotonic() < start + deadline_s, f"never: {what}"
        await asyncio.sleep(0.02)
    return time.monotonic() - start
