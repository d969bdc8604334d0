"""Every front on one authority, which holds one world after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.building import build, take_down
from tests.conformance.cases import World
from tests.conformance.records import state_of
from tests.support.fronts import Fleet, all_fronts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    async with all_fronts() as fleet:
        yield fleet


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(request: pytest.FixtureRequest, fleet: Fleet) -> AsyncIterator[World]:
    """The world of the parameter, as every front sees it: those that follow do so while it is built."""
    built: World = request.param
    await build(fleet.authority, built)
    fleet.engine.state = state_of(built)
    await fleet.catch_up()
    yield built
    await take_down(fleet.authority, built)
