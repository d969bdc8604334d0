"""Right requests, taken apart so that they can be changed, and put together as Envoy sends them."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st

from policy_service.envoy_v3.external_auth_pb2 import CheckRequest
from tests.ext_authz import wild_json
from tests.ext_authz.strict import Setup
from tests.ext_authz.strict_identity import JWT
from tests.ext_authz.strict_target import Route, patterns_of
from tests.ext_authz.wild_json import Draw, Tree, names, put, text
from tests.ext_authz.world import GOOD, IDENTITIES, STORED

BOUNDARY = "----form7MA4YW"
Part = tuple[str, bytes]  # the headers as they are written, the content
Headers = list[tuple[str, str]]


@dataclass
class Draft:
    """A request taken apart. `mutated`: it may be anything; else it has to pass if the caller may use its models."""

    source: str
    team: str
    user: str
    route: Route
    method: str
    path: str
    query: list[str] = field(default_factory=list)
    headers: Headers = field(default_factory=list)
    document: Tree | None = None
    parts: list[Part] | None = None
    body: bytes = b""
    models: set[str] = field(default_factory=set)
    mutated: list[str] = field(default_factory=list)
    raw_headers: bool = False
    size: int | None = None
    as_text: bool = False
    as_bytes: bool = True
    claims: dict[str, Any] = field(default_factory=dict)
    absent: str = ""

    def identify(self, request: CheckRequest) -> None:
        """Says who asks, where the source looks for it."""
        attributes = request.attributes
        team, user = (text.encode("utf-8", "replace").decode() for text in (self.team, self.user))
        match self.source:
            case "headers" | "team header":
                parts = {"team": ("x-acme-team", self.team), "user": ("x-acme-user", self.user)}
                wanted = ("team", "user") if self.source == "headers" else ("team",)
                self.headers += [parts[part] for part in wanted if part != self.absent]
            case "header" if not self.absent:
                self.headers.append(("x-acme-client", f"{self.team}/{self.user}"))
            case "extensions":
                attributes.context_extensions.update({"team": team, "user": user})
                attributes.context_extensions.pop(self.absent, None)
            case "jwt":
                claims = {"team": team, "sub": user, "aud": 1, "user": "eve"} | self.claims
                claims.pop({"user": "sub"}.get(self.absent, self.absent), None)
                attributes.metadata_context.filter_metadata[JWT].update({"jwt_payload": claims})
            case "spiffe" if not self.absent:
                attributes.source.principal = f"spiffe://acme.example/team/{team}/user/{user}"
            case "dns" if not self.absent:
                attributes.source.principal = f"{user}.{team}.clients.acme.example"


# Right requests


@st.composite
def drafts(draw: Draw, setups: dict[str, Setup], good: bool = False) -> Draft:
    """A right request to one of the routes. `good`: with names that may be asked for at all."""
    source = draw(st.sampled_from(tuple(setups)))
    route = draw(st.sampled_from(_choice(setups[source])))
    team, user = ("ml", "ann") if good else draw(st.sampled_from(IDENTITIES))
    if source == "team header" and team == "ml":
        team = "open"  # the one that admits callers without a user
    draft = Draft(source, team, user, route, draw(st.sampled_from(route["methods"])), "")
    model = draw(st.sampled_from(GOOD) if good else names)
    draft.path = _path(draft, draw(st.sampled_from(patterns_of(route))), model)
    kinds = route.get("body", "none")
    kind = kinds if isinstance(kinds, str) else draw(st.sampled_from(kinds))
    asks = route.get("access", "models") == "models"
    if "query" in route:
        draft.query.append(f"{route['query']}={quote(model, safe='')}")
        draft.models.add(model)
    match kind:
        case "json":
            _fill_document(draw, draft, model, good, asks)
        case "multipart":
            _fill_parts(draw, draft, model, asks)
        case "any":
            draft.body = draw(st.sampled_from((b"", b"\0\xff", b'{"model":"evil"}')))
            draft.headers.append(("content-type", "application/octet-stream"))
    if route.get("upgrade"):
        draft.headers += [("upgrade", "websocket"), ("connection", "Upgrade")]
    draft.raw_headers = draw(st.booleans())
    return draft


@cache
def _choice(setup: Setup) -> list[Route]:
    """The routes, the more often the more places in a body they look at."""
    return [route for route in setup.routes for _ in range(_weight(route))]


def _weight(route: Route) -> int:
    if route.get("access", "models") != "models":
        return 9 if route.get("body", "none") not in ("none", "any") else 1
    places = sum(len(route.get(kind, ())) for kind in ("required", "optional", "stored"))
    # What few routes have is tried as often as what many have.
    rare = (
        route["name"].startswith("acme."),
        "multipart" in route.get("body", ()),
        "obeys_policy_model" in route,
        "query" in route,
    )
    return min(1 + 2 * places, 9) * 3 ** sum(rare)


def _path(draft: Draft, pattern: str, model: str) -> str:
    pieces = []
    for piece in pattern.split("/"):
        if "{model" in piece:
            draft.models.add(model)
            safe = "/" if "{model+}" in piece else ""
            name = quote(model, safe=safe + ":")
            piece = piece.replace("{model+}", name).replace("{model}", name)
        pieces.append(piece.replace("{}", "eu-1"))
    return "/".join(pieces)


def _fill_document(draw: Draw, draft: Draft, model: str, good: bool, asks: bool) -> None:
    route, root = draft.route, Tree()
    draft.document = root
    draft.headers.append(
        ("content-type", draw(st.sampled_from(("application/json", "application/json; charset=utf-8"))))
    )
    mark = draw(st.sampled_from(("", route.get("strip_up_to", ""))))

    def written(name: str) -> str:
        draft.models.add(name)
        return text(name if "/" in name else mark + name)

    def own() -> str:
        return written(model)

    def other() -> str:
        return written(draw(st.sampled_from(GOOD) if good else names) if draw(st.booleans()) else model)

    def stored() -> str:
        identifier = draw(st.sampled_from([name for name in STORED if not good or STORED[name] in GOOD]))
        draft.models.add(STORED[identifier])
        return text(identifier)

    root.pairs.append(('"acme"', wild_json.FILLERS))
    if not asks:
        return
    elements = draw(st.integers(1, 2))
    required = route.get("required", ())
    for place in required:
        put(root, place, own if place == "model" else other, elements)
    for place in route.get("optional", ()):
        if place not in required and draw(st.booleans()):
            put(root, place, own if place == "model" else other, elements)
    for place in route.get("stored", ()):
        if draw(st.integers(0, 3)) == 0:
            put(root, place, stored, elements)
    if "model" not in (*required, *route.get("optional", ())) and draft.models == {model} and draw(st.booleans()):
        put(root, "model", own, elements)


def _fill_parts(draw: Draw, draft: Draft, model: str, asks: bool) -> None:
    draft.headers.append(("content-type", f"multipart/form-data; boundary={BOUNDARY}"))
    draft.parts = [part_of("prompt", b"a cat\r\n--model"), part_of('image"; filename="a.png', b"\x89PNG\r\n\x1a\n")]
    if not asks:
        return
    for place in {"model", *draft.route.get("required", ())}:
        draft.models.add(model)
        draft.parts.insert(draw(st.integers(0, len(draft.parts))), part_of(place, model.encode()))


def part_of(name: str, content: bytes, more: str = "") -> Part:
    return f'Content-Disposition: form-data; name="{name}"{more}', content


@st.composite
def right(draw: Draw, setups: dict[str, Setup]) -> Draft:
    """A right request for models that may be used."""
    draft = draw(drafts(setups, good=True))
    write_body(draft)
    return draft


# From a draft to a request


def render(draft: Draft) -> CheckRequest:
    """The request, as Envoy sends it."""
    request = CheckRequest()
    draft.identify(request)
    http = request.attributes.request.http
    http.method = draft.method
    http.path = draft.path + ("?" + "&".join(draft.query) if draft.query else "")
    if draft.as_text:
        http.body = draft.body.decode("utf-8", "replace")
    if draft.as_bytes:
        http.raw_body = draft.body
    http.size = len(draft.body) if draft.size is None else draft.size
    pseudo = [(":method", http.method), (":path", http.path), (":authority", "llm.acme.example"), (":scheme", "https")]
    headers = [*pseudo, *draft.headers]
    if draft.body and draft.size is None and not any(name == "content-length" for name, _ in headers):
        headers.append(("content-length", str(len(draft.body))))
    if draft.raw_headers:
        for name, value in headers:
            http.header_map.headers.add(key=name, raw_value=value.encode("utf-8", "surrogateescape"))
    else:
        _join(headers, http.headers)
    return request


def _join(headers: Headers, joined: MutableMapping[str, str]) -> None:
    """Envoy joins headers of one name, and writes what is not UTF-8 as exclamation marks."""
    for name, value in headers:
        plain = "".join("!" if "\udc80" <= char <= "\udcff" else char for char in value)
        joined[name] = f"{joined[name]},{plain}" if name in joined else plain


def write_body(draft: Draft) -> None:
    """Makes the body's bytes of its parts."""
    if draft.document is not None:
        draft.body = wild_json.render(draft.document).encode("utf-8", "surrogatepass")
    elif draft.parts is not None:
        pieces = [f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head, content in draft.parts]
        draft.body = b"".join(pieces) + f"--{BOUNDARY}--\r\n".encode()
