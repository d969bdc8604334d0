"""What is accepted although it is probably not meant, and named in the response."""

from __future__ import annotations

from typing import Any

import pytest

from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    SetAccessGroupRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
    UpsertModelsRequest,
)
from policy_service.v1.resources_pb2 import ModelScope, Team
from tests.support.messages import ALL, group, member, model, only, team
from tests.support.rpc import Rpc


@pytest.fixture
async def catalogue(rpc: Rpc) -> Rpc:
    """A server that knows two models and a group."""
    await rpc.admin.UpsertModels(UpsertModelsRequest(models=[model("a"), model("b")]))
    await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group("g", "a")))
    return rpc


async def warned_by_team(rpc: Rpc, made: Team) -> list[str]:
    """The warnings of creating the team, which those of an update to the same are."""
    created = await rpc.admin.CreateTeam(CreateTeamRequest(team=made))
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("blank")))
    changed = Team()
    changed.CopyFrom(made)
    changed.id = "blank"
    updated = await rpc.admin.UpdateTeam(UpdateTeamRequest(team=changed))
    assert [words.replace("'blank'", "'t'") for words in updated.warnings] == list(created.warnings)
    return list(created.warnings)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (team("t", only("a", "g", "b*", "fast"), model_aliases={"fast": "a"}), []),
        (team("t", only("a", "typo", "Typo-*")), ["typo"]),
        (team("t", only("a"), model_aliases={"fast": "b", "slow": "a"}), ["fast"]),
        (team("t", only("a*"), default_team_member_models=only("a", "b", "b*", "g")), ["b"]),
        (team("t", only("a"), default_team_member_models=only("fast"), model_aliases={"fast": "a"}), []),
        (team("t", ALL, default_team_member_models=only("anything")), []),
        (
            team("t", ModelScope(mode=ModelScope.ALL, excluded_models=["B"]), default_team_member_models=only("b")),
            ["b"],
        ),
        (team("t", ModelScope(mode=ModelScope.NONE), default_team_member_models=only("a")), ["a"]),
    ],
)
async def test_of_teams(catalogue: Rpc, made: Team, named: list[str]) -> None:
    warnings = await warned_by_team(catalogue, made)
    assert len(warnings) == len(named), warnings
    for name, words in zip(named, warnings, strict=True):
        assert repr(name) in words
        assert "'t'" in words


async def test_an_empty_catalogue_knows_nothing_and_warns_of_nothing(rpc: Rpc) -> None:
    assert await warned_by_team(rpc, team("t", only("anything"))) == []


async def test_of_members(catalogue: Rpc) -> None:
    made = team("t", only("a", "fast"), model_aliases={"fast": "b", "quick": "a"})
    await catalogue.admin.CreateTeam(CreateTeamRequest(team=made))
    for entries, named in ((["a", "quick", "g", "x*"], []), (["b"], ["b"]), (["fast", "zz"], ["fast", "zz"])):
        scope = only(*entries)
        dry: Any = AddMemberRequest(member=member("t", "ann", allowed_models=scope), validate_only=True)
        warnings = list((await catalogue.admin.AddMember(dry)).warnings)
        assert [name for name in named if any(repr(name) in words for words in warnings)] == named
        assert len(warnings) == len(named)
        members = [member("", f"u{number}", allowed_models=scope) for number in range(5)]
        batch = BatchAddMembersRequest(team="t", members=members, validate_only=True)
        assert len((await catalogue.admin.BatchAddMembers(batch)).warnings) == len(named)
    await catalogue.admin.AddMember(AddMemberRequest(member=member("t", "ann")))
    update = UpdateMemberRequest(member=member("t", "ann", allowed_models=only("b")))
    assert len((await catalogue.admin.UpdateMember(update)).warnings) == 1


async def test_of_members_that_are_seeded_so(catalogue: Rpc) -> None:
    made = team("t", only("a"), default_team_member_models=only("b"))
    created = await catalogue.admin.CreateTeam(CreateTeamRequest(team=made, members=[member("", "ann")]))
    assert len(created.warnings) == 2
    added = await catalogue.admin.AddMember(AddMemberRequest(member=member("t", "bob")))
    assert len(added.warnings) == 1


async def test_of_a_new_group_whose_name_entries_use(catalogue: Rpc) -> None:
    uses = [
        team("m", only("later")),
        team("d", ALL, default_team_member_models=only("later")),
        team("x", ModelScope(mode=ModelScope.ALL, excluded_models=["later"])),
    ]
    for made in uses:
        await catalogue.admin.CreateTeam(CreateTeamRequest(team=made))
    joined = member("x", "ann", allowed_models=only("later"))
    await catalogue.admin.AddMember(AddMemberRequest(member=joined))
    answer = await catalogue.admin.SetAccessGroup(SetAccessGroupRequest(group=group("later", "a")))
    holders = ("team m (models)", "team d (default_team_member_models)", "team x (models)", "member x/ann")
    assert len(answer.warnings) == len(holders)
    for holder in holders:
        assert [words for words in answer.warnings if words.startswith(holder)], holder
    again = await catalogue.admin.SetAccessGroup(SetAccessGroupRequest(group=group("later", "b")))
    assert not again.warnings


async def test_the_order_of_provisioning_does_not_matter(rpc: Rpc) -> None:
    """A team may list a group and models before they exist; nothing is refused, then nothing is warned of."""
    made = team("t", only("later", "m"), model_aliases={"nick": "m"})
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made, members=[member("", "ann", allowed_models=only("later"))]))
    await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group("later", "m")))
    await rpc.admin.UpsertModels(UpsertModelsRequest(models=[model("m")]))
    assert not (await rpc.admin.UpdateTeam(UpdateTeamRequest(team=made))).warnings


async def test_warnings_stay_few(catalogue: Rpc) -> None:
    entries = [f"typo-{number}" for number in range(2_000)]
    created = await catalogue.admin.CreateTeam(CreateTeamRequest(team=team("t", only(*entries))))
    assert 100 <= len(created.warnings) <= 101
    assert "1900 more" in created.warnings[-1]
