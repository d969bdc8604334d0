"""TLS files that cannot be used stop the start, with their names and without what is in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.errors import StartupError
from policy_service.server import Server

from .certificates import Pki

GARBAGE = b"-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n"
UNUSABLE = "are no PEM certificate, its unencrypted key and CA certificates"
Make = Callable[[Pki], bytes | None]


def _key(pki: Pki, encoding: serialization.Encoding, password: bytes | None = None) -> bytes:
    key: Any = serialization.load_pem_private_key(pki.key.read_bytes(), None)
    encrypted = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, encrypted))


WRONG: dict[str, tuple[str, Make, str]] = {
    "certificate missing": ("tls_cert", lambda pki: None, "--tls-cert .*No such file or directory"),
    "certificate empty": ("tls_cert", lambda pki: b"", UNUSABLE),
    "certificate garbage": ("tls_cert", lambda pki: GARBAGE, UNUSABLE),
    "certificate is the key": ("tls_cert", lambda pki: pki.key.read_bytes(), UNUSABLE),
    "certificate of another key": ("tls_cert", lambda pki: pki.certificate("localhost")[0], UNUSABLE),
    "certificate cut off": ("tls_cert", lambda pki: pki.cert.read_bytes()[:300], UNUSABLE),
    "key missing": ("tls_key", lambda pki: None, "--tls-key .*No such file or directory"),
    "key empty": ("tls_key", lambda pki: b"", UNUSABLE),
    "key garbage": ("tls_key", lambda pki: b"\x00\xff" * 99, UNUSABLE),
    "key is the certificate": ("tls_key", lambda pki: pki.cert.read_bytes(), UNUSABLE),
    "key of another certificate": ("tls_key", lambda pki: pki.certificate("localhost")[1], UNUSABLE),
    "key encrypted": ("tls_key", lambda pki: _key(pki, serialization.Encoding.PEM, b"secret"), UNUSABLE),
    "key in DER": ("tls_key", lambda pki: _key(pki, serialization.Encoding.DER), UNUSABLE),
    "client CA missing": ("tls_client_ca", lambda pki: None, "--tls-client-ca .*No such file or directory"),
    "client CA empty": ("tls_client_ca", lambda pki: b"", UNUSABLE),
    "client CA garbage": ("tls_client_ca", lambda pki: GARBAGE, UNUSABLE),
    "client CA is a key": ("tls_client_ca", lambda pki: pki.key.read_bytes(), UNUSABLE),
}


@pytest.mark.parametrize(("option", "make", "words"), WRONG.values(), ids=WRONG)
async def test_unusable_files_stop_the_start(pki: Pki, tmp_path: Path, option: str, make: Make, words: str) -> None:
    content, path = make(pki), tmp_path / "wrong.pem"
    if content is not None:
        path.write_bytes(content)
    files = pki.mutual_tls | {option: path}
    with pytest.raises(StartupError, match=words) as caught:
        await Server.start(Config(listen=Address("127.0.0.1:0"), database=None, **files))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert not any(line in message for line in pki.key.read_text().splitlines())


async def test_a_file_that_may_not_be_read_stops_the_start(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == pki.cert:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)  # a test run by root may read everything
    with pytest.raises(StartupError, match=f"--tls-cert {pki.cert}: Permission denied"):
        await Server.start(Config(listen=Address("127.0.0.1:0"), database=None, **pki.tls))


async def test_a_chain_and_several_client_authorities_are_fine(
    start_server: Any, connect: Any, pki: Pki, tmp_path: Path
) -> None:
    intermediate = pki.ca.create_child_ca()
    issued = intermediate.issue_cert("localhost")
    cert, key, ca = tmp_path / "cert", tmp_path / "key", tmp_path / "ca"
    cert.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    second = trustme.CA()
    ca.write_bytes(pki.ca.cert_pem.bytes() + second.cert_pem.bytes())
    files = {"tls_cert": cert, "tls_key": key, "tls_client_ca": ca}
    server = await start_server(listen=Address("localhost:0"), database=None, **files)
    for authority in (pki.ca, second):
        channel = connect(server.target, pki.caller(pki.certificate("gateway", ca=authority)))
        await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
