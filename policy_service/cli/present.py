"""What a server has of what a manifest manages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from policy_client import AdminClient
from policy_service.cli.manifest import Manifest
from policy_service.cli.progress import Advance
from policy_service.cli.steps import Present
from policy_service.domain.records import Member, ScopeSource, Team
from policy_service.domain.validation import Problems
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb


async def read_present(admin: AdminClient, manifest: Manifest, advance: Advance = lambda _: None) -> Present:
    """Reads the sections that the manifest has, and says to `advance` how many records came. The lists are of several
    revisions: the etags will tell what changed. Raises PolicyClientError."""
    present = Present()
    if manifest.models is not None:
        present.models.update({model.name: convert.model_of(model) async for model in admin.list_models()})
    if manifest.groups is not None:
        present.groups.update({group.name: convert.group_of(group) async for group in admin.list_access_groups()})
    if manifest.teams is not None:
        present.teams.update({team.id: team_record(team) async for team in admin.list_teams()})
    advance(len(present.models) + len(present.groups) + len(present.teams))
    managed = (entry.team.id for entry in manifest.teams or () if entry.members is not None)
    await _read_members(admin, present, managed, advance)
    return present


async def read_all(admin: AdminClient, advance: Advance) -> Present:
    """As `read_present`, everything that there is."""
    present = await read_present(admin, Manifest(models=(), groups=(), teams=()), advance)
    await _read_members(admin, present, list(present.teams), advance)
    return present


async def _read_members(admin: AdminClient, present: Present, teams: Iterable[str], advance: Advance) -> None:
    for team in teams:
        if team in present.teams:
            members = admin.list_members(team=team)
            present.members[team] = {member.user: member_record(member) async for member in members}
            advance(len(present.members[team]))


def team_record(message: pb.Team) -> Team:
    """The team that a server returned."""
    # A server returns what it accepted: the problems stay empty.
    team = convert.team_of(Problems(), "team", message)
    return replace(team, etag=message.etag, member_count=message.member_count)


def member_record(message: pb.Member) -> Member:
    """The member that a server returned."""
    seeded = message.scope_source == pb.SEEDED
    source = ScopeSource.SEEDED if seeded else ScopeSource.EXPLICIT
    return replace(convert.member_of(Problems(), "member", message), scope_source=source, etag=message.etag)
