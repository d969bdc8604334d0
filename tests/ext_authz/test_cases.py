"""The table of requests (cases.py), asked of the service in its own process, of the grpcio server and of the data
plane: what is found in each request, all of which counts. All three give the same answer, to the last field."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.refusal import Code
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import read_settings
from policy_service.services.convert import team_message
from policy_service.v1.admin_pb2 import CreateTeamRequest
from tests.domain.worlds import build
from tests.ext_authz.asking import CALLER, Fixed, check_request, denied, facts, set_headers
from tests.ext_authz.cases import PROVIDER_CASES, TRICK_CASES, Case
from tests.ext_authz.organisation import CONFIGURATION, EVERYTHING, team_for, teams
from tests.support.fronts import AUTHORITY, DATA_PLANE, Fleet, all_fronts

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = read_settings(CONFIGURATION, "x.yaml")
IN_PROCESS = AuthorizationService(Fixed(build(teams())), SETTINGS)
READABLE = [case for case in (*PROVIDER_CASES, *TRICK_CASES) if not case.refusal]
REFUSED = [case for case in (*PROVIDER_CASES, *TRICK_CASES) if case.refusal]
# Codes of what is no property of a request alone; each has its own test in test_service.py, test_served.py, ...
ELSEWHERE = {
    *("no_identity", "malformed_identity", "not_configured", "alias_not_rewritten", "internal"),
    "too_many_large_bodies",
    *("body_truncated", "body_too_large", "malformed_header"),
}

Ask = Callable[[Case, str], Awaitable[pb.CheckResponse]]


def name(case: Case) -> str:
    return case.id


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """With the organisation."""
    file: Path = tmp_path_factory.mktemp("ext-authz") / "ext-authz.yaml"
    file.write_text(CONFIGURATION)
    async with all_fronts(ext_authz_config=file) as fleet:
        for team in teams():
            await fleet.authority.admin.CreateTeam(CreateTeamRequest(team=team_message(team)))
        await fleet.catch_up()
        yield fleet


def without_revision(answer: pb.CheckResponse) -> pb.CheckResponse:
    """As it stands in the facts and in a header for the upstream."""
    kept = pb.CheckResponse.FromString(answer.SerializeToString())
    if "revision" in kept.dynamic_metadata.fields:
        del kept.dynamic_metadata.fields["revision"]
    if kept.HasField("ok_response"):
        headers = [one for one in kept.ok_response.headers if one.header.key != "x-policy-revision"]
        kept.ok_response.ClearField("headers")
        kept.ok_response.headers.extend(headers)
    return kept


@pytest.fixture
def ask(fleet: Fleet) -> Ask:
    """Asks all of them, whose answers have to be the same but for the revision, which is a server's own."""

    async def asked(case: Case, team: str) -> pb.CheckResponse:
        request = check_request(case.method, case.path, (*case.headers, ("x-team", team)), case.body)
        in_process = await IN_PROCESS.Check(request, CALLER)
        served: Any = await fleet[AUTHORITY].ask(request)
        of_data_plane = await fleet[DATA_PLANE].ask(request)
        assert of_data_plane == served
        assert without_revision(served) == without_revision(in_process)
        return served

    return asked


@pytest.mark.parametrize("case", READABLE, ids=name)
async def test_it_passes_when_all_that_it_asks_for_is_allowed(ask: Ask, case: Case) -> None:
    answer = await ask(case, team_for(case.models))
    assert answer.status.code == 0, answer.denied_response.body
    assert facts(answer)["route"] == case.route
    assert set(facts(answer).get("models", ())) == set(case.models)
    assert set_headers(answer).get("x-policy-model", case.models[:1]) in (*case.models, case.models[:1])


@pytest.mark.parametrize("case", [case for case in READABLE if case.models], ids=name)
async def test_it_is_denied_when_one_of_them_is_not(ask: Ask, case: Case) -> None:
    for missing in case.models:
        answer = await ask(case, team_for(model for model in case.models if model != missing))
        assert missing in json.dumps(denied(answer), ensure_ascii=False)
        assert facts(answer)["reason"] == "MODEL_NOT_IN_TEAM_SCOPE"


@pytest.mark.parametrize("case", REFUSED, ids=name)
async def test_a_trick_is_refused_whatever_is_allowed(ask: Ask, case: Case) -> None:
    answer = await ask(case, EVERYTHING)
    assert answer.denied_response.status.code == 403
    assert facts(answer)["reason"] == case.refusal
    assert facts(answer).get("route", "") == case.route
    assert json.loads(answer.denied_response.body)


async def test_every_code_has_a_case() -> None:
    assert {case.refusal for case in REFUSED} | ELSEWHERE >= set(Code)


async def test_ids_are_unique() -> None:
    ids = [case.id for case in (*PROVIDER_CASES, *TRICK_CASES)]
    assert len(ids) == len(set(ids))


async def test_every_route_is_reached_by_a_case() -> None:
    """Every method and path of the default table."""
    reached = {case.route for case in PROVIDER_CASES}
    assert {route.name for route in SETTINGS.table.routes} == reached
