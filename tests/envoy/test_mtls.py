"""envoy-mtls.yaml with the real service: the name in the client's certificate says who asks, and nothing else does."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509

from tests.envoy.certificates import client, issue, make_certificates
from tests.envoy.stage import (
    ALLOWED,
    CHAT,
    JSON,
    MEMBER_CODE,
    NOT_MEMBER,
    NOT_TEAM,
    TEAM_CODE,
    Gateway,
    acme,
    chat_body,
    code,
    gateway,
    policy_headers,
)
from tests.support.envoy import Answer

SAM = "spiffe://acme.example/team/support/user/sam@acme.example"
BEATRIZ = "spiffe://acme.example/team/support/user/beatriz.costa@acme.example"
URI, DNS = x509.UniformResourceIdentifier, x509.DNSName
NAMES: dict[str, Sequence[x509.GeneralName]] = {
    "beatriz": [URI(BEATRIZ)],
    "two names": [URI(SAM), URI(BEATRIZ)],
    "two kinds": [DNS("beatriz.support.clients.acme.example"), URI(SAM)],
    "another domain": [URI("spiffe://evil.example/team/support/user/sam@acme.example")],
    "another domain first": [URI("spiffe://evil.example/team/support/user/sam@acme.example"), URI(SAM)],
    "no user": [URI("spiffe://acme.example/team/support")],
    "longer": [URI(SAM + "/device/1")],
    "subject only": [],
    "dns": [DNS("callum.support.clients.acme.example")],
    "a stranger": [URI("spiffe://acme.example/team/support/user/nobody@acme.example")],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the certificates of the README are, and more."""
    folder = tmp_path_factory.mktemp("mtls")
    certificates = make_certificates(folder)
    for name, sans in NAMES.items():
        issue(certificates, name, sans)
    return folder


@pytest.fixture(scope="module")
def certificates(folder: Path) -> Path:
    return folder / "build" / "envoy-certificates"


@pytest.fixture(scope="module")
def mtls_gateway(folder: Path) -> Iterator[Gateway]:
    with (
        acme("ext-authz-mtls.yaml") as service,
        gateway("envoy-mtls.yaml", service.target, folder=folder) as started,
    ):
        yield started


@pytest.fixture(autouse=True)
def nothing_is_left_over(mtls_gateway: Gateway) -> None:
    mtls_gateway.upstream.take()


def ask(started: Gateway, model: str, tls: ssl.SSLContext, *headers: tuple[str, str]) -> Answer:
    return started.envoy.request("POST", CHAT, [JSON, *headers], chat_body(model), tls)


def test_a_spiffe_id_says_who_asks(mtls_gateway: Gateway, certificates: Path) -> None:
    sam, beatriz = client(certificates, "sam"), client(certificates, "beatriz")
    assert ask(mtls_gateway, ALLOWED, sam).status == 200
    told = policy_headers(mtls_gateway.passed())
    assert (told["x-policy-team"], told["x-policy-user"]) == ("support", "sam@acme.example")
    assert code(ask(mtls_gateway, NOT_MEMBER, sam)) == MEMBER_CODE
    assert code(ask(mtls_gateway, NOT_TEAM, sam)) == TEAM_CODE
    assert ask(mtls_gateway, NOT_MEMBER, beatriz).status == 200
    assert mtls_gateway.envoy.line()["user"] == "beatriz.costa@acme.example"


@pytest.mark.parametrize("name", ["two names", "two kinds"])
def test_the_first_uri_counts(mtls_gateway: Gateway, certificates: Path, name: str) -> None:
    tls = client(certificates, name)
    assert ask(mtls_gateway, ALLOWED, tls).status == 200
    assert policy_headers(mtls_gateway.passed())["x-policy-user"] == "sam@acme.example"
    assert code(ask(mtls_gateway, NOT_MEMBER, tls)) == MEMBER_CODE


@pytest.mark.parametrize(
    "name", ["another domain", "another domain first", "no user", "longer", "subject only", "dns", "a stranger"]
)
def test_any_other_name_is_denied(mtls_gateway: Gateway, certificates: Path, name: str) -> None:
    claimed = [
        ("authorization", "Bearer example-key-of-sam"),
        ("x-policy-client", "support/sam@acme.example"),
        ("x-forwarded-client-cert", f"URI={SAM}"),
    ]
    answer = ask(mtls_gateway, ALLOWED, client(certificates, name), *claimed)
    assert answer.status == 403
    assert code(answer) == ("membership_denied" if name == "a stranger" else "malformed_identity")
    assert mtls_gateway.nothing_passed()


def test_without_a_certificate_there_is_no_connection(mtls_gateway: Gateway, certificates: Path) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(mtls_gateway, ALLOWED, client(certificates, None))
    assert mtls_gateway.nothing_passed()


def test_another_authority_is_none(mtls_gateway: Gateway, certificates: Path, tmp_path: Path) -> None:
    other = make_certificates(tmp_path)
    tls = client(certificates, None)
    tls.load_cert_chain(other / "sam.pem", other / "sam.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(mtls_gateway, ALLOWED, tls)
    assert mtls_gateway.nothing_passed()


def test_dns_names(folder: Path, certificates: Path, tmp_path: Path) -> None:
    settings = tmp_path / "ext-authz.yaml"
    settings.write_text('identity: {mtls: {pattern: "{user}.{team}.clients.acme.example"}}')
    applied = tmp_path / "team.yaml"
    applied.write_text("teams: [{id: support, models: {models: [gpt-4o-mini]}, members: [{user: callum}]}]")
    with (
        acme(settings, organisation=applied) as service,
        gateway("envoy-mtls.yaml", service.target, folder=folder) as started,
    ):
        assert ask(started, ALLOWED, client(certificates, "dns")).status == 200
        assert policy_headers(started.passed())["x-policy-user"] == "callum"
        assert code(ask(started, NOT_TEAM, client(certificates, "dns"))) == TEAM_CODE
        for name in ("sam", "subject only", "two kinds"):
            assert code(ask(started, ALLOWED, client(certificates, name))) == "malformed_identity"
        assert started.nothing_passed()
