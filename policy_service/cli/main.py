"""The command `policy-service`. Its options are also environment variables `POLICY_SERVICE_...`, but for those that
name one run (`--file`, `--dry-run`, `--prune`, `--yes`)."""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what grpc would write on its own is in our errors

import typer

from policy_service.cli.apply import apply
from policy_service.cli.backup import backup, restore
from policy_service.cli.check import check
from policy_service.cli.credential import create
from policy_service.cli.keygen import keygen
from policy_service.cli.serve import serve
from policy_service.cli.status import status
from policy_service.cli.watch import watch

app = typer.Typer(
    name="policy-service",
    help="Decides which team, and which member of a team, may use which AI model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
credential = typer.Typer(help="Credentials for callers.", no_args_is_help=True)
credential.command()(create)
app.add_typer(credential, name="credential")
for command in (serve, check, apply, status, watch, backup, restore, keygen):
    app.command()(command)


def main() -> None:
    """The entry point."""
    app()
