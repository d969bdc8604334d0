"""Ways around the guard that a stranger could try."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from .certificates import Pki
from .conftest import Connect, Photograph, build_world
from .http2 import Header, answers, open_call, starts_to_answer
from .principals import ADMIN, EVERYBODY, bearer, overwrite, with_san, with_token, write_credentials
from .table import RPCS, call, codes, refused
from .waiting import eventually

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED, UNIMPLEMENTED = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED
LIST_TEAMS = next(rpc for rpc in RPCS if rpc.method.name == "ListTeams")
GATEWAY = "gateway.acme.example"
RIGHT = f"Bearer {ADMIN}".encode()
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


# Headers and paths


MALFORMED_HEADERS: dict[str, list[Header]] = {
    "name in capitals": [(b"Authorization", RIGHT)],
    "tab": [(b"authorization", RIGHT.replace(b" ", b"\t"))],
    "zero byte": [(b"authorization", RIGHT + b"\0")],
    "line break": [(b"authorization", RIGHT + b"\r\n")],
    "second header in the value": [(b"x", b"x\r\nauthorization: " + RIGHT)],
    "not UTF-8": [(b"authorization", RIGHT + b"\xff")],
    "name with a space": [(b"authorization ", RIGHT)],
    "pseudo-header": [(b":authorization", RIGHT)],
    "binary": [(b"authorization-bin", b"QmVhcmVyIHg")],
    "right and wrong": [(b"authorization", RIGHT), (b"authorization", b"x")],
}


async def test_the_right_header_is_answered(start_server: Any, everybody: Path) -> None:
    server = await start_server(credentials=everybody, database=None)
    with open_call(server.target, LIST_TEAMS.path.encode(), headers=[(b"authorization", RIGHT)]) as connection:
        assert await asyncio.to_thread(answers, connection)


@pytest.mark.parametrize("headers", MALFORMED_HEADERS.values(), ids=MALFORMED_HEADERS)
async def test_malformed_headers_are_not_answered(
    start_server: Any, connect: Connect, everybody: Path, headers: list[Header]
) -> None:
    server = await start_server(credentials=everybody, database=None)
    with open_call(server.target, LIST_TEAMS.path.encode(), headers=headers) as connection:
        assert not await asyncio.to_thread(answers, connection)
    assert (await call(connect(server.target), LIST_TEAMS, bearer(ADMIN))).code == OK


@pytest.mark.parametrize(
    "path",
    [
        "/policy_service.v1.AdminService/listteams",
        "/POLICY_SERVICE.V1.ADMINSERVICE/ListTeams",
        "//policy_service.v1.AdminService/ListTeams",
        "/policy_service.v1.AdminService//ListTeams",
        "/policy_service.v1.AdminService/ListTeams/",
        "/policy_service.v1.AdminService/ListTeams?x",
        "/policy_service.v1.AdminService/List%54eams",
        "/policy_service.v1.AdminService/_mutate",
        "/policy_service.v1.AccessService/ListTeams",
        "/grpc.health.v1.Health/ListTeams",
        "/grpc.health.v1.Health/../policy_service.v1.AdminService/ListTeams",
        "/AdminService/ListTeams",
    ],
)
async def test_other_spellings_of_a_path_lead_nowhere(
    start_server: Any, connect: Connect, everybody: Path, path: str
) -> None:
    channel = connect((await start_server(credentials=everybody, database=None)).target)
    for metadata in ([], bearer(ADMIN)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path)(b"", metadata=metadata)
        assert caught.value.code() == UNIMPLEMENTED


# Floods


async def test_huge_metadata_is_refused_and_the_server_goes_on(
    start_server: Any, connect: Connect, everybody: Path
) -> None:
    channel = connect((await start_server(credentials=everybody, database=None)).target)
    for metadata in (bearer("x" * 20_000), [(f"x-{n}", "x" * 100) for n in range(200)]):
        assert (await call(channel, LIST_TEAMS, metadata)).code == EXHAUSTED
    assert await codes(channel) == refused(UNAUTHENTICATED)


async def test_a_compressed_bomb_of_a_stranger_is_refused(start_server: Any, connect: Connect, everybody: Path) -> None:
    """64 MiB of zeros travel as 64 KiB."""
    channel = connect((await start_server(credentials=everybody, database=None)).target)
    create = channel.unary_unary("/policy_service.v1.AdminService/CreateTeam")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await create(bytes(64 << 20), compression=grpc.Compression.Gzip)
    assert caught.value.code() == EXHAUSTED
    assert await codes(channel) == refused(UNAUTHENTICATED)


async def test_calls_of_strangers_do_not_stop_those_of_others(
    start_server: Any, connect: Connect, everybody: Path, photograph: Photograph
) -> None:
    server = await start_server(credentials=everybody, database=None)
    await build_world(connect(server.target), bearer(ADMIN))
    before = await photograph()
    stranger, admin = connect(server.target), connect(server.target)
    flood = [asyncio.create_task(codes(stranger, bearer("wrong"))) for _ in range(50)]
    assert (await call(admin, LIST_TEAMS, bearer(ADMIN))).code == OK
    assert await asyncio.gather(*flood) == [refused(UNAUTHENTICATED)] * 50
    assert await photograph() == before


# Health is open to all


def _watch(name: str) -> bytes:
    return health_pb2.HealthCheckRequest(service=name).SerializeToString()


@pytest.fixture
async def watched(start_server: Any, everybody: Path, fast_poll: None) -> Any:
    return await start_server(credentials=everybody, database=None, drain_timeout_s=0.2)


async def test_what_health_tells_a_stranger(watched: Any, connect: Connect) -> None:
    health: Any = health_pb2_grpc.HealthStub(connect(watched.target))
    for name in ("the-admin", "policy_service.v1.NoService", "../credentials", ADMIN):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


WATCH = b"/grpc.health.v1.Health/Watch"


async def test_a_stranger_who_reads_nothing_does_not_stop_revocation(
    watched: Any, connect: Connect, everybody: Path
) -> None:
    channel = connect(watched.target)

    async def known(token: str) -> bool:
        return (await call(channel, LIST_TEAMS, bearer(token))).code == OK

    with open_call(watched.target, WATCH, _watch("credentials"), window=0) as connection:
        assert await asyncio.to_thread(starts_to_answer, connection)
        for token in ("first", "second"):
            write_credentials(everybody, *EVERYBODY, with_token("new", token, "admin"))
            await eventually(lambda: known(token), f"the {token} token is known", deadline_s=2)  # noqa: B023


async def test_a_stranger_who_reads_nothing_does_not_stop_the_server_from_stopping(watched: Any) -> None:
    with open_call(watched.target, WATCH, _watch("credentials"), window=0) as connection:
        assert await asyncio.to_thread(starts_to_answer, connection)
        stopping = asyncio.create_task(watched.stop())
        await asyncio.wait([stopping], timeout=2)
        stopped = stopping.done()
    await stopping
    assert stopped


async def test_a_stranger_who_leaves_does_not_make_other_watchers_deaf(
    watched: Any, connect: Connect, everybody: Path
) -> None:
    request = health_pb2.HealthCheckRequest(service="credentials")
    watches = [health_pb2_grpc.HealthStub(connect(watched.target)).Watch(request) for _ in range(2)]
    assert [(await watch.read()).status for watch in watches] == [SERVING, SERVING]
    watches[1].cancel()
    await asyncio.sleep(0.2)
    overwrite(everybody, "broken")
    assert (await asyncio.wait_for(watches[0].read(), 2)).status == NOT_SERVING


async def test_many_watchers_do_not_stop_the_server_from_stopping(watched: Any, connect: Connect) -> None:
    health: Any = health_pb2_grpc.HealthStub(connect(watched.target))
    watches = [health.Watch(health_pb2.HealthCheckRequest(service=f"service-{n}")) for n in range(300)]
    await asyncio.gather(*(watch.read() for watch in watches))
    await asyncio.wait_for(watched.stop(), 5)


# Names in certificates


SPOOFED: dict[str, list[x509.GeneralName]] = {
    "mail address": [x509.RFC822Name(f"{GATEWAY}@evil.example")],
    "URI": [x509.UniformResourceIdentifier(f"spiffe://{GATEWAY}")],
    "folder name": [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, GATEWAY)]))],
    "registered number": [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))],
    "line break": [x509.DNSName(f"evil.example\n{GATEWAY}")],
    "comma": [x509.DNSName(f"evil.example,{GATEWAY}")],
    "zero byte before": [x509.DNSName(f"\0{GATEWAY}")],
}


@pytest.fixture
async def mutual(start_server: Any, pki: Pki, tmp_path: Path) -> str:
    file = write_credentials(tmp_path / "credentials.yaml", with_san("gateway", GATEWAY, "admin", "check"))
    return str((await start_server(credentials=file, database=None, **pki.mutual_tls)).target)


@pytest.mark.parametrize("names", SPOOFED.values(), ids=SPOOFED)
async def test_a_name_that_holds_another_is_not_that_one(
    mutual: str, connect: Connect, pki: Pki, names: list[x509.GeneralName]
) -> None:
    channel = connect(mutual, pki.caller(pki.certificate(*names)))
    assert await codes(channel) == refused(UNAUTHENTICATED)


async def test_a_name_does_not_end_at_a_zero_byte(mutual: str, connect: Connect, pki: Pki) -> None:
    certificate = pki.certificate(f"{GATEWAY}\0.evil.example")
    assert await codes(connect(mutual, pki.caller(certificate))) == refused(UNAUTHENTICATED)
