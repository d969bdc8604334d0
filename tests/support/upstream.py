"""An upstream behind a gateway: records the requests it gets and answers 200 with JSON, or becomes a WebSocket."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PIECE = 1 << 16


class Received(NamedTuple):
    """A request as the upstream saw it; names of headers in small letters, in their order, with duplicates."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


class Upstream:
    """A running upstream. Every connection has a thread of its own."""

    def __init__(self, server: ThreadingHTTPServer, received: list[Received]) -> None:
        self.port: int = server.server_address[1]
        self.target = f"127.0.0.1:{self.port}"
        self._received = received

    def take(self) -> list[Received]:
        """What it got since the last time."""
        taken = self._received.copy()
        self._received.clear()
        return taken


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    received: list[Received]

    def parse_request(self) -> bool:
        """Any method is served."""
        if not super().parse_request():
            return False
        self._serve()
        return False

    def _serve(self) -> None:
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        body = self._chunks() if self.headers.get("transfer-encoding") else self._exactly()
        self.received.append(Received(self.command, self.path, headers, body))
        if self.headers.get("upgrade", "").lower() == "websocket":
            self._become_websocket()
        else:
            self._answer(json.dumps({"upstream": self.path}).encode())

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = self.headers.get("connection", "").lower() == "close"

    def _exactly(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _become_websocket(self) -> None:
        """The handshake is real; what comes then goes back as it is."""
        key = self.headers.get("sec-websocket-key", "") + WEBSOCKET_GUID
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while piece := self.connection.recv(PIECE):
            self.connection.sendall(piece)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving_upstream() -> Iterator[Upstream]:
    """An upstream on a free port."""
    received: list[Received] = []
    handler = type("Handler", (_Handler,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Upstream(server, received)
        finally:
            server.shutdown()
            thread.join()
