"""Background tasks: owned, supervised, awaited. One that ends by itself makes the server unhealthy, and stops it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from policy_service.services.health import HealthService

log = logging.getLogger(__name__)


class Tasks:
    """Starts tasks whose end, but for a cancellation, is noticed. `failed` is set then. `services`: the names whose
    health goes with every task's."""

    def __init__(self, health: HealthService, services: tuple[str, ...]) -> None:
        self.failed = asyncio.Event()
        self._health, self._services = health, services

    def supervise(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Runs a task; `name` is its health check's."""

        async def supervised() -> None:
            self._health.set(name, serving=True)
            try:
                await run()
            except Exception:
                log.exception("task failed", extra={"fields": {"task": name}})
                for failing in ("", name, *self._services):
                    self._health.set(failing, serving=False)
                self.failed.set()

        return asyncio.create_task(supervised(), name=name)


async def cancel(task: asyncio.Task[None]) -> None:
    """Ends a task and waits for it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
