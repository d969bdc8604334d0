"""The stub upstream: enough of the OpenAI API for a client to be content."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

STUB = Path(__file__).parents[2] / "examples" / "stub_upstream.py"
LIMIT_S = 60
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def upstream() -> Iterator[HTTPConnection]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, STUB, f"127.0.0.1:{port}"], env=os.environ) as process:
        connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                connection.connect()
                break
            except ConnectionRefusedError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield connection
        process.terminate()
        assert process.wait(LIMIT_S) == 0
        connection.close()


def ask(upstream: HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Over one connection, which stays in order only if every request is read whole."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    upstream.request(method, path, body, named)
    response = upstream.getresponse()
    return response.status, json.loads(response.read())


def test_it_lists_models(upstream: HTTPConnection) -> None:
    status, listed = ask(upstream, "GET", "/v1/models", X_Policy_Team="ml", authorization="secret")
    assert (status, listed["object"], listed["policy"]) == (200, "list", {"x-policy-team": "ml"})
    assert {"id", "object", "created", "owned_by"} == listed["data"][0].keys()
    assert ask(upstream, "GET", "/v1/models/a/b")[1]["id"] == "a/b"


def test_it_embeds(upstream: HTTPConnection) -> None:
    request = json.dumps({"model": "text-embedding-3-small", "input": ["one", "two", "one"]})
    status, answer = ask(upstream, "POST", "/v1/embeddings", request)
    assert status == 200
    first, second, third = (item["embedding"] for item in answer["data"])
    assert first == third != second


def test_it_reads_chunked_bodies(upstream: HTTPConnection) -> None:
    status, answer = ask(upstream, "POST", CHAT, iter([b'{"model": ', b'"m", "messages": []}']))
    assert (status, answer["model"], answer["choices"][0]["finish_reason"]) == (200, "m", "stop")


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHAT, "{", 400),
        (CHAT, '{"messages": []}', 400),
        (CHAT, '["model"]', 400),
        ("/v1/nothing", "{}", 404),
        (f"{CHAT}/more", "{}", 404),
    ],
)
def test_it_refuses_as_the_api_does(upstream: HTTPConnection, path: str, body: str, status: int) -> None:
    refused, answer = ask(upstream, "POST", path, body)
    assert refused == status
    assert answer["error"]["type"] == "invalid_request_error"
    assert ask(upstream, "GET", "/v1/modelsofother")[0] == 404
