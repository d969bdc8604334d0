"""envoy-jwt.yaml with the real service: only a valid token says who asks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.envoy.stage import (
    ALLOWED,
    CHAT,
    JSON,
    MEMBER_CODE,
    NOT_MEMBER,
    NOT_TEAM,
    TEAM_CODE,
    Gateway,
    acme,
    chat_body,
    code,
    filter_of,
    gateway,
    policy_headers,
)
from tests.support.envoy import shipped

FAR = 4_102_444_800
CLAIMS: dict[str, Any] = {
    "iss": "https://login.acme.example",
    "aud": "llm-gateway",
    "exp": FAR,
    "team": "support",
    "sub": "sam@acme.example",
}
BEATRIZ = "beatriz.costa@acme.example"
ABSENT = object()


@pytest.fixture(scope="module")
def jwt_gateway() -> Iterator[Gateway]:
    with acme("ext-authz-jwt.yaml") as service, gateway("envoy-jwt.yaml", service.target) as started:
        yield started


@pytest.fixture(autouse=True)
def nothing_is_left_over(jwt_gateway: Gateway) -> None:
    jwt_gateway.upstream.take()


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def the_key() -> bytes:
    provider = filter_of(shipped("envoy-jwt.yaml"), "envoy.filters.http.jwt_authn")["providers"]["acme"]
    (key,) = json.loads(provider["local_jwks"]["inline_string"])["keys"]
    return base64.urlsafe_b64decode(key["k"] + "==")


def token(key: bytes | None = None, alg: str = "HS256", **changed: Any) -> str:
    """A token of sam's with other claims, another key or algorithm."""
    claims = {name: value for name, value in (CLAIMS | changed).items() if value is not ABSENT}
    unsigned = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": alg}, claims))
    signature = hmac.new(key or the_key(), unsigned.encode(), hashlib.sha256).digest() if alg != "none" else b""
    return f"{unsigned}.{b64(signature)}"


def bearer(text: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {text}")


def test_a_token_says_who_asks(jwt_gateway: Gateway) -> None:
    assert jwt_gateway.chat(ALLOWED, key=bearer(token())).status == 200
    received = jwt_gateway.passed()
    told = policy_headers(received)
    assert (told["x-policy-team"], told["x-policy-user"]) == ("support", "sam@acme.example")
    assert received.values("authorization") == []
    assert code(jwt_gateway.chat(NOT_MEMBER, key=bearer(token()))) == MEMBER_CODE
    assert code(jwt_gateway.chat(NOT_TEAM, key=bearer(token()))) == TEAM_CODE
    assert jwt_gateway.chat(NOT_MEMBER, key=bearer(token(sub=BEATRIZ))).status == 200
    line = jwt_gateway.envoy.line()
    assert (line["team"], line["user"], line["reason"]) == ("support", BEATRIZ, "ALLOWED_BY_TEAM_SCOPE")


BAD_TOKENS = {
    "expired": token(exp=int(time.time()) - 3_600),
    "without an end": token(exp=ABSENT),
    "not yet valid": token(nbf=FAR - 1),
    "another issuer": token(iss="https://login.evil.example"),
    "no issuer": token(iss=ABSENT),
    "another key": token(key=b"another"),
    "not signed": token(alg="none"),
    "another algorithm": token(alg="HS512"),
    "cut": token()[:-1],
    "empty": "",
    "a subject that is no text": token(sub={"id": "sam@acme.example"}),
    "no token": "example-key-of-sam",
}


@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_a_bad_token_is_401(jwt_gateway: Gateway, bad: str) -> None:
    assert jwt_gateway.chat(ALLOWED, key=bearer(BAD_TOKENS[bad])).status == 401
    assert jwt_gateway.nothing_passed()


@pytest.mark.parametrize("audience", ["payroll", ABSENT])
def test_a_token_for_somebody_else_is_403(jwt_gateway: Gateway, audience: Any) -> None:
    assert jwt_gateway.chat(ALLOWED, key=bearer(token(aud=audience))).status == 403
    assert jwt_gateway.nothing_passed()


def test_a_token_is_read_from_one_place(jwt_gateway: Gateway) -> None:
    assert jwt_gateway.chat(ALLOWED, key=None).status == 401
    elsewhere = f"{CHAT}?access_token={token()}"
    assert jwt_gateway.envoy.request("POST", elsewhere, [JSON], chat_body(ALLOWED)).status == 401
    assert (
        jwt_gateway.chat(ALLOWED, ("x-policy-team", "support"), ("cookie", f"token={token()}"), key=None).status == 401
    )
    two = [bearer(token()), bearer(token(sub=BEATRIZ)), JSON]
    assert jwt_gateway.envoy.request("POST", CHAT, two, chat_body(NOT_MEMBER)).status == 401
    assert jwt_gateway.nothing_passed()


@pytest.mark.parametrize(
    ("claims", "status", "expected"),
    [
        ({"team": ABSENT}, 401, "no_identity"),
        ({"sub": ABSENT}, 401, "no_identity"),
        ({"team": ""}, 401, "no_identity"),
        ({"team": ["support"]}, 403, "malformed_identity"),
        ({"team": 5}, 403, "malformed_identity"),
        ({"team": "ml-research"}, 403, "membership_denied"),
        ({"sub": "nobody@acme.example"}, 403, "membership_denied"),
    ],
)
def test_the_claims_have_to_name_a_member(
    jwt_gateway: Gateway, claims: dict[str, Any], status: int, expected: str
) -> None:
    spoofed = [("x-policy-team", "support"), ("x-policy-user", "sam@acme.example")]
    answer = jwt_gateway.chat(ALLOWED, *spoofed, key=bearer(token(**claims)))
    assert (answer.status, code(answer)) == (status, expected)
    assert jwt_gateway.nothing_passed()


def test_the_health_route_needs_no_token(jwt_gateway: Gateway) -> None:
    assert jwt_gateway.envoy.request("GET", "/healthz").status == 200
