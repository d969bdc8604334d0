"""Fixtures: a store of each kind, and who commits to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import Store
from policy_service.store.sqlite import SqliteStore
from tests.store.support import Ledger


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "policy.db")
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(store: Store) -> Ledger:
    return await Ledger.of(store)
