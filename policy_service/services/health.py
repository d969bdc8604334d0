"""grpc.health.v1: named checks, open to all. Setting a status never waits for a watcher, however slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from policy_service.errors import NotFound, TooManyWatchers
from policy_service.services.caller import Caller

MAX_WATCHERS = 1_000  # they need no credential
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class HealthService:
    """The status of each name; the empty one is the server's."""

    def __init__(self) -> None:
        self._statuses: dict[str, Any] = {"": SERVING}
        self._changed = asyncio.Event()
        self._stopping = False
        self._watchers = 0

    def set(self, name: str, serving: bool) -> None:
        """Once stopping, nothing serves any more."""
        status = SERVING if serving and not self._stopping else NOT_SERVING
        if self._statuses.get(name) != status:
            self._statuses[name] = status
            self._notify()

    def stop(self) -> None:
        """Nothing serves any more, and watches end once they have said so."""
        self._stopping = True
        self._statuses = dict.fromkeys(self._statuses, NOT_SERVING)
        self._notify()

    def serves(self, name: str) -> bool:
        """Whether the name serves; a name that is not known does not."""
        return bool(self._statuses.get(name) == SERVING)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(self, request: HealthCheckRequest, caller: Caller) -> HealthCheckResponse:
        """The status of a name."""
        status = self._statuses.get(request.service)
        if status is None:
            raise NotFound("service", request.service)
        return HealthCheckResponse(status=status)

    async def List(self, request: Any, caller: Caller) -> Any:
        """All names with their status. Newer versions of the protocol have this RPC."""
        statuses = {name: HealthCheckResponse(status=status) for name, status in self._statuses.items()}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def Watch(self, request: HealthCheckRequest, caller: Caller) -> AsyncGenerator[HealthCheckResponse, None]:
        """The status of a name, and again whenever it changes."""
        if self._watchers >= MAX_WATCHERS:
            raise TooManyWatchers(f"{MAX_WATCHERS} watchers are served already")
        self._watchers += 1
        try:
            sent = None
            while True:
                changed = self._changed
                status = self._statuses.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
                if status != sent:
                    yield HealthCheckResponse(status=status)
                    sent = status
                elif self._stopping:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1
