"""Who asks: the one configured source, and nothing else, says the team and the user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from policy_service.domain.names import identifier_problem
from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.refusal import Code, Refused

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
# Envoy joins repeated headers by a comma, and writes `!` for what is not UTF-8.
_NOT_ONE_HEADER = re.compile(r"[,!]")


class Identity(NamedTuple):
    """The user is empty when the source names none."""

    team: str
    user: str


class IdentitySource(Protocol):
    """Finds the identity in what Envoy says of a request."""

    def read(self, attributes: pb.AttributeContext, headers: Mapping[str, str]) -> Identity:
        """Raises Refused (NO_IDENTITY, MALFORMED_IDENTITY)."""


class Fields(NamedTuple):
    """The names under which a source has the team and, if it does, the user."""

    team: str
    user: str | None

    def identity(self, found: Mapping[str, str]) -> Identity:
        """The identity in the values found, none of which may be empty. Raises Refused."""
        if not found.get(self.team) or (self.user is not None and not found.get(self.user)):
            raise _missing()
        return _checked(found[self.team], "" if self.user is None else found[self.user])


class Pattern:
    """A text that holds both, such as `spiffe://acme.example/team/{team}/user/{user}`.

    `{team}` and `{user}` stand for one or more characters, none of which stands beside one of them in the pattern.
    """

    def __init__(self, pattern: str) -> None:
        separators = "".join(re.findall(r"(.)\{", pattern) + re.findall(r"\}(.)", pattern))
        anything = f"[^{re.escape(separators)}]+" if separators else ".+"
        parts = re.split(r"\{(team|user)\}", pattern)
        wanted = [f"(?P<{part}>{anything})" if at % 2 else re.escape(part) for at, part in enumerate(parts)]
        self._names_user = "user" in parts[1::2]
        self._pattern = re.compile("".join(wanted))

    def identity(self, text: str) -> Identity:
        """Raises Refused."""
        if not text:
            raise _missing()
        found = self._pattern.fullmatch(text)
        if not found:
            raise Refused(Code.MALFORMED_IDENTITY, "the gateway's identity of you does not name a team and a user")
        return _checked(found["team"], found["user"] if self._names_user else "")


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern as it is written in a configuration."""
    parts = re.split(r"\{(team|user)\}", pattern)
    if parts[1::2].count("team") != 1 or parts[1::2].count("user") > 1 or re.search(r"[{}]", "".join(parts[::2])):
        return "needs {team} once and may have {user} once; other braces have no meaning"
    if not all(parts[2:-1:2]):
        return "needs something between {team} and {user}"
    if not any(parts[::2]):
        return "needs something besides {team}, or everything would be a team"
    if pattern.startswith("spiffe://") and not re.match(r"spiffe://[a-z0-9._\-]+/", pattern):
        return "needs a trust domain: spiffe://acme.example/..."
    return None


@dataclass(frozen=True, slots=True)
class JwtClaims:
    """Claims of a token that Envoy's jwt_authn filter verified and put into metadata under `payload`."""

    payload: str
    fields: Fields

    def read(self, attributes: pb.AttributeContext, headers: Mapping[str, str]) -> Identity:
        namespaces = attributes.metadata_context.filter_metadata
        if JWT_NAMESPACE not in namespaces or self.payload not in namespaces[JWT_NAMESPACE].fields:
            raise _missing()
        claims = namespaces[JWT_NAMESPACE].fields[self.payload].struct_value.fields
        wanted = [name for name in self.fields if name is not None and name in claims]
        for name in wanted:
            if claims[name].WhichOneof("kind") != "string_value":
                raise Refused(Code.MALFORMED_IDENTITY, f"the claim {name!r} of your token is no text")
        return self.fields.identity({name: claims[name].string_value for name in wanted})


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The name in a client certificate: its first URI SAN, else its first DNS SAN. Never its subject."""

    pattern: Pattern

    def read(self, attributes: pb.AttributeContext, headers: Mapping[str, str]) -> Identity:
        principal = attributes.source.principal
        if "=" in principal:  # without a SAN Envoy gives the subject, `CN=...`
            raise Refused(Code.MALFORMED_IDENTITY, "your certificate has no SAN; get one that has")
        return self.pattern.identity(principal)


@dataclass(frozen=True, slots=True)
class ContextExtensions:
    """What the gateway's configuration says of the route."""

    fields: Fields

    def read(self, attributes: pb.AttributeContext, headers: Mapping[str, str]) -> Identity:
        return self.fields.identity(attributes.context_extensions)


@dataclass(frozen=True, slots=True)
class Headers:
    """A header for each, which the gateway sets or takes out of every request."""

    fields: Fields

    def read(self, attributes: pb.AttributeContext, headers: Mapping[str, str]) -> Identity:
        for name in self.fields:
            if name is not None:
                _check_one(name, headers)
        return self.fields.identity(headers)


@dataclass(frozen=True, slots=True)
class OneHeader:
    """One header with both."""

    name: str
    pattern: Pattern

    def read(self, attributes: pb.AttributeContext, headers: Mapping[str, str]) -> Identity:
        _check_one(self.name, headers)
        return self.pattern.identity(headers.get(self.name, ""))


def _check_one(name: str, headers: Mapping[str, str]) -> None:
    if _NOT_ONE_HEADER.search(headers.get(name, "")):
        raise Refused(Code.MALFORMED_IDENTITY, f"the header {name} came twice or is malformed")


def _checked(team: str, user: str) -> Identity:
    for text in (team, *filter(None, (user,))):
        if identifier_problem(text):
            raise Refused(Code.MALFORMED_IDENTITY, "the team or user that the gateway names is malformed")
    return Identity(team, user)


def _missing() -> Refused:
    return Refused(Code.NO_IDENTITY, "nobody is known to ask: authenticate with the gateway first")
