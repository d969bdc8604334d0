"""What a database file holds, read without a server."""

from __future__ import annotations

from pathlib import Path

from policy_service.domain.state import State
from policy_service.store.sqlite import SqliteStore


async def load(database: Path) -> State:
    """The policy as a server would start from. The store refuses records that are not those of the log."""
    store = await SqliteStore.open(database)
    try:
        state = State()
        await store.load(state)
        assert state.position == await store.position()
        assert state.digest == state.position.digest
    finally:
        await store.close()
    return state
