"""Access groups and the catalogue: replaced whole, names that exclude each other, deletions that would widen."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import PreconditionFailure, ResourceInfo

from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    CreateTeamRequest,
    DeleteAccessGroupRequest,
    DeleteModelsRequest,
    GetAccessGroupRequest,
    ListAccessGroupsRequest,
    ListModelsRequest,
    SetAccessGroupRequest,
    UpdateTeamRequest,
    UpsertModelsRequest,
)
from policy_service.v1.resources_pb2 import ModelScope, Team, UnlistedUsers
from tests.support.messages import ALL, bare, check, group, member, model, only, team
from tests.support.rpc import Rpc, number_of, refused

NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


async def set_group(rpc: Rpc, name: str, *models: str, **fields):
    return await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group(name, *models, **fields)))


async def upsert(rpc: Rpc, *models):
    return await rpc.admin.UpsertModels(UpsertModelsRequest(models=models))


async def test_a_group_is_created_and_replaced_whole(rpc: Rpc) -> None:
    made = (await set_group(rpc, "g", "a", "b*", without=["c"])).group
    assert await rpc.admin.GetAccessGroup(GetAccessGroupRequest(name="g")) == made
    replaced = (await set_group(rpc, "g", "d")).group
    assert bare(replaced) == group("g", "d")
    assert replaced.create_time == made.create_time
    assert replaced.etag != made.etag
    assert list((await rpc.admin.ListAccessGroups(ListAccessGroupsRequest())).groups) == [replaced]


async def test_a_group_is_deleted(rpc: Rpc) -> None:
    for call in (
        rpc.admin.GetAccessGroup(GetAccessGroupRequest(name="g")),
        rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name="g")),
    ):
        failure = await refused(call, NOT_FOUND)
        assert failure.reason == "GROUP_NOT_FOUND"
        assert failure.detail(ResourceInfo).resource_name == "g"
    await set_group(rpc, "g", "a")
    await rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name="g"))
    await refused(rpc.admin.GetAccessGroup(GetAccessGroupRequest(name="g")), NOT_FOUND)


HOLDERS = {
    "team t (models)": (team("t", only("g")), None),
    "team t (models) excluding": (team("t", ModelScope(mode=ModelScope.ALL, excluded_models=["g"])), None),
    "team t (default_team_member_models)": (team("t", default_team_member_models=only("g")), None),
    "member t/ann": (team("t"), only("g")),
    "member t/ann excluding": (team("t"), ModelScope(mode=ModelScope.INHERIT, excluded_models=["g"])),
}


@pytest.mark.parametrize("holder", HOLDERS)
async def test_deleting_a_group_that_a_scope_lists_needs_force(rpc: Rpc, holder: str) -> None:
    made, scope = HOLDERS[holder]
    await set_group(rpc, "g", "a")
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made))
    if scope is not None:
        await rpc.admin.AddMember(AddMemberRequest(member=member("t", "ann", allowed_models=scope)))
    failure = await refused(rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name="g")), PRECONDITION)
    assert failure.reason == "GROUP_IN_USE"
    (violation,) = failure.detail(PreconditionFailure).violations
    assert violation.subject == "g"
    assert holder.removesuffix(" excluding") in violation.description
    await rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name="g", force=True))


async def test_a_name_that_only_looks_like_the_group_holds_nothing(rpc: Rpc) -> None:
    await set_group(rpc, "g", "a")
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t", only("gg", "G", "g*", "x/g"))))
    await rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name="g"))


async def test_models_are_replaced_whole(rpc: Rpc) -> None:
    first = model("m", "openai", labels={"a": "1", "b": "2"})
    answer = await upsert(rpc, first, model("n", "azure"))
    assert list(answer.models) == [first, model("n", "azure")]
    second = model("m", "azure", labels={"c": "3"})
    answer = await upsert(rpc, model("o", "x"), second)
    assert list(answer.models) == [model("o", "x"), second]
    listed = (await rpc.admin.ListModels(ListModelsRequest())).models
    assert list(listed) == [second, model("n", "azure"), model("o", "x")]


async def test_only_what_differs_is_a_change(rpc: Rpc) -> None:
    first = await upsert(rpc, model("m"), model("n"))
    again = await upsert(rpc, model("m"), model("n"))
    assert again.revision == first.revision
    assert number_of((await upsert(rpc, model("m"), model("n", "azure"))).revision) == number_of(first.revision) + 1


async def test_models_are_deleted_all_or_none(rpc: Rpc) -> None:
    await upsert(rpc, model("m"), model("n"))
    failure = await refused(rpc.admin.DeleteModels(DeleteModelsRequest(names=["m", "ghost"])), NOT_FOUND)
    assert failure.reason == "MODEL_NOT_FOUND"
    assert failure.detail(ResourceInfo).resource_name == "ghost"
    assert len((await rpc.admin.ListModels(ListModelsRequest())).models) == 2
    await rpc.admin.DeleteModels(DeleteModelsRequest(names=["n", "m"]))
    assert not (await rpc.admin.ListModels(ListModelsRequest())).models


async def test_one_name_is_not_both_a_group_and_a_model_or_an_alias(rpc: Rpc) -> None:
    await upsert(rpc, model("taken"))
    aliased = team("t", model_aliases={"nick": "taken"})
    await rpc.admin.CreateTeam(CreateTeamRequest(team=aliased))
    await set_group(rpc, "g", "a")
    head = await rpc.head()
    for call, name in (
        (set_group(rpc, "taken", "a"), "taken"),
        (set_group(rpc, "nick", "a"), "nick"),
        (upsert(rpc, model("fine"), model("g")), "g"),
        (rpc.admin.CreateTeam(CreateTeamRequest(team=team("u", model_aliases={"g": "a"}))), "g"),
        (rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", model_aliases={"g": "a"}))), "g"),
    ):
        failure = await refused(call, PRECONDITION)
        assert failure.reason == "NAME_IN_USE"
        assert failure.detail(PreconditionFailure).violations[0].subject == name
        assert "choose another name" in failure.message
    assert await rpc.head() == head
    await set_group(rpc, "Taken", "a")  # another name: case matters


async def test_an_alias_may_point_at_a_group_and_then_grants_nothing(rpc: Rpc) -> None:
    await set_group(rpc, "g", "a")
    aliased = team("t", only("g"), model_aliases={"nick": "g"}, unlisted_users=UnlistedUsers.TEAM_SCOPE)
    await rpc.admin.CreateTeam(CreateTeamRequest(team=aliased))
    answer = await rpc.access.CheckModelAccess(check("t", "", "nick"))
    assert (answer.allowed, answer.resolved_model) == (False, "g")


@pytest.mark.parametrize("through", ["team", "default", "member", "group"])
async def test_deleting_a_model_that_its_provider_excludes_needs_force(rpc: Rpc, through: str) -> None:
    """`ft/tuned` is excluded by `openai/*` only while the catalogue says that openai serves it."""
    await upsert(rpc, model("ft/tuned", "openai"), model("free", "acme"))
    without = ModelScope(mode=ModelScope.INHERIT, excluded_models=["openai/*"])
    if through == "group":
        await set_group(rpc, "g", "*", without=["openai/*"])
    scopes = {
        "team": {"models": ModelScope(mode=ModelScope.ALL, excluded_models=["openai/*"])},
        "default": {"models": ALL, "default_team_member_models": without},
    }
    made = Team(id="t", unlisted_users=UnlistedUsers.TEAM_SCOPE, **scopes.get(through, {"models": ALL}))
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made))
    if through == "member":
        await rpc.admin.AddMember(AddMemberRequest(member=member("t", "ann", allowed_models=without)))
    failure = await refused(rpc.admin.DeleteModels(DeleteModelsRequest(names=["free", "ft/tuned"])), PRECONDITION)
    assert failure.reason == "WOULD_WIDEN"
    (violation,) = failure.detail(PreconditionFailure).violations
    assert violation.subject == "ft/tuned"
    assert "'openai/*' would no longer exclude 'ft/tuned'" in violation.description
    await rpc.admin.DeleteModels(DeleteModelsRequest(names=["free"]))
    await rpc.admin.DeleteModels(DeleteModelsRequest(names=["ft/tuned"], force=True))


async def test_the_catalogue_gives_names_their_provider(rpc: Rpc) -> None:
    made = team("t", only("openai/*"), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made))
    for provider, allowed in (("openai", True), ("azure", False), ("openai", True)):
        changed = await upsert(rpc, model("gpt-4o", provider))
        answer = await rpc.access.CheckModelAccess(check("t", "", "gpt-4o", changed.revision))
        assert answer.allowed is allowed


async def test_a_group_is_followed_when_it_changes(rpc: Rpc) -> None:
    made = team("t", only("g"), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made))
    for models in (["a"], ["b"], ["b", "a*"]):
        await set_group(rpc, "g", *models)
        for name in ("a", "b"):
            answer = await rpc.access.CheckModelAccess(check("t", "", name))
            assert answer.allowed is any(entry.startswith(name) for entry in models)
