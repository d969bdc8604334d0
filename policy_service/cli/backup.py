"""`policy-service backup` and `policy-service restore`: a database into one file, and back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from policy_service.cli.console import OUT, fail
from policy_service.cli.output import Output, OutputOption, print_document
from policy_service.cli.serve import DEFAULT_DATABASE
from policy_service.errors import PolicyError
from policy_service.store import backup as backups

DatabaseOption = Annotated[
    Path, typer.Option("--database", envvar="POLICY_SERVICE_DATABASE", help="The SQLite file of the server.")
]
R = TypeVar("R")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to make; must not be there yet.")],
    database: DatabaseOption = DEFAULT_DATABASE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Copy the database into a file; the server may be running."""
    content = _run(backups.backup(database, file))
    if output is Output.TEXT:
        OUT.print(f"{file}: revision {content.position.token}, {_counts(content)}")
    else:
        print_document(_document(content, file), output)


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup to restore.")],
    database: DatabaseOption = DEFAULT_DATABASE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Put a backup in the place of the database; the server must not be running."""
    content, backup_epoch, former = _run(backups.restore(file, database))
    if output is not Output.TEXT:
        more = {"replaced_epoch": backup_epoch, "former_database": "" if former is None else str(former)}
        print_document(_document(content, database) | more, output)
        return
    OUT.print(f"{database}: revision {content.position.token}, {_counts(content)}")
    OUT.print(f"epoch {content.position.epoch} replaces {backup_epoch}: replicas start over")
    if former is not None:
        OUT.print(f"the former database is kept as {former}")


def _document(content: backups.Content, file: Path) -> dict[str, Any]:
    counts = {"teams": content.teams, "members": content.members}
    return {"file": str(file), "revision": content.position.token} | counts


def _run(work: Coroutine[Any, Any, R]) -> R:
    try:
        return asyncio.run(work)
    except PolicyError as error:
        fail(str(error))


def _counts(content: backups.Content) -> str:
    return f"{content.teams} teams, {content.members} members"
