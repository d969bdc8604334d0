"""A small world, and for every RPC a request that succeeds in it: each mutation would change something."""

from __future__ import annotations

from google.protobuf.message import Message
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from policy_service.v1 import access_pb2, admin_pb2
from policy_service.v1.resources_pb2 import AccessGroup, Member, MemberLimits, Model, ModelScope, Team

CHECK = access_pb2.CheckModelAccessRequest(team="acme", user="ann", model="gpt-4o")
ALL = ModelScope(mode=ModelScope.ALL)
ONLY_MINI = ModelScope(mode=ModelScope.ONLY, models=["gpt-4o-mini"])

# In this order; ann is seeded before the default changes, so that ReseedMembers has something to do.
WORLD: tuple[Message, ...] = (
    admin_pb2.UpsertModelsRequest(
        models=[Model(name="gpt-4o", provider="openai"), Model(name="old-model", provider="openai")]
    ),
    admin_pb2.SetAccessGroupRequest(group=AccessGroup(name="fast", models=["gpt-4o"])),
    admin_pb2.SetAccessGroupRequest(group=AccessGroup(name="old-group", models=["gpt-4o"])),
    admin_pb2.CreateTeamRequest(team=Team(id="acme", models=ALL), members=[Member(user="ann"), Member(user="bob")]),
    admin_pb2.UpdateTeamRequest(team=Team(id="acme", default_team_member_models=ONLY_MINI)),
    admin_pb2.CreateTeamRequest(team=Team(id="old-team", models=ALL)),
)

EXAMPLES: dict[str, Message] = {
    "CheckModelAccess": CHECK,
    "BatchCheckModelAccess": access_pb2.BatchCheckModelAccessRequest(checks=[CHECK]),
    "ListAccessibleModels": access_pb2.ListAccessibleModelsRequest(team="acme", user="ann"),
    "ExplainModelAccess": access_pb2.ExplainModelAccessRequest(team="acme", user="ann", model="gpt-4o"),
    "CreateTeam": admin_pb2.CreateTeamRequest(team=Team(id="new-team", models=ALL)),
    "GetTeam": admin_pb2.GetTeamRequest(team="acme"),
    "UpdateTeam": admin_pb2.UpdateTeamRequest(team=Team(id="acme", display_name="Acme")),
    "DeleteTeam": admin_pb2.DeleteTeamRequest(team="old-team"),
    "AddMember": admin_pb2.AddMemberRequest(member=Member(team="acme", user="new-user")),
    "BatchAddMembers": admin_pb2.BatchAddMembersRequest(team="acme", members=[Member(user="another-user")]),
    "GetMember": admin_pb2.GetMemberRequest(team="acme", user="ann"),
    "ListMembers": admin_pb2.ListMembersRequest(team="acme"),
    "UpdateMember": admin_pb2.UpdateMemberRequest(
        member=Member(team="acme", user="ann", limits=MemberLimits(tpm_limit=9))
    ),
    "RemoveMember": admin_pb2.RemoveMemberRequest(team="acme", user="bob"),
    "ReseedMembers": admin_pb2.ReseedMembersRequest(team="acme"),
    "SetAccessGroup": admin_pb2.SetAccessGroupRequest(group=AccessGroup(name="fast", models=["gpt-4o-mini"])),
    "GetAccessGroup": admin_pb2.GetAccessGroupRequest(name="fast"),
    "DeleteAccessGroup": admin_pb2.DeleteAccessGroupRequest(name="old-group"),
    "UpsertModels": admin_pb2.UpsertModelsRequest(models=[Model(name="new-model", provider="openai")]),
    "DeleteModels": admin_pb2.DeleteModelsRequest(names=["old-model"]),
    "ServerReflectionInfo": ServerReflectionRequest(list_services="*"),
}
