"""Every front on one authority with the small world of tests.support.examples."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support import examples
from tests.support.fronts import Fleet, all_fronts


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet() -> AsyncIterator[Fleet]:
    async with all_fronts() as fleet:
        await examples.build(fleet.authority)
        await fleet.catch_up()
        yield fleet
