"""The composition root: builds the store, the state, the authority and the listeners, starts them, drains them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from policy_service.authority.authority import Authority
from policy_service.config import Config, Listener
from policy_service.domain.state import State
from policy_service.errors import StartupError
from policy_service.services.access import AccessService
from policy_service.services.admin import AdminService
from policy_service.services.auth import Credentials, Permission, parse_credentials
from policy_service.services.health import HealthService
from policy_service.services.reflection import SERVICE as REFLECTION
from policy_service.services.reflection import SERVICE_NAMES as REFLECTION_NAMES
from policy_service.services.reflection import reflection_servicer
from policy_service.services.rpc import Guard, library_handlers, unary_handlers
from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import Store
from policy_service.store.sqlite import SqliteStore
from policy_service.v1 import access_pb2, admin_pb2

ACCESS = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
CREDENTIALS_POLL_S = 1.0
SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a share of the calls
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.server.max_pending_requests", 50_000),  # by default grpc cancels what a burst has beyond 1,000
    ("grpc.server.max_pending_requests_hard_limit", 100_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)

log = logging.getLogger(__name__)


class Server:
    """A running server. Get one from `start`; `addresses` are those it listens on, in the order of the config."""

    def __init__(self, config: Config) -> None:
        self.addresses: list[str] = []
        self.failed = asyncio.Event()
        self._config = config
        self._stack = AsyncExitStack()
        self._health = HealthService()
        self._credentials: Credentials | None = None

    @classmethod
    async def start(cls, config: Config) -> Server:
        """Starts everything. Raises StartupError, and leaves nothing behind then."""
        server = cls(config)
        try:
            await server._start()
        except BaseException:
            await server._stack.aclose()
            raise
        return server

    async def stop(self) -> None:
        """Drains: takes no new RPCs, finishes what runs within the drain timeout, closes the store."""
        log.info("stopping")
        await self._stack.aclose()
        log.info("stopped")

    async def _start(self) -> None:
        seen = None
        if self._config.credentials is not None:
            seen = _file_identity(self._config.credentials)  # before it is read: a change meanwhile is noticed later
            self._credentials = _read_credentials(self._config)
        store = await self._open_store()
        state = State()
        await store.load(state)
        days = self._config.log_retention_days
        authority = Authority(store, state, log_retention=None if days is None else timedelta(days=days))
        writer = self._supervise("writer", authority.run)
        self._stack.push_async_callback(self._finish_writer, authority, writer)
        if self._credentials is not None:
            poller = self._supervise("credentials", partial(self._follow_credentials, seen))
            self._stack.push_async_callback(_cancel, poller)
        servers: list[grpc.aio.Server] = []
        self._stack.push_async_callback(self._drain, servers)
        for listener in self._config.listeners:
            self._listen(servers, listener, authority)
        for name in (ACCESS.full_name, ADMIN.full_name):
            self._health.set(name, serving=True)
        for server in servers:
            await server.start()
        self._announce(store, state)

    async def _open_store(self) -> Store:
        store: Store
        store = MemoryStore() if self._config.database is None else await SqliteStore.open(self._config.database)
        self._stack.push_async_callback(store.close)
        return store

    def _announce(self, store: Store, state: State) -> None:
        listeners = zip(self._config.listeners, self.addresses, strict=True)
        where = {("listen" if listener.reads else "admin_listen"): address for listener, address in listeners}
        security = {"tls": self._config.has_tls, "credentials": str(self._config.credentials or "none")}
        teams, members = len(state.teams), sum(len(team.members) for team in state.teams.values())
        fields = where | security | {"database": store.location, "revision": state.revision}
        log.info("serving", extra={"fields": fields | {"teams": teams, "members": members}})

    # Listeners

    def _listen(self, servers: list[grpc.aio.Server], listener: Listener, authority: Authority) -> None:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        servers.append(server)
        guard = Guard(lambda: self._credentials, trusted=listener.address.is_local)
        services = []
        if listener.reads:
            services.append(ACCESS.full_name)
            access = AccessService(authority.state)
            server.add_generic_rpc_handlers((unary_handlers(ACCESS, access, guard, Permission.CHECK),))
        if listener.admin:
            services.append(ADMIN.full_name)
            admin = AdminService(authority)
            server.add_generic_rpc_handlers((unary_handlers(ADMIN, admin, guard, Permission.ADMIN),))
        reflection = reflection_servicer([*services, HEALTH.full_name])
        handlers = [library_handlers(HEALTH, self._health, guard, permission_needed=False)]
        handlers += [library_handlers(REFLECTION, reflection, guard, True, name) for name in REFLECTION_NAMES]
        server.add_generic_rpc_handlers(tuple(handlers))
        self.addresses.append(self._bind(server, listener))

    def _bind(self, server: grpc.aio.Server, listener: Listener) -> str:
        """Returns the address with the port that was chosen."""
        address = listener.address
        if address.is_unix and _is_served(address.text.removeprefix("unix:")):
            raise StartupError(f"cannot listen on {address.text}: the address is in use")  # grpc would take it over
        mask = os.umask(0o177)  # a Unix socket is its owner's alone from its first moment
        try:
            if self._config.has_tls and not address.is_unix:
                port = server.add_secure_port(address.text, _tls(self._config))
            else:
                port = server.add_insecure_port(address.text)
        except RuntimeError:
            port = 0
        finally:
            os.umask(mask)
        if not port:
            raise StartupError(f"cannot listen on {address.text}: the address is in use or is not this machine's")
        return address.text if address.is_unix else f"{address.text.rpartition(':')[0]}:{port}"

    async def _drain(self, servers: list[grpc.aio.Server]) -> None:
        self._health.stop()
        for server in servers:
            await server.start()  # one that was bound and never started would keep its port
        await asyncio.gather(*(server.stop(self._config.drain_timeout_s) for server in servers))

    # Tasks

    def _supervise(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Runs a task whose end, but for a cancellation, is noticed: health says so and the server stops."""

        async def supervised() -> None:
            self._health.set(name, serving=True)
            try:
                await run()
            except Exception:
                log.exception("task failed", extra={"fields": {"task": name}})
                for failing in ("", name, ACCESS.full_name, ADMIN.full_name):
                    self._health.set(failing, serving=False)
                self.failed.set()

        return asyncio.create_task(supervised(), name=name)

    async def _finish_writer(self, authority: Authority, writer: asyncio.Task[None]) -> None:
        if not writer.done():
            await authority.finish()
        await writer

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


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _file_identity(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _read_file(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{option} {path}: {error.strerror}") from error


def _read_credentials(config: Config) -> Credentials:
    path = config.credentials
    assert path is not None  # noqa: S101 - called only with credentials
    text = _read_file(path, "--credentials").decode(errors="replace")
    credentials = parse_credentials(text, str(path))
    exposed = any(listener.reads and not listener.address.is_local for listener in config.listeners)
    if credentials.opens_checks_to_all and exposed and not config.insecure_listen:
        raise StartupError(
            f"{path}: anonymous opens checks to everybody who reaches {config.listen.text}; "
            "remove it, or allow that with --insecure-listen"
        )
    return credentials


def _tls(config: Config) -> grpc.ServerCredentials:
    assert config.tls_cert is not None and config.tls_key is not None  # noqa: S101, PT018 - Config checks it
    cert, key = _read_file(config.tls_cert, "--tls-cert"), _read_file(config.tls_key, "--tls-key")
    client_ca = None if config.tls_client_ca is None else _read_file(config.tls_client_ca, "--tls-client-ca")
    _check_key_pair(config)
    return grpc.ssl_server_credentials([(key, cert)], client_ca, require_client_auth=client_ca is not None)


def _check_key_pair(config: Config) -> None:
    """grpc would only log that a certificate and a key do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(config.tls_cert), str(config.tls_key), password=_no_password)
        if config.tls_client_ca is not None:
            context.load_verify_locations(str(config.tls_client_ca))
    except (ssl.SSLError, ValueError) as error:
        raise StartupError(
            f"the TLS files {config.tls_cert}, {config.tls_key} and {config.tls_client_ca or 'no client CA'} are no "
            "PEM certificate, its unencrypted key and CA certificates; check that they belong together"
        ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")
