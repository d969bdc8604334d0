"""A second reading of the requests that ext_authz gets, to hold the service's answers to. It shares nothing with the
service but the route table, and refuses whatever it is not sure of: no request may pass that it refuses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from policy_service.domain.records import UnlistedUsers
from policy_service.envoy_v3.external_auth_pb2 import AttributeContext, CheckRequest
from tests.domain.reference import Reference
from tests.ext_authz.strict_identity import Headers, check_model, identity_of
from tests.ext_authz.strict_json import Object, Refused, Value, read_json
from tests.ext_authz.strict_multipart import Field, read_boundary, read_multipart
from tests.ext_authz.strict_places import ROOT, Document, same, steps_of, text_of
from tests.ext_authz.strict_target import Route, decoded, find_route, read_query, split_target

KINDS = ("required", "optional", "stored", "refused")
OVERRIDES = ("x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url")
ELSEWHERE = (  # where some upstreams look for another model
    *("x-ms-oai-image-generation-deployment", "azureml-model-deployment", "x-litellm-model", "model-override"),
    *("x-gateway-model-name-rewrite", "x-gateway-destination-endpoint", "x-portkey-config", "helicone-fallbacks"),
)

HttpRequest = AttributeContext.HttpRequest
Sources = list[set[str]]  # what each place that names the model may be taken for


@dataclass(frozen=True, eq=False)
class Setup:
    """A configuration with the routes that it makes of the default table."""

    identity: dict[str, Any]
    routes: list[Route]
    max_body_bytes: int
    model_headers: tuple[str, ...]
    stored_models: dict[str, str]

    @classmethod
    def read(cls, text: str, default_table: str) -> Setup:
        """From the text of a configuration that gives all the keys that count here."""
        given = yaml.safe_load(text)
        defaults = yaml.safe_load(default_table)
        table = {route["name"]: route for route in defaults["routes"]}
        new = []
        for route in given.get("routes", ()):
            if route["name"] in table:
                table[route["name"]] = table[route["name"]] | route
            else:
                new.append(route)
        everywhere = defaults.get("refused", ())
        routes = [{"methods": ["POST"]} | _refusing(route, everywhere) for route in (*new, *table.values())]
        rest = (given["identity"], routes, given["max_body_bytes"])
        return cls(*rest, tuple(given["model_headers"]), given["stored_models"])


def _refusing(route: Route, everywhere: Iterable[str]) -> Route:
    """The route with what no body may have, but for what it names itself."""
    named = {steps_of(place)[0] for kind in KINDS for place in route.get(kind, ())}
    return route | {"refused": [*route.get("refused", ()), *(place for place in everywhere if place not in named)]}


@dataclass(frozen=True)
class Asked:
    """What a request asks for: of a route, the models it names. `own`: those of the one that the upstream is told."""

    route: Route
    names: frozenset[str]
    own: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Verdict:
    """Whether a request may pass, and why not. What is unknown is None."""

    may_pass: bool
    why: str = ""
    asked: Asked | None = None
    team: str | None = None
    user: str | None = None
    resolved: frozenset[str] = frozenset()
    primary: frozenset[str] = frozenset()  # of these, those of the model that the upstream is told


def judge(request: CheckRequest, setup: Setup, policy: Reference) -> Verdict:
    """May the request pass?"""
    asked: Asked | None = None
    try:
        http = request.attributes.request.http
        headers = headers_of(http)
        asked = read(http, headers, setup)
        access = asked.route.get("access", "models")
        if access == "denied":
            raise Refused("the route is denied")
        if access == "allowed":
            return Verdict(True, "", asked)
        team, user = identity_of(setup.identity, request.attributes, headers)
        if access == "team":
            _check_membership(policy, team, user)
            return Verdict(True, "", asked, team, user)
        resolved = _resolve(policy, team, user, asked)
        primary = frozenset(resolved[name] for name in asked.own)
        return Verdict(True, "", asked, team, user, frozenset(resolved.values()), primary)
    except Refused as refused:
        return Verdict(False, str(refused), asked)


def _check_membership(policy: Reference, team_id: str, user: str) -> None:
    teams = [team for team in policy.teams if team.id == team_id and not team.blocked]
    if not teams:
        raise Refused("no such team, or blocked")
    members = [member for member in policy.members if (member.team, member.user) == (team_id, user)]
    if members[0].blocked if members else teams[0].unlisted_users is UnlistedUsers.DENY:
        raise Refused("no member, or blocked")


def _resolve(policy: Reference, team: str, user: str, asked: Asked) -> dict[str, str]:
    resolved = {}
    for name in asked.names:
        answer = policy.decide(team, user, name)
        if not answer.allowed:
            raise Refused(f"{name!r}: {answer.reason}")
        obeyed = asked.route.get("obeys_policy_model", False) and name in asked.own
        if answer.resolved_model != name and not obeyed:
            raise Refused(f"{name!r} is an alias")
        resolved[name] = answer.resolved_model
    return resolved


# Headers


def headers_of(http: HttpRequest) -> Headers:
    """Every header, its name in small letters."""
    if http.headers and http.header_map.headers:
        raise Refused("headers in two places")
    pairs = [(name, value.encode()) for name, value in http.headers.items()]
    for item in http.header_map.headers:
        # With both values it is as good as there twice.
        values = {item.value.encode(), item.raw_value} - {b""}
        pairs += [(item.key, value) for value in values or {b""}]
    # What is not UTF-8 stays visible as something that equals nothing.
    return [(name.lower(), value.decode("utf-8", "surrogateescape")) for name, value in pairs]


def header(headers: Headers, name: str) -> str | None:
    """The value of a header that may be there once."""
    values = [value for other, value in headers if other == name]
    if len(values) > 1:
        raise Refused("a header is there twice")
    return values[0] if values else None


# The request


def read(http: HttpRequest, headers: Headers, setup: Setup) -> Asked:
    """The route and the models, or Refused."""
    path, query = split_target(http.path)
    parameters = read_query(query)
    route, in_path = find_route(setup.routes, http.method, path)
    if any(name.replace("_", "-") in (*OVERRIDES, *ELSEWHERE) for name, _ in headers):  # one name to CGI and WSGI
        raise Refused("another method, path or model in a header")
    _check_upgrade(headers, route.get("upgrade", False))

    sources: Sources = []
    if in_path is not None:
        in_path = decoded(in_path)
        sources.append({in_path, in_path.partition(";")[0]})  # some cut a segment there, even after decoding it
    names = _in_body(http, headers, route, setup, sources)
    sources += _in_query(parameters, route)
    in_headers = {value for name in setup.model_headers if (value := header(headers, name)) is not None}
    if route.get("access", "models") != "models":
        if sources or in_headers:
            raise Refused("a model where none is used")
        return Asked(route, frozenset())
    agreed = set.intersection(*sources) if sources else names
    if (sources and not agreed) or in_headers - agreed:
        raise Refused("models disagree")
    own = set.union(*sources) if sources else names if len(names) == 1 else set()
    names |= own
    if not names:
        raise Refused("no model")
    for name in names:
        check_model(name)
    return Asked(route, frozenset(names), frozenset(own))


def _check_upgrade(headers: Headers, wanted: bool) -> None:
    value = header(headers, "upgrade")
    if value is None if wanted else value is not None:
        raise Refused("an upgrade, or none")
    if value is not None and value.lower() != "websocket":
        raise Refused("an upgrade to something else")


def _in_query(parameters: list[tuple[str, str]], route: Route) -> Sources:
    wanted = route.get("query")
    sources: Sources = []
    for name, value in parameters:
        if "%" in name:
            raise Refused("a parameter that is encoded twice")
        for known in {ROOT, wanted or ROOT}:
            if name == known:
                sources.append({value})
            elif same(name, known):
                raise Refused("a parameter that some take for another")
    if len(sources) > 1 or (wanted is not None and not sources):
        raise Refused("not one model in the query")
    return sources


# The body


def _in_body(http: HttpRequest, headers: Headers, route: Route, setup: Setup, sources: Sources) -> set[str]:
    """The models in the body; the one at its root is added to the sources."""
    kinds = route.get("body", "none")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds == ["any"]:
        return set()
    if kinds == ["none"] or route.get("upgrade", False):
        _check_empty(http, headers)
        return set()
    body = _body(http, headers, setup.max_body_bytes)
    if route.get("any_content_type", False):
        found, root = _in_json(read_json(body), route, setup)
    else:
        found, root = _in_typed(body, header(headers, "content-type") or "", kinds, route, setup)
    mark = route.get("strip_up_to")
    sources += [_stripped(name, mark) for name in root]
    return {text for name in found[0] for text in _stripped(name, mark)} | found[1]


def _in_typed(body: bytes, content_type: str, kinds: list[str], route: Route, setup: Setup) -> Found:
    first, *parameters = content_type.split(";")
    match first.strip(" \t").lower():
        case "application/json" if "json" in kinds:
            _check_charset(parameters)
            return _in_json(read_json(body), route, setup)
        case "multipart/form-data" if "multipart" in kinds:
            return _in_fields(read_multipart(body, read_boundary(parameters)), route, setup)
    raise Refused("another type of content")


def _stripped(name: str, mark: str | None) -> set[str]:
    """The model in a resource's name. One that has slashes itself may as well be no resource's name."""
    model = name.rpartition(mark)[2] if mark else name
    return {name, model} if "/" in model else {model}


def _check_empty(http: HttpRequest, headers: Headers) -> None:
    if http.body or http.raw_body or http.size > 0 or header(headers, "content-length") not in (None, "0"):
        raise Refused("a body where none may be")
    if header(headers, "x-envoy-auth-partial-body") not in (None, "false"):
        raise Refused("not all of the body")


def _body(http: HttpRequest, headers: Headers, limit: int) -> bytes:
    """All of the body."""
    body = http.raw_body
    if http.body or len(body) > limit or http.size > len(body):
        raise Refused("a body as text, too large, or not all of it")
    if header(headers, "x-envoy-auth-partial-body") not in (None, "false"):
        raise Refused("not all of the body")
    encoding = header(headers, "content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise Refused("an encoded body")
    if header(headers, "transfer-encoding") not in (None, "chunked"):
        raise Refused("an encoded transfer")
    length = header(headers, "content-length")
    if length is not None and length != str(len(body)):
        raise Refused("a body of another length")
    return body


def _check_charset(parameters: list[str]) -> None:
    plain = [parameter.strip(" \t").lower().replace('"', "") for parameter in parameters]
    if plain not in ([], ["charset=utf-8"]):
        raise Refused("another charset")


Found = tuple[tuple[set[str], set[str]], list[str]]  # names as they stand there, those of stored models; at the root


def _in_json(root: Value, route: Route, setup: Setup) -> Found:
    if not isinstance(root, Object):
        raise Refused("no object")
    required, optional, stored, refused = (route.get(kind, ()) for kind in KINDS)
    document = Document(root, (*required, *optional, *stored, *refused))
    for place in refused:
        document.refuse(place)
    if route.get("access", "models") != "models":
        return (set(), set()), document.found(ROOT)
    names = {name for place in required for name in document.found(place, required=True)}
    names |= {name for place in optional for name in document.found(place)}
    ids = [name for place in stored for name in document.found(place)]
    return (names, _stored(ids, setup)), document.found(ROOT)


def _in_fields(fields: list[Field], route: Route, setup: Setup) -> Found:
    required, optional, stored, refused = (route.get(kind, ()) for kind in KINDS)
    if any(same(item.name, place) for place in refused for item in fields):
        raise Refused("a field that may not be there")
    if route.get("access", "models") != "models":
        return (set(), set()), text_of(fields, ROOT)
    names = {name for place in required for name in text_of(fields, place, required=True)}
    names |= {name for place in optional for name in text_of(fields, place)}
    ids = [name for place in stored for name in text_of(fields, place)]
    return (names, _stored(ids, setup)), text_of(fields, ROOT)


def _stored(ids: list[str], setup: Setup) -> set[str]:
    if any(name not in setup.stored_models for name in ids):
        raise Refused("a stored model that nobody knows")
    return {setup.stored_models[name] for name in ids}
