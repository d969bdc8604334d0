"""Routes as they are written in YAML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

import yaml

from policy_service.ext_authz.bodies import Api
from policy_service.ext_authz.keys import MODEL
from policy_service.ext_authz.places import Role, place_problem, tree
from policy_service.ext_authz.routes import CAPTURED_MODEL, Access, Body, Route, path_problem
from policy_service.yaml_messages import Reader, line_of

Nodes = Mapping[str, yaml.Node]  # the values of a mapping, by key

_KEYS = (
    *("name", "api", "methods", "path", "access", "body", "query", "required", "optional", "stored", "refused"),
    *("any_content_type", "strip_up_to", "upgrade", "obeys_policy_model", "because"),
)
_PLACES = {"optional": Role.OTHER, "stored": Role.STORED, "refused": Role.REFUSED}
_METHOD = re.compile(r"[A-Z]+")
_E = TypeVar("_E", bound=StrEnum)


class RouteReader(Reader):
    """Reads nodes, and collects problems with their lines."""

    def route_nodes(self, node: yaml.Node) -> dict[str, Nodes]:
        """The keys of every route of a list, by its name."""
        found: dict[str, Nodes] = {}
        for item, path in self.items(node, "routes"):
            nodes = self.mapping(item, path, _KEYS, required=("name",))
            name = self.text(nodes["name"], f"{path}.name") if "name" in nodes else None
            if name in found:
                self.problem(line_of(item), path, f"the route {name!r} is here twice")
            elif name is not None:
                found[name] = nodes
        return found

    def refused_keys(self, node: yaml.Node) -> tuple[str, ...]:
        """What no body may have at its root."""
        return tuple(filter(_is_place, self.checked_texts(node, "refused", _key_problem)))

    def routes(self, by_name: Mapping[str, Nodes], refused_keys: tuple[str, ...]) -> list[Route]:
        """The routes, in their order."""
        return [self._route(name, nodes, refused_keys) for name, nodes in by_name.items()]

    def _route(self, name: str, nodes: Nodes, refused_keys: tuple[str, ...]) -> Route:
        where = f"route {name!r}"
        line = line_of(nodes["name"])
        if "path" not in nodes:
            self.problem(line, where, "'path' is missing, and it is no route of the default table")
        places = {key: self._texts(nodes, key, where, place_problem) for key in ("required", *_PLACES)}
        route = Route(
            name=name,
            api=self._choice(nodes, "api", where, Api, Api.OPENAI),
            methods=self._texts(nodes, "methods", where, _method_problem) or ("POST",),
            paths=self._texts(nodes, "path", where, path_problem),
            access=self._choice(nodes, "access", where, Access, Access.MODELS),
            body=self._bodies(nodes, where),
            model_in_query=bool(self._texts(nodes, "query", where, _query_problem)),
            places=tree(
                filter(_is_place, places["required"]),
                ((role, place) for key, role in _PLACES.items() for place in places[key] if _is_place(place)),
                refused_keys,
            ),
            any_content_type=self._flag(nodes, "any_content_type", where),
            strip_up_to=self._text(nodes, "strip_up_to", where),
            upgrade=self._flag(nodes, "upgrade", where),
            obeys_policy_model=self._flag(nodes, "obeys_policy_model", where),
            because=self._text(nodes, "because", where),
        )
        for problem in _contradictions(route, names_models=bool(places["required"])):
            self.problem(line, where, problem)
        return route

    def checked_texts(self, node: yaml.Node, path: str, problem_of: Callable[[str], str | None]) -> tuple[str, ...]:
        """A list of texts, or one."""
        listed = isinstance(node, yaml.SequenceNode)
        items = list(self.items(node, path)) if listed else [(node, path)]
        texts: list[str] = []
        for item, item_path in items:
            text = self.text(item, item_path)
            problem = problem_of(text) if text is not None else None
            if problem:
                self.problem(line_of(item), item_path, problem)
            if text is not None:
                texts.append(text)
        return tuple(texts)

    def _texts(self, nodes: Nodes, key: str, where: str, problem_of: Callable[[str], str | None]) -> tuple[str, ...]:
        return self.checked_texts(nodes[key], f"{where}: {key}", problem_of) if key in nodes else ()

    def _text(self, nodes: Nodes, key: str, where: str) -> str:
        return (self.text(nodes[key], f"{where}: {key}") or "") if key in nodes else ""

    def _flag(self, nodes: Nodes, key: str, where: str) -> bool:
        return bool(self.boolean(nodes[key], f"{where}: {key}")) if key in nodes else False

    def _choice(self, nodes: Nodes, key: str, where: str, kind: type[_E], default: _E) -> _E:
        text = self.text(nodes[key], f"{where}: {key}") if key in nodes else None
        if text is None or text in list(kind):
            return default if text is None else kind(text)
        self.problem(line_of(nodes[key]), f"{where}: {key}", _choice_problem(text, kind) or "")
        return default

    def _bodies(self, nodes: Nodes, where: str) -> tuple[Body, ...]:
        texts = self._texts(nodes, "body", where, lambda text: _choice_problem(text, Body))
        return tuple(Body(text) for text in texts if text in list(Body)) or (Body.NONE,)


def _is_place(text: str) -> bool:
    return place_problem(text) is None


def _key_problem(text: str) -> str | None:
    return place_problem(text) or ("is more than one key" if re.search(r"[.\[]", text) else None)


def _choice_problem(text: str, kind: type[StrEnum]) -> str | None:
    return None if text in list(kind) else f"there is no {text!r}; use {', '.join(kind)}"


def _method_problem(text: str) -> str | None:
    return None if _METHOD.fullmatch(text) else f"{text!r} is no method in capital letters"


def _query_problem(text: str) -> str | None:
    return None if text == MODEL else f"the parameter is called {MODEL!r}"


def _contradictions(route: Route, *, names_models: bool) -> list[str]:
    """What does not go together."""
    problems = []
    if route.access is Access.MODELS:
        in_path = all(CAPTURED_MODEL.search(path) for path in route.paths)
        if not (names_models or route.model_in_query or in_path):
            problems.append("says nowhere where the model is; give `{model}` in path, query or required")
        if Body.ANY in route.body:
            problems.append("has access: models and a body that is not read; give json or multipart")
        if names_models and Body.NONE in route.body:
            problems.append("has required places in a body that may be empty; give body: json or multipart")
    if len(route.body) > 1 and Body.ANY in route.body:
        problems.append("has body: any beside another; a body is read, or it is not")
    if route.upgrade and route.body != (Body.NONE,):
        problems.append("is an upgrade, which has no body; leave body out")
    if route.because and route.access is not Access.DENIED:
        problems.append("has `because`, which goes with access: denied")
    return problems
