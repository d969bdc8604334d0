"""The composition root: builds what the instance is (roles.py) and the listeners, starts them, drains them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from tempfile import TemporaryDirectory

import grpc

from policy_service.addresses import Address
from policy_service.config import AuthorityAccess, Config, Listener
from policy_service.credentials import CHECK as CREDENTIALS_CHECK
from policy_service.credentials import CredentialsFile
from policy_service.dataplane.supervisor import DataPlane, can_run
from policy_service.listeners import bind
from policy_service.reads import HEALTH, READ_SERVICES, Reads, read_ext_authz
from policy_service.replication.following import Follow
from policy_service.roles import AuthorityRole, ReplicaRole, Role
from policy_service.services.auth import Permission
from policy_service.services.health import HealthService
from policy_service.services.reflection import SERVICE as REFLECTION
from policy_service.services.reflection import SERVICE_NAMES as REFLECTION_NAMES
from policy_service.services.reflection import reflection_servicer
from policy_service.services.rpc import handlers, reflection_handlers
from policy_service.services.unary import Guard, Offer
from policy_service.tasks import Tasks, cancel
from policy_service.v1 import admin_pb2, replication_pb2

ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
REPLICATION = replication_pb2.DESCRIPTOR.services_by_name["ReplicationService"]
AUTHORITY_SERVICES = (ADMIN.full_name, REPLICATION.full_name)
SERVICES = (*READ_SERVICES, *AUTHORITY_SERVICES)
SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share of the calls
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.server.max_pending_requests", 50_000),  # by default grpc cancels what a burst has beyond 1,000
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_time_ms", 20_000),  # a follower that vanished without a word is given up within 30 s
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
)

log = logging.getLogger(__name__)


class Server:
    """A running server. Get one from `start`; `addresses` are those it listens on, in the order of the config;
    `data_plane` is where its data plane does, empty without one."""

    def __init__(self, config: Config) -> None:
        self.addresses: list[str] = []
        self.data_plane = ""
        self._config = config
        self._stack = AsyncExitStack()
        self._health = HealthService()
        self._tasks = Tasks(self._health, SERVICES)
        self._credentials = CredentialsFile(config)

    @property
    def failed(self) -> asyncio.Event:
        """Set when a part of the server has failed for good."""
        return self._tasks.failed

    @classmethod
    async def start(cls, config: Config, owns_process: bool = False) -> Server:
        """Starts everything. `owns_process`: nothing else runs in this process, so that its garbage collector is ours
        to tune. Raises StartupError, and leaves nothing behind then."""
        server = cls(config)
        try:
            await server._start(owns_process)
        except BaseException:
            await server._stack.aclose()
            raise
        return server

    async def stop(self) -> None:
        """Drains: takes no new RPCs, finishes what runs within the drain timeout, closes the store."""
        log.info("stopping")
        await self._stack.aclose()
        log.info("stopped")

    async def _start(self, owns_process: bool) -> None:
        settings = read_ext_authz(self._config)
        role = await self._start_role(owns_process)
        if self._credentials.current is not None:
            poller = self._tasks.supervise(CREDENTIALS_CHECK, partial(self._credentials.follow, self._health))
            self._stack.push_async_callback(cancel, poller)
        reads = Reads(role.source, settings)
        self._stack.callback(reads.close)
        servers: list[grpc.aio.Server] = []
        self._stack.push_async_callback(self._drain, servers, role)
        for listener in self._config.listeners:
            self.addresses.append(self._listen(servers, listener, role, reads))
        with_data_plane = self._config.data_plane is not None and can_run(self._health)
        followed = self._followed_by_data_plane(servers, role) if with_data_plane else None
        for server in servers:
            await server.start()
        if followed is not None:
            plane = await DataPlane.start(followed, self._health, self._stack)
            self.data_plane = plane.address
        self._announce(role)

    async def _start_role(self, owns_process: bool) -> Role:
        follow = self._config.follow
        if follow is not None:
            for name in AUTHORITY_SERVICES:
                self._health.set(name, serving=False)
            access = self._config.authority_access
            return await ReplicaRole.start(
                follow, access, self._stack, self._tasks, self._health, owns_process, READ_SERVICES
            )
        role = await AuthorityRole.start(self._config, self._stack, self._tasks, self._health, owns_process)
        for name in SERVICES:
            self._health.set(name, serving=True)
        return role

    def _announce(self, role: Role) -> None:
        listeners = zip(self._config.listeners, self.addresses, strict=True)
        where = {("listen" if listener.reads else "admin_listen"): address for listener, address in listeners}
        if self.data_plane:
            where["data_plane"] = self.data_plane
        security = {"tls": self._config.has_tls, "credentials": str(self._config.credentials or "none")}
        log.info("serving", extra={"fields": where | security | role.described()})

    # Listeners

    def _listen(self, servers: list[grpc.aio.Server], listener: Listener, role: Role, reads: Reads) -> str:
        """Returns the address with its port."""
        received = ("grpc.max_receive_message_length", reads.max_message_bytes)
        server = grpc.aio.server(options=(*SERVER_OPTIONS, received) if listener.reads else SERVER_OPTIONS)
        servers.append(server)
        guard = Guard(lambda: self._credentials.current, trusted=listener.address.is_local)
        offers = list(reads.offers) if listener.reads else []
        if listener.admin:
            offers.append(Offer(ADMIN, role.admin, Permission.ADMIN))
            offers.append(Offer(REPLICATION, role.replication, Permission.REPLICATE))
        offers.append(Offer(HEALTH, self._health, None))
        reflection = reflection_servicer([offer.service.full_name for offer in offers])
        offered = [handlers(offer, guard) for offer in offers]
        offered += [reflection_handlers(REFLECTION, reflection, guard, name) for name in REFLECTION_NAMES]
        server.add_generic_rpc_handlers(tuple(offered))
        return bind(server, listener.address, self._config)

    def _followed_by_data_plane(self, servers: list[grpc.aio.Server], role: Role) -> Config:
        """The configuration of a replica in another process of this machine: it follows what this one follows, or, over
        a Unix socket of its own, this authority."""
        if self._config.follow is not None:
            return self._config
        folder = self._stack.enter_context(TemporaryDirectory(prefix="policy-service-"))
        address = Address(f"unix:{folder}/authority")
        server = grpc.aio.server(options=SERVER_OPTIONS)
        servers.append(server)
        offer = Offer(REPLICATION, role.replication, Permission.REPLICATE)
        server.add_generic_rpc_handlers((handlers(offer, Guard(lambda: None, trusted=True)),))
        bind(server, address, self._config)
        follow = Follow(url=f"grpc://{address.text}")
        return replace(self._config, follow=follow, authority_access=AuthorityAccess(), publish=None, signing_key=None)

    async def _drain(self, servers: list[grpc.aio.Server], role: Role) -> None:
        self._health.stop()
        role.end_streams()
        for server in servers:
            await server.start()  # one that was bound and never started would keep its port
        await asyncio.gather(*(server.stop(self._config.drain_timeout_s) for server in servers))
