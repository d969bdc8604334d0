"""Page tokens: where a list goes on. Bound to the RPC and its filter; they work on any replica and grant nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from policy_service.domain.validation import Problems

MAX_PAGE_SIZE = 1_000
MAX_BRACKETS = 600  # two names of 256 bytes may hold nothing else
_CHECKSUM_BYTES = 8


def page_size(problems: Problems, asked: int, default: int) -> int:
    """How many items a page may hold."""
    if not 0 <= asked <= MAX_PAGE_SIZE:
        problems.add("page_size", f"is {asked}; give 0 for the default ({default}) or 1 to {MAX_PAGE_SIZE}")
    return asked or default


def write_token(rpc: str, filters: Sequence[Any], last_key: Sequence[Any]) -> str:
    """The token of a page that ended with `last_key`."""
    key = json.dumps(last_key, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_checksum(rpc, filters, key) + key).decode().rstrip("=")


def read_token(problems: Problems, token: str, rpc: str, filters: Sequence[Any], first_key: Sequence[Any]) -> list[Any]:
    """The key to go on after; `first_key` for the first page. A token of another request is a problem."""
    if not token:
        return list(first_key)
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    checksum, key = decoded[:_CHECKSUM_BYTES], decoded[_CHECKSUM_BYTES:]
    if checksum == _checksum(rpc, filters, key):
        last_key = _parsed(key)
        if isinstance(last_key, list) and [_kind(part) for part in last_key] == [_kind(part) for part in first_key]:
            return last_key
    words = "is not a next_page_token of this request; repeat the request as it was, or start without a token"
    problems.add("page_token", words)
    return list(first_key)


def _kind(part: Any) -> type | None:
    """The type of what can be a key: text in UTF-8, a number of 64 bits."""
    if isinstance(part, str) and not any("\ud800" <= char <= "\udfff" for char in part):
        return str
    return int if type(part) is int and -(2**63) <= part < 2**63 else None


def _parsed(key: bytes) -> Any:
    """The checksum is no secret: what it covers may be anything, and deep nesting would exhaust the stack."""
    if key.count(b"[") + key.count(b"{") > MAX_BRACKETS:
        return None
    try:
        return json.loads(key)
    except ValueError:
        return None


def _checksum(rpc: str, filters: Sequence[Any], key: bytes) -> bytes:
    bound = json.dumps([rpc, list(filters)], ensure_ascii=False).encode()
    return hashlib.blake2b(bound + b"\0" + key, digest_size=_CHECKSUM_BYTES).digest()
