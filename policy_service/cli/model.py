"""`policy-service model`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

import typer

from policy_client import AdminClient
from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import Exit, fail
from policy_service.cli.differences import model_differences
from policy_service.cli.fields import LabelChanges
from policy_service.cli.mutations import ForceOption, Mutation
from policy_service.cli.output import Output, OutputOption, print_list, print_record
from policy_service.cli.steps import Action, Change, updated
from policy_service.cli.words import pairs
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb

app = typer.Typer(help="The catalogue: which provider serves which model.", no_args_is_help=True)
ModelsArgument = Annotated[list[str], typer.Argument(metavar="MODEL...", help="The models' names; all or none.")]
COLUMNS: dict[str, Callable[[pb.Model], str]] = {
    "MODEL": lambda model: model.name,
    "PROVIDER": lambda model: model.provider,
    "LABELS": lambda model: ", ".join(pairs(model.labels)),
}


@app.command("list")
@on_server
async def list_models(target: Target, output: OutputOption = Output.TEXT) -> None:
    """List the catalogue."""
    async with target.admin() as admin:
        await print_list(admin.list_models(), COLUMNS, output)


@app.command("show")
@on_server
async def show_model(
    target: Target,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show a model of the catalogue."""
    async with target.admin() as admin:
        found = await _present(admin, [model])
    if model not in found:
        fail(f"there is no model {model!r} in the catalogue", Exit.NOT_FOUND)
    print_record(found[model], output)


@app.command("set")
@on_server
async def set_models(
    target: Target,
    models: ModelsArgument,
    labels: LabelChanges,
    mutation: Mutation,
    provider: Annotated[str | None, typer.Option(metavar="NAME", help="Who serves them; needed for a new one.")] = None,
) -> None:
    """Put models into the catalogue, or change them: what is given changes, nothing else."""
    async with target.admin() as admin:
        old = await _present(admin, models)
        wanted = []
        for name in dict.fromkeys(models):
            model = pb.Model(name=name)
            model.CopyFrom(old.get(name, model))
            model.provider = model.provider if provider is None else provider
            labels.edit(model.labels)
            wanted.append(model)
        answer = await admin.upsert_models(wanted, **mutation.options)
    mutation.report(answer, [change for model in wanted for change in _changes(old.get(model.name), model)])


def _changes(old: pb.Model | None, new: pb.Model) -> Iterable[Change]:
    if old is None:
        yield Change(Action.CREATE, "model", new.name)
    elif differences := model_differences(convert.model_of(old), convert.model_of(new)):
        yield updated("model", new.name, differences)


@app.command("delete")
@on_server
async def delete_models(target: Target, models: ModelsArgument, mutation: Mutation, force: ForceOption = False) -> None:
    """Take models out of the catalogue."""
    async with target.admin() as admin:
        answer = await admin.delete_models(models, force=force, **mutation.options)
    mutation.report(answer, [Change(Action.DELETE, "model", name) for name in models])


async def _present(admin: AdminClient, names: Iterable[str]) -> dict[str, pb.Model]:
    wanted = set(names)
    return {model.name: model async for model in admin.list_models() if model.name in wanted}
