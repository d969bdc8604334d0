"""What other machines may reach, and what has to protect it: addresses, listeners and Config."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.errors import StartupError

TLS: dict[str, Any] = {"tls_cert": Path("cert.pem"), "tls_key": Path("key.pem")}
CREDENTIALS: dict[str, Any] = {"credentials": Path("credentials.yaml")}
CLIENT_CA: dict[str, Any] = {"tls_client_ca": Path("ca.pem")}
BOTH = TLS | CREDENTIALS
MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "needs --credentials and --tls-cert and --tls-key"),
    "TLS alone": (TLS, "needs --credentials"),
    "mutual TLS alone": (TLS | CLIENT_CA, "needs --credentials"),
    "credentials alone": (CREDENTIALS, "needs --tls-cert and --tls-key"),
}
LACKING = pytest.mark.parametrize(("given", "words"), MISSING.values(), ids=MISSING)

LOCAL = ["127.0.0.1:0", "127.9.9.9:1", "localhost:65535", "[::1]:1", "unix:/run/p.sock", "unix:///run/p", "unix:p.sock"]
EXPOSED = [
    "0.0.0.0:50051",
    "[::]:50051",
    "[::0]:50051",
    "*:50051",
    "0:50051",
    "10.0.0.1:50051",
    "192.168.1.1:50051",
    "203.0.113.1:50051",
    "[2001:db8::1]:50051",
    "[fe80::1]:50051",
    "[::ffff:10.0.0.1]:50051",
    "policy.acme.example:50051",
    "policy:50051",
    "localhost.acme.example:50051",
    "127.0.0.1.acme.example:50051",
    "xn--localhost:50051",
    # spellings that some resolvers take for loopback
    "127.1:50051",
    "0x7f000001:50051",
    "2130706433:50051",
    "127.0.0.01:50051",
    " 127.0.0.1:50051",
    "127.0.0.1 :50051",
]
NO_ADDRESS = [
    "",
    ":",
    ":50051",
    "50051",
    "127.0.0.1",
    "127.0.0.1:",
    "127.0.0.1:http",
    "127.0.0.1:-1",
    "127.0.0.1:+1",
    "127.0.0.1: 1",
    "127.0.0.1:1 ",
    "127.0.0.1:65536",
    "127.0.0.1:٣",
    "127.0.0.1:²",
    "::1:50051",
    "[::1:50051",
    "::1]:50051",
    "[::1]",
    "unix:",
    "UNIX:/run/p.sock",
    "dns:///localhost:50051",
    "ipv4:127.0.0.1:50051",
    "http://127.0.0.1:50051",
]


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(StartupError, match="is no address; give HOST:PORT"):
        Address(text)


@pytest.mark.parametrize("listen", LOCAL)
@pytest.mark.parametrize("given", [{}, TLS, CREDENTIALS, BOTH], ids=["neither", "TLS", "credentials", "both"])
def test_a_local_address_needs_nothing_and_serves_everything(listen: str, given: dict[str, Any]) -> None:
    (listener,) = Config(listen=Address(listen), **given).listeners
    assert (listener.address.text, listener.reads, listener.admin) == (listen, True, True)


@LACKING
@pytest.mark.parametrize("listen", EXPOSED)
def test_an_exposed_read_listener_needs_both(listen: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(StartupError, match=words) as caught:
        Config(listen=Address(listen), **given)
    assert str(caught.value).startswith(f"{listen} is reached from other machines")
    assert "--insecure-listen" in str(caught.value)


@pytest.mark.parametrize("listen", EXPOSED)
def test_with_both_an_address_may_be_exposed_and_admin_stays_on_loopback(listen: str) -> None:
    read, admin = Config(listen=Address(listen), **BOTH).listeners
    assert (read.address.text, read.reads, read.admin) == (listen, True, False)
    assert (admin.address.text, admin.reads, admin.admin) == ("127.0.0.1:50052", False, True)


@pytest.mark.parametrize("given", [{}, *(given for given, _ in MISSING.values())])
@pytest.mark.parametrize("listen", EXPOSED)
def test_insecure_listen_opens_the_read_listener_alone(listen: str, given: dict[str, Any]) -> None:
    read, admin = Config(listen=Address(listen), insecure_listen=True, **given).listeners
    assert (read.admin, admin.reads, admin.address.is_local) == (False, False, True)


@LACKING
@pytest.mark.parametrize("admin", EXPOSED)
def test_an_exposed_admin_listener_needs_both_whatever_is_said(admin: str, given: dict[str, Any], words: str) -> None:
    for listen, insecure in itertools.product(["127.0.0.1:1", "unix:p.sock", "0.0.0.0:1"], [False, True]):
        addresses = {"listen": Address(listen), "admin_listen": Address(admin)}
        with pytest.raises(StartupError, match=words) as caught:
            Config(**addresses, insecure_listen=insecure, **given)
        if insecure or Address(listen).is_local:
            assert str(caught.value).startswith(f"{admin} is reached from other machines")
            assert "since AdminService is served there" in str(caught.value)


@LACKING
@pytest.mark.parametrize("listen", EXPOSED)
def test_one_exposed_listener_for_everything_needs_both_whatever_is_said(
    listen: str, given: dict[str, Any], words: str
) -> None:
    addresses = {"listen": Address(listen), "admin_listen": Address(listen)}
    for insecure in (False, True):
        with pytest.raises(StartupError, match=words):
            Config(**addresses, insecure_listen=insecure, **given)
    (listener,) = Config(**addresses, **BOTH).listeners
    assert (listener.reads, listener.admin) == (True, True)


@pytest.mark.parametrize(("listen", "admin"), list(itertools.permutations(LOCAL, 2)))
def test_two_local_addresses_share_the_services(listen: str, admin: str) -> None:
    listeners = Config(listen=Address(listen), admin_listen=Address(admin)).listeners
    served = [(listener.address.text, listener.reads, listener.admin) for listener in listeners]
    assert served == [(listen, True, False), (admin, False, True)]


def test_the_defaults_are_local() -> None:
    assert [listener.address.text for listener in Config().listeners] == ["127.0.0.1:50051"]
    assert not Config().insecure_listen


INCOMPLETE: dict[str, tuple[dict[str, Any], str]] = {
    "certificate without key": ({"tls_cert": Path("cert.pem")}, "--tls-cert and --tls-key belong together"),
    "key without certificate": ({"tls_key": Path("key.pem")}, "--tls-cert and --tls-key belong together"),
    "client CA alone": (CLIENT_CA, "--tls-client-ca needs --tls-cert and --tls-key"),
    "client CA and credentials": (CLIENT_CA | CREDENTIALS, "--tls-client-ca needs --tls-cert and --tls-key"),
    "client CA and key": (CLIENT_CA | {"tls_key": Path("key.pem")}, "belong together"),
}


@pytest.mark.parametrize(("given", "words"), INCOMPLETE.values(), ids=INCOMPLETE)
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0", "unix:p.sock"])
def test_tls_options_belong_together(listen: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(StartupError, match=words):
        Config(listen=Address(listen), insecure_listen=True, **given)
