"""What a server has of what a manifest manages."""

from __future__ import annotations

from dataclasses import replace

from policy_client import AdminClient
from policy_service.cli.manifest import Manifest
from policy_service.cli.steps import Present
from policy_service.domain.records import Member, ScopeSource, Team
from policy_service.domain.validation import Problems
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb


async def read_present(admin: AdminClient, manifest: Manifest) -> Present:
    """Reads the sections that the manifest has. The lists are of several revisions: the etags will tell what changed.
    Raises PolicyClientError."""
    present = Present()
    if manifest.models is not None:
        present.models.update({model.name: convert.model_of(model) async for model in admin.list_models()})
    if manifest.groups is not None:
        present.groups.update({group.name: convert.group_of(group) async for group in admin.list_access_groups()})
    if manifest.teams is not None:
        present.teams.update({team.id: _team(team) async for team in admin.list_teams()})
    for entry in manifest.teams or ():
        if entry.members is not None and entry.team.id in present.teams:
            members = admin.list_members(team=entry.team.id)
            present.members[entry.team.id] = {member.user: _member(member) async for member in members}
    return present


def _team(message: pb.Team) -> Team:
    # A server returns what it accepted: the problems stay empty.
    team = convert.team_of(Problems(), "team", message)
    return replace(team, etag=message.etag, member_count=message.member_count)


def _member(message: pb.Member) -> Member:
    seeded = message.scope_source == pb.SEEDED
    source = ScopeSource.SEEDED if seeded else ScopeSource.EXPLICIT
    return replace(convert.member_of(Problems(), "member", message), scope_source=source, etag=message.etag)
