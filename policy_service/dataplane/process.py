"""A data-plane process from inside: the ASGI application that Envoy loads, and the replica that it answers from.

Its supervisor is at the other end of a pipe: it sends the configuration, and hears a `Beat` four times a second. When
the supervisor is gone, so is this process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from multiprocessing.connection import Connection
from typing import NamedTuple

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.credentials import CHECK as CREDENTIALS_CHECK
from policy_service.credentials import CredentialsFile
from policy_service.dataplane.envoy import CONTROL
from policy_service.dataplane.grpc_asgi import GrpcApplication
from policy_service.errors import StartupError
from policy_service.logs import set_up_logs
from policy_service.reads import HEALTH, READ_SERVICES, Reads, read_ext_authz
from policy_service.roles import ReplicaRole
from policy_service.services.health import HealthService
from policy_service.services.unary import Guard, Offer, unary_rpcs
from policy_service.tasks import Tasks, cancel

BEAT = struct.Struct("?I")
BEAT_S = 0.25
FIRST_POLICY_S = 60.0  # how long a start waits for the policy, unless it cannot be got

log = logging.getLogger(__name__)


class Beat(NamedTuple):
    """How a process is: whether it can be reached and answers checks, and how many calls run."""

    serving: bool
    running: int

    def encode(self) -> bytes:
        return BEAT.pack(*self)

    @classmethod
    def decode(cls, encoded: bytes) -> Beat:
        """No more than two numbers is taken from a process that reads what strangers send."""
        return cls(*BEAT.unpack(encoded))


@asynccontextmanager
async def _life(application: GrpcApplication) -> AsyncIterator[None]:
    """From the configuration to the end. Clients reach the process once it has a policy, or cannot have one yet."""
    set_up_logs()
    control = Connection(int(os.environ[CONTROL]))
    config: Config = control.recv()
    async with AsyncExitStack() as stack:
        try:
            health = await _start(application, config, control, stack)
        except Exception as error:
            log.error("the data plane cannot start", extra={"fields": {"error": str(error)}})
            _end()  # Envoy would stay, and listen nowhere
            raise
        yield
        health.stop()


async def _start(
    application: GrpcApplication, config: Config, control: Connection, stack: AsyncExitStack
) -> HealthService:
    follow, address = config.follow, config.data_plane
    if follow is None or address is None:
        raise StartupError("a data plane follows an authority")
    health = HealthService()
    tasks = Tasks(health, READ_SERVICES)
    credentials = CredentialsFile(config)
    if credentials.current is not None:
        poller = tasks.supervise(CREDENTIALS_CHECK, partial(credentials.follow, health))
        stack.push_async_callback(cancel, poller)
    role = await ReplicaRole.start(follow, config.authority_access, stack, tasks, health, True, READ_SERVICES)
    reads = Reads(role.source, read_ext_authz(config))
    stack.callback(reads.close)
    guard = Guard(lambda: credentials.current, trusted=address.is_local)
    offers = (*reads.offers, Offer(HEALTH, health, None))
    application.offer(rpc for offer in offers for rpc in unary_rpcs(offer, guard))
    beat = partial(_beat, control, health, application, address)
    stack.push_async_callback(cancel, tasks.supervise("beats", beat))
    stack.push_async_callback(cancel, asyncio.create_task(_end_with(tasks.failed)))
    await role.wait_for_policy(FIRST_POLICY_S)
    return health


async def _beat(control: Connection, health: HealthService, application: GrpcApplication, address: Address) -> None:
    listens = False  # Envoy does a moment after the start is over
    while True:
        listens = listens or await _accepts(address)
        try:
            control.send_bytes(Beat(listens and health.serves(""), application.running).encode())
        except OSError:
            log.error("the server that started this data plane is gone")
            _end()
            return
        await asyncio.sleep(BEAT_S)


async def _accepts(address: Address) -> bool:
    host, _, port = address.text.rpartition(":")
    try:
        async with asyncio.timeout(BEAT_S):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:
        return False
    writer.close()
    return True


async def _end_with(failed: asyncio.Event) -> None:
    """A part that failed for good would leave the process half alive; a new one is whole."""
    await failed.wait()
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


app = GrpcApplication(_life)
