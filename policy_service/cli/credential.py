"""`policy-service credential create`: makes a token and the entry for the credentials file."""

from __future__ import annotations

from typing import Annotated

import typer
import yaml

from policy_service.cli.output import Output, OutputOption, print_document
from policy_service.domain.names import identifier_problem
from policy_service.services.auth import RESERVED_NAMES, Permission, hash_token, new_token


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets it; the audit log shows this name.")],
    permission: Annotated[list[Permission], typer.Option(help="What it may do; repeat it for more.")],
    output: OutputOption = Output.TEXT,
) -> None:
    """Make a token: printed once, never stored. The credentials file gets its hash."""
    problem = "is reserved" if name in RESERVED_NAMES else identifier_problem(name)
    if problem:
        raise typer.BadParameter(f"{name!r} {problem}", param_hint="NAME")
    token = new_token()
    entry = {
        "name": name,
        "token_sha256": hash_token(token),
        "permissions": [str(p) for p in dict.fromkeys(permission)],
    }
    if output is not Output.TEXT:
        print_document({"token": token, "principal": entry}, output)
        return
    typer.echo(f"token (shown only now): {token}")
    typer.echo("add this under `principals:` in the credentials file:")
    typer.echo(yaml.safe_dump([entry], sort_keys=False), nl=False)
