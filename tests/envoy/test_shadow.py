"""envoy-shadow.yaml with the real service and both versions of Envoy: all pass, and the log says who would not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.envoy.stage import (
    ALLOWED,
    CHAT,
    JSON,
    NOT_MEMBER,
    NOT_TEAM,
    SAM,
    Gateway,
    Service,
    chat_body,
    gateway,
    policy_headers,
)
from tests.envoy.test_failures import down

SPOOFED = [("x-policy-team", "ml-research"), ("x-policy-client", "ml-research/bob@acme.example")]
COUNTERS = "http.gateway.ext_authz.shadow_"


@pytest.fixture(scope="module", params=["1.39", "1.40"])
def shadow(request: pytest.FixtureRequest, acme_service: Service) -> Iterator[Gateway]:
    with gateway("envoy-shadow.yaml", acme_service.target, version=request.param) as started:
        yield started


@pytest.mark.parametrize(
    ("model", "reason"), [(NOT_MEMBER, "MODEL_NOT_IN_MEMBER_SCOPE"), (NOT_TEAM, "MODEL_NOT_IN_TEAM_SCOPE")]
)
def test_what_would_be_denied_passes_and_is_logged(shadow: Gateway, model: str, reason: str) -> None:
    before = shadow.envoy.stat(f"{COUNTERS}denied")
    assert shadow.chat(model, *SPOOFED).status == 200
    received = shadow.passed()
    assert received.body == chat_body(model)
    assert policy_headers(received) == {}
    line = shadow.envoy.line()
    assert (line["status"], line["shadow"], line["allowed"], line["reason"]) == (200, "DENIED", False, reason)
    assert (line["team"], line["user"], line["models"]) == ("support", "sam@acme.example", [model])
    assert shadow.envoy.stat(f"{COUNTERS}denied") == before + 1


def test_what_is_allowed_passes_as_it_would(shadow: Gateway) -> None:
    assert shadow.chat(ALLOWED, *SPOOFED).status == 200
    assert policy_headers(shadow.passed())["x-policy-team"] == "support"
    line = shadow.envoy.line()
    assert (line["shadow"], line["allowed"], line["reason"]) == ("OK", True, "ALLOWED_BY_MEMBER_SCOPE")


def test_what_cannot_be_judged_passes_too(shadow: Gateway) -> None:
    assert shadow.envoy.request("POST", "/unknown", [SAM, JSON], b"{}").status == 200
    assert shadow.passed().path == "/unknown"
    line = shadow.envoy.line()
    assert (line["shadow"], line["reason"]) == ("DENIED", "unknown_route")


def test_what_is_refused_still(shadow: Gateway) -> None:
    assert shadow.chat(ALLOWED, key=None).status == 401
    assert shadow.envoy.request("POST", CHAT, [SAM, JSON], b" " * (16 * 1024 * 1024 + 1)).status == 413
    assert shadow.nothing_passed()


@pytest.mark.parametrize("version", ["1.39", "1.40"])
def test_without_a_decision_it_passes(version: str) -> None:
    with down() as target, gateway("envoy-shadow.yaml", target, version=version) as started:
        assert started.chat(NOT_TEAM, *SPOOFED).status == 200
        assert policy_headers(started.passed()) == {}
        line = started.envoy.line()
        assert (line["shadow"], line["allowed"]) == ("ERROR", None)
        assert started.envoy.stat(f"{COUNTERS}error") == 1
