"""A certificate authority for the server and its callers, and another that nobody trusts."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Pki:
    """The files of a server with TLS, and the certificates of callers."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.other_ca = trustme.CA(), trustme.CA()
        server = self.ca.issue_cert("localhost", "127.0.0.1")
        self.cert, self.key, self.client_ca = folder / "cert.pem", folder / "key.pem", folder / "client-ca.pem"
        self.cert.write_bytes(b"".join(part.bytes() for part in server.cert_chain_pems))
        server.private_key_pem.write_to_path(str(self.key))
        self.ca.cert_pem.write_to_path(str(self.client_ca))

    @property
    def tls(self) -> dict[str, Any]:
        """Fields of Config for a server with TLS."""
        return {"tls_cert": self.cert, "tls_key": self.key}

    @property
    def mutual_tls(self) -> dict[str, Any]:
        """Fields of Config for a server that wants a certificate of its callers."""
        return self.tls | {"tls_client_ca": self.client_ca}

    def caller(self, certificate: tuple[bytes, bytes] | None = None) -> grpc.ChannelCredentials:
        """The channel credentials of a caller with this certificate and key."""
        chain, key = certificate or (None, None)
        return grpc.ssl_channel_credentials(self.ca.cert_pem.bytes(), key, chain)

    def certificate(
        self, *sans: str | x509.GeneralName, cn: str = "someone", ca: trustme.CA | None = None, expired: bool = False
    ) -> tuple[bytes, bytes]:
        """A certificate and its key. A plain text among the `sans` is a DNS name; without any there is no SAN."""
        names = [x509.DNSName(san) if isinstance(san, str) else san for san in sans]
        return _issue(ca or self.ca, names, cn, expired)


def _issue(ca: trustme.CA, sans: Iterable[x509.GeneralName], cn: str, expired: bool) -> tuple[bytes, bytes]:
    issuer = x509.load_pem_x509_certificate(ca.cert_pem.bytes())
    issuer_key: Any = serialization.load_pem_private_key(ca.private_key_pem.bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * day)
        .not_valid_after(now - day if expired else now + day)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    pem = serialization.Encoding.PEM
    return (
        builder.sign(issuer_key, hashes.SHA256()).public_bytes(pem),
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
