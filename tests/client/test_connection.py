"""Targets, tokens and TLS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
import trustme

from policy_client import TLS, AccessClient, AdminClient, Unavailable
from policy_service.v1.access_pb2 import CheckModelAccessResponse

from .scripted import Script, serving

ALLOWED = CheckModelAccessResponse(allowed=True)
LOCAL = [
    "127.0.0.1:50051",
    "127.9.9.9:1",
    "localhost:50051",
    "LOCALHOST:50051",
    "[::1]:50051",
    "dns:///localhost:50051",
    "ipv4:127.0.0.1:50051",
    "ipv6:[::1]:50051",
    "unix:/run/policy.sock",
    "unix:///run/policy.sock",
    "unix-abstract:policy",
]
REMOTE = [
    "10.0.0.1:50051",
    "policy.acme.example:443",
    "localhost.acme.example:443",
    "127.0.0.1.acme.example:443",
    "dns:///policy.acme.example:443",
    "dns://localhost/policy.acme.example:443",
    "dns://127.0.0.1/policy.acme.example:443",
    "ipv4:127.0.0.1:1,10.0.0.1:1",
    "[::]:50051",
    "0.0.0.0:50051",
]
CLIENTS = pytest.mark.parametrize("client", [AccessClient, AdminClient])
Client = Callable[..., AccessClient | AdminClient]


@CLIENTS
@pytest.mark.parametrize("target", LOCAL)
def test_a_token_may_go_in_plain_text_inside_the_machine(client: Client, target: str) -> None:
    client(target, token="secret")


@CLIENTS
@pytest.mark.parametrize("target", REMOTE)
def test_a_token_does_not_leave_the_machine_in_plain_text(client: Client, target: str) -> None:
    with pytest.raises(ValueError, match="plain text") as caught:
        client(target, token="secret")
    assert "secret" not in str(caught.value)
    client(target)
    client(target, token="secret", tls=TLS())


@pytest.mark.parametrize("token", ["", " ", "two words", "line\n", "tabs\t", "ümlaut", "a\x00b"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="the token is empty, or holds") as caught:
        AccessClient("127.0.0.1:1", token=token)
    assert "words" not in str(caught.value)


@CLIENTS
def test_the_token_shows_nowhere(client: Client) -> None:
    made = client("127.0.0.1:1", token="s3cr3t")
    assert "s3cr3t" not in repr(made)
    assert "s3cr3t" not in repr(TLS(key=b"s3cr3t"))


@pytest.mark.parametrize("target", ["", "localhost", "policy.acme.example", "[::1]", "host:port"])
def test_a_target_without_a_port_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match="has no port; give host:port"):
        AccessClient(target)


def test_a_target_or_a_channel() -> None:
    with pytest.raises(ValueError, match="either a target or a channel"):
        AccessClient()


async def test_a_channel_brings_its_own_security() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(ValueError, match="either a target or a channel"):
            AccessClient("127.0.0.1:1", channel=channel)
        with pytest.raises(ValueError, match="its own security"):
            AccessClient(channel=channel, tls=TLS())


async def test_the_token_goes_along_with_every_call() -> None:
    script = Script([ALLOWED])
    async with serving(script) as target:
        async with AccessClient(target, token="s3cr3t") as access:
            await access.check("support", "sam", "gpt-4o")
        async with AccessClient(target) as access:
            await access.check("support", "sam", "gpt-4o")
    assert script.metadata[0]["authorization"] == "Bearer s3cr3t"
    assert "authorization" not in script.metadata[1]


async def test_a_unix_socket(tmp_path: Path) -> None:
    script = Script([ALLOWED])
    async with serving(script, f"unix:{tmp_path}/policy.sock") as target, AccessClient(target, token="t") as access:
        assert (await access.check("support", "sam", "gpt-4o")).allowed


async def test_no_proxy_of_the_environment_sees_what_stays_inside_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with serving(Script([ALLOWED])) as target, AccessClient(target, token="t") as access:
        assert (await access.check("support", "sam", "gpt-4o")).allowed


def test_a_client_can_be_made_before_the_loop_runs() -> None:
    AccessClient("127.0.0.1:1")
    AdminClient("127.0.0.1:1")


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_credentials(authority: trustme.CA, name: str, *, mutual: bool = False) -> grpc.ServerCredentials:
    issued = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return grpc.ssl_server_credentials(
        [(issued.private_key_pem.bytes(), chain)], authority.cert_pem.bytes(), require_client_auth=mutual
    )


async def check(target: str, tls: TLS | None) -> bool:
    async with AccessClient(target, tls=tls, token="t" if tls else None) as access:
        return (await access.check("support", "sam", "gpt-4o", timeout_s=5)).allowed


async def test_tls_with_an_authority_of_ones_own(authority: trustme.CA, tmp_path: Path) -> None:
    pem = authority.cert_pem.bytes()
    path = tmp_path / "ca.pem"
    path.write_bytes(pem)
    credentials = server_credentials(authority, "127.0.0.1")
    async with serving(Script([ALLOWED]), credentials=credentials) as target:
        assert await check(target, TLS(ca=pem))
        assert await check(target, TLS(ca=path))
        assert await check(target, TLS(ca=str(path)))


async def test_tls_with_another_name(authority: trustme.CA) -> None:
    credentials = server_credentials(authority, "policy.acme.example")
    pem = authority.cert_pem.bytes()
    async with serving(Script([ALLOWED]), credentials=credentials) as target:
        with pytest.raises(Unavailable):
            await check(target, TLS(ca=pem))
        assert await check(target, TLS(ca=pem, server_name="policy.acme.example"))


async def test_a_stranger_is_not_trusted(authority: trustme.CA) -> None:
    credentials = server_credentials(trustme.CA(), "127.0.0.1")
    async with serving(Script([ALLOWED]), credentials=credentials) as target:
        for tls in (TLS(ca=authority.cert_pem.bytes()), TLS(), None):
            with pytest.raises(Unavailable):
                await check(target, tls)


async def test_mutual_tls(authority: trustme.CA) -> None:
    ours, theirs = (ca.issue_cert("gateway@acme.example") for ca in (authority, trustme.CA()))
    pem = authority.cert_pem.bytes()
    credentials = server_credentials(authority, "127.0.0.1", mutual=True)
    async with serving(Script([ALLOWED]), credentials=credentials) as target:
        cert, key = ours.cert_chain_pems[0].bytes(), ours.private_key_pem.bytes()
        assert await check(target, TLS(ca=pem, cert=cert, key=key))
        strange = TLS(ca=pem, cert=theirs.cert_chain_pems[0].bytes(), key=theirs.private_key_pem.bytes())
        for tls in (TLS(ca=pem), strange):
            with pytest.raises(Unavailable):
                await check(target, tls)


def test_half_a_key_pair_is_refused(authority: trustme.CA) -> None:
    for half in (TLS(cert=b"x"), TLS(key=b"x")):
        with pytest.raises(ValueError, match="needs both cert and key"):
            AccessClient("127.0.0.1:1", tls=half)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_file_that_is_no_pem_is_told_at_once(name: str, authority: trustme.CA, tmp_path: Path) -> None:
    issued = authority.issue_cert("gateway@acme.example")
    good = {"cert": issued.cert_chain_pems[0].bytes(), "key": issued.private_key_pem.bytes()}
    path = tmp_path / "wrong.pem"
    path.write_bytes(b"s3cr3t")
    with pytest.raises(ValueError, match=rf"the {name} in '.*wrong\.pem' is not PEM") as caught:
        AccessClient("127.0.0.1:1", tls=TLS(**good | {name: path}))
    assert "s3cr3t" not in str(caught.value)
    with pytest.raises(ValueError, match=f"the {name} is not PEM"):
        AccessClient("127.0.0.1:1", tls=TLS(**good | {name: b"s3cr3t"}))


def test_a_file_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pem"):
        AccessClient("127.0.0.1:1", tls=TLS(ca=tmp_path / "none.pem"))
