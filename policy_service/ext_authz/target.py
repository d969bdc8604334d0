"""Path and query of a request, read strictly: one spelling, or none."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from policy_service.ext_authz.keys import folded
from policy_service.ext_authz.refusal import Code, Refused

MODEL = "model"
# RFC 3986 without `;`, which some servers cut a segment at, and without `!`, which Envoy writes for a byte that is not
# UTF-8. No empty segment.
_PATH = re.compile(r"(?:/[A-Za-z0-9\-._~$&'()*+,=:@%]+)+")
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")
_OVERRIDES = ("_method", "$httpmethod", "$httpheaders")  # of Rails and PHP frameworks, of Google's front ends
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
    if not _QUERY.fullmatch(query) or ";" in query or "#" in query or "\\" in query:
        raise Refused(Code.MALFORMED_QUERY, "the query has characters that have to be percent-encoded, or a `;`")
    model: str | None = None
    for parameter in query.split("&"):
        name, _, value = (decoded(part.replace("+", " "), Code.MALFORMED_QUERY) for part in parameter.partition("="))
        if name.lower() in _OVERRIDES:
            raise Refused(
                Code.METHOD_OVERRIDE, f"the query's parameter {name} may ask for something else; leave it out"
            )
        if "%" in name:
            raise Refused(Code.MALFORMED_QUERY, "the query has a parameter that is encoded twice; encode it once")
        if name == MODEL:
            if "!" in parameter:
                raise Refused(
                    Code.MALFORMED_QUERY, "the query's model has a `!` or a byte that is not UTF-8; encode it"
                )
            if model is not None:
                raise Refused(Code.REPEATED_KEY, "the query has `model` twice; give it once")
            model = value
        elif folded(name.partition("[")[0]) == MODEL:
            raise Refused(Code.SIMILAR_KEY, f"the query's parameter {name!r} can be taken for `model`; rename it")
    return model
