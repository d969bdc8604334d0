"""Calls in which no model is named, or none that can be seen: refused, unless the settings list them."""

from __future__ import annotations

import json
import os
import socket

import pytest

from tests.litellm_proxy.organisation import ALLOWED, DENIED, MEMBER
from tests.litellm_proxy.parts import Answer, Proxy, until
from tests.litellm_proxy.upstream import Provider

CLOSES = b"\x88"  # what the last frame of a WebSocket begins with
MULTIPART = {"content-type": "multipart/form-data; boundary=B"}


def reason(answer: Answer) -> str:
    return str(answer.error.get("message"))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/files", None),
        ("POST", "/v1/moderations", {"input": "x"}),
        ("GET", "/v1/batches", None),
        ("POST", "/v1/batches", {"input_file_id": "f", "endpoint": "/v1/embeddings", "completion_window": "24h"}),
    ],
)
def test_a_call_that_names_none_is_refused(
    proxy: Proxy, provider: Provider, method: str, path: str, body: dict[str, str] | None
) -> None:
    answer = proxy.request(method, path, MEMBER, body)
    assert (answer.status, provider.take()) == (403, []), answer.body
    assert "without_model" in reason(answer) or "stored as" in reason(answer)


def test_one_that_is_listed_is_let_through_for_members(proxy: Proxy, provider: Provider) -> None:
    assert proxy.request("GET", "/v1/vector_stores", MEMBER).status == 200
    for key in ("crew/stranger", "crew/bob", "nobody/mia", "/mia"):
        assert proxy.request("GET", "/v1/vector_stores", key).status == 403


def test_a_stored_prompt_that_is_listed_may_be_used(proxy: Proxy) -> None:
    assert "stored as" not in proxy.chat(MEMBER, "gpt-4o-mini", prompt_id="greeting").body.decode()


# Handed on to a provider as they are


def test_the_model_in_the_body_of_what_is_passed_through_is_judged(proxy: Proxy, provider: Provider) -> None:
    body = {"model": "gpt-4o", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    answer = proxy.request("POST", "/anthropic/v1/messages", MEMBER, body)
    assert (answer.status, provider.take()) == (403, []), answer.body
    assert "may not use model 'gpt-4o'" in answer.body.decode()
    assert proxy.request("POST", "/anthropic/v1/messages", MEMBER, body | {"model": "gpt-4o-mini"}).status == 200
    assert provider.take() == ["gpt-4o-mini"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/gemini/v1beta/models/gpt-4o:generateContent", {"contents": []}, "'gpt-4o'"),
        ("/gemini/v1beta/models/gpt-4o:generateContent", {"model": "gpt-4o-mini", "contents": []}, "'gpt-4o'"),
        ("/gemini/v1beta/models/gpt-4o-mini:generateContent", {"model": "gpt-4o", "contents": []}, "'gpt-4o'"),
        ("/anthropic/v1/messages", {"messages": []}, "`model` is missing"),
        ("/anthropic/v1/skills", {"model": "gpt-4o-mini"}, "without_model"),
        ("/gemini/v1beta/files", {"model": "gpt-4o-mini"}, "without_model"),
        ("/gemini/v1beta/models/fast:generateContent", {"contents": []}, "stands for 'gpt-4o-mini'"),
    ],
)
def test_and_so_is_one_in_its_path(
    proxy: Proxy, provider: Provider, path: str, body: dict[str, object], words: str
) -> None:
    answer = proxy.request("POST", path, MEMBER, body, {"x-goog-api-key": MEMBER})  # as clients of Gemini do
    assert (answer.status, provider.take()) == (403, []), answer.body
    assert words in answer.body.decode()


def test_a_path_of_a_provider_that_is_listed_is_let_through(proxy: Proxy, provider: Provider) -> None:
    assert proxy.request("GET", "/anthropic/v1/files", MEMBER).status == 200
    assert provider.take() == ["-"]
    assert proxy.request("GET", "/anthropic/v1/files", "crew/stranger").status == 403


# What runs no hook before the call, but one before each deployment's


@pytest.mark.parametrize(
    ("model", "rerank", "asked"),
    [
        ("gpt-4o-mini", None, ["-", "gpt-4o-mini"]),  # the vector store, the model
        ("gpt-4o", None, []),
        ("gpt-4o-mini", "gpt-4o", []),
    ],
)
def test_the_models_of_a_rag_query_are_judged(
    proxy: Proxy, provider: Provider, model: str, rerank: str | None, asked: list[str]
) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "x"}],
        "retrieval_config": {"vector_store_id": "vs_1", "custom_llm_provider": "openai"},
    }
    answer = proxy.request("POST", "/v1/rag/query", MEMBER, body | ({"rerank": {"model": rerank}} if rerank else {}))
    assert (answer.status, provider.take()) == (200 if asked else 403, asked), answer.body


# WebSockets


def realtime(proxy: Proxy, key: str, query: str) -> bytes:
    """What comes back to the handshake of a WebSocket, and then, until it is closed."""
    nonce = os.urandom(8).hex()
    request = (
        f"GET /v1/realtime{query} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-version: 13\r\nsec-websocket-key: {nonce}AAAAAA==\r\nauthorization: Bearer {key}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=20) as connection:
        connection.sendall(request.encode())
        received = b""
        while CLOSES not in received.partition(b"\r\n\r\n")[2] and (piece := connection.recv(4096)):
            received += piece
        return received


def test_a_websocket_is_opened_for_an_allowed_model_alone(proxy: Proxy, provider: Provider) -> None:
    realtime(proxy, MEMBER, f"?model={DENIED[0]}")
    assert provider.take() == []
    realtime(proxy, MEMBER, f"?model={ALLOWED[0]}")
    assert until(provider.take, "the provider is asked for a WebSocket")


# Batches


def test_the_lines_of_a_batch_are_judged_each(proxy: Proxy, provider: Provider) -> None:
    lines = b"".join(
        json.dumps({"custom_id": model, "method": "POST", "url": "/v1/chat/completions", "body": body}).encode() + b"\n"
        for model in ("gpt-4o-mini", "gpt-4o")
        if (body := {"model": model, "messages": [{"role": "user", "content": "x"}]})
    )
    content = (
        b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--B\r\nContent-Disposition: form-data; '
        b'name="file"; filename="a.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n' + lines + b"\r\n--B--\r\n"
    )
    proxy.request("POST", "/v1/files", MEMBER, content, MULTIPART)
    assert provider.take() == ["gpt-4o-mini"]
