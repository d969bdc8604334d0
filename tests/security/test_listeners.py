"""Listeners as they are: what each serves and to whom, Unix sockets, and addresses that are taken."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse

import policy_service.services.rpc
import policy_service.services.unary
from policy_service.addresses import Address
from policy_service.errors import StartupError
from policy_service.services.auth import ANONYMOUS, Permission, Principal, authorize

from .certificates import Pki
from .conftest import Connect, build_world
from .principals import ALMIGHTY, EVERYBODY, bearer, write_credentials
from .table import ANY, RPCS, SERVICES, UNLISTED, Metadata, call, codes, passed, refused
from .waiting import eventually

OK, UNIMPLEMENTED = grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED
READS = {"policy_service.v1.AccessService", "envoy.service.auth.v3.Authorization"}
ADMIN = {"policy_service.v1.AdminService", "policy_service.v1.ReplicationService"}  # what goes with administration
# Not recognised as loopback, and so treated as exposed; bound to loopback all the same.
EXPOSED = Address("LOCALHOST:0")
LOOPBACK = Address("127.0.0.1:0")


async def _services(channel: grpc.aio.Channel, metadata: Metadata = ()) -> set[str]:
    """What reflection lists, by both of its names, and what it may leave out."""
    lists = []
    for rpc in RPCS:
        if rpc.needs == ANY:
            answer = ServerReflectionResponse.FromString((await call(channel, rpc, metadata)).response)
            lists.append({service.name for service in answer.list_services_response.service})
    assert lists[0] == lists[1]
    return lists[0] | UNLISTED


async def test_admin_and_checks_are_kept_apart(start_server: Any, connect: Connect, tmp_path: Path) -> None:
    for listen, admin in [(LOOPBACK, Address("[::1]:0")), (LOOPBACK, Address(f"unix:{tmp_path}/admin.sock"))]:
        server = await start_server(listen=listen, admin_listen=admin, database=None)
        reads, administers = connect(server.target), connect(server.admin_target)
        assert await _services(reads) == SERVICES.keys() - ADMIN
        assert await _services(administers) == SERVICES.keys() - READS
        await build_world(administers)
        absent = {reads: ADMIN, administers: READS}
        for channel, missing in absent.items():
            for rpc in RPCS:
                expected = UNIMPLEMENTED if rpc.service in missing else OK
                assert (await call(channel, rpc)).code == expected, rpc.path


async def test_anonymous_on_an_insecure_listener_may_check_and_reaches_no_admin_rpc(
    start_server: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not EXPOSED.is_local
    server = await start_server(listen=EXPOSED, admin_listen=LOOPBACK, insecure_listen=True)
    channel = connect(server.target)
    await build_world(connect(server.admin_target))
    callers: list[Principal] = []

    def recording(principal: Principal, permission: Permission | None, resource: str) -> None:
        callers.append(principal)
        authorize(principal, permission, resource)

    for module in (policy_service.services.rpc, policy_service.services.unary):
        monkeypatch.setattr(module, "authorize", recording)
    for metadata in ([], bearer(ALMIGHTY), [("x-actor", "local")]):
        ended = await codes(channel, metadata)
        assert ended == {rpc.path: UNIMPLEMENTED if rpc.service in ADMIN else OK for rpc in RPCS}
    assert set(callers) == {ANONYMOUS}


async def test_an_insecure_listener_with_credentials_asks_for_them(
    start_server: Any, connect: Connect, everybody: Path
) -> None:
    server = await start_server(listen=EXPOSED, admin_listen=LOOPBACK, insecure_listen=True, credentials=everybody)
    await build_world(connect(server.admin_target), bearer(ALMIGHTY))
    expected = {rpc.path: UNIMPLEMENTED if rpc.service in ADMIN else OK for rpc in RPCS}
    assert await codes(connect(server.target), bearer(ALMIGHTY)) == expected
    unauthenticated, ended = refused(grpc.StatusCode.UNAUTHENTICATED), await codes(connect(server.target))
    offered = [rpc.path for rpc in RPCS if rpc.service not in ADMIN]
    assert {path: ended[path] for path in offered} == {path: unauthenticated[path] for path in offered}


async def test_anonymous_needs_insecure_listen_where_others_reach_it(
    start_server: Any, connect: Connect, pki: Pki, everybody: Path
) -> None:
    fields = {"listen": EXPOSED, "admin_listen": LOOPBACK, "database": None, "credentials": everybody} | pki.tls
    write_credentials(everybody, *EVERYBODY, anonymous=["check"])
    with pytest.raises(StartupError, match=r"anonymous opens checks to everybody .* --insecure-listen"):
        await start_server(**fields)
    await start_server(**fields, insecure_listen=True)
    await start_server(**fields | {"listen": Address("localhost:0")})


@pytest.mark.usefixtures("fast_poll")
async def test_nor_can_it_be_opened_later(start_server: Any, connect: Connect, pki: Pki, everybody: Path) -> None:
    fields = {"listen": EXPOSED, "admin_listen": LOOPBACK, "database": None, "credentials": everybody} | pki.tls
    server = await start_server(**fields)
    admin = connect(server.admin_target, pki.caller())
    write_credentials(everybody, *EVERYBODY, anonymous=["check"])

    async def in_trouble() -> bool:
        answer = await health_pb2_grpc.HealthStub(admin).Check(health_pb2.HealthCheckRequest(service="credentials"))
        return bool(answer.status == health_pb2.HealthCheckResponse.NOT_SERVING)

    await eventually(in_trouble, "the named health check reports trouble")
    ended = await codes(admin)
    assert ended["/policy_service.v1.AdminService/GetTeam"] == grpc.StatusCode.UNAUTHENTICATED
    assert (await call(admin, RPCS[0], bearer(ALMIGHTY))).code == UNIMPLEMENTED


@pytest.mark.parametrize("listen", ["localhost:0", "[::1]:0", "127.0.0.1:0", "127.8.7.6:0"])
async def test_loopback_serves_everything_to_local(start_server: Any, connect: Connect, listen: str) -> None:
    server = await start_server(listen=Address(listen))
    assert server.server.addresses == [server.target]
    assert server.target.rpartition(":")[0] == listen.rpartition(":")[0]
    channel = connect(server.target)
    await build_world(channel)
    assert await codes(channel) == passed()


# Unix sockets


def _modes_of_sockets(folder: Path) -> list[int]:
    return [stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir() if file.is_socket()]


@pytest.mark.parametrize("name", ["p.sock", "with space.sock", "ünïcode.sock", "percent%20sign.sock"])
async def test_a_unix_socket_serves_everything_to_its_owner_alone(
    start_server: Any, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Were it restricted after it is bound, somebody could connect in between and would be `local`.
    monkeypatch.setattr(os, "chmod", lambda *args, **kwargs: None)
    mask = os.umask(0)
    try:
        server = await start_server(listen=Address(f"unix:{tmp_path}/{name}"))
    finally:
        assert os.umask(mask) == 0
    assert _modes_of_sockets(tmp_path) == [0o600]
    channel = connect(server.target)
    await build_world(channel)
    assert await codes(channel) == passed()


async def test_a_unix_socket_with_credentials_asks_for_them(
    start_server: Any, connect: Connect, tmp_path: Path, everybody: Path
) -> None:
    server = await start_server(listen=Address(f"unix:{tmp_path}/p.sock"), credentials=everybody)
    assert await codes(connect(server.target)) == refused(grpc.StatusCode.UNAUTHENTICATED)
    await build_world(connect(server.target), bearer(ALMIGHTY))
    assert await codes(connect(server.target), bearer(ALMIGHTY)) == passed()


async def test_a_unix_socket_goes_with_the_server_and_a_dead_one_is_replaced(
    start_server: Any, connect: Connect, tmp_path: Path
) -> None:
    path = tmp_path / "p.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = await start_server(listen=Address(f"unix:{path}"), database=None)
    assert (await call(connect(server.target), RPCS[0])).code == OK
    await server.stop()
    assert not path.exists()


async def test_a_file_in_the_way_of_a_unix_socket_stays(start_server: Any, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(StartupError, match=f"cannot listen on unix:{path}"):
        await start_server(listen=Address(f"unix:{path}"), database=None)
    assert path.read_text() == "data"


@pytest.mark.parametrize("path", ["missing-folder/p.sock", "x" * 200])
async def test_a_path_that_no_socket_can_have_is_refused(start_server: Any, tmp_path: Path, path: str) -> None:
    with pytest.raises(StartupError, match="cannot listen on unix:"):
        await start_server(listen=Address(f"unix:{tmp_path}/{path}"), database=None)


async def test_a_unix_socket_that_is_served_is_not_taken_over(start_server: Any, tmp_path: Path) -> None:
    address = Address(f"unix:{tmp_path}/p.sock")
    await start_server(listen=address, database=None)
    served = (tmp_path / "p.sock").stat().st_ino
    with pytest.raises(StartupError, match="in use"):
        await start_server(listen=address, database=None)
    assert (tmp_path / "p.sock").stat().st_ino == served


# Ports that are taken


async def test_a_port_in_use_is_an_error_and_the_first_server_goes_on(start_server: Any, connect: Connect) -> None:
    first = await start_server(database=None)
    for fields in ({"listen": Address(first.target)}, {"listen": LOOPBACK, "admin_listen": Address(first.target)}):
        with pytest.raises(StartupError, match=f"cannot listen on {first.target}: the address is in use"):
            await start_server(database=None, **fields)
    for _ in range(5):
        assert (await call(connect(first.target), RPCS[0])).code == OK


async def test_a_start_that_fails_leaves_no_listener_behind(start_server: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        ports = [held.getsockname()[1] for held in (free, taken)]
        free.close()
        listen, admin = (Address(f"127.0.0.1:{port}") for port in ports)
        with pytest.raises(StartupError, match=f"cannot listen on {admin.text}"):
            await start_server(listen=listen, admin_listen=admin, database=None)

        async def refused_there() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", ports[0])
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        await eventually(refused_there, "nobody listens there", deadline_s=1)
