"""An upstream that speaks enough of the OpenAI API to try a gateway with: `python stub_upstream.py HOST:PORT`.

It knows no model: whatever is asked for answers, and says which `x-policy-*` headers came along, under `policy`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON = dict[str, Any]
MODELS = ("gpt-4o", "gpt-4o-mini", "o1-pro", "text-embedding-3-small")
DIMENSIONS = 8


class BadRequest(Exception):
    """The request is none of this API."""


def model_object(name: str) -> JSON:
    """A model of the list."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "stub"}


def completion(request: JSON, policy: JSON) -> JSON:
    """The answer of a chat, whole."""
    message = {"role": "assistant", "content": sentence(request, policy)}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return head("chat.completion", request) | {"choices": [choice], "usage": usage, "policy": policy}


def pieces(request: JSON, policy: JSON) -> Iterator[JSON]:
    """The same word by word, as it is streamed."""
    shared = head("chat.completion.chunk", request)
    yield shared | {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}], "policy": policy}
    for word in sentence(request, policy).split(" "):
        yield shared | {"choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
    yield shared | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def head(kind: str, request: JSON) -> JSON:
    """What whole and streamed answers have in common."""
    identifier = f"chatcmpl-{uuid.uuid4().hex[:12]}"
    return {"id": identifier, "object": kind, "created": int(time.time()), "model": request["model"]}


def sentence(request: JSON, policy: JSON) -> str:
    """What the model says."""
    user, team = policy.get("x-policy-user", "somebody"), policy.get("x-policy-team", "some team")
    return f"Hello {user} of {team}, this is {request['model']}."


def embeddings(request: JSON, policy: JSON) -> JSON:
    """A vector for each text, the same for the same text."""
    given = request.get("input", "")
    texts = given if isinstance(given, list) else [given]
    data = [{"object": "embedding", "index": at, "embedding": vector(str(text))} for at, text in enumerate(texts)]
    usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage, "policy": policy}


def vector(text: str) -> list[float]:
    """Numbers between 0 and 1."""
    return [sum(text.encode()[at::DIMENSIONS]) % 256 / 256 for at in range(DIMENSIONS)]


class Handler(BaseHTTPRequestHandler):
    """A request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The list of models, or one of them."""
        folder, _, name = self.path.partition("?")[0].partition("/v1/models")
        if folder or name.startswith("//") or (name and not name.startswith("/")):
            self.refuse(404, f"there is no {self.path} here")
        elif name:
            self.answer(model_object(name[1:]))
        else:
            self.answer({"object": "list", "data": [model_object(model) for model in MODELS], "policy": self.policy})

    def do_POST(self) -> None:
        """A chat or embeddings."""
        calls: dict[str, Callable[[JSON, JSON], JSON]] = {
            "/v1/chat/completions": completion,
            "/v1/embeddings": embeddings,
        }
        body = self.body()
        call = calls.get(self.path.partition("?")[0])
        if call is None:
            self.refuse(404, f"there is no {self.path} here")
            return
        try:
            request = asked(body)
        except BadRequest as error:
            self.refuse(400, str(error))
            return
        if request.get("stream") is True and call is completion:
            self.stream(pieces(request, self.policy))
        else:
            self.answer(call(request, self.policy))

    @property
    def policy(self) -> JSON:
        """What the gateway says of who asks."""
        return {name.lower(): value for name, value in self.headers.items() if name.lower().startswith("x-policy-")}

    def body(self) -> bytes:
        """The whole body, also one that came in chunks."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        read = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            read += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return read

    def answer(self, content: JSON, status: int = 200) -> None:
        """Sends JSON."""
        encoded = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def refuse(self, status: int, message: str) -> None:
        """Sends an error as the API has them."""
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self.answer({"error": error}, status)

    def stream(self, events: Iterator[JSON]) -> None:
        """Sends server-sent events."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for text in (*map(json.dumps, events), "[DONE]"):
            event = f"data: {text}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the gateway has an access log."""


def asked(body: bytes) -> JSON:
    """The request. Raises BadRequest."""
    try:
        request = json.loads(body)
    except ValueError:
        raise BadRequest("the body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise BadRequest("the body names no model")
    return request


class Server(ThreadingHTTPServer):
    """It does not wait for connections that clients keep open."""

    daemon_threads = True
    block_on_close = False


def stop(*_: object) -> None:
    """Ends the process."""
    sys.exit(0)


def main(address: str) -> None:
    """Serves until SIGINT or SIGTERM."""
    host, _, port = address.rpartition(":")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with Server((host, int(port)), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
