"""Creating, reading, listing and removing teams and members: seeding, defaults, all or none, no phantom members."""

from __future__ import annotations

import grpc
import pytest
from google.rpc.error_details_pb2 import PreconditionFailure, ResourceInfo

from policy_service.v1.access_pb2 import Reason
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    DeleteTeamRequest,
    GetMemberRequest,
    GetTeamRequest,
    ListMembersRequest,
    ListTeamsRequest,
    RemoveMemberRequest,
    ReseedMembersRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.resources_pb2 import MemberLimits, ModelScope, Role, ScopeSource, Team, UnlistedUsers
from tests.support.messages import ALL, INHERIT, NONE, bare, check, member, only, team
from tests.support.rpc import Rpc, number_of, refused

NOT_FOUND, EXISTS = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ALREADY_EXISTS
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
DEFAULT_LIMITS = MemberLimits(rpm_limit=10, budget_duration="30d")


async def create(rpc: Rpc, made: Team, *users: str) -> None:
    members = [member("", user) for user in users]
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made, members=members))


async def get(rpc: Rpc, team: str, user: str):
    return await rpc.admin.GetMember(GetMemberRequest(team=team, user=user))


async def test_a_team_gets_the_defaults(rpc: Rpc) -> None:
    answer = await rpc.admin.CreateTeam(CreateTeamRequest(team=Team(id="t", models=ModelScope(models=["a"]))))
    made = answer.team
    assert made.models == only("a")
    assert made.default_team_member_models == INHERIT
    assert made.default_member_limits == MemberLimits()
    assert made.unlisted_users == UnlistedUsers.DENY
    assert made.HasField("blocked")
    assert not made.blocked
    assert not made.HasField("display_name")
    assert made.create_time == made.update_time
    assert made.create_time.seconds > 0
    assert made.etag
    assert answer.revision == await rpc.head()
    assert await rpc.admin.GetTeam(GetTeamRequest(team="t")) == made


async def test_what_only_the_server_sets_is_ignored_on_create(rpc: Rpc) -> None:
    given = team("t", member_count=7, etag="mine")
    given.create_time.seconds = given.update_time.seconds = 5
    made = (await rpc.admin.CreateTeam(CreateTeamRequest(team=given))).team
    assert made.member_count == 0
    assert made.etag != "mine"
    assert made.create_time.seconds > 5
    given = member("t", "ann", scope_source=ScopeSource.EXPLICIT, etag="mine")
    added = (await rpc.admin.AddMember(AddMemberRequest(member=given))).member
    assert added.scope_source == ScopeSource.SEEDED
    assert added.etag != "mine"


async def test_a_team_with_its_first_members(rpc: Rpc) -> None:
    made = team("t", default_team_member_models=only("a"), default_member_limits=DEFAULT_LIMITS)
    members = [member("", "zoe"), member("t", "ann", allowed_models=NONE, limits=MemberLimits(rpm_limit=0))]
    answer = await rpc.admin.CreateTeam(CreateTeamRequest(team=made, members=members))
    zoe, ann = answer.members
    assert (zoe.team, zoe.user, zoe.allowed_models, zoe.scope_source) == ("t", "zoe", only("a"), ScopeSource.SEEDED)
    assert zoe.limits == DEFAULT_LIMITS
    assert (ann.user, ann.allowed_models, ann.scope_source) == ("ann", NONE, ScopeSource.EXPLICIT)
    assert ann.limits == MemberLimits(rpm_limit=0, budget_duration="30d")
    assert answer.team.member_count == 2
    assert [await get(rpc, "t", user) for user in ("zoe", "ann")] == [zoe, ann]
    assert number_of(answer.revision) == 1


async def test_names_are_byte_exact(rpc: Rpc) -> None:
    for name in ("Team", "team", "te/am", "tëam", "t eam", "t*", "%"):
        await create(rpc, team(name), "ann")
    listed = await rpc.admin.ListTeams(ListTeamsRequest())
    assert [made.id for made in listed.teams] == sorted(("Team", "team", "te/am", "tëam", "t eam", "t*", "%"))
    await refused(rpc.admin.GetTeam(GetTeamRequest(team="TEAM")), NOT_FOUND)


async def test_a_member_is_seeded_or_explicit(world: Rpc) -> None:
    seeded = (await world.admin.AddMember(AddMemberRequest(member=member("ml", "eve")))).member
    assert (seeded.allowed_models, seeded.scope_source) == (only("gpt-4", "gpt-4o-mini"), ScopeSource.SEEDED)
    assert seeded.role == Role.MEMBER
    assert seeded.limits == MemberLimits(rpm_limit=10)
    for user, scope in (("inherits", INHERIT), ("none", NONE), ("listed", ModelScope(models=["gpt-4"]))):
        request = AddMemberRequest(member=member("ml", user, allowed_models=scope))
        explicit = (await world.admin.AddMember(request)).member
        assert explicit.scope_source == ScopeSource.EXPLICIT
        assert explicit.allowed_models == (only("gpt-4") if user == "listed" else scope)
        assert explicit == await get(world, "ml", user)


async def test_one_user_in_two_teams_is_two_members(world: Rpc) -> None:
    await world.admin.UpdateMember(UpdateMemberRequest(member=member("ml", "ann", blocked=True)))
    assert (await get(world, "ml", "ann")).blocked
    assert not (await get(world, "other", "ann")).blocked
    await world.admin.RemoveMember(RemoveMemberRequest(team="other", user="ann"))
    assert (await get(world, "ml", "ann")).blocked


@pytest.mark.parametrize(
    ("rpc_name", "request_", "kind", "name"),
    [
        ("GetTeam", GetTeamRequest(team="ghost"), "team", "ghost"),
        ("UpdateTeam", UpdateTeamRequest(team=Team(id="ghost", blocked=True)), "team", "ghost"),
        ("DeleteTeam", DeleteTeamRequest(team="ghost", force=True), "team", "ghost"),
        ("AddMember", AddMemberRequest(member=member("ghost", "ann")), "team", "ghost"),
        ("BatchAddMembers", BatchAddMembersRequest(team="ghost", members=[member("", "x")]), "team", "ghost"),
        ("ReseedMembers", ReseedMembersRequest(team="ghost"), "team", "ghost"),
        ("GetMember", GetMemberRequest(team="ml", user="ghost"), "member", "ml/ghost"),
        ("GetMember", GetMemberRequest(team="ghost", user="ann"), "member", "ghost/ann"),
        ("UpdateMember", UpdateMemberRequest(member=member("ml", "ghost", blocked=True)), "member", "ml/ghost"),
        ("UpdateMember", UpdateMemberRequest(member=member("ghost", "ann", blocked=True)), "team", "ghost"),
        ("RemoveMember", RemoveMemberRequest(team="ml", user="ghost"), "member", "ml/ghost"),
        ("RemoveMember", RemoveMemberRequest(team="ghost", user="ann"), "team", "ghost"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_not_there(world: Rpc, rpc_name: str, request_, kind: str, name: str) -> None:
    """An update creates nothing: there are no phantom members."""
    before = await world.head()
    failure = await refused(world.call(rpc_name, request_), NOT_FOUND)
    assert failure.reason == f"{kind.upper()}_NOT_FOUND"
    resource = failure.detail(ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == (kind, name)
    assert repr(name) in failure.message
    assert await world.head() == before


async def test_what_is_there_already(world: Rpc) -> None:
    failure = await refused(world.admin.CreateTeam(CreateTeamRequest(team=team("ml"))), EXISTS)
    assert failure.reason == "TEAM_EXISTS"
    assert failure.detail(ResourceInfo).resource_name == "ml"
    failure = await refused(world.admin.AddMember(AddMemberRequest(member=member("ml", "ann"))), EXISTS)
    assert failure.reason == "MEMBER_EXISTS"
    assert list(failure.violations) == ["member.user"]


async def test_a_batch_is_all_or_none(world: Rpc) -> None:
    before = await world.head()
    members = [member("", "new"), member("ml", "ann"), member("", "newer"), member("", "bob")]
    request = BatchAddMembersRequest(team="ml", members=members)
    failure = await refused(world.admin.BatchAddMembers(request), EXISTS)
    assert failure.violations.keys() == {"members[1].user", "members[3].user"}
    del request.members[3], request.members[1]
    request.members.append(member("elsewhere", "odd"))
    request.members.append(member("", "new"))
    failure = await refused(world.admin.BatchAddMembers(request))
    assert failure.violations.keys() == {"members[2].team", "members[3].user"}
    assert await world.head() == before
    await refused(world.admin.GetMember(GetMemberRequest(team="ml", user="new")), NOT_FOUND)
    del request.members[2:]
    answer = await world.admin.BatchAddMembers(request)
    assert [added.user for added in answer.members] == ["new", "newer"]
    assert number_of(answer.revision) == number_of(before) + 1


async def test_a_bad_first_member_leaves_no_team(rpc: Rpc) -> None:
    members = [member("", "ann"), member("", "")]
    failure = await refused(rpc.admin.CreateTeam(CreateTeamRequest(team=team("t"), members=members)))
    assert failure.violations.keys() == {"members[1].user"}
    await refused(rpc.admin.GetTeam(GetTeamRequest(team="t")), NOT_FOUND)


async def test_members_are_counted(rpc: Rpc) -> None:
    async def count() -> int:
        return (await rpc.admin.GetTeam(GetTeamRequest(team="t"))).member_count

    await create(rpc, team("t"), "a", "b")
    await rpc.admin.AddMember(AddMemberRequest(member=member("t", "c")))
    assert await count() == 3
    await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="t", members=[member("", "d"), member("", "e")]))
    await rpc.admin.RemoveMember(RemoveMemberRequest(team="t", user="a"))
    assert await count() == 4
    updated = await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", blocked=True)))
    assert updated.team.member_count == 4


async def test_members_by_team_by_user_and_by_source(world: Rpc) -> None:
    async def listed(**filters: object) -> list[str]:
        answer = await world.admin.ListMembers(ListMembersRequest(**filters))
        return [f"{found.team}/{found.user}" for found in answer.members]

    assert await listed(team="ml") == ["ml/ann", "ml/bob"]
    assert await listed(user="ann") == ["ml/ann", "other/ann"]
    assert await listed(team="other", user="ann") == ["other/ann"]
    assert await listed(team="other", user="bob") == []
    assert await listed(team="ml", scope_source=ScopeSource.SEEDED) == ["ml/ann"]
    assert await listed(team="ml", scope_source=ScopeSource.EXPLICIT) == ["ml/bob"]
    assert await listed(user="bob", scope_source=ScopeSource.SEEDED) == []
    assert await listed(team="ghost") == []
    failure = await refused(world.admin.ListMembers(ListMembersRequest()))
    assert "team" in failure.violations


async def test_a_deleted_team_takes_its_members_with_it(world: Rpc) -> None:
    failure = await refused(world.admin.DeleteTeam(DeleteTeamRequest(team="ml")), PRECONDITION)
    assert failure.reason == "TEAM_HAS_MEMBERS"
    (violation,) = failure.detail(PreconditionFailure).violations
    assert violation.subject == "ml"
    assert "2 members" in violation.description
    assert "force" in violation.description
    answer = await world.admin.DeleteTeam(DeleteTeamRequest(team="ml", force=True))
    assert answer.revision == await world.head()
    await refused(world.admin.GetMember(GetMemberRequest(team="ml", user="ann")), NOT_FOUND)
    told = await world.access.CheckModelAccess(check("ml", "ann", "gpt-4"))
    assert told.reason == Reason.TEAM_NOT_FOUND
    await create(world, team("ml"))
    assert (await world.admin.GetTeam(GetTeamRequest(team="ml"))).member_count == 0
    assert not (await world.admin.ListMembers(ListMembersRequest(team="ml"))).members


async def test_a_team_without_members_needs_no_force(world: Rpc) -> None:
    await world.admin.DeleteTeam(DeleteTeamRequest(team="empty"))
    await refused(world.admin.GetTeam(GetTeamRequest(team="empty")), NOT_FOUND)


@pytest.mark.parametrize("unlisted", [UnlistedUsers.DENY, UnlistedUsers.TEAM_SCOPE], ids=UnlistedUsers.Name)
@pytest.mark.parametrize(
    ("fields", "restricted"),
    [
        ({"allowed_models": INHERIT}, False),
        ({"allowed_models": ModelScope(mode=ModelScope.INHERIT, excluded_models=["a"])}, True),
        ({"allowed_models": only("a")}, True),
        ({"allowed_models": NONE}, True),
        ({"allowed_models": INHERIT, "blocked": True}, True),
    ],
    ids=["inherits", "excludes", "listed", "none", "blocked"],
)
async def test_removing_a_restricted_member_can_widen(rpc: Rpc, unlisted, fields: dict, restricted: bool) -> None:
    await create(rpc, team("t", unlisted_users=unlisted))
    await rpc.admin.AddMember(AddMemberRequest(member=member("t", "ann", **fields)))
    request = RemoveMemberRequest(team="t", user="ann")
    if restricted and unlisted == UnlistedUsers.TEAM_SCOPE:
        failure = await refused(rpc.admin.RemoveMember(request), PRECONDITION)
        assert failure.reason == "WOULD_WIDEN"
        assert "could use more" in failure.detail(PreconditionFailure).violations[0].description
        assert (await get(rpc, "t", "ann")).user == "ann"
        request.force = True
    await rpc.admin.RemoveMember(request)
    await refused(rpc.admin.GetMember(GetMemberRequest(team="t", user="ann")), NOT_FOUND)


async def test_reseeding_copies_the_scope_and_never_the_limits(world: Rpc) -> None:
    newer = Team(id="ml", default_team_member_models=only("o1-pro"), default_member_limits=MemberLimits(tpm_limit=1))
    await world.admin.UpdateTeam(UpdateTeamRequest(team=newer))
    before = {user: await get(world, "ml", user) for user in ("ann", "bob")}
    answer = await world.admin.ReseedMembers(ReseedMembersRequest(team="ml"))
    assert (answer.reseeded_count, list(answer.users)) == (1, ["ann"])
    after = await get(world, "ml", "ann")
    assert (after.allowed_models, after.limits) == (only("o1-pro"), before["ann"].limits)
    assert after.scope_source == ScopeSource.SEEDED
    assert await get(world, "ml", "bob") == before["bob"]
    head = await world.head()
    again = await world.admin.ReseedMembers(ReseedMembersRequest(team="ml"))
    assert (again.reseeded_count, list(again.users), again.revision) == (0, [], head)


async def test_reseeding_names_the_first_thousand(rpc: Rpc) -> None:
    await create(rpc, team("t"))
    users = [f"user-{number:04d}" for number in range(1_100)]
    for at in range(0, len(users), 500):
        members = [member("", user) for user in users[at : at + 500]]
        await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="t", members=members))
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", default_team_member_models=NONE)))
    head = await rpc.head()
    answer = await rpc.admin.ReseedMembers(ReseedMembersRequest(team="t"))
    assert answer.reseeded_count == 1_100
    assert list(answer.users) == users[:1_000]
    assert number_of(answer.revision) == number_of(head) + 1
    for user in (users[0], users[-1]):
        assert not (await rpc.access.CheckModelAccess(check("t", user, "m"))).allowed


async def test_a_mutation_is_seen_by_the_next_check(rpc: Rpc) -> None:
    await create(rpc, team("t", ALL), "ann")
    for blocked in (True, False, True):
        changed = await rpc.admin.UpdateMember(UpdateMemberRequest(member=member("t", "ann", blocked=blocked)))
        answer = await rpc.access.CheckModelAccess(check("t", "ann", "m", changed.revision))
        assert (answer.allowed, answer.revision) == (not blocked, changed.revision)
        assert bare(changed.member) == bare(await get(rpc, "t", "ann"))
