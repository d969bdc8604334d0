"""What a case is, and short ways to write one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

JSON = "application/json"
BOUNDARY = "cut-here"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
UPGRADE = (("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13"))
UPGRADE += (("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),)

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Case:
    """A request, and what has to be found in it.

    `models`: all that it asks for, in no order; () for a request that needs none. `refusal`: the code of the
    refusal; empty when the request reads well, and is for the policy to decide. `route`: the route's name; empty when
    there is none, or the request is refused before it is found. `envoy`: Envoy refuses or changes the request itself,
    so that behind one only this is known: it does not pass.
    """

    id: str
    method: str
    path: str
    headers: Pairs
    body: bytes
    models: tuple[str, ...] = ()
    refusal: str = ""
    route: str = ""
    envoy: bool = False

    @property
    def upgrade(self) -> bool:
        """It asks to become a WebSocket."""
        return any(name == "upgrade" for name, _ in self.headers)


def json_cases(
    route: str, what: str, body: object, models: tuple[str, ...], *paths: str, refusal: str = "", method: str = "POST"
) -> tuple[Case, ...]:
    """The same JSON body to several paths of a route. A body in bytes goes as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = (("content-type", JSON),)
    named = _named(route, what, paths)
    return tuple(Case(id, method, path, headers, content, models, refusal, route) for id, path in named)


def multipart_cases(
    route: str, what: str, fields: Mapping[str, str], models: tuple[str, ...], *paths: str, refusal: str = ""
) -> tuple[Case, ...]:
    """The same fields and a file to several paths of a route."""
    headers = (("content-type", MULTIPART),)
    body = multipart(*(part(name, text) for name, text in fields.items()), FILE)
    named = _named(route, what, paths)
    return tuple(Case(id, "POST", path, headers, body, models, refusal, route) for id, path in named)


def bare_cases(
    route: str, what: str, method: str, models: tuple[str, ...], *paths: str, headers: Pairs = (), refusal: str = ""
) -> tuple[Case, ...]:
    """Requests without a body."""
    named = _named(route, what, paths)
    return tuple(Case(id, method, path, headers, b"", models, refusal, route) for id, path in named)


def _named(route: str, what: str, paths: tuple[str, ...]) -> list[tuple[str, str]]:
    """Ids with their paths: the first path's is the route's name and what the case is about."""
    id_ = f"{route} {what}".rstrip()
    return [(id_ if number == 1 else f"{id_} #{number}", path) for number, path in enumerate(paths, 1)]


def part(name: str, text: str | bytes, *more: str, head: str = "") -> bytes:
    """A part of a multipart body. `head`: its Content-Disposition, when it is not the usual one; `more` headers."""
    lines = [f"Content-Disposition: {head}" if head else f'Content-Disposition: form-data; name="{name}"', *more]
    content = text if isinstance(text, bytes) else text.encode()
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


def multipart(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    """Parts between boundaries, as RFC 7578 has it."""
    delimiter = f"--{BOUNDARY}".encode()
    return b"".join(delimiter + b"\r\n" + each + b"\r\n" for each in parts) + delimiter + end


FILE = part("file", b"\x00\xff not text", "Content-Type: audio/mpeg", head='form-data; name="file"; filename="a.mp3"')
