"""`policy-service keygen`: makes the keys with which an authority signs and its replicas verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policy_service.errors import StartupError
from policy_service.replication.signing import SIGNING_OPTION, VERIFY_OPTION, make_keys


def keygen(
    file: Annotated[
        Path, typer.Argument(help="Gets the private key; the public one goes to FILE.pub.", metavar="FILE")
    ],
) -> None:
    """Make a pair of keys, so that replicas take policy from the authority alone."""
    try:
        public = make_keys(file)
    except StartupError as error:
        typer.echo(f"policy-service: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"private key, for {SIGNING_OPTION} of the authority; keep it secret: {file}")
    typer.echo(f"public key, for {VERIFY_OPTION} of every replica: {public}")
