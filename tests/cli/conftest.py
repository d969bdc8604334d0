"""Fixtures: a database, a backup of it, and the command against a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from policy_service.store.backup import backup
from tests.cli.backups import fill
from tests.cli.commands import Cli

if TYPE_CHECKING:
    from tests.conftest import RunningServer


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """A database in a folder of its own."""
    path = tmp_path / "data" / "policy.db"
    await fill(path, "first", "second")
    return path


@pytest.fixture
async def saved(database: Path, tmp_path: Path) -> Path:
    """A backup of the database."""
    file = tmp_path / "saved.db"
    await backup(database, file)
    return file


@pytest.fixture
def cli(server: RunningServer) -> Cli:
    """The command against an empty server."""
    return Cli(server.target)
