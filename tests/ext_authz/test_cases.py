"""The table of requests (cases.py), asked in the service's own process: what is found in each, all of which counts."""

from __future__ import annotations

import json

import pytest

from policy_service.domain.records import Mode, ModelScope, Record, Team, UnlistedUsers
from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.refusal import Code
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import read_settings
from tests.domain.worlds import build
from tests.ext_authz.asking import CALLER, Fixed, check_request, denied, facts, set_headers
from tests.ext_authz.cases import PROVIDER_CASES, STORED_MODELS, TRICK_CASES, Case

CONFIGURATION = f"identity: {{headers: {{team: x-team}}}}\nstored_models: {json.dumps(STORED_MODELS)}\n"
SETTINGS = read_settings(CONFIGURATION, "x.yaml")
ANYTHING = "anything"
READABLE = [case for case in (*PROVIDER_CASES, *TRICK_CASES) if not case.refusal]
REFUSED = [case for case in (*PROVIDER_CASES, *TRICK_CASES) if case.refusal]
# Codes of what is no property of a request alone; each has its own test in test_service.py, test_served.py, ...
ELSEWHERE = {
    *("no_identity", "malformed_identity", "not_configured", "alias_not_rewritten", "internal"),
    "too_many_large_bodies",
    *("body_truncated", "body_too_large", "malformed_header"),
}


def name(case: Case) -> str:
    return case.id


def team(*models: str) -> tuple[Record, ...]:
    """A team with these models, whose every user may use them."""
    scope = ModelScope(Mode.ONLY, models) if models else ModelScope(Mode.NONE)
    return (Team(id=ANYTHING, models=scope, unlisted_users=UnlistedUsers.TEAM_SCOPE),)


async def ask(case: Case, records: tuple[Record, ...]) -> pb.CheckResponse:
    authorization = AuthorizationService(Fixed(build(records)), SETTINGS)
    headers = (*case.headers, ("x-team", ANYTHING))
    return await authorization.Check(check_request(case.method, case.path, headers, case.body), CALLER)


@pytest.mark.parametrize("case", READABLE, ids=name)
async def test_it_passes_when_all_that_it_asks_for_is_allowed(case: Case) -> None:
    answer = await ask(case, team(*case.models))
    assert answer.status.code == 0, answer.denied_response.body
    assert facts(answer)["route"] == case.route
    assert set(facts(answer).get("models", ())) == set(case.models)
    assert set_headers(answer).get("x-policy-model", case.models[:1]) in (*case.models, case.models[:1])


@pytest.mark.parametrize("case", [case for case in READABLE if case.models], ids=name)
async def test_it_is_denied_when_one_of_them_is_not(case: Case) -> None:
    for missing in case.models:
        answer = await ask(case, team(*(model for model in case.models if model != missing)))
        assert missing in json.dumps(denied(answer), ensure_ascii=False)
        assert facts(answer)["reason"] == "MODEL_NOT_IN_TEAM_SCOPE"


@pytest.mark.parametrize("case", REFUSED, ids=name)
async def test_a_trick_is_refused_whatever_is_allowed(case: Case) -> None:
    everything = Team(id=ANYTHING, models=ModelScope(Mode.ALL), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    answer = await ask(case, (everything,))
    assert answer.denied_response.status.code == 403
    assert facts(answer)["reason"] == case.refusal
    assert facts(answer).get("route", "") == case.route
    assert json.loads(answer.denied_response.body)


def test_every_code_has_a_case() -> None:
    assert {case.refusal for case in REFUSED} | ELSEWHERE >= set(Code)


def test_ids_are_unique() -> None:
    ids = [case.id for case in (*PROVIDER_CASES, *TRICK_CASES)]
    assert len(ids) == len(set(ids))


async def test_every_route_is_reached_by_a_case() -> None:
    """Every method and path of the default table."""
    reached = {case.route for case in PROVIDER_CASES}
    assert {route.name for route in SETTINGS.table.routes} == reached
