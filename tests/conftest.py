"""Fixtures: the real server, in this process, on a free port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.dataplane import envoy
from policy_service.server import Server


class RunningServer:
    """A server and where it listens."""

    def __init__(self, server: Server, config: Config) -> None:
        self.server, self.config = server, config
        self.target = server.addresses[0]
        self.admin_target = server.addresses[-1]

    async def stop(self) -> None:
        await self.server.stop()


StartServer = Callable[..., Awaitable[RunningServer]]


@pytest.fixture
async def start_server(tmp_path: Path) -> AsyncIterator[StartServer]:
    """Starts servers with the given fields of Config; those still running at the end are stopped."""
    running: list[RunningServer] = []

    async def start(**overrides: Any) -> RunningServer:
        if "data_plane" in overrides and (problem := envoy.problem()):
            pytest.skip(problem)
        defaults = {"listen": Address("127.0.0.1:0"), "database": tmp_path / "policy.db", "drain_timeout_s": 2.0}
        config = Config(**defaults | overrides)
        server = RunningServer(await Server.start(config), config)
        running.append(server)
        return server

    yield start
    for server in running:
        await server.stop()


@pytest.fixture
async def server(start_server: StartServer) -> RunningServer:
    """One server with everything on one port."""
    return await start_server()
