"""Credentials files, and the tokens in them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

Entry = dict[str, Any]

ADMIN, CHECKER, REPLICATOR, ALMIGHTY = "ps_admin-token", "ps_check-token", "ps_replicate-token", "ps_almighty-token"
PERMISSIONS = ["check", "replicate", "admin"]


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def with_token(name: str, token: str, *permissions: str) -> Entry:
    """A principal that shows a token."""
    return {"name": name, "token_sha256": sha256(token), "permissions": list(permissions)}


def with_san(name: str, san: str, *permissions: str) -> Entry:
    """A principal that shows a certificate."""
    return {"name": name, "san": san, "permissions": list(permissions)}


# One principal for each permission, and one that has them all.
EVERYBODY = (
    with_token("the-admin", ADMIN, "admin"),
    with_token("the-gateway", CHECKER, "check"),
    with_token("the-replica", REPLICATOR, "replicate"),
    with_token("the-almighty", ALMIGHTY, *PERMISSIONS),
)


def credentials_text(*entries: Entry, **other_keys: Any) -> str:
    return yaml.safe_dump({"principals": list(entries)} | other_keys)


def write_credentials(path: Path, *entries: Entry, **other_keys: Any) -> Path:
    path.write_text(credentials_text(*entries, **other_keys))
    return path


def overwrite(path: Path, text: str) -> None:
    """Puts this text in the place of what the file holds."""
    path.write_text(text)


def bearer(token: str) -> list[tuple[str, str | bytes]]:
    return [("authorization", f"Bearer {token}")]
