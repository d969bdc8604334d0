"""When the service gives no decision: what the HTTP client sees, where Envoy fails closed and where it fails open."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
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
    acme,
    chat_body,
    cluster,
    code,
    ext_authz,
    filter_of,
    gateway,
    policy_headers,
    running_service,
)
from tests.support.envoy import CLIENTS, Answer

CLOSED, OPEN = "envoy.yaml", "envoy-fail-open.yaml"
FAILED_OPEN = "x-envoy-auth-failure-mode-allowed"
SPOOFED = [
    ("x-policy-team", "ml-research"),
    ("x-policy-user", "bob@acme.example"),
    ("X-Policy-Client", "ml-research/bob@acme.example"),
    ("x-policy-anything", "else"),
    (FAILED_OPEN, "false"),
]
Failure = Callable[[], AbstractContextManager[str]]


@contextmanager
def down() -> Iterator[str]:
    """Nobody listens there: the port is taken, and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def hanging() -> Iterator[str]:
    """Connections are accepted, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def frozen() -> Iterator[str]:
    """The service, stopped in the middle of things."""
    with acme() as service:
        service.freeze()
        yield service.target


@contextmanager
def not_synced() -> Iterator[str]:
    """A replica that never had a policy."""
    settings = f"--ext-authz-config={CLIENTS / 'ext-authz.yaml'}"
    with down() as authority, running_service("--role=replica", f"--follow=grpc://{authority}", settings) as service:
        yield service.target


FAILURES: dict[str, Failure] = {"down": down, "hanging": hanging, "frozen": frozen, "not synced": not_synced}
ANSWERING = ("down", "not synced")


@pytest.fixture(scope="module", params=FAILURES)
def failing(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """What is wrong with the service, and where it is."""
    with FAILURES[request.param]() as target:
        yield request.param, target


@pytest.fixture(scope="module")
def closed(failing: tuple[str, str]) -> Iterator[Gateway]:
    with gateway(CLOSED, failing[1], waits=failing[0] in ANSWERING) as started:
        yield started


@pytest.fixture(scope="module")
def opened(failing: tuple[str, str]) -> Iterator[Gateway]:
    with gateway(OPEN, failing[1], waits=failing[0] in ANSWERING) as started:
        yield started


def is_no_decision(answer: Answer, *, from_the_service: bool) -> bool:
    """The answer of a gateway that fails closed: Envoy's own has no body, the service's is an error of the API."""
    assert answer.status == 503, answer
    if not from_the_service:
        return answer.body == b""
    assert answer.values("retry-after") == ["1"]
    assert code(answer) == "service_unavailable"
    return True


@pytest.mark.parametrize("model", [ALLOWED, NOT_TEAM])
def test_failing_closed(failing: tuple[str, str], closed: Gateway, model: str) -> None:
    assert is_no_decision(closed.chat(model), from_the_service=failing[0] == "not synced")
    assert closed.nothing_passed()
    assert closed.envoy.line()["details"] == "ext_authz_error"


@pytest.mark.parametrize("model", [ALLOWED, NOT_TEAM])
def test_failing_open(opened: Gateway, model: str) -> None:
    assert opened.chat(model, *SPOOFED).status == 200
    received = opened.passed()
    assert received.body == chat_body(model)
    assert policy_headers(received) == {}
    assert received.values(FAILED_OPEN) == ["true"]
    assert received.values("authorization") == []
    line = opened.envoy.line()
    assert (line["details"], line["allowed"]) == ("via_upstream", False if line["reason"] else None)


@pytest.mark.parametrize("name", [CLOSED, OPEN])
def test_without_a_key_nobody_passes_and_the_health_route_answers(closed: Gateway, opened: Gateway, name: str) -> None:
    started = closed if name == CLOSED else opened
    assert started.chat(ALLOWED, *SPOOFED, key=None).status == 401
    assert started.envoy.request("GET", "/healthz").status == 200
    assert started.nothing_passed()


def test_where_there_is_a_decision_failing_open_changes_nothing(open_gateway: Gateway) -> None:
    assert open_gateway.chat(ALLOWED, *SPOOFED).status == 200
    received = open_gateway.passed()
    assert policy_headers(received)["x-policy-team"] == "support"
    assert received.values(FAILED_OPEN) == []
    assert code(open_gateway.chat(NOT_MEMBER)) == MEMBER_CODE
    assert code(open_gateway.chat(NOT_TEAM, *SPOOFED)) == TEAM_CODE
    assert open_gateway.envoy.request("POST", "/unknown", [SAM, JSON], chat_body(ALLOWED)).status == 403
    assert open_gateway.nothing_passed()


def test_a_body_beyond_the_limit_is_413_where_envoy_fails_open(open_gateway: Gateway) -> None:
    body = chat_body(NOT_TEAM) + b" " * 1024 * 1024
    for sent in (body, [body]):
        assert open_gateway.envoy.request("POST", CHAT, [SAM, JSON], sent).status == 413
    assert open_gateway.nothing_passed()


def test_the_service_comes_back() -> None:
    def soon(configuration: Any) -> None:
        ext_authz(configuration)["grpc_service"]["timeout"] = "5s"

    with acme() as service, gateway(CLOSED, service.target, soon) as started:
        service.freeze()
        assert started.chat(ALLOWED).status == 503
        service.thaw()
        assert started.chat(ALLOWED).status == 200
        assert started.chat(NOT_MEMBER).status == 403
        service.kill()
        assert started.chat(ALLOWED).status == 503


# Overloaded


def one_check_at_once(configuration: Any) -> None:
    cluster(configuration, "policy_service")["circuit_breakers"]["thresholds"][0]["max_requests"] = 1


@pytest.mark.parametrize("name", [CLOSED, OPEN])
def test_more_checks_than_the_circuit_breaker_lets_wait(name: str) -> None:
    with acme() as service, gateway(name, service.target, one_check_at_once) as started:
        assert started.chat(ALLOWED).status == 200
        started.passed()
        service.freeze()
        waiting: list[Answer] = []
        first = threading.Thread(target=lambda: waiting.append(started.chat(NOT_MEMBER)))
        first.start()
        started.envoy.wait_for("cluster.policy_service.upstream_rq_active", 1)
        answer = started.chat(NOT_MEMBER, *SPOOFED)
        if name == CLOSED:
            assert is_no_decision(answer, from_the_service=False)
            assert started.nothing_passed()
        else:
            assert answer.status == 200
            assert policy_headers(started.passed()) == {}
        service.thaw()
        first.join()
        assert [code(answer) for answer in waiting] == [MEMBER_CODE]


LARGE = b'{"messages": [%b], "model": "o1-pro"}' % ",".join(['{"a":{}}'] * 70_000).encode()  # takes a while to read
SUPPORT = ("callum.reid", "dina.haddad", "emeka.obi", "freja.lund", "giulia.ricci", "hugo.martin")


def with_keys(configuration: Any) -> None:
    """More of the team have keys."""
    credentials = filter_of(configuration, "envoy.filters.http.api_key_auth")["credentials"]
    credentials += [{"key": f"key-of-{user}", "client": f"support/{user}@acme.example"} for user in SUPPORT]


def at_once(name: str, keys: Sequence[str], count: int) -> list[Answer]:
    """The answers to so many large requests, all of which are there before the first is looked at."""

    def ask(started: Gateway, number: int) -> Answer:
        key = ("authorization", f"Bearer {keys[number % len(keys)]}")
        return started.envoy.request("POST", CHAT, [key, JSON], LARGE)

    with (
        acme() as service,
        gateway(name, service.target, with_keys) as started,
        ThreadPoolExecutor(count) as pool,
    ):
        service.freeze()
        asked = [pool.submit(ask, started, number) for number in range(count)]
        started.envoy.wait_for("cluster.policy_service.upstream_rq_active", count)
        service.thaw()
        return [future.result() for future in asked]


@pytest.mark.parametrize("name", [CLOSED, OPEN])
def test_one_caller_with_many_large_bodies_is_denied(name: str) -> None:
    """Also where Envoy fails open: nobody gets through by being too much."""
    answers = at_once(name, ["example-key-of-sam"], 20)
    assert {answer.status for answer in answers} == {403, 429}
    assert {code(answer) for answer in answers} == {TEAM_CODE, "too_many_large_bodies"}


@pytest.mark.parametrize("name", [CLOSED, OPEN])
def test_more_large_bodies_than_the_service_reads_at_once(name: str) -> None:
    answers = at_once(name, [f"key-of-{user}" for user in SUPPORT], 4 * len(SUPPORT))
    rest = [answer for answer in answers if answer.status not in (403, 429)]
    assert rest
    if name == CLOSED:
        assert all(is_no_decision(answer, from_the_service=True) for answer in rest)
    else:
        assert {answer.status for answer in rest} == {200}


# A limit of Envoy's above the service's


@pytest.fixture(scope="module")
def modest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that takes bodies of 1,000 bytes."""
    settings = tmp_path_factory.mktemp("modest") / "ext-authz.yaml"
    settings.write_text((CLIENTS / "ext-authz.yaml").read_text() + "max_body_bytes: 1000\n")
    with acme(settings) as service:
        yield service.target


@pytest.mark.parametrize("name", [CLOSED, OPEN])
def test_a_body_that_envoy_takes_and_the_service_does_not(modest: str, name: str) -> None:
    """What the service does not even receive is an error: it passes where Envoy fails open."""

    def more(configuration: Any) -> None:
        ext_authz(configuration)["with_request_body"]["max_request_bytes"] = 64 * 1024 * 1024

    with gateway(name, modest, more) as started:
        refused = started.envoy.request("POST", CHAT, [SAM, JSON], chat_body(ALLOWED) + b" " * 1_000)
        assert (refused.status, code(refused)) == (403, "body_too_large")
        unseen = chat_body(NOT_TEAM) + b" " * 32 * 1024 * 1024
        answer = started.envoy.request("POST", CHAT, [SAM, JSON], unseen)
        assert answer.status == (503 if name == CLOSED else 200)
        assert started.nothing_passed() == (name == CLOSED)
