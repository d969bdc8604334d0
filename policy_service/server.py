"""The composition root: builds what the instance is (roles.py) and the listeners, starts them, drains them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from policy_service.config import Config, Listener
from policy_service.envoy_v3 import external_auth_pb2
from policy_service.errors import StartupError
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import Settings, read_settings
from policy_service.listeners import bind, read_file
from policy_service.roles import AuthorityRole, ReplicaRole, Role
from policy_service.services.access import AccessService
from policy_service.services.auth import Credentials, Permission, parse_credentials
from policy_service.services.health import HealthService
from policy_service.services.reflection import SERVICE as REFLECTION
from policy_service.services.reflection import SERVICE_NAMES as REFLECTION_NAMES
from policy_service.services.reflection import reflection_servicer
from policy_service.services.rpc import handlers, reflection_handlers
from policy_service.services.unary import Guard
from policy_service.tasks import Tasks, cancel
from policy_service.v1 import access_pb2, admin_pb2, replication_pb2

ACCESS = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
REPLICATION = replication_pb2.DESCRIPTOR.services_by_name["ReplicationService"]
AUTHORIZATION = external_auth_pb2.DESCRIPTOR.services_by_name["Authorization"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
READ_SERVICES = (ACCESS.full_name, AUTHORIZATION.full_name)
AUTHORITY_SERVICES = (ADMIN.full_name, REPLICATION.full_name)
SERVICES = (*READ_SERVICES, *AUTHORITY_SERVICES)
CREDENTIALS_POLL_S = 1.0
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
    """A running server. Get one from `start`; `addresses` are those it listens on, in the order of the config."""

    def __init__(self, config: Config) -> None:
        self.addresses: list[str] = []
        self._config = config
        self._stack = AsyncExitStack()
        self._health = HealthService()
        self._tasks = Tasks(self._health, SERVICES)
        self._credentials: Credentials | None = None

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
        seen = None
        if self._config.credentials is not None:
            seen = _file_identity(self._config.credentials)  # before it is read: a change meanwhile is noticed later
            self._credentials = _read_credentials(self._config)
        settings = _read_ext_authz(self._config)
        role = await self._start_role(owns_process)
        if self._credentials is not None:
            poller = self._tasks.supervise("credentials", partial(self._follow_credentials, seen))
            self._stack.push_async_callback(cancel, poller)
        authorization = AuthorizationService(role.source, settings)
        self._stack.callback(authorization.close)
        servers: list[grpc.aio.Server] = []
        self._stack.push_async_callback(self._drain, servers, role)
        for listener in self._config.listeners:
            self._listen(servers, listener, role, authorization)
        for server in servers:
            await server.start()
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
        security = {"tls": self._config.has_tls, "credentials": str(self._config.credentials or "none")}
        log.info("serving", extra={"fields": where | security | role.described()})

    # Listeners

    def _listen(
        self, servers: list[grpc.aio.Server], listener: Listener, role: Role, authorization: AuthorizationService
    ) -> None:
        received = ("grpc.max_receive_message_length", authorization.max_message_bytes)
        server = grpc.aio.server(options=(*SERVER_OPTIONS, received) if listener.reads else SERVER_OPTIONS)
        servers.append(server)
        guard = Guard(lambda: self._credentials, trusted=listener.address.is_local)
        offered: dict[ServiceDescriptor, grpc.GenericRpcHandler] = {}
        if listener.reads:
            offered[ACCESS] = handlers(ACCESS, AccessService(role.source), guard, Permission.CHECK)
            offered[AUTHORIZATION] = handlers(
                AUTHORIZATION,
                authorization,
                guard,
                Permission.CHECK,
                max_message_bytes=authorization.max_message_bytes,
                undecodable=authorization.answer_to_undecodable,
            )
        if listener.admin:
            offered[ADMIN] = handlers(ADMIN, role.admin, guard, Permission.ADMIN)
            offered[REPLICATION] = handlers(REPLICATION, role.replication, guard, Permission.REPLICATE)
        server.add_generic_rpc_handlers(tuple(offered.values()))
        reflection = reflection_servicer([*(service.full_name for service in offered), HEALTH.full_name])
        standard = [handlers(HEALTH, self._health, guard, None)]
        standard += [reflection_handlers(REFLECTION, reflection, guard, name) for name in REFLECTION_NAMES]
        server.add_generic_rpc_handlers(tuple(standard))
        self.addresses.append(bind(server, listener.address, self._config))

    async def _drain(self, servers: list[grpc.aio.Server], role: Role) -> None:
        self._health.stop()
        role.end_streams()
        for server in servers:
            await server.start()  # one that was bound and never started would keep its port
        await asyncio.gather(*(server.stop(self._config.drain_timeout_s) for server in servers))

    async def _follow_credentials(self, seen: tuple[int, ...] | None) -> None:
        """Reads the credentials file again when it changes. One that is wrong changes nothing and is reported."""
        path = self._config.credentials
        assert path is not None  # noqa: S101 - started only with credentials
        while True:
            await asyncio.sleep(CREDENTIALS_POLL_S)
            identity = _file_identity(path)
            if identity == seen:
                continue
            seen = identity
            try:
                self._credentials = _read_credentials(self._config)
            except StartupError as error:
                log.error("credentials not read again; the former ones hold", extra={"fields": {"error": str(error)}})
                self._health.set("credentials", serving=False)
            else:
                log.info("credentials read again", extra={"fields": {"path": str(path)}})
                self._health.set("credentials", serving=True)


def _file_identity(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _read_ext_authz(config: Config) -> Settings:
    path = config.ext_authz_config
    if path is None:
        return Settings()
    return read_settings(read_file(path, "--ext-authz-config").decode(errors="replace"), str(path))


def _read_credentials(config: Config) -> Credentials:
    path = config.credentials
    assert path is not None  # noqa: S101 - called only with credentials
    text = read_file(path, "--credentials").decode(errors="replace")
    credentials = parse_credentials(text, str(path))
    exposed = any(listener.reads and not listener.address.is_local for listener in config.listeners)
    if credentials.opens_checks_to_all and exposed and not config.insecure_listen:
        raise StartupError(
            f"{path}: anonymous opens checks to everybody who reaches {config.listen.text}; "
            "remove it, or allow that with --insecure-listen"
        )
    return credentials
