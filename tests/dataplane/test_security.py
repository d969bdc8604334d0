"""Whom a data plane believes, what reaches it, and what it keeps to itself."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import ssl
import stat
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from cryptography import x509

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.errors import StartupError
from tests.security.certificates import Pki
from tests.security.principals import (
    ADMIN,
    CHECKER,
    EVERYBODY,
    REPLICATOR,
    bearer,
    credentials_text,
    overwrite,
    with_san,
    with_token,
    write_credentials,
)
from tests.support.examples import EXAMPLES
from tests.support.process import launch, serving
from tests.support.rpc import connect
from tests.support.waiting import until

from .asking import NOT_SERVING, SERVING, health, make_team
from .http2 import GONE, Answer, Headers, connected, request_headers
from .plane import GOOD
from .processes import data_planes, id_of, ports_listened_on, runs

DATA_PLANE: dict[str, Any] = {"data_plane": Address("127.0.0.1:0")}
OK = grpc.StatusCode.OK
UNKNOWN_CALLER, NOT_ALLOWED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
GATEWAY = "gateway.acme.example"


@pytest.fixture
def tls(pki: Pki, tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    """Makes the TLS of a client, with a certificate if it has one."""

    def make(certificate: tuple[bytes, bytes] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=pki.ca.cert_pem.bytes().decode())
        context.set_alpn_protocols(["h2"])
        if certificate is not None:
            file = tmp_path / f"client-{len(list(tmp_path.iterdir()))}.pem"
            file.write_bytes(b"".join(certificate))
            context.load_cert_chain(file)
        return context

    return make


async def ask(target: str, headers: Headers = (), tls: ssl.SSLContext | None = None) -> Answer:
    """A check with these headers more, over a connection of its own."""
    async with connected(target, tls) as http2:
        return await http2.call(GOOD, [*request_headers(), *headers])


def shown(*values: str, name: bytes = b"authorization") -> Headers:
    return [(name, value.encode()) for value in values]


# Tokens

TOKENS: dict[str, tuple[Headers, grpc.StatusCode]] = {
    "a token": (shown(f"Bearer {CHECKER}"), OK),
    "a scheme in small letters": (shown(f"bearer {CHECKER}"), OK),
    "none": ((), UNKNOWN_CALLER),
    "an unknown one": (shown("Bearer ps_wrong"), UNKNOWN_CALLER),
    "an empty one": (shown("Bearer "), UNKNOWN_CALLER),
    "nothing": (shown(""), UNKNOWN_CALLER),
    "no scheme": (shown(CHECKER), UNKNOWN_CALLER),
    "another scheme": (shown(f"Basic {CHECKER}"), UNKNOWN_CALLER),
    "a space more": (shown(f"Bearer  {CHECKER}"), UNKNOWN_CALLER),
    "words after it": (shown(f"Bearer {CHECKER} x"), UNKNOWN_CALLER),
    "its hash": (shown("Bearer " + EVERYBODY[1]["token_sha256"]), UNKNOWN_CALLER),
    "twice": (shown(f"Bearer {CHECKER}", f"Bearer {CHECKER}"), UNKNOWN_CALLER),
    "a right and a wrong one": (shown(f"Bearer {CHECKER}", "Bearer x"), UNKNOWN_CALLER),
    "a wrong and a right one": (shown("Bearer x", f"Bearer {CHECKER}"), UNKNOWN_CALLER),
    "in one line": (shown(f"Bearer {CHECKER}, Bearer {CHECKER}"), UNKNOWN_CALLER),
    "bytes": ([(b"authorization", b"Bearer \xff\xfe")], UNKNOWN_CALLER),
    "another header": (shown(f"Bearer {CHECKER}", name=b"proxy-authorization"), UNKNOWN_CALLER),
    "an admin's": (shown(f"Bearer {ADMIN}"), NOT_ALLOWED),
    "a replica's": (shown(f"Bearer {REPLICATOR}"), NOT_ALLOWED),
}
CLAIMS: Headers = [
    *((name, b"the-gateway") for name in (b"x-forwarded-user", b"x-remote-user", b"x-actor", b"from", b"user")),
    (b"x-forwarded-for", b"127.0.0.1"),
    (b"x-envoy-internal", b"true"),
    (b"x-envoy-external-address", b"127.0.0.1"),
]


async def test_tokens(start_server: Any, tmp_path: Path) -> None:
    file = write_credentials(tmp_path / "credentials.yaml", *EVERYBODY)
    server = await start_server(**DATA_PLANE, credentials=file)
    target = server.server.data_plane
    for what, (headers, code) in TOKENS.items():
        answer = await ask(target, [*headers, *CLAIMS])
        assert answer.code is code, what
        assert not [token for token in (CHECKER, ADMIN, REPLICATOR) if token in str(answer)], what
    async with connect(target) as data_plane:
        assert await health(data_plane, "") == SERVING, "health is open to all"


async def test_a_file_that_changes(start_server: Any, tmp_path: Path) -> None:
    """It is read again; one that is wrong changes nothing."""
    old, new = (credentials_text(with_token("gateway", token, "check")) for token in ("ps_old", "ps_new"))
    file = tmp_path / "credentials.yaml"
    file.write_text(old)
    target = (await start_server(**DATA_PLANE, credentials=file)).server.data_plane

    async def knows(token: str) -> bool:
        answer = await ask(target, shown(f"Bearer {token}"))
        return answer.code is OK

    assert await knows("ps_old")
    assert not await knows("ps_new")
    overwrite(file, new)
    await until(lambda: knows("ps_new"), "the new token is known")
    assert not await knows("ps_old")
    overwrite(file, "wrong")
    async with connect(target) as data_plane:

        async def is_noticed() -> bool:
            return bool(await health(data_plane, "credentials") == NOT_SERVING)

        await until(is_noticed, "the wrong file is noticed")
    assert await knows("ps_new")


async def test_anonymous_may_check(start_server: Any, tmp_path: Path) -> None:
    file = write_credentials(tmp_path / "credentials.yaml", *EVERYBODY, anonymous=["check"])
    target = (await start_server(**DATA_PLANE, credentials=file)).server.data_plane
    assert (await ask(target)).code is OK
    assert (await ask(target, shown("Bearer x"))).code is UNKNOWN_CALLER


# Certificates


def forged(certificate: tuple[bytes, bytes]) -> list[Headers]:
    """What somebody says that Envoy had said, in several ways."""
    pem = quote(certificate[0], safe="")
    name = b"x-forwarded-client-cert"
    short, long = f'Hash=00;Cert="{pem}"', f'By=spiffe://x;Hash=00;Cert="{pem}";URI={GATEWAY};DNS={GATEWAY}'
    return [(), shown(short, name=name), shown(long, name=name), shown(short, short, name=name)]


async def test_a_header_that_only_envoy_may_write(
    start_server: Any, pki: Pki, tls: Callable[..., ssl.SSLContext], tmp_path: Path
) -> None:
    """Without TLS, with it, and with a certificate that is somebody else's."""
    entries = [with_san("gateway", GATEWAY, "check"), with_san("other", "other.acme.example", "admin")]
    file = write_credentials(tmp_path / "credentials.yaml", *entries)
    claims = forged(pki.certificate(GATEWAY))
    plain = await start_server(**DATA_PLANE, credentials=file)
    for headers in claims:
        assert (await ask(plain.server.data_plane, headers)).code is UNKNOWN_CALLER
    await plain.stop()
    encrypted = await start_server(**DATA_PLANE, credentials=file, **pki.tls)
    for headers, certificate in itertools.product(claims, (None, pki.certificate(GATEWAY))):
        assert (await ask(encrypted.server.data_plane, headers, tls(certificate))).code is UNKNOWN_CALLER
    await encrypted.stop()
    target = (await start_server(**DATA_PLANE, credentials=file, **pki.mutual_tls)).server.data_plane
    for name, code in ((GATEWAY, OK), ("other.acme.example", NOT_ALLOWED), ("nobody", UNKNOWN_CALLER)):
        certificate = pki.certificate(name)
        for headers in claims:
            assert (await ask(target, headers, tls(certificate))).code is code


def uri(text: str) -> x509.UniformResourceIdentifier:
    return x509.UniformResourceIdentifier(text)


# Names of a certificate, and whether its owner is the gateway for that.
NAMES: dict[str, tuple[list[str | x509.GeneralName], bool]] = {
    "its name": ([GATEWAY], True),
    "an address for it": ([uri("spiffe://acme.example/gateway")], True),
    "among others": (["a.example", uri("urn:x"), GATEWAY], True),
    "odd others": (['a";URI="b', "a,b;c", GATEWAY], True),
    "a quote": ([f'x";DNS="{GATEWAY}'], False),
    "a semicolon": ([f"x;DNS={GATEWAY}"], False),
    "a comma": ([f"x,DNS={GATEWAY}"], False),
    "a certificate in it": ([uri(f'x";Cert="{GATEWAY}')], False),
    "a new line": ([f"x\n{GATEWAY}"], False),
    "NUL": ([f"{GATEWAY}\0.mallory.example"], False),
    "NUL before": ([f"mallory.example\0{GATEWAY}"], False),
    "capitals": ([GATEWAY.upper()], False),
    "a dot more": ([f"{GATEWAY}."], False),
    "any": (["*.acme.example"], False),
    "longer": ([f"x{GATEWAY}"], False),
    "none": ([], False),
    "a very long one": ([uri("x" * 4_000)], False),
}


async def test_names_of_certificates(
    start_server: Any, pki: Pki, tls: Callable[..., ssl.SSLContext], tmp_path: Path
) -> None:
    entries = [
        with_san("gateway", GATEWAY, "check"),
        with_san("gateway-by-uri", "spiffe://acme.example/gateway", "check"),
    ]
    file = write_credentials(tmp_path / "credentials.yaml", *entries)
    target = (await start_server(**DATA_PLANE, credentials=file, **pki.mutual_tls)).server.data_plane
    for what, (names, is_gateway) in NAMES.items():
        context = tls(pki.certificate(*names, cn=GATEWAY))
        with suppress(*GONE):  # a name that BoringSSL does not even parse
            answer = await ask(target, (), context)
            assert (answer.code is OK) == is_gateway, what
            assert is_gateway or answer.code in (UNKNOWN_CALLER, None), what
            continue
        assert not is_gateway, what


async def test_certificates_that_are_not_taken(
    start_server: Any, pki: Pki, tls: Callable[..., ssl.SSLContext], tmp_path: Path
) -> None:
    file = write_credentials(tmp_path / "credentials.yaml", with_san("gateway", GATEWAY, "check"))
    target = (await start_server(**DATA_PLANE, credentials=file, **pki.mutual_tls)).server.data_plane
    others = (None, pki.certificate(GATEWAY, ca=pki.other_ca), pki.certificate(GATEWAY, expired=True))
    for certificate in others:
        answer = None
        with suppress(*GONE):
            answer = await ask(target, (), tls(certificate))
        assert answer is None or not answer.blocks
    assert (await ask(target, (), tls(pki.certificate(GATEWAY)))).code is OK


async def test_versions_of_tls(start_server: Any, pki: Pki, tls: Callable[..., ssl.SSLContext]) -> None:
    target = (await start_server(**DATA_PLANE, **pki.tls)).server.data_plane
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = tls()
        context.minimum_version = context.maximum_version = version
        assert (await ask(target, (), context)).code is OK
    context = tls()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(GONE):
        await ask(target, (), context)
    with suppress(*GONE):
        assert not (await ask(target)).blocks, "plaintext"
    async with connect_with_tls(target, pki) as channel:
        check: Any = channel.unary_unary("/policy_service.v1.AccessService/CheckModelAccess")
        assert await check(GOOD[5:])


def connect_with_tls(target: str, pki: Pki) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(target.replace("127.0.0.1", "localhost"), pki.caller())


# Addresses

TLS: dict[str, Any] = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}
CREDENTIALS: dict[str, Any] = {"credentials": Path("credentials.yaml")}


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.0.0.1:1", "policy.acme.example:1", "127.1:1"])
def test_what_other_machines_reach_needs_both(address: str) -> None:
    data_plane = Address(address)
    for given, words in (
        ({}, "--credentials and --tls-cert and --tls-key"),
        (TLS, "needs --credentials;"),
        (CREDENTIALS, "--tls-cert and --tls-key;"),
    ):
        with pytest.raises(StartupError, match=r"is reached from other machines and needs ") as caught:
            Config(data_plane=data_plane, **given)
        assert words in str(caught.value)
        assert str(caught.value).startswith(address)
        assert Config(data_plane=data_plane, **given, insecure_listen=True).data_plane == data_plane
    assert Config(data_plane=data_plane, **TLS, **CREDENTIALS).exposed_reads == [data_plane]


@pytest.mark.parametrize("address", ["[::1]:0", "localhost:0"])
async def test_local_addresses(start_server: Any, address: str) -> None:
    server = await start_server(data_plane=Address(address))
    host, _, port = server.server.data_plane.rpartition(":")
    assert host == address.rpartition(":")[0]
    assert int(port) > 0
    async with connect(server.server.data_plane) as data_plane:
        assert await health(data_plane, "") == SERVING


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:0",
        "[::]:0",
    ],
)
async def test_all_addresses_of_the_machine(start_server: Any, address: str) -> None:
    """As the other listeners have them: the wildcard of IPv6 is that of IPv4, too."""
    server = await start_server(data_plane=Address(address), listen=Address(address), insecure_listen=True)
    for target in (server.server.data_plane, server.target):
        _, _, port = target.rpartition(":")
        async with connect(f"127.0.0.1:{port}") as rpc:
            assert await health(rpc, "") == SERVING


@pytest.mark.parametrize(
    "address",
    [
        "no.such.host.invalid:0",
        "*:0",
        "203.0.113.1:0",
        "a..b:0",
        "x" * 64 + ":0",
    ],
)
async def test_addresses_that_are_nowhere(start_server: Any, address: str) -> None:
    with pytest.raises(StartupError, match="the address is in use or is not this machine's"):
        await start_server(database=None, data_plane=Address(address), insecure_listen=True)


def test_no_unix_socket() -> None:
    with pytest.raises(StartupError, match="--data-plane is no Unix socket; give HOST:PORT"):
        Config(data_plane=Address("unix:/tmp/p.sock"))


def test_at_least_one_process() -> None:
    with pytest.raises(StartupError, match="--data-plane-processes is less than 1"):
        Config(**DATA_PLANE, data_plane_processes=0)


async def test_anonymous_on_an_exposed_address(start_server: Any, tmp_path: Path, pki: Pki) -> None:
    """Checks are not opened to everybody without a word."""
    file = write_credentials(tmp_path / "credentials.yaml", *EVERYBODY, anonymous=["check"])
    with pytest.raises(StartupError, match="anonymous opens checks to everybody who reaches LOCALHOST:0"):
        await start_server(data_plane=Address("LOCALHOST:0"), credentials=file, **pki.tls)


async def test_addresses_that_are_taken(temporary: Path, start_server: Any, tmp_path: Path) -> None:
    """By anybody, by a data plane, by a grpcio listener; nothing is left of the attempt."""
    first = await start_server(**DATA_PLANE)
    before = data_planes()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for target in (f"127.0.0.1:{port}", first.server.data_plane, first.target):
            with pytest.raises(StartupError, match=f"the data plane cannot listen on {target}: the address is in use"):
                await start_server(database=None, data_plane=Address(target))
    assert data_planes() == before
    for listen in (first.server.data_plane, first.target):
        second = await launch(tmp_path / "second.db", f"--data-plane={listen}")
        assert await second.ended() == 2
        assert second.lines[-1].startswith(f"policy-service: the data plane cannot listen on {listen}")
        assert "Traceback" not in "".join(second.lines)
    with pytest.raises(StartupError, match="cannot listen on"):
        await start_server(database=None, listen=Address(first.server.data_plane))
    async with connect(first.server.data_plane) as data_plane:
        assert await health(data_plane, "") == SERVING


async def test_a_port_is_kept_while_no_process_runs(start_server: Any) -> None:
    """Nobody gets it between the end of a process and the start of the next."""
    server = await start_server(**DATA_PLANE)
    host, _, port = server.server.data_plane.rpartition(":")
    [process] = data_planes()
    os.kill(process, signal.SIGKILL)

    async def is_gone() -> bool:
        return not runs(process)

    await until(is_gone, "the process has ended")
    with pytest.raises(OSError, match="in use"):
        socket.create_server((host, int(port)))


# What it keeps to itself


async def test_it_listens_on_its_port_and_nowhere_else(start_server: Any) -> None:
    """No admin interface of Envoy's, which could end it."""
    server = await start_server(**DATA_PLANE, data_plane_processes=2)
    port = int(server.server.data_plane.rpartition(":")[2])
    for process in data_planes():
        assert ports_listened_on(process) == [port]


async def test_secrets(temporary: Path, tmp_path: Path, pki: Pki) -> None:
    """Neither tokens nor keys nor passwords are in logs, in the command line, or in files; nor is there a variable in
    the environment that the server did not have."""
    token, password = "ps_recognisable-token", "recognisable-password"
    file = write_credentials(tmp_path / "credentials.yaml", with_token("gateway", token, "check"))
    options = ("--data-plane=127.0.0.1:0", f"--credentials={file}", f"--tls-cert={pki.cert}", f"--tls-key={pki.key}")
    publish = f"redis://user:{password}@127.0.0.1:1/0"
    async with serving(tmp_path / "policy.db", *options, f"--publish={publish}") as server:
        [process] = data_planes(id_of(server))
        metadata = bearer(token)
        async with connect_with_tls(server.announced("data_plane"), pki) as channel:
            check: Any = channel.unary_unary("/policy_service.v1.AccessService/CheckModelAccess")
            assert await check(GOOD[5:], metadata=metadata)
        command = Path(f"/proc/{process}/cmdline").read_text()
        inherited = Path(f"/proc/{id_of(server)}/environ").read_text().split("\0")
        environment = Path(f"/proc/{process}/environ").read_text().split("\0")
        files = "".join(path.read_text() for path in temporary.rglob("*.json"))
        assert await server.stop() == 0
    new = {line.partition("=")[0] for line in environment} - {line.partition("=")[0] for line in inherited}
    assert new <= {"PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "POLICY_SERVICE_DATA_PLANE_CONTROL", "GRPC_VERBOSITY"}
    key = pki.key.read_text().splitlines()[1]
    for text in ("".join(server.lines), command, "\n".join(environment), files):
        for secret in (token, password, key):
            assert secret not in text


async def test_the_socket_between_authority_and_data_plane(temporary: Path, start_server: Any) -> None:
    """It needs no credentials, so that it is its owner's alone, and gone after the stop."""
    server = await start_server(**DATA_PLANE)
    [path] = temporary.glob("*/authority")
    assert stat.S_ISSOCK(path.stat().st_mode)
    assert path.stat().st_mode & 0o077 == 0
    for folder in temporary.iterdir():
        assert (folder.stat().st_mode & 0o777, folder.stat().st_uid) == (0o700, os.getuid())
    async with connect(server.target) as rpc, connect(f"unix:{path}") as private:
        await make_team(rpc)
        assert (await private.call("GetHead", EXAMPLES["GetHead"])).head.revision
        for other in ("CreateTeam", "CheckModelAccess"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await private.call(other, EXAMPLES[other])
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.stop()
    assert not list(temporary.iterdir())
