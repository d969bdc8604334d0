"""A provider behind the proxy: answers as OpenAI does, notes which models it is asked for, and fails for some."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BROKEN = "broken"  # what the names of models begin with that answer 500
JSON = dict[str, Any]


class Provider:
    """What was asked for, since the last look."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._asked: list[str] = []
        self._lock = threading.Lock()

    def note(self, model: str) -> None:
        with self._lock:
            self._asked.append(model)

    def take(self) -> list[str]:
        """The models of the requests, in their order; `-` for a request without one."""
        with self._lock:
            taken, self._asked = self._asked, []
        return taken


def _usage(kind: str) -> JSON:
    return {f"{kind}_tokens": 1, "total_tokens": 2, "completion_tokens": 1, "prompt_tokens": 1} | (
        {"input_tokens": 1, "output_tokens": 1} if kind == "input" else {}
    )


def _chat(model: str) -> JSON:
    message = {"role": "assistant", "content": f"from {model}"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]} | {
        "usage": _usage("prompt")
    }


def _chunks(model: str) -> str:
    lines = ""
    for delta, reason in (({"role": "assistant", "content": f"from {model}"}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
        lines += f"data: {json.dumps(chunk)}\n\n"
    return lines + "data: [DONE]\n\n"


def _response(model: str) -> JSON:
    content = [{"type": "output_text", "text": f"from {model}", "annotations": []}]
    message = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": content}
    return dict.fromkeys(("error", "incomplete_details", "instructions"), None) | {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "model": model,
        "output": [message],
        "tool_choice": "auto",
        "tools": [],
        "parallel_tool_calls": True,
        "metadata": {},
        "usage": _usage("input"),
    }


def _answer(path: str, model: str) -> JSON:
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
        return {"object": "list", "model": model, "data": data, "usage": _usage("prompt")}
    if path.endswith("/responses"):
        return _response(model)
    if path.endswith("/audio/transcriptions"):
        return {"text": f"from {model}"}
    if path.endswith("/images/generations"):
        return {"created": 1, "data": [{"b64_json": "AAAA"}]}
    if path.endswith("/moderations"):
        result = {"flagged": False, "categories": {}, "category_scores": {}, "category_applied_input_types": {}}
        return {"id": "m", "model": model, "results": [result]}
    if path.endswith("/completions") and "chat" not in path:
        choice = {"index": 0, "text": f"from {model}", "finish_reason": "stop", "logprobs": None}
        usage = _usage("prompt")
        return {"id": "t", "object": "text_completion", "created": 1, "model": model, "choices": [choice]} | {
            "usage": usage
        }
    return _chat(model)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        request: JSON = {}
        if self.headers.get("content-type", "").startswith("multipart/"):
            found = re.search(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]+)', body)
            lines = re.findall(rb'"model": ?"([^"]+)"', body)  # of a batch
            model = found[1].decode() if found else b"+".join(lines).decode() or "-"
        else:
            request = json.loads(body or b"{}")
            model = request.get("model", "-")
        self.provider.note(model)
        if model.startswith(BROKEN):
            self._send(500, "application/json", json.dumps({"error": {"message": "out of order", "type": "server"}}))
        elif request.get("stream") and self.path.endswith("chat/completions"):
            self._send(200, "text/event-stream", _chunks(model))
        else:
            self._send(200, "application/json", json.dumps(_answer(self.path, model)))

    def do_GET(self) -> None:
        if (
            self.path.endswith(("/files", "/vector_stores")) or "/realtime" in self.path
        ):  # LiteLLM looks at other paths by itself
            self.provider.note("-")
        self._send(200, "application/json", json.dumps({"object": "list", "data": []}))

    def _send(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider on a free port."""
    handler = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        provider = Provider(server.server_address[1])
        handler.provider = provider  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield provider
        finally:
            server.shutdown()
            thread.join()
