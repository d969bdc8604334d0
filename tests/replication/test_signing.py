"""Keys, signatures, and files that are no keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from policy_service.domain.changes import NO_HASH, Position
from policy_service.domain.feed import ChangePart, Head, Manifest, Signable
from policy_service.errors import StartupError, Untrusted
from policy_service.replication.signing import Signer, Verifier, make_keys, unsigned

POSITION = Position("epoch", 1, NO_HASH, "0" * 32)
ITEMS: tuple[Signable, ...] = (
    Head(position=POSITION),
    ChangePart(position=POSITION, previous_hash=NO_HASH, payload=b"[]"),
    Manifest(position=POSITION, checksums=(NO_HASH,)),
)
PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
PKCS8 = serialization.PrivateFormat.PKCS8
SUBJECT = serialization.PublicFormat.SubjectPublicKeyInfo


class Pair:
    """A pair of keys and their files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.private = folder / name
        self.public = make_keys(self.private)
        self.signer, self.verifier = Signer.read(self.private), Verifier.read(self.public)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, "key.pem")


@pytest.fixture
def other(tmp_path: Path) -> Pair:
    return Pair(tmp_path, "other.pem")


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_what_is_signed_is_taken_and_nothing_else(pair: Pair, other: Pair, item: Signable) -> None:
    signature = pair.signer.sign(item.signed)
    pair.verifier.check(replace(item, signature=signature))
    for altered in (
        replace(item, signature=signature, position=POSITION._replace(revision=2)),
        replace(item, signature=signature, format=2),
        replace(item, signature=signature[:-1]),
        replace(item, signature=bytes(64)),
        replace(item, signature=other.signer.sign(item.signed)),
    ):
        with pytest.raises(Untrusted, match="not signed with the key that belongs to --verify-key"):
            pair.verifier.check(altered)


def test_a_payload_is_signed(pair: Pair) -> None:
    part = ChangePart(position=POSITION, previous_hash=NO_HASH, payload=b"[]")
    with pytest.raises(Untrusted):
        pair.verifier.check(replace(part, signature=pair.signer.sign(part.signed), payload=b"[ ]"))


def test_a_signature_is_of_one_kind_of_item(pair: Pair) -> None:
    head, manifest = ITEMS[0], ITEMS[2]
    for item, signed in ((manifest, head.signed), (head, manifest.signed)):
        with pytest.raises(Untrusted):
            pair.verifier.check(replace(item, signature=pair.signer.sign(signed)))


def test_what_is_not_signed_is_not_taken(pair: Pair) -> None:
    with pytest.raises(Untrusted, match="is not signed; start the authority with --signing-key"):
        pair.verifier.verify(b"text", unsigned(b"text"))


def test_the_same_text_has_the_same_signature(pair: Pair) -> None:
    assert pair.signer.sign(b"text") == Signer.read(pair.private).sign(b"text")


# Files


def test_the_files_of_a_pair(pair: Pair) -> None:
    assert pair.public == pair.private.with_name("key.pem.pub")
    assert pair.private.stat().st_mode & 0o777 == 0o600
    assert isinstance(serialization.load_pem_private_key(pair.private.read_bytes(), None), ed25519.Ed25519PrivateKey)
    assert isinstance(serialization.load_pem_public_key(pair.public.read_bytes()), ed25519.Ed25519PublicKey)


@pytest.mark.parametrize("taken", ["key", "key.pub"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(StartupError, match=f"{tmp_path / taken} exists already and is not overwritten"):
        make_keys(tmp_path / "key")
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartupError, match="exists already"):
        make_keys(tmp_path / "key")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=f"{tmp_path}/absent/key: No such file or directory"):
        make_keys(tmp_path / "absent" / "key")


def _private(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed448.Ed448PrivateKey) -> bytes:
    return key.private_bytes(PEM, PKCS8, PLAIN)


def _encrypted() -> bytes:
    encryption = serialization.BestAvailableEncryption(b"password")
    return ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, encryption)


def _openssh() -> bytes:
    key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, PLAIN)


def _der() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(serialization.Encoding.DER, PKCS8, PLAIN)


def _public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(PEM, SUBJECT)


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2048)


NO_SIGNING_KEY: dict[str, tuple[Callable[[], bytes | None], str]] = {
    "missing": (lambda: None, "No such file or directory"),
    "empty": (lambda: b"", "is no PEM file of a key"),
    "garbage": (lambda: b"\xff" * 99, "is no PEM file of a key"),
    "der": (_der, "is no PEM file of a key"),
    "openssh": (_openssh, "is no PEM file of a key"),
    "encrypted": (_encrypted, "is encrypted"),
    "public": (lambda: _public(ed25519.Ed25519PrivateKey.generate()), "is a public key, which --verify-key of"),
    "rsa": (lambda: _private(_rsa()), "of another kind than Ed25519"),
    "ec": (lambda: _private(ec.generate_private_key(ec.SECP256R1())), "of another kind than Ed25519"),
    "ed448": (lambda: _private(ed448.Ed448PrivateKey.generate()), "of another kind than Ed25519"),
}
NO_VERIFY_KEY: dict[str, tuple[Callable[[], bytes | None], str]] = {
    "missing": (lambda: None, "No such file or directory"),
    "empty": (lambda: b"", "is no PEM file of a key"),
    "garbage": (lambda: b"\xff" * 99, "is no PEM file of a key"),
    "rsa": (lambda: _public(_rsa()), "of another kind than Ed25519"),
    "ec": (lambda: _public(ec.generate_private_key(ec.SECP256R1())), "of another kind than Ed25519"),
    "private": (lambda: _private_ed25519(), "is a private key, which is for --signing-key"),
    "private, openssh": (_openssh, "is a private key, which is for --signing-key"),
    "private, encrypted": (_encrypted, "is a private key, which is for --signing-key"),
}


def _private_ed25519() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, PLAIN)


def _assert_refused(read: Callable[[Path], object], option: str, path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(StartupError, match=words) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{option} {path}")
    assert "\n" not in message
    assert not any(line in message.encode() for line in (content or b"").splitlines() if line)


@pytest.mark.parametrize(("make", "words"), NO_SIGNING_KEY.values(), ids=NO_SIGNING_KEY)
def test_what_is_no_signing_key(tmp_path: Path, make: Callable[[], bytes | None], words: str) -> None:
    _assert_refused(Signer.read, "--signing-key", tmp_path / "file", make(), words)


@pytest.mark.parametrize(("make", "words"), NO_VERIFY_KEY.values(), ids=NO_VERIFY_KEY)
def test_what_is_no_verify_key(tmp_path: Path, make: Callable[[], bytes | None], words: str) -> None:
    _assert_refused(Verifier.read, "--verify-key", tmp_path / "file", make(), words)


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    for read in (Signer.read, Verifier.read):
        with pytest.raises(StartupError, match="Is a directory"):
            read(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o610])
def test_a_signing_key_that_others_may_read_is_refused(pair: Pair, mode: int) -> None:
    pair.private.chmod(mode)
    with pytest.raises(StartupError, match="may be read by others than its owner; `chmod 600 "):
        Signer.read(pair.private)


def test_a_signing_key_that_only_its_owner_may_read_is_fine(pair: Pair) -> None:
    pair.private.chmod(0o400)
    Signer.read(pair.private)
