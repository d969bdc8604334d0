"""gRPC over ASGI: unary calls, as gRPC's specification of its transport (PROTOCOL-HTTP2) has them.

Bare on purpose: all of this runs for every check. What ends a call without an answer goes as Trailers-Only.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import grpc

from policy_service.dataplane.certificates import HEADER as CERTIFICATE
from policy_service.dataplane.certificates import names_of
from policy_service.dataplane.wire import FRAME_BYTES, malformed, message_of, timeout_s, trailers_of
from policy_service.services.unary import Evidence, Failed, UnaryRpc

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_PROTO = frozenset((b"application/grpc", b"application/grpc+proto"))
_START = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_END = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


class NoCall(Exception):
    """What is no call of gRPC's gets an HTTP status, and a header that says what is one."""

    def __init__(self, status: int, header: tuple[bytes, bytes]) -> None:
        self.status, self.header = status, header


class Disconnected(Exception):
    """The client is gone; nobody waits for an answer."""


class AsgiCall:
    """Implements Call."""

    __slots__ = ("_headers", "_scope", "deadline")

    def __init__(self, scope: Scope, headers: Mapping[bytes, bytes], deadline: float | None) -> None:
        self._scope, self._headers, self.deadline = scope, headers, deadline

    def evidence(self) -> Evidence:
        shown = [value.decode(errors="replace") for name, value in self._scope["headers"] if name == b"authorization"]
        return Evidence(shown, names_of(self._headers.get(CERTIFICATE, b"")))

    def peer(self) -> str:
        host, port = self._scope["client"]
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

    def remaining_s(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.monotonic()


class GrpcApplication:
    """An ASGI application. `lifespan` runs around its life, and says by `offer` what is served."""

    def __init__(self, lifespan: Callable[[GrpcApplication], AbstractAsyncContextManager[None]]) -> None:
        self._lifespan = lifespan
        self._rpcs: Mapping[bytes, UnaryRpc] = {}
        self.running = 0  # calls

    def offer(self, rpcs: Iterable[UnaryRpc]) -> None:
        """From now on these are served."""
        self._rpcs = {f"/{rpc.name}".encode(): rpc for rpc in rpcs}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.running += 1
        try:
            answer = await self._answer(scope, receive)
            await send(_START)
            await send({"type": "http.response.body", "body": b"".join((b"\0", len(answer).to_bytes(4), answer))})
            await send(_END)
        except Failed as failed:
            await _send_headers(send, 200, [_CONTENT_TYPE, *trailers_of(failed)])
        except NoCall as refused:
            await _send_headers(send, refused.status, [refused.header])
        except Disconnected:
            pass
        finally:
            self.running -= 1

    async def _answer(self, scope: Scope, receive: Receive) -> bytes:
        """Raises Failed, NoCall, Disconnected."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        rpc = self._rpcs.get(scope["raw_path"])
        if (
            rpc is None
            or scope["query_string"]
            or scope["method"] != "POST"
            or headers.get(b"content-type") not in _PROTO
            or headers.get(b"te") != b"trailers"
        ):
            rpc = _examined(scope, headers, rpc)
        timeout = headers.get(b"grpc-timeout")
        call = AsgiCall(scope, headers, None if timeout is None else time.monotonic() + timeout_s(timeout))
        principal = rpc.admit(call)
        event = await receive()
        body = event["body"] if not event.get("more_body", True) else await _rest(event, receive, rpc.max_message_bytes)
        answer = await rpc.answer(principal, message_of(body, rpc.max_message_bytes), call)
        if timeout is not None and (call.remaining_s() or 0) <= 0:
            raise Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed before there was an answer")
        return answer

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            async with self._lifespan(self):
                await send({"type": "lifespan.startup.complete"})
                await receive()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def _examined(scope: Scope, headers: Mapping[bytes, bytes], rpc: UnaryRpc | None) -> UnaryRpc:
    """What can be served for all that. Raises Failed or NoCall with what is wrong."""
    if scope["method"] != "POST":
        raise NoCall(405, (b"allow", b"POST"))
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if not kind.startswith(b"application/grpc") or kind[16:17] not in (b"", b"+"):
        raise NoCall(415, (b"accept", b"application/grpc"))
    if kind not in _PROTO:
        words = "messages are protobuf's; send content-type application/grpc"
        raise Failed(grpc.StatusCode.UNIMPLEMENTED, words)
    if rpc is None or scope["query_string"]:
        path = scope["raw_path"].decode(errors="replace")[:256]
        words = f"{path} is not offered here, where unary calls that read are answered; see the other listeners"
        raise Failed(grpc.StatusCode.UNIMPLEMENTED, words)
    if headers.get(b"te") != b"trailers":
        words = "the header `te: trailers` is missing; did a proxy lose it?"
        raise malformed(words)
    return rpc


async def _rest(event: MutableMapping[str, Any], receive: Receive, most: int) -> bytes:
    """The whole body, or as much of it as shows that the message is too large. Raises Disconnected."""
    parts: list[bytes] = []
    size = 0
    while True:
        if event["type"] == "http.disconnect":
            raise Disconnected
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if not event.get("more_body") or size > FRAME_BYTES + most:
            return b"".join(parts)
        event = await receive()


async def _send_headers(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
