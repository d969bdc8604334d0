"""envoy.yaml as it is, with the real service: who passes, who does not, and what the upstream gets to see."""

from __future__ import annotations

import base64
import json
import os
from contextlib import closing
from typing import Any

import pytest

from tests.envoy.stage import (
    ALLOWED,
    CHAT,
    JSON,
    MEMBER_CODE,
    NOT_MEMBER,
    NOT_TEAM,
    SAM,
    TEAM_CODE,
    Gateway,
    Service,
    chat_body,
    code,
    ext_authz,
    gateway,
    policy_headers,
)
from tests.support.envoy import exchange, request_bytes

BEATRIZ = ("authorization", "Bearer example-key-of-beatriz")
SPOOFED = [
    ("x-policy-team", "ml-research"),
    ("X-Policy-User", "bob@acme.example"),
    ("x-policy-model", "o1-pro"),
    ("x-policy-client", "ml-research/bob@acme.example"),
    ("x-policy-client", "ml-research/bob@acme.example"),
    ("x-policy-revision", "1"),
    ("x-policy-anything", "else"),
]
UPGRADE = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]


def test_an_allowed_request_reaches_the_upstream_unchanged(closed_gateway: Gateway) -> None:
    body = (
        b'{ "messages": [{"role":"user","content":"Gr\\u00fc\xc3\x9fe"}],\n "model" : "gpt-4o-mini", "top_p": 1.0e0 }'
    )
    answer = closed_gateway.envoy.request("POST", CHAT, [SAM, JSON, ("x-mine", "stays")], body)
    assert (answer.status, answer.json) == (200, {"upstream": CHAT})
    received = closed_gateway.passed()
    assert (received.method, received.path, received.body) == ("POST", CHAT, body)
    assert received.values("x-mine") == ["stays"]


def test_the_upstream_learns_who_asks_and_not_their_key(closed_gateway: Gateway) -> None:
    closed_gateway.chat(ALLOWED)
    received = closed_gateway.passed()
    told = policy_headers(received)
    revision = told.pop("x-policy-revision")
    assert told == {"x-policy-team": "support", "x-policy-user": "sam@acme.example", "x-policy-model": ALLOWED}
    assert revision
    assert received.values("authorization") == []


@pytest.mark.parametrize(
    ("model", "expected", "reason"),
    [(NOT_MEMBER, MEMBER_CODE, "MODEL_NOT_IN_MEMBER_SCOPE"), (NOT_TEAM, TEAM_CODE, "MODEL_NOT_IN_TEAM_SCOPE")],
)
def test_a_denied_request_ends_at_the_gateway(closed_gateway: Gateway, model: str, expected: str, reason: str) -> None:
    answer = closed_gateway.chat(model)
    assert (answer.status, code(answer)) == (403, expected)
    assert closed_gateway.nothing_passed()
    line = closed_gateway.envoy.line()
    assert {key: line[key] for key in ("status", "details", "allowed", "reason", "team", "user", "models")} == {
        "status": 403,
        "details": "ext_authz_denied",
        "allowed": False,
        "reason": reason,
        "team": "support",
        "user": "sam@acme.example",
        "models": [model],
    }


def test_what_is_allowed_is_in_the_access_log_too(closed_gateway: Gateway) -> None:
    closed_gateway.envoy.request("POST", f"{CHAT}?key=secret", [SAM, JSON], chat_body(ALLOWED))
    line = closed_gateway.envoy.line()
    told = policy_headers(closed_gateway.passed())
    assert (line["path"], line["status"], line["details"]) == (CHAT, 200, "via_upstream")
    assert (line["allowed"], line["reason"]) == (True, "ALLOWED_BY_MEMBER_SCOPE")
    assert (line["team"], line["user"], line["models"]) == ("support", "sam@acme.example", [ALLOWED])
    assert line["revision"] == told["x-policy-revision"]


def test_another_member_may_use_what_sam_may_not(closed_gateway: Gateway) -> None:
    assert closed_gateway.chat(NOT_MEMBER, key=BEATRIZ).status == 200
    assert policy_headers(closed_gateway.passed())["x-policy-user"] == "beatriz.costa@acme.example"


@pytest.mark.parametrize("model", [NOT_MEMBER, NOT_TEAM])
def test_nobody_becomes_somebody_else_by_a_header(closed_gateway: Gateway, model: str) -> None:
    assert closed_gateway.chat(model, *SPOOFED).status == 403
    assert closed_gateway.nothing_passed()


def test_spoofed_headers_do_not_reach_the_upstream(closed_gateway: Gateway) -> None:
    assert closed_gateway.chat(ALLOWED, *SPOOFED).status == 200
    told = policy_headers(closed_gateway.passed())
    assert told.pop("x-policy-revision") != "1"
    assert told == {"x-policy-team": "support", "x-policy-user": "sam@acme.example", "x-policy-model": ALLOWED}


def test_a_header_that_looks_like_ours_to_some_upstreams_is_refused(closed_gateway: Gateway) -> None:
    assert closed_gateway.chat(ALLOWED, ("x_policy_team", "ml-research")).status == 400
    assert closed_gateway.nothing_passed()


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [""],
        ["Bearer "],
        ["Bearer example-key-of-nobody"],
        ["Bearer example-key-of-sam, Bearer example-key-of-beatriz"],
        ["Bearer example-key-of-sam", "Bearer example-key-of-beatriz"],
        ["Basic " + base64.b64encode(b"example-key-of-sam").decode()],
    ],
)
def test_a_missing_or_bad_key_is_401(closed_gateway: Gateway, keys: list[str]) -> None:
    headers = [*(("authorization", key) for key in keys), JSON, *SPOOFED]
    assert closed_gateway.envoy.request("POST", CHAT, headers, chat_body(ALLOWED)).status == 401
    assert closed_gateway.nothing_passed()


@pytest.mark.parametrize("path", ["/healthz", "//healthz", "/v1/../healthz", "/healthz?model=o1-pro"])
def test_the_health_route_needs_no_key_and_never_reaches_the_upstream(closed_gateway: Gateway, path: str) -> None:
    for method in ("GET", "POST"):
        answer = closed_gateway.envoy.request(method, path, SPOOFED, b"{}")
        assert (answer.status, answer.body) == (200, b"ok\n")
    assert closed_gateway.nothing_passed()


@pytest.mark.parametrize(
    "path", ["/healthz/", "/healthz/v1/chat/completions", "/healthz%2F..", "/HEALTHZ", "/healthz;x"]
)
def test_what_looks_like_the_health_route_is_not(closed_gateway: Gateway, path: str) -> None:
    assert closed_gateway.envoy.request("POST", path, [JSON], chat_body(ALLOWED)).status == 401
    assert closed_gateway.envoy.request("POST", path, [SAM, JSON], chat_body(ALLOWED)).status == 403
    assert closed_gateway.nothing_passed()


@pytest.mark.parametrize("path", ["/v1//chat/completions", "/v1/./chat/x/../completions", "/v1/%63hat/completions"])
def test_a_path_is_judged_and_forwarded_in_one_spelling(closed_gateway: Gateway, path: str) -> None:
    assert closed_gateway.envoy.request("POST", path, [SAM, JSON], chat_body(ALLOWED)).status == 200
    assert closed_gateway.passed().path == CHAT
    assert closed_gateway.envoy.request("POST", path, [SAM, JSON], chat_body(NOT_MEMBER)).status == 403
    assert closed_gateway.nothing_passed()


def test_an_arn_arrives_as_it_was_sent(closed_gateway: Gateway) -> None:
    arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude"
    path = f"/model/{arn.replace('/', '%2F')}/converse"
    answer = closed_gateway.envoy.request("POST", path, [SAM, JSON], b'{"messages": []}')
    line = closed_gateway.envoy.line()
    assert (answer.status, line["path"]) == (403, path)
    assert (line["reason"], line["models"]) == ("MODEL_NOT_IN_TEAM_SCOPE", [arn])


@pytest.mark.parametrize(
    "pieces", [[b""], [b"{}"], [chat_body(ALLOWED)], [chat_body(ALLOWED)[:9], chat_body(ALLOWED)[9:]]]
)
def test_a_chunked_body_is_read_as_a_whole(closed_gateway: Gateway, pieces: list[bytes]) -> None:
    answer = closed_gateway.envoy.request("POST", CHAT, [SAM, JSON], [piece for piece in pieces if piece])
    whole = b"".join(pieces)
    assert answer.status == (200 if ALLOWED.encode() in whole else 403)
    assert [received.body for received in closed_gateway.upstream.take()] == ([whole] if answer.status == 200 else [])


def test_a_large_body_is_read_to_its_end(closed_gateway: Gateway) -> None:
    padding = "x" * 200_000
    for model, status in ((ALLOWED, 200), (NOT_MEMBER, 403)):
        body = json.dumps({"padding": padding, "model": model}).encode()
        assert closed_gateway.envoy.request("POST", CHAT, [SAM, JSON], body).status == status
    assert len(closed_gateway.passed().body) > len(padding)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_beyond_the_limit_is_413(closed_gateway: Gateway, chunked: bool) -> None:
    body = chat_body(ALLOWED) + b" " * 16 * 1024 * 1024
    answer = closed_gateway.envoy.request("POST", CHAT, [SAM, JSON], [body] if chunked else body)
    assert answer.status == 413
    assert closed_gateway.nothing_passed()


def websocket(path: str, **more: Any) -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    return request_bytes(more.get("method", "GET"), path, [SAM, *UPGRADE, ("sec-websocket-key", key)], more.get("body"))


def test_a_websocket_whose_model_is_allowed(closed_gateway: Gateway) -> None:
    with closing(closed_gateway.envoy.connect()) as connection:
        connection.sendall(websocket(f"/v1/realtime?model={ALLOWED}"))
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        assert head.startswith(b"HTTP/1.1 101 ")
        connection.sendall(b"a frame\0\xff")
        assert connection.recv(100) == b"a frame\0\xff"
    received = closed_gateway.passed()
    assert received.path == f"/v1/realtime?model={ALLOWED}"
    assert policy_headers(received)["x-policy-model"] == ALLOWED


@pytest.mark.parametrize(
    "request_",
    [
        websocket(f"/v1/realtime?model={NOT_MEMBER}"),
        websocket("/v1/realtime"),
        websocket(f"/v1/responses?model={ALLOWED}"),
        websocket("/v1/models"),
        websocket(CHAT, method="POST", body=chat_body(ALLOWED)),
        websocket(f"/v1/realtime?model={ALLOWED}", method="POST", body=chat_body(NOT_TEAM)),
    ],
)
def test_any_other_websocket_is_refused(closed_gateway: Gateway, request_: bytes) -> None:
    with closing(closed_gateway.envoy.connect()) as connection:
        assert exchange(connection, request_).status == 403
    assert closed_gateway.nothing_passed()


def test_raw_headers_are_read_too(acme_service: Service) -> None:
    def raw(configuration: Any) -> None:
        ext_authz(configuration)["encode_raw_headers"] = True

    with gateway("envoy.yaml", acme_service.target, raw) as started:
        assert started.chat(ALLOWED, *SPOOFED).status == 200
        assert policy_headers(started.passed())["x-policy-team"] == "support"
        assert code(started.chat(NOT_MEMBER)) == MEMBER_CODE
        assert code(started.chat(NOT_TEAM, *SPOOFED)) == TEAM_CODE
        headers = [SAM, JSON, ("content-type", "text/plain")]
        assert started.envoy.request("POST", CHAT, headers, chat_body(ALLOWED)).status == 403
        assert started.nothing_passed()


def status_over_http2(started: Gateway, path: bytes) -> int:
    """What becomes of sam's GET over HTTP/2, where nobody checks the path before it is sent."""
    pseudo = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", path), (b":authority", b"gateway")]
    headers = [(name.encode(), value.encode()) for name, value in (SAM, started.envoy.tag())]
    block = b"".join(b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in pseudo + headers)
    settings, end_of_stream_and_headers = b"\0\0\0\4\0\0\0\0\0", 0x5
    with closing(started.envoy.connect()) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        connection.sendall(len(block).to_bytes(3) + bytes([1, end_of_stream_and_headers, 0, 0, 0, 1]) + block)
        return int(started.envoy.line()["status"])


def test_bytes_that_the_service_would_not_see_do_not_pass(closed_gateway: Gateway) -> None:
    """HTTP/2 carries them; the service is shown a `!` in their place."""
    assert status_over_http2(closed_gateway, b"/v1/models") == 200
    closed_gateway.passed()
    assert status_over_http2(closed_gateway, b"/v1/models?\xff") == 400
    assert status_over_http2(closed_gateway, b"/v1/realtime?model=gpt-4o-mini&mod\xffel=o1-pro") in (400, 403)
    assert closed_gateway.nothing_passed()
