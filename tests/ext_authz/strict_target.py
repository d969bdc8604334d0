"""The target of a request: its path against the route table, and its query. Nothing is normalised, odd is refused."""

from __future__ import annotations

from typing import Any

from tests.ext_authz.strict_json import HEX, Refused

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
IN_A_PATH = LETTERS + "-._~!$&'()*+,=:@%/"
NOT_IN_A_QUERY = ';#"<>\\'

Route = dict[str, Any]


def split_target(target: str) -> tuple[str, str]:
    """Path and query."""
    path, _, query = target.partition("?")
    if path[:1] != "/" or any(char not in IN_A_PATH for char in path):
        raise Refused("no plain path")
    if any(part in ("", ".", "..") for part in path[1:].split("/")):
        raise Refused("an empty segment, or dots")
    if any(not "!" <= char <= "~" or char in NOT_IN_A_QUERY for char in query):
        raise Refused("no plain query")
    return path, query


def decoded(text: str) -> str:
    """With its percent-encoding taken off, once."""
    raw = bytearray()
    rest = text
    while rest:
        if rest[0] != "%":
            raw += rest[0].encode()
            rest = rest[1:]
            continue
        digits = rest[1:3]
        if len(digits) != 2 or any(digit not in HEX for digit in digits):
            raise Refused("a percent sign that encodes nothing")
        raw.append(int(digits, 16))
        rest = rest[3:]
    try:
        return raw.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise Refused("percent-encoding that is not UTF-8") from error


def read_query(query: str) -> list[tuple[str, str]]:
    """Each parameter's name and value, as forms have them: a plus sign is a space."""
    pairs = [piece.partition("=") for piece in query.split("&")] if query else []
    return [(decoded(name.replace("+", "%20")), decoded(value.replace("+", "%20"))) for name, _, value in pairs]


def find_route(routes: list[Route], method: str, path: str) -> tuple[Route, str | None]:
    """The route, and the model that the path names."""
    matching = []
    for route in routes:
        for pattern in patterns_of(route) if method in route["methods"] else ():
            model = match(pattern, path)
            if model is not None:
                matching.append((route, pattern, model))
    if not matching:
        raise Refused("no such route")
    route, pattern, model = next((found for found in matching if "{" not in found[1]), matching[0])
    check_segments(pattern, path)
    return route, model or None


def patterns_of(route: Route) -> list[str]:
    """The paths of a route."""
    return [route["path"]] if isinstance(route["path"], str) else route["path"]


def match(pattern: str, path: str) -> str | None:
    """None: another path. Else the model it names, or nothing."""
    model = ""
    wanted, given = pattern.split("/"), path.split("/")
    rest_at = next((index for index, part in enumerate(wanted) if part.startswith("{model+}")), None)
    if rest_at is not None and len(given) > len(wanted):
        given = [*given[:rest_at], "/".join(given[rest_at:])]
    if len(wanted) != len(given):
        return None
    for expected, part in zip(wanted, given, strict=True):
        start = next((name for name in ("{model}", "{model+}") if expected.startswith(name)), None)
        if start is not None:
            verb = expected[len(start) :]
            if not part.endswith(verb) or len(part) == len(verb):
                return None
            model = part[: len(part) - len(verb)]
        elif expected != "{}" and expected != part:
            return None
    return model


def check_segments(pattern: str, path: str) -> None:
    """Percent-encoding stands in the model and nowhere else."""
    for expected, part in zip(pattern.split("/"), path.split("/"), strict=False):
        if "%" in part and "{model" not in expected:
            raise Refused("percent-encoding outside of the model")
        if "{model+}" in expected:
            return
