"""`policy-service member`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import fail
from policy_service.cli.differences import member_differences
from policy_service.cli.fields import (
    EntryChanges,
    EntryOptions,
    LabelChanges,
    LabelOptions,
    LimitOptions,
    MemberMode,
    edit_scope,
    with_cleared,
)
from policy_service.cli.manifest import MemberEntry
from policy_service.cli.mutations import ClearOption, EtagOption, ForceOption, Mutation
from policy_service.cli.output import Output, OutputOption, print_list, print_record
from policy_service.cli.present import member_record
from policy_service.cli.steps import Action, Change, updated
from policy_service.cli.team import TeamArgument
from policy_service.cli.words import message_words, yes
from policy_service.domain.records import Role, ScopeSource
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.v1 import resources_pb2 as pb

app = typer.Typer(help="Members of teams: what each of them may use of the team's models.", no_args_is_help=True)
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's identifier.")]
COLUMNS: dict[str, Callable[[pb.Member], str]] = {
    "TEAM": lambda member: member.team,
    "USER": lambda member: member.user,
    "MODELS": lambda member: message_words(member.allowed_models),
    "SOURCE": lambda member: pb.ScopeSource.Name(member.scope_source),
    "ROLE": lambda member: pb.Role.Name(member.role),
    "BLOCKED": lambda member: yes(member.blocked),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberOptions:
    """Fields of a member."""

    mode: Annotated[MemberMode | None, typer.Option(help="Of the member's models; INHERIT is all of the team's.")] = (
        None
    )
    role: Annotated[Role | None, typer.Option(help="For gateways; it changes no decision.")] = None
    blocked: Annotated[bool | None, typer.Option("--blocked/--unblocked", help="Deny everything, or no longer.")] = None

    def edit(self, member: pb.Member, entries: EntryOptions, changes: EntryChanges | None = None) -> list[str]:
        """Sets the fields that are given; returns their names."""
        edited = {
            "allowed_models": edit_scope(member.allowed_models, entries, self.mode, changes, otherwise="INHERIT"),
            "role": self.role is not None,
            "blocked": self.blocked is not None,
        }
        if self.role is not None:
            member.role = pb.Role.Value(self.role)
        if self.blocked is not None:
            member.blocked = self.blocked
        return [name for name, was in edited.items() if was]


@app.command("list")
@on_server
async def list_members(
    target: Target,
    team: Annotated[str, typer.Argument(metavar="TEAM", help="The team's identifier.")] = "",
    user: Annotated[str, typer.Option(metavar="USER", help="Only this user; without TEAM, across all teams.")] = "",
    source: Annotated[ScopeSource | None, typer.Option(help="Only those whose scope came from there.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the members of a team, or the teams of a user."""
    if not (team or user):
        fail("give a TEAM, or --user")
    number = pb.SCOPE_SOURCE_UNSPECIFIED if source is None else pb.ScopeSource.Value(source.value)
    async with target.admin() as admin:
        if team:
            await admin.get_team(team)  # a list of no members and no such team are two things
        await print_list(admin.list_members(team=team, user=user, scope_source=number), COLUMNS, output)


@app.command("show")
@on_server
async def show_member(
    target: Target, team: TeamArgument, user: UserArgument, output: OutputOption = Output.TEXT
) -> None:
    """Show a member."""
    async with target.admin() as admin:
        print_record(await admin.get_member(team, user), output)


@app.command("add")
@on_server
async def add_members(
    target: Target,
    team: TeamArgument,
    users: Annotated[list[str], typer.Argument(metavar="USER...", help="Whom; all or none are added.")],
    entries: EntryOptions,
    options: MemberOptions,
    limits: LimitOptions,
    labels: LabelOptions,
    mutation: Mutation,
) -> None:
    """Add users to a team. Without models they get the team's default, without a limit the team's."""
    made = pb.Member()
    options.edit(made, entries)
    limits.edit(made.limits)
    labels.edit(made.labels)
    members = []
    for user in users:
        members.append(pb.Member(user=user))
        members[-1].MergeFrom(made)
    async with target.admin() as admin:
        answer = await admin.batch_add_members(team, members, **mutation.options)
    mutation.report(answer, [Change(Action.CREATE, "member", user, team, _seeded(made)) for user in users])


def _seeded(member: pb.Member) -> str:
    return "" if member.HasField("allowed_models") else "seeded with the team's default"


@app.command("update")
@on_server
async def update_member(
    target: Target,
    team: TeamArgument,
    user: UserArgument,
    entries: EntryOptions,
    options: MemberOptions,
    changes: EntryChanges,
    limits: LimitOptions,
    labels: LabelChanges,
    mutation: Mutation,
    cleared: ClearOption = None,
    etag: EtagOption = "",
) -> None:
    """Change a member: what is given changes, nothing else. `--clear allowed_models` seeds it again."""
    async with target.admin() as admin:
        old = await admin.get_member(team, user)
        new = pb.Member()
        new.CopyFrom(old)
        paths = options.edit(new, entries, changes)
        paths += [f"limits.{name}" for name in limits.edit(new.limits)]
        paths += ["labels"] if labels.edit(new.labels) else []
        paths = with_cleared(new, paths, cleared)
        new.etag = etag or old.etag
        answer = await admin.update_member(new, paths, **mutation.options)
    wanted = MemberEntry(member_record(answer.member), has_scope=True, unset_limits=frozenset(LIMIT_NAMES))
    differences = member_differences(member_record(old), wanted)
    mutation.report(answer, [updated("member", user, differences, team)] if differences else [])


@app.command("remove")
@on_server
async def remove_member(
    target: Target,
    team: TeamArgument,
    user: UserArgument,
    mutation: Mutation,
    force: ForceOption = False,
    etag: EtagOption = "",
) -> None:
    """Remove a user from a team."""
    async with target.admin() as admin:
        answer = await admin.remove_member(team, user, force=force, etag=etag, **mutation.options)
    mutation.report(answer, [Change(Action.DELETE, "member", user, team)])


@app.command("reseed")
@on_server
async def reseed_members(target: Target, team: TeamArgument, mutation: Mutation) -> None:
    """Give the team's default, as it is now, to the members whose scope is still seeded. Limits stay."""
    async with target.admin() as admin:
        answer = await admin.reseed_members(team, **mutation.options)
    changes = [Change(Action.UPDATE, "member", user, team, "seeded again") for user in answer.users]
    rest = answer.reseeded_count - len(changes)
    if rest:
        changes.append(Change(Action.UPDATE, f"{rest:,} more", "members", team, "seeded again"))
    mutation.report(answer, changes)
