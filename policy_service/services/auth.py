"""Who calls, and whether they may: principals, the credentials file, and the one function `authorize`."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml

from policy_service.domain.names import identifier_problem
from policy_service.errors import PermissionDenied, StartupError, Unauthenticated

_SHA256 = re.compile(r"[0-9a-f]{64}")
RESERVED_NAMES = ("local", "anonymous")


class Permission(StrEnum):
    """What a principal may do."""

    CHECK = "check"
    REPLICATE = "replicate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    name: str
    permissions: frozenset[Permission]


LOCAL = Principal("local", frozenset(Permission))  # the caller on a loopback listener without credentials

ANONYMOUS = Principal("anonymous", frozenset((Permission.CHECK,)))  # one without a credential, where that is allowed


def authorize(principal: Principal, permission: Permission | None, resource: str) -> None:
    """Every RPC passes here. `permission` None: any will do; `resource`: what is asked for, today the RPC's name.

    Raises PermissionDenied.
    """
    allowed = permission in principal.permissions if permission else bool(principal.permissions)
    if not allowed:
        needed = f"the permission {permission!s}" if permission else "some permission"
        raise PermissionDenied(f"{resource} needs {needed}, which {principal.name!r} does not have")


class Credentials:
    """The principals of a credentials file."""

    def __init__(
        self, by_token: Mapping[str, Principal], by_san: Mapping[str, Principal], anonymous: Principal | None
    ) -> None:
        self._by_token, self._by_san, self._anonymous = by_token, by_san, anonymous

    @property
    def opens_checks_to_all(self) -> bool:
        """Whether callers without a credential may do something."""
        return self._anonymous is not None

    def identify(self, authorization: Sequence[str], sans: Iterable[str]) -> Principal:
        """The principal of a call with these `authorization` headers and certificate names. A token that is shown has
        to be known. Raises Unauthenticated."""
        if authorization:
            principal = self._by_token.get(_hash_of_bearer(authorization))
            if principal is None:
                raise Unauthenticated("the token is not known; ask an administrator of the Policy Service for one")
            return principal
        for san in sans:
            if san in self._by_san:
                return self._by_san[san]
        if self._anonymous is not None:
            return self._anonymous
        raise Unauthenticated("no credential; send the metadata `authorization: Bearer TOKEN` or a client certificate")


def _hash_of_bearer(authorization: Sequence[str]) -> str:
    scheme, _, token = authorization[0].partition(" ")
    if len(authorization) != 1 or scheme.lower() != "bearer" or not token:
        raise Unauthenticated("send exactly one `authorization: Bearer TOKEN`")
    return hash_token(token)


def hash_token(token: str) -> str:
    """What the credentials file holds of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def new_token() -> str:
    """A token with 256 bits of randomness."""
    return "ps_" + secrets.token_urlsafe(32)


class _Loader(yaml.SafeLoader):
    """Takes no alias (a few lines of them are a bomb) and no key twice (the last would win)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key twice", node.start_mark)
        return mapping


def parse_credentials(text: str, path: str) -> Credentials:
    """Reads a credentials file. Raises StartupError, which names what to change and no secret."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except Exception as error:  # PyYAML lets ValueError, KeyError, RecursionError and others through
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        words = "is not valid YAML, has a key twice, or uses an alias"
        raise StartupError(f"{path}{where}: {words}") from None
    if not isinstance(document, dict):
        raise StartupError(f"{path}: is no mapping; give `principals:` and, if checks are open to all, `anonymous:`")
    _refuse_unknown_keys(document, ("principals", "anonymous"), path)
    by_token: dict[str, Principal] = {}
    by_san: dict[str, Principal] = {}
    names: set[str] = set()
    entries = document.get("principals") or []
    if not isinstance(entries, list):
        raise StartupError(f"{path}: principals is no list")
    for index, entry in enumerate(entries):
        _read_principal(entry, f"{path}: principals[{index}]", names, by_token, by_san)
    anonymous = None
    if document.get("anonymous"):
        permissions = _read_permissions(document["anonymous"], f"{path}: anonymous")
        if permissions != ANONYMOUS.permissions:
            raise StartupError(f"{path}: anonymous may only be [check]")
        anonymous = ANONYMOUS
    return Credentials(by_token, by_san, anonymous)


def _read_principal(
    entry: Any, where: str, names: set[str], by_token: dict[str, Principal], by_san: dict[str, Principal]
) -> None:
    if not isinstance(entry, dict):
        raise StartupError(f"{where}: is no mapping; give name, token_sha256 or san, and permissions")
    _refuse_unknown_keys(entry, ("name", "token_sha256", "san", "permissions"), where)
    name = entry.get("name")
    if not isinstance(name, str) or identifier_problem(name) or name in RESERVED_NAMES:
        raise StartupError(f"{where}: name is missing, malformed or reserved ({', '.join(RESERVED_NAMES)})")
    if name in names:
        raise StartupError(f"{where}: the name {name!r} is there twice")
    names.add(name)
    principal = Principal(name, _read_permissions(entry.get("permissions"), where))
    token, san = entry.get("token_sha256"), entry.get("san")
    if (token is None) == (san is None):
        raise StartupError(f"{where}: give either token_sha256 or san")
    if san is not None:
        if not isinstance(san, str) or not san or san in by_san:
            raise StartupError(f"{where}: san is no text, empty, or there twice")
        by_san[san] = principal
    elif not isinstance(token, str) or not _SHA256.fullmatch(token) or token in by_token:
        raise StartupError(f"{where}: token_sha256 is not 64 hexadecimal digits in small letters, or is there twice")
    else:
        by_token[token] = principal


def _read_permissions(value: Any, where: str) -> frozenset[Permission]:
    known = [permission.value for permission in Permission]
    if not isinstance(value, list) or not value or any(item not in known for item in value):
        raise StartupError(f"{where}: permissions is no list of {', '.join(known)}")
    return frozenset(Permission(item) for item in value)


def _refuse_unknown_keys(mapping: Mapping[Any, Any], known: Iterable[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise StartupError(f"{where}: a key is not known; known are {', '.join(known)}")  # it may hold a secret
