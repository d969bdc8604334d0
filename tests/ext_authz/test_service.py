"""What becomes of a request, in the service's own process: headers, metadata, words, and what comes of failures."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from policy_service.domain.records import Member, MemberLimits, Mode, ModelScope, Team, UnlistedUsers
from policy_service.domain.source import Reading
from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.errors import Unavailable
from policy_service.ext_authz import service as module
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import Settings, read_settings
from tests.domain.worlds import build
from tests.ext_authz.asking import CALLER, Fixed, chat, check_request, denied, facts, no_answer, service, set_headers

CONFIGURATION = """
identity: {headers: {team: x-team, user: x-user}}
stored_models: {pmpt_fast: fast}
routes:
- {name: obeying, path: /obeying, body: json, required: [model], optional: ["fallbacks[]"], obeys_policy_model: true}
- {name: open, methods: [GET], path: /open, access: allowed}
- {name: closed, path: /closed, access: denied, because: ask elsewhere}
- {name: team, methods: [GET], path: /team, access: team}
- {name: anthropic, path: /anthropic, api: anthropic, body: json, required: [model]}
- {name: gemini, path: /gemini, api: gemini, body: json, required: [model]}
- {name: bedrock, path: /bedrock, api: bedrock, body: json, required: [model]}
- {name: cohere, path: /cohere, api: cohere, body: json, required: [model]}
"""
RECORDS = (
    Team(id="ml", models=ModelScope(Mode.ONLY, ("gpt-4o", "gpt-5")), model_aliases={"fast": "gpt-4o"}),
    Member(
        team="ml",
        user="ann",
        allowed_models=ModelScope(Mode.ONLY, ("gpt-4o",)),
        limits=MemberLimits(rpm_limit=5, budget_duration="30d"),
    ),
    Member(team="ml", user="bob", blocked=True),
    Team(id="closed", models=ModelScope(Mode.ALL), blocked=True),
    Team(id="jobs", models=ModelScope(Mode.ALL), unlisted_users=UnlistedUsers.TEAM_SCOPE),
    Team(id="secret", models=ModelScope(Mode.ONLY, ("secret-model",))),
)
ANN = (("x-team", "ml"), ("x-user", "ann"))


@pytest.fixture(scope="module")
def authorization() -> AuthorizationService:
    return service(RECORDS, CONFIGURATION)


async def ask(authorization: AuthorizationService, request: pb.CheckRequest) -> pb.CheckResponse:
    return await authorization.Check(request, CALLER)


def as_user(team: str, user: str) -> tuple[tuple[str, str], ...]:
    return (("x-team", team), ("x-user", user))


async def test_allowed(authorization: AuthorizationService) -> None:
    spoofed = (("x-policy-team", "secret"), ("X-Policy-Admin", "yes"), ("x-policy-user", "root"))
    answer = await ask(authorization, chat({"model": "gpt-4o"}, *ANN, *spoofed))
    assert answer.status.code == 0
    assert set_headers(answer) == {
        "x-policy-team": "ml",
        "x-policy-user": "ann",
        "x-policy-model": "gpt-4o",
        "x-policy-revision": "epoch.0",
    }
    assert {one.append_action for one in answer.ok_response.headers} == {
        pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    }
    assert list(answer.ok_response.headers_to_remove) == ["x-policy-admin"]
    assert facts(answer) == {
        "allowed": True,
        "reason": "ALLOWED_BY_MEMBER_SCOPE",
        "route": "openai.chat.completions",
        "team": "ml",
        "user": "ann",
        "models": ["gpt-4o"],
        "revision": "epoch.0",
        "stale": False,
        "limits": {"rpm_limit": 5.0, "budget_duration": "30d"},
    }


async def test_a_stale_policy_is_marked() -> None:
    authorization = AuthorizationService(Fixed(build(RECORDS), stale=True), read_settings(CONFIGURATION, "x.yaml"))
    assert facts(await ask(authorization, chat({"model": "gpt-4o"}, *ANN)))["stale"] is True


# who asks for what -> the code and the sentence
DECISIONS = {
    ("ml", "ann", "gpt-5"): (
        "member_model_access_denied",
        "In team 'ml' you may not use model 'gpt-5'. Use another model, or ask the team's administrator to allow it "
        "to you.",
    ),
    ("ml", "ann", "o1"): (
        "team_model_access_denied",
        "Team 'ml' may not use model 'o1'. Use another model, or ask an administrator of the gateway to allow it to "
        "the team.",
    ),
    ("ml", "eve", "gpt-4o"): (
        "membership_denied",
        "You are not a member of team 'ml'. Ask its administrator to add you.",
    ),
    ("none", "eve", "gpt-4o"): (
        "membership_denied",
        "You are not a member of team 'none'. Ask its administrator to add you.",
    ),
    ("ml", "bob", "gpt-4o"): ("member_blocked", "Your membership of team 'ml' is blocked. Ask its administrator."),
    ("closed", "eve", "gpt-4o"): ("team_blocked", "Team 'closed' is blocked. Ask an administrator of the gateway."),
}


@pytest.mark.parametrize("asked", DECISIONS)
async def test_denied(authorization: AuthorizationService, asked: tuple[str, str, str]) -> None:
    team, user, model = asked
    code, message = DECISIONS[asked]
    answer = await ask(authorization, chat({"model": model}, *as_user(team, user)))
    assert denied(answer) == {
        "error": {"message": message, "type": code, "param": "model" if "model" in code else None, "code": code}
    }
    assert (answer.status.code, answer.denied_response.status.code) == (7, 403)
    assert facts(answer)["allowed"] is False


async def test_each_api_has_its_own_errors(authorization: AuthorizationService) -> None:
    words = DECISIONS["ml", "ann", "o1"][1]
    bodies = {
        "/anthropic": {"type": "error", "error": {"type": "permission_error", "message": words}},
        "/gemini": {"error": {"code": 403, "message": words, "status": "PERMISSION_DENIED"}},
        "/bedrock": {"message": words},
        "/cohere": {"message": words},
    }
    for path, body in bodies.items():
        request = check_request(
            path=path, headers=(*ANN, ("content-type", "application/json")), body=b'{"model": "o1"}'
        )
        answer = await ask(authorization, request)
        assert denied(answer) == body
        given = {one.header.key: one.header.value for one in answer.denied_response.headers}
        assert given.get("x-amzn-errortype") == ("AccessDeniedException" if path == "/bedrock" else None)


async def test_nobody_asks(authorization: AuthorizationService) -> None:
    answer = await ask(authorization, chat({"model": "gpt-4o"}))
    assert denied(answer)["error"]["type"] == "authentication_error"
    assert (answer.status.code, answer.denied_response.status.code) == (16, 401)


async def test_statuses_are_configurable() -> None:
    authorization = service(RECORDS, CONFIGURATION + "denied_status: 401\nno_identity_status: 407\n")
    statuses = [
        (await ask(authorization, chat({"model": "o1"}, *who))).denied_response.status.code for who in (ANN, ())
    ]
    assert statuses == [401, 407]


async def test_every_model_counts(authorization: AuthorizationService) -> None:
    body = {"model": "gpt-4o", "fallbacks": ["gpt-4o", "secret-model"]}
    answer = await ask(authorization, chat(body, *ANN))
    assert denied(answer)["error"]["code"] == "team_model_access_denied"
    assert facts(answer)["models"] == ["gpt-4o", "secret-model"]


async def test_an_alias_passes_only_where_the_upstream_obeys(authorization: AuthorizationService) -> None:
    plain = await ask(authorization, chat({"model": "fast"}, *as_user("ml", "ann")))
    assert denied(plain)["error"]["code"] == "alias_not_rewritten"
    json_header = ("content-type", "application/json")
    obeying = await ask(
        authorization, check_request(path="/obeying", headers=(*ANN, json_header), body=b'{"model": "fast"}')
    )
    assert set_headers(obeying)["x-policy-model"] == "gpt-4o"
    body = b'{"model": "gpt-4o", "fallbacks": ["fast"]}'
    fallback = await ask(authorization, check_request(path="/obeying", headers=(*ANN, json_header), body=body))
    assert denied(fallback)["error"]["code"] == "alias_not_rewritten"


async def test_a_denied_alias_does_not_say_what_it_stands_for(authorization: AuthorizationService) -> None:
    answer = await ask(authorization, chat({"model": "fast"}, *as_user("ml", "eve")))
    assert "gpt-4o" not in answer.denied_response.body


async def test_requests_without_a_model(authorization: AuthorizationService) -> None:
    """Open to all, open to a team, closed."""

    async def get(path: str, *who: tuple[str, str]) -> pb.CheckResponse:
        return await ask(authorization, check_request("GET", path, who))

    everybody = await get("/open", ("x-policy-team", "ml"))
    assert (everybody.status.code, set_headers(everybody)) == (0, {})
    assert list(everybody.ok_response.headers_to_remove) == ["x-policy-team"]
    ours = await get("/team", *ANN, ("x-policy-model", "secret-model"))
    assert set_headers(ours) == {"x-policy-team": "ml", "x-policy-user": "ann", "x-policy-revision": "epoch.0"}
    assert list(ours.ok_response.headers_to_remove) == ["x-policy-model"]
    assert facts(ours)["reason"] == "ROUTE_ALLOWED"
    codes = [denied(await get("/team", *as_user(*who)))["error"]["code"] for who in (("ml", "eve"), ("ml", "bob"))]
    assert codes == ["membership_denied", "member_blocked"]
    unlisted = await get("/team", *as_user("jobs", "anybody"))
    assert unlisted.status.code == 0
    closed = await ask(authorization, check_request("POST", "/closed", ANN))
    assert denied(closed)["error"] == {
        "message": "Ask elsewhere.",
        "type": "invalid_request_error",
        "param": None,
        "code": "route_denied",
    }


async def test_without_a_configuration_nobody_passes() -> None:
    authorization = AuthorizationService(Fixed(build(RECORDS)), Settings())
    answer = await ask(authorization, chat({"model": "gpt-4o"}, *ANN))
    assert denied(answer)["error"]["code"] == "not_configured"


class Broken:
    """A source that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def read(self) -> Reading:
        raise self._error

    async def reach(self, wanted: str, remaining_s: object) -> None:
        raise AssertionError(f"nothing here asks for a revision, but {wanted} was")


async def test_without_a_policy_there_is_no_answer() -> None:
    source = Broken(Unavailable("this replica has no policy yet"))
    authorization = AuthorizationService(source, read_settings(CONFIGURATION, "x.yaml"))
    answer = await ask(authorization, chat({"model": "gpt-4o"}, *ANN))
    assert no_answer(answer)["error"] == {
        "message": "this replica has no policy yet; try again in a moment.",
        "type": "service_unavailable",
        "param": None,
        "code": "service_unavailable",
    }
    assert facts(answer)["reason"] == "service_unavailable"


async def test_a_fault_of_ours_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    authorization = AuthorizationService(Broken(KeyError("bug")), read_settings(CONFIGURATION, "x.yaml"))
    with caplog.at_level(logging.ERROR):
        answer = await ask(authorization, chat({"model": "gpt-4o"}, *ANN))
    assert denied(answer)["error"] | {"message": ""} == {
        "message": "",
        "type": "server_error",
        "param": None,
        "code": "internal",
    }
    assert "bug" not in str(answer)
    assert "could not be judged" in caplog.text


async def test_large_bodies_are_read_one_after_the_other_and_only_so_many() -> None:
    authorization = service(RECORDS, CONFIGURATION)
    body = json.dumps({"model": "gpt-4o", "messages": ["x" * module.LARGE_BODY_BYTES]}).encode()

    def large(number: int) -> pb.CheckRequest:
        who = as_user("jobs", f"job {number}")
        return check_request(headers=(*who, ("content-type", "application/json")), body=body)

    checks = [ask(authorization, large(number)) for number in range(module.MAX_LARGE_BODIES + 3)]
    answers = await asyncio.gather(*checks)
    assert [answer.status.code for answer in answers] == [0] * module.MAX_LARGE_BODIES + [14] * 3
    assert "too many large requests" in no_answer(answers[-1])["error"]["message"]
    assert (await ask(authorization, large(1))).status.code == 0
    authorization.close()


async def test_one_caller_has_only_so_many_large_bodies_and_is_denied_more() -> None:
    """No answer would be what opens a gateway that fails open."""
    authorization = service(RECORDS, CONFIGURATION)
    request = chat({"model": "gpt-4o", "messages": ["x" * module.LARGE_BODY_BYTES]}, *ANN)
    answers = await asyncio.gather(*(ask(authorization, request) for _ in range(module.MAX_LARGE_BODIES_OF_ONE + 1)))
    assert [answer.status.code for answer in answers] == [0] * module.MAX_LARGE_BODIES_OF_ONE + [7]
    assert denied(answers[-1])["error"]["code"] == "too_many_large_bodies"
    assert answers[-1].denied_response.status.code == 429
    assert (await ask(authorization, request)).status.code == 0
    authorization.close()
