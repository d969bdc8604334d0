"""Who asks: what the authenticated key says of its team and user, by one configured field each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from policy_service.domain.names import MAX_NAME_BYTES, identifier_problem
from policy_service.ext_authz.refusal import Code, Refused

PLAIN = ("team_id", "team_alias", "user_id", "user_email", "key_alias", "org_id")
WITHIN = ("metadata", "team_metadata")


class Identity(NamedTuple):
    """A team, and a user of it; empty: the key has none."""

    team: str
    user: str


class Field(NamedTuple):
    """A field of LiteLLM's UserAPIKeyAuth: `team_id`, or `metadata.NAME` for a value in its metadata."""

    name: str
    key: str = ""

    def value(self, key: Any) -> object:
        """What the authenticated key has there."""
        found = getattr(key, self.name, None)
        if not self.key:
            return found
        return found.get(self.key) if isinstance(found, Mapping) else None

    def __str__(self) -> str:
        return f"{self.name}.{self.key}" if self.key else self.name


def field_problem(text: str) -> str | None:
    """What is wrong with a field as it is written in a configuration."""
    name, dot, key = text.partition(".")
    if name in WITHIN and key:
        return None
    if name in PLAIN and not dot:
        return None
    if name == "end_user_id":
        return "'end_user_id' comes from the request, so anybody can write anything into it; use what the key says"
    return f"there is no field {text!r}; use {', '.join(PLAIN)}, {' or '.join(f'{name}.NAME' for name in WITHIN)}"


def field_of(text: str) -> Field:
    """The field that a text names; field_problem has nothing against it."""
    name, _, key = text.partition(".")
    return Field(name, key)


def _problem(text: str) -> str | None:
    # The same keys ask again and again; longer texts, which are refused, would fill the memory.
    return _remembered_problem(text) if len(text) <= MAX_NAME_BYTES else identifier_problem(text)


_remembered_problem = lru_cache(maxsize=4_096)(identifier_problem)


class IdentitySource(NamedTuple):
    """The fields that name team and user."""

    team: Field
    user: Field

    def identity(self, key: Any) -> Identity:
        """Who the key is of. Raises Refused for a key without a team, and for what is no identifier."""
        team = self._read(self.team, key)
        if not team:
            words = f"this key belongs to no team (its {self.team} is empty); use a key of a team"
            raise Refused(Code.NO_IDENTITY, words)
        return Identity(team, self._read(self.user, key))

    @staticmethod
    def _read(field: Field, key: Any) -> str:
        value = field.value(key)
        if value is None or value == "":
            return ""
        problem = _problem(value) if isinstance(value, str) else "is no text"
        if problem:
            raise Refused(Code.MALFORMED_IDENTITY, f"the key's {field} {problem}; ask an administrator of the gateway")
        return str(value)
