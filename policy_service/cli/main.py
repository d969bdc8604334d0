"""The command `policy-service`. The options of `serve`, and those that say which server, are also environment variables
`POLICY_SERVICE_...`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what grpc would write on its own is in our errors

import typer

from policy_service.cli import audit, context, group, member, model, team
from policy_service.cli.apply import apply
from policy_service.cli.backup import backup, restore
from policy_service.cli.check import check, explain, models
from policy_service.cli.credential import create
from policy_service.cli.export import export
from policy_service.cli.import_litellm import litellm
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
importing = typer.Typer(help="Bring in what another system has, as a file for apply.", no_args_is_help=True)
importing.command()(litellm)
PANELS: dict[str, dict[str, Any]] = {
    "Questions": {"check": check, "explain": explain, "models": models, "status": status, "watch": watch},
    "Administration": {
        "team": team.app,
        "member": member.app,
        "group": group.app,
        "model": model.app,
        "apply": apply,
        "export": export,
        "import": importing,
        "audit": audit.app,
        "context": context.app,
    },
    "Operation": {
        "serve": serve,
        "backup": backup,
        "restore": restore,
        "keygen": keygen,
        "credential": credential,
    },
}
for panel, commands in PANELS.items():
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


def main() -> None:
    """The entry point."""
    app()
