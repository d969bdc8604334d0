"""Path and query of a request, read strictly: one spelling, or none."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from policy_service.ext_authz.keys import MODEL, folded
from policy_service.ext_authz.refusal import Code, Refused

# RFC 3986 without `;`, which some servers cut a segment at, and without `!`, which Envoy writes for a byte that is not
# UTF-8. No empty segment.
_PATH = re.compile(r"(?:/[A-Za-z0-9\-._~$&'()*+,=:@%]+)+")
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")
MAX_QUERY_CHARACTERS = 8_192
_OVERRIDE = "_method"  # of Rails and PHP frameworks
_GOOGLES = ("$alt", "$fields", "$prettyprint", "$.xgafv")  # others bring in another method, headers, or a body
_OTHER_NAMES = ("deployment", "deployment_id", "engine")  # of a model, for Azure and LiteLLM
_QUERY = re.compile(r"[!-~]*")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Target(NamedTuple):
    """`path` is canonical but for percent-encoding; `model` is the query parameter of that name."""

    path: str
    model: str | None


def read_target(text: str) -> Target:
    """Raises Refused."""
    path, _, query = text.partition("?")
    if not _PATH.fullmatch(path) or _DOTS.search(path):
        words = "the path is not canonical: it has an empty or dotted segment, a `;`, or characters to be encoded"
        raise Refused(Code.MALFORMED_PATH, words)
    return Target(path, _model(query) if query else None)


def decoded(text: str, code: Code) -> str:
    """A segment or a query's name or value with its percent-encoding resolved, once. Raises Refused with the code."""
    if "%" not in text:
        return text
    try:
        if _BAD_PERCENT.search(text):
            raise ValueError
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise Refused(code, "the percent-encoding is not valid; encode UTF-8") from None


def _model(query: str) -> str | None:
    """The parameter `model`."""
    if len(query) > MAX_QUERY_CHARACTERS:
        raise Refused(Code.MALFORMED_QUERY, f"the query is longer than {MAX_QUERY_CHARACTERS} characters; shorten it")
    if not _QUERY.fullmatch(query) or ";" in query or "#" in query or "\\" in query:
        raise Refused(Code.MALFORMED_QUERY, "the query has characters that have to be percent-encoded, or a `;`")
    model: str | None = None
    for parameter in query.split("&"):
        name, _, value = (decoded(part.replace("+", " "), Code.MALFORMED_QUERY) for part in parameter.partition("="))
        _check_name(name)
        if name == MODEL:
            if "!" in parameter:
                words = "the query's model has a `!` or a byte that is not UTF-8; encode it"
                raise Refused(Code.MALFORMED_QUERY, words)
            if model is not None:
                raise Refused(Code.REPEATED_KEY, "the query has `model` twice; give it once")
            model = value
    return model


def _check_name(name: str) -> None:
    lower = name.lower()
    if lower == _OVERRIDE or (lower.startswith("$") and lower not in _GOOGLES):
        words = f"the query's parameter {name[:100]!r} may ask for something else; leave it out"
        raise Refused(Code.METHOD_OVERRIDE, words)
    if "%" in name:
        raise Refused(Code.MALFORMED_QUERY, "the query has a parameter that is encoded twice; encode it once")
    if lower in _OTHER_NAMES:
        raise Refused(Code.FIELD_REFUSED, f"the query's parameter {name!r} may name another model; leave it out")
    if name != MODEL and folded(name) == MODEL:
        words = f"the query's parameter {name[:100]!r} can be taken for `model`; rename it"
        raise Refused(Code.SIMILAR_KEY, words)
