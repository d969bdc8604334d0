"""Which models a request asks for: all that are named anywhere in it, or a refusal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from policy_service.domain.names import requested_model_problem
from policy_service.ext_authz.http_request import HttpRequest
from policy_service.ext_authz.json_body import parse_json
from policy_service.ext_authz.multipart_body import parse_multipart
from policy_service.ext_authz.places import Named, Role, walk
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.ext_authz.routes import Access, Body, Matched, Route
from policy_service.ext_authz.target import Target, decoded

_JSON = re.compile(r"application/json[ \t]*(?:;[ \t]*charset=(?P<charset>\"?[^\s\";,]+\"?)[ \t]*)?", re.IGNORECASE)
_MULTIPART = re.compile(r"multipart/form-data\b", re.IGNORECASE)
_BEFORE_MODELS = re.compile(r"(?:(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/)?")
_UTF8 = re.compile(r'"?utf-?8"?', re.IGNORECASE)


class Asked(NamedTuple):
    """`models`: every name, once. `primary`: the one that the request is for; empty when it is for several, or none."""

    models: tuple[str, ...]
    primary: str


MAX_MODELS = 100
NOTHING = Asked((), "")


class Vocabulary(NamedTuple):
    """What the configuration says of names: headers that carry a model, and ids that stand for one."""

    headers: Sequence[str]
    stored: Mapping[str, str]


def read_asked(http: HttpRequest, target: Target, matched: Matched, vocabulary: Vocabulary) -> Asked:
    """The models that a request of this route asks for. Raises Refused."""
    named = list(_in_body(http, matched.route))
    outside = _outside(http, target, matched, vocabulary)
    if matched.route.access is not Access.MODELS:
        if named or outside:
            words = "a request of this kind uses no model, and has one; an upstream could use it: leave it out"
            raise Refused(Code.FIELD_REFUSED, words)
        return NOTHING
    if matched.route.model_in_query and target.model is None:
        raise Refused(Code.MODEL_MISSING, "the query's parameter `model` is missing; name the model")
    single = outside + [name.text for name in named if name.role is Role.ASKED and not name.listed]
    asked = single + [name.text for name in named if name.role is Role.ASKED and name.listed]
    if not asked:
        raise Refused(Code.MODEL_MISSING, "the request names no model; name one")
    if single and len(set(asked)) > 1:
        raise Refused(Code.MODELS_DISAGREE, "path, query, headers and body name different models; name one")
    others = [_stored(name.text, vocabulary) if name.role is Role.STORED else name.text for name in named]
    models = tuple(dict.fromkeys(asked + others))
    if len(models) > MAX_MODELS:
        raise Refused(Code.BODY_TOO_LARGE, f"the request names more than {MAX_MODELS} models; send less at once")
    for model in models:
        problem = requested_model_problem(model)
        if problem:
            raise Refused(Code.MODEL_MALFORMED, f"the model {model[:256]!r} {problem}")
    return Asked(models, asked[0] if len(set(asked)) == 1 else "")


def _outside(http: HttpRequest, target: Target, matched: Matched, vocabulary: Vocabulary) -> list[str]:
    """What is named in path, query and headers. All of it has to be one model."""
    found = [] if matched.model is None else [_in_path(matched.model)]
    if target.model is not None:
        found.append(target.model)
    return found + [http.headers[name] for name in vocabulary.headers if name in http.headers]


def _in_path(segment: str) -> str:
    if ";" in segment:
        raise Refused(Code.MALFORMED_PATH, "the model in the path has a `;`; encode it")
    return decoded(segment, Code.MALFORMED_PATH)


def _in_body(http: HttpRequest, route: Route) -> Iterator[Named]:
    if Body.ANY in route.body:
        return
    if http.body == b"" and Body.NONE in route.body:
        return
    if Body.NONE in route.body and len(route.body) == 1:
        raise Refused(Code.BODY_UNEXPECTED, "a request of this kind has no body; leave it out")
    for named in walk(route.places, _parsed(http, route)):
        yield named._replace(text=stripped(named.text, route.strip_up_to)) if route.strip_up_to else named


def stripped(text: str, up_to: str) -> str:
    """`x` of a resource's name, such as `publishers/p/models/x`; what looks otherwise stays as it is."""
    before, found, model = text.partition(up_to)
    return model if found and "/" not in model and _BEFORE_MODELS.fullmatch(before) else text


def _parsed(http: HttpRequest, route: Route) -> object:
    _check_encoding(http)
    content_type = http.headers.get("content-type", "")
    found = _JSON.fullmatch(content_type)
    if Body.JSON in route.body and (found or route.any_content_type):
        if found and found["charset"] and not _UTF8.fullmatch(found["charset"]):
            raise Refused(Code.WRONG_CHARSET, f"the charset {found['charset']} is not taken; send UTF-8")
        value = parse_json(http.body)
        if not isinstance(value, dict):
            raise Refused(Code.BODY_MALFORMED, "the body is no JSON object")
        return value
    if _MULTIPART.match(content_type) and Body.MULTIPART in route.body:
        return parse_multipart(http.body, content_type)
    wanted = " or ".join(
        {Body.JSON: "application/json", Body.MULTIPART: "multipart/form-data"}[body] for body in route.body
    )
    raise Refused(Code.WRONG_CONTENT_TYPE, f"the content-type has to be {wanted}")


def _check_encoding(http: HttpRequest) -> None:
    for name, plain in (("content-encoding", "identity"), ("transfer-encoding", "chunked")):
        if http.headers.get(name, plain).lower() != plain:
            raise Refused(Code.BODY_ENCODED, f"{name} {http.headers[name]!r} cannot be read here; send the body plain")


def _stored(id_: str, vocabulary: Vocabulary) -> str:
    model = vocabulary.stored.get(id_)
    if model is None:
        words = f"{id_[:256]!r} may stand for any model; name the model instead, or have the id added to stored_models"
        raise Refused(Code.UNKNOWN_STORED_MODEL, words)
    return model
