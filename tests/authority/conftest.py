"""Fixtures: an authority over a store of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import Store
from policy_service.store.sqlite import SqliteStore
from tests.authority.calls import Admin
from tests.store.support import dump, loaded


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "policy.db")
    yield opened
    await opened.close()


@pytest.fixture
async def admin(store: Store) -> AsyncIterator[Admin]:
    """An administrator of an empty service. At the end the state must be the one that a start would load."""
    running = await Admin.start(store)
    yield running
    await running.stop()
    assert dump(running.state) == dump(await loaded(store))
