"""Random requests: whatever they are, the answer is well formed, and allows only what a strict second reading allows.

EXT_AUTHZ_EXAMPLES is the number of requests for each test.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from policy_service.domain.source import Reading
from policy_service.envoy_v3.external_auth_pb2 import CheckRequest, CheckResponse
from policy_service.errors import Unavailable
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import read_settings
from policy_service.services.caller import Caller
from tests.domain.reference import Reference
from tests.domain.worlds import build
from tests.ext_authz.drafts import Draft, render, right
from tests.ext_authz.strict import Setup, Verdict, judge
from tests.ext_authz.well_formed import check_allowed, check_secrets, kind_of
from tests.ext_authz.wild import noise, wild
from tests.ext_authz.world import CONFIGURATIONS, RECORDS, default_table

EXAMPLES = int(os.environ.get("EXT_AUTHZ_EXAMPLES", "400"))
many = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=False, suppress_health_check=list(HealthCheck)
)
some = settings(many, max_examples=max(100, EXAMPLES // 4))
CALLER = Caller("local", lambda: "test", lambda: None)
POLICY = Reference(RECORDS)
STATE = build(RECORDS)
SETUPS = {name: Setup.read(text, default_table()) for name, text in CONFIGURATIONS.items()}

Result = TypeVar("Result")


class Source:
    """The policy, or its absence."""

    def __init__(self, synced: bool = True) -> None:
        self.synced = synced

    def read(self) -> Reading:
        if not self.synced:
            raise Unavailable("not synced", "wait")
        return Reading(STATE, False)


def services(synced: bool = True) -> dict[str, AuthorizationService]:
    """A service for each configuration."""
    source = Source(synced)
    return {name: AuthorizationService(source, read_settings(text, name)) for name, text in CONFIGURATIONS.items()}


SERVICES = services()
UNSYNCED = services(synced=False)


def finished(call: Coroutine[Any, Any, Result]) -> Result:
    """The result of a call that never waits."""
    try:
        call.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


def ask(source: str, request: CheckRequest) -> tuple[str, Verdict]:
    """The kind of the service's answer, and the strict reading's. Fails when the one is looser than the other."""
    answer: CheckResponse = finished(SERVICES[source].Check(request, CALLER))
    kind, verdict = kind_of(answer), judge(request, SETUPS[source], POLICY)
    assert kind != "error"
    check_secrets(answer, request)
    if kind == "allow":
        assert verdict.may_pass, verdict.why
        check_allowed(answer, request, verdict, STATE.revision)
    return kind, verdict


def test_nothing_passes_that_a_strict_reading_refuses() -> None:
    seen: Counter[tuple[str, bool]] = Counter()

    @many
    @given(wild(SETUPS))
    def check(draft: Draft) -> None:
        kind, verdict = ask(draft.source, render(draft))
        seen[kind, verdict.may_pass] += 1
        event(f"{kind}, strictly read {'allow' if verdict.may_pass else 'deny'}")

    check()
    # Both outcomes are a fair share, and the service is hardly ever stricter than the strict reading.
    assert seen["allow", True] > 0.15 * seen.total()
    assert seen["deny", False] > 0.15 * seen.total()
    assert seen["deny", True] < 0.05 * seen.total()


def test_right_requests_pass() -> None:
    @some
    @given(right(SETUPS))
    def check(draft: Draft) -> None:
        denied = draft.route.get("access") == "denied"
        kind, verdict = ask(draft.source, render(draft))
        assert verdict.may_pass != denied, verdict.why
        assert kind == ("deny" if denied else "allow")

    check()


@some
@given(st.sampled_from(tuple(SETUPS)), noise())
def test_noise(source: str, request: CheckRequest) -> None:
    ask(source, request)


@some
@given(wild(SETUPS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=3))
def test_damaged_messages(draft: Draft, changes: list[tuple[int, int]]) -> None:
    """Bytes changed in what Envoy sends. One that does not decode never gets here."""
    encoded = bytearray(render(draft).SerializeToString())
    for at, byte in changes:
        encoded[at % len(encoded)] = byte
    try:
        request = CheckRequest.FromString(bytes(encoded))
    except DecodeError:
        return
    ask(draft.source, request)


@some
@given(wild(SETUPS))
def test_nothing_is_decided_without_a_policy(draft: Draft) -> None:
    request = render(draft)
    answer: CheckResponse = finished(UNSYNCED[draft.source].Check(request, CALLER))
    kind, verdict = kind_of(answer), judge(request, SETUPS[draft.source], POLICY)
    if kind == "allow":
        assert verdict.may_pass, verdict.why
        assert verdict.asked is not None
        assert verdict.asked.route["access"] == "allowed"
