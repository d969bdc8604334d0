"""Fixtures: a database, and a backup of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy_service.store.backup import backup
from tests.cli.backups import fill


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
