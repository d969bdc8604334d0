"""Names of the client's certificate in the header that Envoy makes, whatever is in them and around them."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from policy_service.dataplane.certificates import names_of
from tests.security.certificates import Pki

ODD = [
    'a";DNS=mallory',
    "a;Cert=b",
    "a,b",
    "a\\",
    "a b",
    "%22",
    "spiffe://acme.example/ns/gateways;URI=spiffe://acme.example/admin",
    "x" * 1_000,
]


def header(certificate: tuple[bytes, bytes], before: str = "Hash=0123;", after: str = "") -> bytes:
    """As Envoy writes it."""
    return f'{before}Cert="{quote(certificate[0], safe="")}"{after}'.encode()


def test_every_kind_of_name_that_a_credentials_file_may_have(pki: Pki) -> None:
    names = [
        x509.DNSName("gateway.acme.example"),
        x509.UniformResourceIdentifier("spiffe://acme.example/gateway"),
        x509.RFC822Name("gateway@acme.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    ]
    texts = [
        "gateway.acme.example",
        "spiffe://acme.example/gateway",
        "gateway@acme.example",
        "192.0.2.1",
        "2001:db8::1",
    ]
    assert list(names_of(header(pki.certificate(*names)))) == texts


def test_kinds_that_are_no_names(pki: Pki) -> None:
    names = [
        x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])),
        x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x07gateway"),
        x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
    ]
    assert names_of(header(pki.certificate(*names))) == ()


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("kind", [x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name])
def test_odd_names_stay_one_name(pki: Pki, kind: type[x509.DNSName], name: str) -> None:
    assert names_of(header(pki.certificate(kind(name), "other"))) == (name, "other")


def test_a_common_name_is_no_name(pki: Pki) -> None:
    assert names_of(header(pki.certificate(cn="gateway"))) == ()


def test_what_else_envoy_may_write(pki: Pki) -> None:
    certificate = pki.certificate("gateway")
    for before, after in [("", ""), ("By=x;Hash=1;", ""), ("", ';Subject="CN=a"'), ("Hash=1;", ';URI="a";DNS=b')]:
        assert names_of(header(certificate, before, after)) == ("gateway",)


def test_two_certificates_are_none(pki: Pki) -> None:
    """Envoy writes one. Two mean that somebody else wrote, too."""
    one, two = header(pki.certificate("one")), header(pki.certificate("two"))
    assert names_of(one + b";" + two) == ()


def test_what_is_no_certificate(pki: Pki) -> None:
    whole = header(pki.certificate("gateway"))
    cut = [whole[:end] for end in range(0, len(whole) - 1, 7)]
    others = [b"", b"Cert=", b'Cert=""', b'Cert="x"', b'Cert="%"', b"DNS=gateway", b"URI=gateway;DNS=gateway"]
    for found in others + cut:
        assert names_of(found) == (), found
    pem = Path(pki.key).read_bytes()
    assert names_of(header((pem, b""))) == ()


@given(st.binary())
def test_any_bytes(found: bytes) -> None:
    assert names_of(found) == ()
    assert names_of(b'Cert="' + found + b'"') == ()
