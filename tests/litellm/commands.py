"""Runs the import."""

from __future__ import annotations

from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from policy_service.cli.import_litellm import litellm

EXAMPLE = Path(__file__).parents[2] / "examples" / "litellm"
EXAMPLE_CONFIG, EXAMPLE_TEAMS = str(EXAMPLE / "config.yaml"), str(EXAMPLE / "teams.json")


def run_import(*arguments: str) -> Result:
    """The exit status and output."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(litellm)
    return CliRunner().invoke(app, arguments)
