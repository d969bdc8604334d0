"""A small world, and for every RPC a request that succeeds there, also after all the others; a mutation's changes
something."""

from __future__ import annotations

from google.protobuf.message import Message

from policy_service.v1 import access_pb2 as access
from policy_service.v1 import admin_pb2 as admin
from policy_service.v1 import replication_pb2 as replication
from policy_service.v1.resources_pb2 import MemberLimits, Team
from tests.support.messages import ALL, NONE, check, group, member, model, only, team
from tests.support.rpc import METHODS, Rpc

MODELS = ("gpt-4", "gpt-4o-mini", "o1-pro", "spare")

EXAMPLES: dict[str, Message] = {
    "CheckModelAccess": check("ml", "ann", "gpt-4o-mini"),
    "BatchCheckModelAccess": access.BatchCheckModelAccessRequest(checks=[check("ml", "ann", "gpt-4")]),
    "ListAccessibleModels": access.ListAccessibleModelsRequest(team="ml", user="ann"),
    "ExplainModelAccess": access.ExplainModelAccessRequest(team="ml", user="ann", model="o1-pro"),
    "CreateTeam": admin.CreateTeamRequest(team=team("new"), members=[member("", "eve"), member("new", "dan")]),
    "GetTeam": admin.GetTeamRequest(team="ml"),
    "ListTeams": admin.ListTeamsRequest(),
    "UpdateTeam": admin.UpdateTeamRequest(team=Team(id="ml", display_name="Learners")),
    "DeleteTeam": admin.DeleteTeamRequest(team="empty"),
    "AddMember": admin.AddMemberRequest(member=member("ml", "eve")),
    "BatchAddMembers": admin.BatchAddMembersRequest(team="ml", members=[member("", "fay"), member("ml", "gus")]),
    "GetMember": admin.GetMemberRequest(team="ml", user="ann"),
    "ListMembers": admin.ListMembersRequest(team="ml"),
    "UpdateMember": admin.UpdateMemberRequest(member=member("ml", "ann", blocked=True)),
    "RemoveMember": admin.RemoveMemberRequest(team="ml", user="bob"),
    "ReseedMembers": admin.ReseedMembersRequest(team="ml"),
    "SetAccessGroup": admin.SetAccessGroupRequest(group=group("new-group", "gpt-4")),
    "GetAccessGroup": admin.GetAccessGroupRequest(name="cheap"),
    "ListAccessGroups": admin.ListAccessGroupsRequest(),
    "DeleteAccessGroup": admin.DeleteAccessGroupRequest(name="unused"),
    "UpsertModels": admin.UpsertModelsRequest(models=[model("new-model"), model("gpt-4", "azure")]),
    "ListModels": admin.ListModelsRequest(),
    "DeleteModels": admin.DeleteModelsRequest(names=["spare"]),
    "ListAuditEvents": admin.ListAuditEventsRequest(),
    "Watch": replication.WatchRequest(epoch="0123456789abcdef", revision=3, hash="0" * 64),
    "GetHead": replication.GetHeadRequest(),
    "GetStatus": replication.GetStatusRequest(),
}
assert EXAMPLES.keys() == METHODS.keys(), "a new RPC needs an example"


async def build(rpc: Rpc) -> None:
    """The small world. Ann is seeded with a default that has changed since, Bob is not."""
    await rpc.admin.UpsertModels(admin.UpsertModelsRequest(models=[model(name) for name in MODELS]))
    for listed in (group("cheap", "gpt-4o-mini"), group("unused", "gpt-4")):
        await rpc.admin.SetAccessGroup(admin.SetAccessGroupRequest(group=listed))
    ml = team(
        "ml",
        only("gpt-4", "cheap"),
        default_team_member_models=only("gpt-4o-mini"),
        default_member_limits=MemberLimits(rpm_limit=10),
        model_aliases={"fast": "gpt-4o-mini"},
    )
    bob = member("", "bob", allowed_models=only("gpt-4"), limits=MemberLimits(tpm_limit=7))
    await rpc.admin.CreateTeam(admin.CreateTeamRequest(team=ml, members=[member("", "ann"), bob]))
    newer = Team(id="ml", default_team_member_models=only("gpt-4", "gpt-4o-mini"))
    await rpc.admin.UpdateTeam(admin.UpdateTeamRequest(team=newer))
    await rpc.admin.CreateTeam(admin.CreateTeamRequest(team=team("empty", NONE)))
    await rpc.admin.CreateTeam(admin.CreateTeamRequest(team=team("other", ALL), members=[member("", "ann")]))
