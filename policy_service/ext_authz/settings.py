"""The configuration of ext_authz as it is used, and the file it comes from: YAML, every problem with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

import yaml

from policy_service.domain.names import requested_model_problem
from policy_service.errors import StartupError
from policy_service.ext_authz.asked import Vocabulary
from policy_service.ext_authz.identity import (
    ClientCertificate,
    ContextExtensions,
    Fields,
    Headers,
    IdentitySource,
    JwtClaims,
    OneHeader,
    Pattern,
    pattern_problem,
)
from policy_service.ext_authz.route_reader import Nodes, RouteReader
from policy_service.ext_authz.routes import Route, RouteTable
from policy_service.yaml_messages import YamlError, compose, line_of

DEFAULT_MAX_BODY_BYTES = 16 * 1024 * 1024
LARGEST_MAX_BODY_BYTES = 256 * 1024 * 1024
DEFAULT_MODEL_HEADERS = ("x-ai-eg-model", "x-gateway-model-name")
NO_VOCABULARY = Vocabulary((), {})
NO_ROUTES = RouteTable(())
_SHIPPED = files(__package__).joinpath("default_routes.yaml")
_HEADER_NAME = re.compile(r"[a-z0-9][a-z0-9\-_]*")
_KEYS = (
    *("identity", "denied_status", "no_identity_status", "max_body_bytes"),
    *("model_headers", "stored_models", "refused", "default_routes", "routes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Without an identity source nobody is let through."""

    identity: IdentitySource | None = None
    denied_status: int = 403
    no_identity_status: int = 401
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    vocabulary: Vocabulary = NO_VOCABULARY
    table: RouteTable = NO_ROUTES


class _Source(NamedTuple):
    """A kind of identity source: its keys, those that it needs, and how it is made of their texts."""

    keys: tuple[str, ...]
    required: tuple[str, ...]
    make: Callable[[Mapping[str, str]], IdentitySource]


def _fields(texts: Mapping[str, str]) -> Fields:
    return Fields(texts["team"], texts.get("user"))


_SOURCES = {
    "jwt": _Source(
        ("payload", "team", "user"), ("payload", "team"), lambda texts: JwtClaims(texts["payload"], _fields(texts))
    ),
    "mtls": _Source(("pattern",), ("pattern",), lambda texts: ClientCertificate(Pattern(texts["pattern"]))),
    "context_extensions": _Source(("team", "user"), ("team",), lambda texts: ContextExtensions(_fields(texts))),
    "headers": _Source(("team", "user"), ("team",), lambda texts: Headers(_fields(texts))),
    "header": _Source(
        ("name", "pattern"), ("name", "pattern"), lambda texts: OneHeader(texts["name"], Pattern(texts["pattern"]))
    ),
}


def read_settings(text: str, path: str) -> Settings:
    """The settings in a file's text. Raises StartupError, which names every line to change."""
    reader = _SettingsReader()
    try:
        settings = reader.settings(compose(text))
    except YamlError as error:
        raise StartupError(f"{path}:{error.line}: {error}") from None
    if reader.problems:
        raise StartupError("\n".join(f"{path}:{line}: {words}" for line, words in sorted(reader.problems)))
    return settings


def default_table() -> RouteTable:
    """The routes that are known without being configured."""
    reader = _SettingsReader()
    return RouteTable(reader.shipped_routes())


class _SettingsReader(RouteReader):
    def shipped_routes(self) -> list[Route]:
        """Those of default_routes.yaml, as they are."""
        shipped = self.mapping(compose(_SHIPPED.read_text()), "", ("refused", "routes"))
        return self.routes(self.route_nodes(shipped["routes"]), self.refused_keys(shipped["refused"]))

    def settings(self, root: yaml.Node) -> Settings:
        """What could be read; only to be used when there are no problems."""
        top = self.mapping(root, "", _KEYS, required=("identity",))
        shipped = self.mapping(compose(_SHIPPED.read_text()), "", ("refused", "routes"))
        refused = self.refused_keys(top.get("refused", shipped["refused"]))
        defaults = self.boolean(top["default_routes"], "default_routes") if "default_routes" in top else True
        default = self.route_nodes(shipped["routes"]) if defaults else {}
        own = self.route_nodes(top["routes"]) if "routes" in top else {}
        routes = self.routes({name: {**default.get(name, {}), **nodes} for name, nodes in own.items()}, refused)
        routes += self.routes({name: nodes for name, nodes in default.items() if name not in own}, refused)
        return Settings(
            identity=self._identity(top["identity"]) if "identity" in top else None,
            denied_status=self._number_in(top, "denied_status", 400, 499, 403),
            no_identity_status=self._number_in(top, "no_identity_status", 400, 499, 401),
            max_body_bytes=self._number_in(top, "max_body_bytes", 1, LARGEST_MAX_BODY_BYTES, DEFAULT_MAX_BODY_BYTES),
            vocabulary=Vocabulary(self._model_headers(top), self._stored_models(top)),
            table=NO_ROUTES if self.problems else RouteTable(routes),
        )

    def _identity(self, node: yaml.Node) -> IdentitySource | None:
        given = self.mapping(node, "identity", tuple(_SOURCES))
        if len(given) != 1 and isinstance(node, yaml.MappingNode):
            self.problem(line_of(node), "identity", f"give exactly one source: {', '.join(_SOURCES)}")
        for name, inner in given.items():
            return self._source(name, inner)
        return None

    def _source(self, name: str, node: yaml.Node) -> IdentitySource | None:
        source, path = _SOURCES[name], f"identity.{name}"
        nodes = self.mapping(node, path, source.keys, source.required)
        texts = {key: self.text(inner, f"{path}.{key}") for key, inner in nodes.items()}
        for key, text in texts.items():
            problem = "is empty" if text == "" else None
            if text and key == "pattern":
                problem = pattern_problem(text)
            elif text and (key == "name" or name == "headers"):
                problem = _header_problem(text)
            if problem:
                self.problem(line_of(nodes[key]), f"{path}.{key}", problem)
        if texts.get("team") and texts.get("team") == texts.get("user"):
            self.problem(line_of(node), path, "has the same name for team and user")
        return None if self.problems else source.make({key: text for key, text in texts.items() if text})

    def _number_in(self, top: Nodes, key: str, least: int, most: int, default: int) -> int:
        if key not in top:
            return default
        number = self.integer(top[key], key)
        if number is not None and not least <= number <= most:
            self.problem(line_of(top[key]), key, f"{number} is out of range; give {least} to {most}")
        return number or default

    def _model_headers(self, top: Nodes) -> tuple[str, ...]:
        if "model_headers" not in top:
            return DEFAULT_MODEL_HEADERS
        return self.checked_texts(top["model_headers"], "model_headers", _header_problem)

    def _stored_models(self, top: Nodes) -> dict[str, str]:
        stored: dict[str, str] = {}
        for id_, node in self.mapping(top["stored_models"], "stored_models").items() if "stored_models" in top else ():
            path = f"stored_models[{id_!r}]"
            model = self.text(node, path)
            problem = requested_model_problem(model) if model is not None else None
            if problem:
                self.problem(line_of(node), path, problem)
            stored[id_] = model or ""
        return stored


def _header_problem(name: str) -> str | None:
    return None if _HEADER_NAME.fullmatch(name) else f"{name!r} is no header's name in small letters"
