"""`policy-service group`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from policy_client import NotFound
from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import fail
from policy_service.cli.differences import group_differences
from policy_service.cli.fields import EntryChanges, EntryOptions
from policy_service.cli.mutations import EtagOption, ForceOption, Mutation
from policy_service.cli.output import Output, OutputOption, print_list, print_record
from policy_service.cli.steps import Action, Change, updated
from policy_service.cli.words import listed
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb

app = typer.Typer(help="Access groups: named sets of models that any scope can list.", no_args_is_help=True)
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="The group's name.")]
COLUMNS: dict[str, Callable[[pb.AccessGroup], str]] = {
    "GROUP": lambda group: group.name,
    "MODELS": lambda group: listed(group.models),
    "EXCLUDED": lambda group: listed(group.excluded_models) if group.excluded_models else "",
}


@app.command("list")
@on_server
async def list_groups(target: Target, output: OutputOption = Output.TEXT) -> None:
    """List the access groups."""
    async with target.admin() as admin:
        await print_list(admin.list_access_groups(), COLUMNS, output)


@app.command("show")
@on_server
async def show_group(target: Target, group: GroupArgument, output: OutputOption = Output.TEXT) -> None:
    """Show an access group."""
    async with target.admin() as admin:
        print_record(await admin.get_access_group(group), output)


@app.command("set")
@on_server
async def set_group(
    target: Target,
    group: GroupArgument,
    whole: EntryOptions,
    changes: EntryChanges,
    mutation: Mutation,
    etag: EtagOption = "",
) -> None:
    """Create an access group, or change one: what is given changes, nothing else."""
    async with target.admin() as admin:
        try:
            old = await admin.get_access_group(group)
        except NotFound:
            old = None
        new = pb.AccessGroup(name=group)
        new.CopyFrom(old or new)
        edited = whole.edit(new)
        if not (changes.edit(new) or edited):
            fail("there is nothing to set; give --model or another of the lists")
        new.etag = etag or new.etag
        answer = await admin.set_access_group(new, **mutation.options)
    if old is None:
        mutation.report(answer, [Change(Action.CREATE, "group", group)])
    else:
        differences = group_differences(convert.group_of(old), convert.group_of(answer.group))
        mutation.report(answer, [updated("group", group, differences)] if differences else [])


@app.command("delete")
@on_server
async def delete_group(
    target: Target, group: GroupArgument, mutation: Mutation, force: ForceOption = False, etag: EtagOption = ""
) -> None:
    """Delete an access group."""
    async with target.admin() as admin:
        answer = await admin.delete_access_group(group, force=force, etag=etag, **mutation.options)
    mutation.report(answer, [Change(Action.DELETE, "group", group)])
