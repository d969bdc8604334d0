"""ListAccessibleModels says what CheckModelAccess does; an explanation's suggestions do what they say."""

from __future__ import annotations

import json
from random import Random

import pytest
from google.protobuf.json_format import Parse

from policy_service.v1 import admin_pb2
from policy_service.v1.access_pb2 import (
    BatchCheckModelAccessRequest,
    ExplainModelAccessRequest,
    ExplainStep,
    ListAccessibleModelsRequest,
    Reason,
)
from policy_service.v1.admin_pb2 import CreateTeamRequest, SetAccessGroupRequest, UpdateTeamRequest, UpsertModelsRequest
from policy_service.v1.resources_pb2 import ModelScope, Team, UnlistedUsers
from tests.support.messages import INHERIT, NONE, check, group, member, model, only, team
from tests.support.paging import accessible
from tests.support.rpc import Rpc
from tests.support.worlds import NAMES, TEAMS, USERS, random_world


async def allowed(rpc: Rpc, team: str, user: str, names: list[str]) -> list[str]:
    """Those of the names that a check allows."""
    if not names:
        return []
    checks = [check(team, user, name) for name in names]
    answer = await rpc.access.BatchCheckModelAccess(BatchCheckModelAccessRequest(checks=checks))
    assert {result.WhichOneof("result") for result in answer.results} == {"decision"}
    return [name for name, result in zip(names, answer.results, strict=True) if result.decision.allowed]


@pytest.mark.parametrize("seed", range(8))
async def test_a_list_is_what_checks_allow(rpc: Rpc, seed: int) -> None:
    """Every known name that is allowed, no other, sorted, page by page, for every user of every team."""
    world = random_world(Random(seed))
    await world.build(rpc)
    for team_name in (*TEAMS, "ghost"):
        for user in USERS:
            listed = await accessible(team_name, user).all(rpc, 2)
            known = sorted(world.known_names(team_name, user))
            assert listed == await allowed(rpc, team_name, user, known)
            assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("seed", range(3))
async def test_suggestions_allow_what_was_denied(rpc: Rpc, seed: int) -> None:
    """Each is a request as grpcurl takes it; all of them together allow the check."""
    chance = Random(seed)
    await random_world(chance).build(rpc)
    denied = 0
    for _ in range(25):
        asked = chance.choice((*TEAMS, "ghost")), chance.choice(USERS), chance.choice((*NAMES, "fast", "zz", "g"))
        question = ExplainModelAccessRequest(team=asked[0], user=asked[1], model=asked[2])
        explained = await rpc.access.ExplainModelAccess(question)
        assert explained.decision == await rpc.access.CheckModelAccess(check(*asked))
        assert set(explained.nearest_models) <= set(await accessible(asked[0], asked[1]).all(rpc))
        if explained.decision.allowed:
            assert not explained.suggested_changes
            assert not explained.nearest_models
        for change in explained.suggested_changes:
            request = getattr(admin_pb2, f"{change.rpc}Request")()
            await rpc.call(change.rpc, Parse(change.request_json, request))
        if explained.suggested_changes:
            denied += 1
            assert (await rpc.access.CheckModelAccess(check(*asked))).allowed, asked
    assert denied > 3


async def patterns(rpc: Rpc, user: str) -> tuple[list[str], list[str], str]:
    """Of the first page; a later page repeats none."""
    request = ListAccessibleModelsRequest(team="t", user=user, page_size=1)
    first = await rpc.access.ListAccessibleModels(request)
    if first.next_page_token:
        request.page_token = first.next_page_token
        later = await rpc.access.ListAccessibleModels(request)
        assert not later.team_patterns
        assert not later.member_patterns
        assert (later.reason, later.revision) == (first.reason, first.revision)
    return list(first.team_patterns), list(first.member_patterns), Reason.Name(first.reason)


async def test_the_first_page_has_the_patterns(rpc: Rpc) -> None:
    models = [model("a1"), model("a2"), model("b1")]
    await rpc.admin.UpsertModels(UpsertModelsRequest(models=models))
    await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group("g", "z*", "a*", "plain")))
    made = team("t", only("b*", "g", "a1"), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    members = [
        member("", "inherits", allowed_models=INHERIT),
        member("", "lists", allowed_models=only("g", "*1")),
        member("", "none", allowed_models=NONE),
        member("", "blocked", blocked=True),
    ]
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made, members=members))
    of_team = ["a*", "b*", "z*"]
    assert await patterns(rpc, "inherits") == (of_team, [], "ALLOWED_BY_TEAM_SCOPE")
    assert await patterns(rpc, "stranger") == (of_team, [], "ALLOWED_BY_TEAM_SCOPE")
    assert await patterns(rpc, "") == (of_team, [], "ALLOWED_BY_TEAM_SCOPE")
    assert await patterns(rpc, "lists") == (of_team, ["*1", "a*", "z*"], "ALLOWED_BY_MEMBER_SCOPE")
    assert await patterns(rpc, "none") == (of_team, [], "MODEL_NOT_IN_MEMBER_SCOPE")
    assert await patterns(rpc, "blocked") == ([], [], "MEMBER_BLOCKED")
    everything = Team(id="t", models=ModelScope(mode=ModelScope.ALL), unlisted_users=UnlistedUsers.DENY)
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=everything))
    assert await patterns(rpc, "inherits") == (["*"], [], "ALLOWED_BY_TEAM_SCOPE")
    assert await patterns(rpc, "stranger") == ([], [], "NOT_A_MEMBER")
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", models=NONE)))
    assert await patterns(rpc, "lists") == ([], ["*1", "a*", "z*"], "MODEL_NOT_IN_TEAM_SCOPE")
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", blocked=True)))
    assert await patterns(rpc, "lists") == ([], [], "TEAM_BLOCKED")


async def test_a_list_of_an_unknown_team_is_empty_and_says_why(rpc: Rpc) -> None:
    answer = await rpc.access.ListAccessibleModels(ListAccessibleModelsRequest(team="ghost"))
    assert (answer.reason, list(answer.models), answer.next_page_token) == (Reason.TEAM_NOT_FOUND, [], "")
    assert answer.revision == await rpc.head()


async def test_a_long_list_of_denied_names_ends(rpc: Rpc) -> None:
    """A page looks at a bounded number of names; it may be empty and still have a next one."""
    names = [f"m{number:05d}" for number in range(10_500)]
    for at in range(0, len(names), 1_000):
        await rpc.admin.UpsertModels(UpsertModelsRequest(models=[model(name) for name in names[at : at + 1_000]]))
    made = team("t", only(names[-1]), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made))
    assert await accessible("t", "").all(rpc, 1) == [names[-1]]


async def test_the_steps_of_an_explanation(world: Rpc) -> None:
    async def steps(user: str, model: str) -> list[tuple[str, str]]:
        question = ExplainModelAccessRequest(team="ml", user=user, model=model)
        found = (await world.access.ExplainModelAccess(question)).steps
        assert all(step.message for step in found)
        return [(ExplainStep.Layer.Name(step.layer), ExplainStep.Outcome.Name(step.outcome)) for step in found]

    known = ("TEAM", "PASSED")
    assert await steps("eve", "gpt-4") == [known, ("MEMBERSHIP", "DENIED")]
    inside = [known, ("MEMBERSHIP", "PASSED")]
    assert await steps("ann", "o1-pro") == [*inside, ("TEAM_SCOPE", "NOT_GRANTED")]
    granted = ("TEAM_SCOPE", "GRANTED")
    assert await steps("bob", "fast") == [*inside, ("ALIAS", "PASSED"), granted, ("MEMBER_SCOPE", "NOT_GRANTED")]
    assert await steps("bob", "gpt-4") == [*inside, granted, ("MEMBER_SCOPE", "GRANTED")]
    question = ExplainModelAccessRequest(team="ml", user="ann", model="fast")
    explained = await world.access.ExplainModelAccess(question)
    assert (explained.steps[2].alias, explained.steps[3].group) == ("fast", "cheap")


async def test_a_deny_explained(world: Rpc) -> None:
    question = ExplainModelAccessRequest(team="ml", user="ann", model="gpt-4")
    explained = await world.access.ExplainModelAccess(question)
    assert explained.decision.reason == Reason.MODEL_NOT_IN_MEMBER_SCOPE
    (change,) = explained.suggested_changes
    assert change.rpc == "UpdateMember"
    assert json.loads(change.request_json)["member"]["allowed_models"]["models"] == ["gpt-4o-mini", "gpt-4"]
    assert "gpt-4o-mini" in explained.nearest_models
    outsider = await world.access.ExplainModelAccess(ExplainModelAccessRequest(team="ml", user="eve", model="gpt-4"))
    assert [change.rpc for change in outsider.suggested_changes] == ["AddMember"]
    assert not outsider.nearest_models
