"""The certificates of the README, made by its own commands, and more of the same authority or of another."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.envoy.stage import shell_blocks
from tests.support.envoy import CLIENTS, LIMIT_S

FOLDER = "build/envoy-certificates"


def make_certificates(folder: Path) -> Path:
    """Runs the README's commands with this as the working directory. Where the certificates are."""
    (commands,) = [block for block in shell_blocks((CLIENTS / "README.md").read_text()) if "openssl req" in block]
    done = subprocess.run(["bash", "-e", "-c", commands], cwd=folder, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    return folder / FOLDER


def issue(certificates: Path, name: str, sans: Sequence[x509.GeneralName]) -> None:
    """A client certificate of the README's authority, NAME.pem and NAME.key. With no `sans` it has a subject only."""
    authority = x509.load_pem_x509_certificate((certificates / "ca.pem").read_bytes())
    authority_key: Any = serialization.load_pem_private_key((certificates / "ca.key").read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "support/sam@acme.example")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    pem = serialization.Encoding.PEM
    (certificates / f"{name}.pem").write_bytes(builder.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    (certificates / f"{name}.key").write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))


def client(certificates: Path, name: str | None) -> ssl.SSLContext:
    """TLS with this client certificate, or none."""
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    if name is not None:
        context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
    return context
