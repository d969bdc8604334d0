"""Ed25519 keys: an authority signs what it publishes, so that whoever merely carries it cannot write policy."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from policy_service.domain.feed import Signable
from policy_service.errors import StartupError, Untrusted

SIGNING_OPTION, VERIFY_OPTION = "--signing-key", "--verify-key"

T = TypeVar("T")


class Signer:
    """The authority's key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Raises StartupError, also when others may read the file."""
        text = _read(path, SIGNING_OPTION, private=True)
        if b"PUBLIC KEY-----" in text:
            raise _wrong(SIGNING_OPTION, path, f"is a public key, which {VERIFY_OPTION} of a replica takes")
        if b"ENCRYPTED" in text:
            raise _wrong(SIGNING_OPTION, path, "is encrypted; give the key without a password")
        key = _parsed(SIGNING_OPTION, path, lambda: serialization.load_pem_private_key(text, None))
        if not isinstance(key, Ed25519PrivateKey):
            raise _wrong(SIGNING_OPTION, path, "is a key of another kind than Ed25519")
        return cls(key)

    def sign(self, text: bytes) -> bytes:
        """The same text has the same signature."""
        return self._key.sign(text)


def unsigned(_: bytes) -> bytes:
    """Signs for an authority without a key."""
    return b""


class Verifier:
    """What a replica knows the authority by."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Verifier:
        """Raises StartupError."""
        text = _read(path, VERIFY_OPTION, private=False)
        if b"PRIVATE KEY-----" in text:
            raise _wrong(VERIFY_OPTION, path, f"is a private key, which is for {SIGNING_OPTION} of the authority alone")
        key = _parsed(VERIFY_OPTION, path, lambda: serialization.load_pem_public_key(text))
        if not isinstance(key, Ed25519PublicKey):
            raise _wrong(VERIFY_OPTION, path, "is a key of another kind than Ed25519")
        return cls(key)

    def verify(self, text: bytes, signature: bytes) -> None:
        """Raises Untrusted."""
        if not signature:
            raise Untrusted(f"the policy that came is not signed; start the authority with {SIGNING_OPTION}")
        try:
            self._key.verify(signature, text)
        except InvalidSignature:
            raise Untrusted(
                f"the policy that came is not signed with the key that belongs to {VERIFY_OPTION}; "
                "either somebody else wrote it, or the authority has another key now"
            ) from None

    def check(self, item: Signable) -> None:
        """Raises Untrusted."""
        self.verify(item.signed, item.signature)


def make_keys(private: Path) -> Path:
    """Writes a new private key, which its owner alone may read, and beside it the public one. Returns the path of
    that. Raises StartupError; overwrites nothing and leaves nothing half done."""
    public = private.with_name(f"{private.name}.pub")
    key = Ed25519PrivateKey.generate()
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    texts = {
        private: key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        public: key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo),
    }
    made: list[Path] = []
    try:
        for path, mode in ((private, 0o600), (public, 0o644)):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(texts[path])
    except OSError as error:
        for path in made:
            path.unlink()
        if isinstance(error, FileExistsError):
            raise StartupError(f"{error.filename} exists already and is not overwritten; name another file") from None
        raise StartupError(f"{error.filename or private}: {error.strerror}") from None
    return public


def _read(path: Path, option: str, *, private: bool) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read()
    except OSError as error:
        raise StartupError(f"{option} {path}: {error.strerror}") from None
    if private and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StartupError(f"{option} {path} may be read by others than its owner; `chmod 600 {path}`")
    return text


def _parsed(option: str, path: Path, load: Callable[[], T]) -> T:
    try:
        return load()
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise _wrong(option, path, "is no PEM file of a key") from None


def _wrong(option: str, path: Path, problem: str) -> StartupError:
    return StartupError(f"{option} {path} {problem}; `policy-service keygen FILE` makes a pair")
