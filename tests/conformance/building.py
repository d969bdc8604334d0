"""A world in a real server: built by AdminService, and taken down again for the next."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict

from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    CreateTeamRequest,
    DeleteAccessGroupRequest,
    DeleteModelsRequest,
    DeleteTeamRequest,
    SetAccessGroupRequest,
    UpsertModelsRequest,
)
from tests.conformance.cases import World
from tests.support.messages import model
from tests.support.rpc import Rpc


async def build(rpc: Rpc, world: World) -> None:
    if world.catalogue:
        models = [model(name, provider) for name, provider in world.catalogue.items()]
        await rpc.admin.UpsertModels(UpsertModelsRequest(models=models))
    for name, fields in world.groups.items():
        await rpc.admin.SetAccessGroup(ParseDict({"group": {"name": name} | fields}, SetAccessGroupRequest()))
    for name, fields in world.teams.items():
        await rpc.admin.CreateTeam(ParseDict({"team": {"id": name} | fields}, CreateTeamRequest()))
    for team, members in world.members.items():
        for user, fields in members.items():
            request = ParseDict({"member": {"team": team, "user": user} | fields}, AddMemberRequest())
            await rpc.admin.AddMember(request)


async def take_down(rpc: Rpc, world: World) -> None:
    for name in world.teams:
        await rpc.admin.DeleteTeam(DeleteTeamRequest(team=name, force=True))
    for name in world.groups:
        await rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name=name))
    if world.catalogue:
        await rpc.admin.DeleteModels(DeleteModelsRequest(names=list(world.catalogue)))
