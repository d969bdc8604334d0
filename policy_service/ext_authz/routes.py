"""The table of routes: which HTTP requests there are, and where each names its models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from policy_service.ext_authz.bodies import Api
from policy_service.ext_authz.keys import MODEL
from policy_service.ext_authz.places import Node, tree

# `{}`: one segment, `{model}`: one segment that is the model, `{model+}`: the rest of the path that is the model
CAPTURED_MODEL = re.compile(r"\{model\+?\}")
_CAPTURE = re.compile(r"\{\}|\{model\}|\{model\+\}")
_PATTERNS = {"{}": r"[^/%]+", "{model}": r"(?P<model>[^/]+)", "{model+}": r"(?P<model>.+)"}
NOWHERE = tree((), ())
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9\-._~!$&'()*+,=:@]|\{\}|\{model\+?\})+)+")


class Access(StrEnum):
    """Who may make a request."""

    MODELS = "models"
    TEAM = "team"
    ALLOWED = "allowed"
    DENIED = "denied"


class Body(StrEnum):
    """How a body is read. ANY is not read."""

    JSON = "json"
    MULTIPART = "multipart"
    NONE = "none"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A kind of request. `places`: where the body names models."""

    name: str
    api: Api = Api.OPENAI
    methods: tuple[str, ...] = ("POST",)
    paths: tuple[str, ...] = ()
    access: Access = Access.MODELS
    body: tuple[Body, ...] = (Body.NONE,)
    model_in_query: bool = False
    any_content_type: bool = False
    places: Node = NOWHERE
    strip_up_to: str = ""
    upgrade: bool = False
    obeys_policy_model: bool = False
    because: str = ""


class Matched(NamedTuple):
    """A request's route, and the model in its path as it is written there."""

    route: Route
    model: str | None


def path_problem(path: str) -> str | None:
    """What is wrong with a route's path."""
    if not _PATH.fullmatch(path):
        return f"{path!r} is no path; write `/v1/models/{{model}}`, and `{{}}` for a segment that does not matter"
    if path.count("{model") > 1 or ("{model+}" in path and not path.endswith("{model+}")):
        return f"{path!r} has `{{model}}` more than once, or `{{model+}}` not at its end"
    return None


class RouteTable:
    """Finds the route of a request. A literal path goes before one with captures; else the order counts."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._kinds = sorted({(method, route.upgrade) for route in self.routes for method in route.methods})
        self._literal: dict[tuple[str, bool, str], Route] = {}
        # What a path begins with is compared first, which is much faster than to try the pattern.
        self._captures: dict[tuple[str, bool], list[tuple[str, re.Pattern[str], Route]]] = {}
        for route in self.routes:
            for method in route.methods:
                for path in route.paths:
                    self._add(route, method, path)

    def _add(self, route: Route, method: str, path: str) -> None:
        if "{" not in path:
            self._literal.setdefault((method, route.upgrade, path), route)
            return
        parts = re.split(f"({_CAPTURE.pattern})", path)
        pattern = re.compile("".join(_PATTERNS.get(part) or re.escape(part) for part in parts))
        self._captures.setdefault((method, route.upgrade), []).append((parts[0], pattern, route))

    def find(self, method: str, upgrade: bool, path: str) -> Matched | None:
        """The route of a canonical path."""
        literal = self._literal.get((method, upgrade, path))
        if literal is not None:
            return Matched(literal, None)
        for beginning, pattern, route in self._captures.get((method, upgrade), ()):
            found = pattern.fullmatch(path) if path.startswith(beginning) else None
            if found:
                return Matched(route, found.groupdict().get(MODEL))
        return None

    def api_of(self, target: str) -> Api:
        """Whose error bodies a client expects who calls this path, with or without a query; a guess."""
        path = target.partition("?")[0]
        for method, upgrade in self._kinds:
            matched = self.find(method, upgrade, path)
            if matched is not None:
                return matched.route.api
        return Api.OPENAI
