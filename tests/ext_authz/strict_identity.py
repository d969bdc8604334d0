"""Who asks, from the one source that is configured, when there is not the least doubt."""

from __future__ import annotations

import unicodedata
from typing import Any

from policy_service.envoy_v3.external_auth_pb2 import AttributeContext
from tests.ext_authz.strict_json import Refused

JWT = "envoy.filters.http.jwt_authn"
MAX_BYTES = 256

Headers = list[tuple[str, str]]


def check_identifier(text: str) -> str:
    """Within the bounds of an identifier."""
    if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= MAX_BYTES:
        raise Refused("empty, or too long")
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text):
        raise Refused("characters that nobody sees")
    if unicodedata.normalize("NFC", text) != text or text.strip() != text:
        raise Refused("not normalised, or white space around it")
    return text


def check_model(text: str) -> str:
    """Within the bounds of a requested model."""
    check_identifier(text)
    if any(char in ",*\\?#%" for char in text) or any(part in ("", ".", "..") for part in text.split("/")):
        raise Refused("no plain name of a model")
    return text


def identity_of(identity: dict[str, Any], attributes: AttributeContext, headers: Headers) -> tuple[str, str]:
    """Team and user; an empty user where the configuration names none."""
    ((source, options),) = identity.items()
    match source:
        case "jwt":
            names = _wanted(options)
            claims = _claims(attributes, options["payload"])
            values = {part: claims.get(name) for part, name in names.items()}
        case "context_extensions":
            given = dict(attributes.context_extensions)
            values = {part: given.get(name) for part, name in _wanted(options).items()}
        case "headers":
            values = {part: _header(headers, name) for part, name in _wanted(options).items()}
        case "header":
            values = _split(options["pattern"], _header(headers, options["name"]) or "", "/")
        case "mtls":
            pattern = options["pattern"]
            if "=" in attributes.source.principal:
                raise Refused("the subject of a certificate")
            separator = "/" if pattern.startswith("spiffe:") else "."
            values = _split(pattern, attributes.source.principal, separator)
        case _:
            raise AssertionError(source)
    if any(not isinstance(value, str) for value in values.values()):
        raise Refused("a part of the identity is missing")
    team = check_identifier(str(values["team"]))
    return team, check_identifier(str(values["user"])) if "user" in values else ""


def _wanted(options: dict[str, str]) -> dict[str, str]:
    return {part: options[part] for part in ("team", "user") if part in options}


def _claims(attributes: AttributeContext, payload: str) -> dict[str, str]:
    """The claims that are texts."""
    fields = attributes.metadata_context.filter_metadata[JWT].fields if _has_claims(attributes) else {}
    if payload not in fields or fields[payload].WhichOneof("kind") != "struct_value":
        raise Refused("no claims")
    claims = fields[payload].struct_value.fields
    return {name: claims[name].string_value for name in claims if claims[name].WhichOneof("kind") == "string_value"}


def _has_claims(attributes: AttributeContext) -> bool:
    return JWT in attributes.metadata_context.filter_metadata


def _header(headers: Headers, name: str) -> str | None:
    values = [value for header, value in headers if header == name]
    if len(values) != 1:
        return None
    # Envoy joins headers of one name by commas, and writes what is not UTF-8 as exclamation marks.
    if "," in values[0] or "!" in values[0]:
        raise Refused("two headers, or broken ones")
    return values[0]


def _split(pattern: str, text: str, separator: str) -> dict[str, str]:
    """The parts of a text that look like the pattern, piece by piece between the separators."""
    wanted, given = pattern.split(separator), text.split(separator)
    if len(wanted) != len(given):
        raise Refused("not of the pattern")
    values: dict[str, str] = {}
    for expected, part in zip(wanted, given, strict=True):
        before, opening, rest = expected.partition("{")
        name, _, after = rest.partition("}")
        if not opening:
            if part != expected:
                raise Refused("not of the pattern")
            continue
        if not part.startswith(before) or not part.endswith(after) or len(part) <= len(before) + len(after):
            raise Refused("not of the pattern")
        values[name] = part[len(before) : len(part) - len(after)]
    return values
