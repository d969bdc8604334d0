"""`policy-service team`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import typer

from policy_service.cli.connection import Target, on_server
from policy_service.cli.differences import team_differences
from policy_service.cli.fields import (
    EntryChanges,
    EntryOptions,
    LabelChanges,
    LabelOptions,
    LimitOptions,
    MemberMode,
    TeamMode,
    edit_scope,
    pairs,
    remove_keys,
    with_cleared,
)
from policy_service.cli.mutations import ClearOption, EtagOption, ForceOption, Mutation
from policy_service.cli.output import Output, OutputOption, print_list, print_record
from policy_service.cli.present import team_record
from policy_service.cli.steps import Action, Change, updated
from policy_service.cli.words import message_words, yes
from policy_service.domain.records import UnlistedUsers
from policy_service.v1 import resources_pb2 as pb

app = typer.Typer(help="Teams: what their members may use.", no_args_is_help=True)
TeamArgument = Annotated[str, typer.Argument(metavar="TEAM", help="The team's identifier.")]
COLUMNS: dict[str, Callable[[pb.Team], str]] = {
    "TEAM": lambda team: team.id,
    "MODELS": lambda team: message_words(team.models),
    "DEFAULT": lambda team: message_words(team.default_team_member_models),
    "UNLISTED": lambda team: pb.UnlistedUsers.Name(team.unlisted_users),
    "BLOCKED": lambda team: yes(team.blocked),
    "MEMBERS": lambda team: str(team.member_count),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamOptions:
    """Fields of a team."""

    mode: Annotated[TeamMode | None, typer.Option(help="ONLY the models that are listed, ALL, or NONE.")] = None
    default_model: Annotated[list[str], typer.Option(metavar="ENTRY", help="What new members may use; repeat it.")] = (
        field(default_factory=list)
    )
    default_exclude: Annotated[
        list[str], typer.Option(metavar="ENTRY", help="What new members may not use; repeat it.")
    ] = field(default_factory=list)
    default_mode: Annotated[MemberMode | None, typer.Option(help="Of what new members may use.")] = None
    display_name: Annotated[str | None, typer.Option(help="For people.")] = None
    alias: Annotated[
        list[str], typer.Option("--alias", metavar="NAME=MODEL", help="Another name for a model; repeat it.")
    ] = field(default_factory=list)
    unlisted_users: Annotated[UnlistedUsers | None, typer.Option(help="What users get who are no members.")] = None
    blocked: Annotated[bool | None, typer.Option("--blocked/--unblocked", help="Deny everything, or no longer.")] = None

    def edit(self, team: pb.Team, entries: EntryOptions, changes: EntryChanges | None = None) -> list[str]:
        """Sets the fields that are given; returns their names."""
        default = EntryOptions(model=self.default_model, exclude=self.default_exclude)
        edited = {
            "models": edit_scope(team.models, entries, self.mode, changes),
            "default_team_member_models": edit_scope(
                team.default_team_member_models, default, self.default_mode, otherwise="INHERIT"
            ),
            "model_aliases": bool(self.alias),
            "display_name": self.display_name is not None,
            "unlisted_users": self.unlisted_users is not None,
            "blocked": self.blocked is not None,
        }
        team.model_aliases.update(pairs("--alias", self.alias))
        if self.display_name is not None:
            team.display_name = self.display_name
        if self.unlisted_users is not None:
            team.unlisted_users = pb.UnlistedUsers.Value(self.unlisted_users)
        if self.blocked is not None:
            team.blocked = self.blocked
        return [name for name, was in edited.items() if was]


@app.command("list")
@on_server
async def list_teams(target: Target, output: OutputOption = Output.TEXT) -> None:
    """List the teams."""
    async with target.admin() as admin:
        await print_list(admin.list_teams(), COLUMNS, output)


@app.command("show")
@on_server
async def show_team(target: Target, team: TeamArgument, output: OutputOption = Output.TEXT) -> None:
    """Show a team."""
    async with target.admin() as admin:
        print_record(await admin.get_team(team), output)


@app.command("create")
@on_server
async def create_team(
    target: Target,
    team: TeamArgument,
    entries: EntryOptions,
    options: TeamOptions,
    limits: LimitOptions,
    labels: LabelOptions,
    mutation: Mutation,
    member: Annotated[
        list[str] | None, typer.Option(metavar="USER", help="A first member, seeded from the team; repeat it.")
    ] = None,
) -> None:
    """Create a team. Limits are what new members get."""
    made = pb.Team(id=team)
    options.edit(made, entries)
    limits.edit(made.default_member_limits)
    labels.edit(made.labels)
    members = [pb.Member(user=user) for user in member or ()]
    async with target.admin() as admin:
        answer = await admin.create_team(made, members, **mutation.options)
    created = [Change(Action.CREATE, "member", each.user, team) for each in members]
    mutation.report(answer, [Change(Action.CREATE, "team", team), *created])


@app.command("update")
@on_server
async def update_team(
    target: Target,
    team: TeamArgument,
    entries: EntryOptions,
    options: TeamOptions,
    changes: EntryChanges,
    limits: LimitOptions,
    labels: LabelChanges,
    mutation: Mutation,
    remove_alias: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Remove this alias; repeat it.")
    ] = None,
    cleared: ClearOption = None,
    etag: EtagOption = "",
) -> None:
    """Change a team: what is given changes, nothing else. Limits are what new members get."""
    async with target.admin() as admin:
        old = await admin.get_team(team)
        new = pb.Team()
        new.CopyFrom(old)
        remove_keys(new.model_aliases, remove_alias or (), "alias")
        paths = options.edit(new, entries, changes)
        paths += ["model_aliases"] if remove_alias else []
        paths += [f"default_member_limits.{name}" for name in limits.edit(new.default_member_limits)]
        paths += ["labels"] if labels.edit(new.labels) else []
        paths = with_cleared(new, paths, cleared)
        new.etag = etag or old.etag
        answer = await admin.update_team(new, paths, **mutation.options)
    differences = team_differences(team_record(old), team_record(answer.team))
    mutation.report(answer, [updated("team", team, differences)] if differences else [])


@app.command("delete")
@on_server
async def delete_team(
    target: Target, team: TeamArgument, mutation: Mutation, force: ForceOption = False, etag: EtagOption = ""
) -> None:
    """Delete a team; with --force its members too."""
    async with target.admin() as admin:
        answer = await admin.delete_team(team, force=force, etag=etag, **mutation.options)
    mutation.report(answer, [Change(Action.DELETE, "team", team)])
