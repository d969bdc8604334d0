"""A channel to a server of its own for each test, and one to a server that the tests of a module share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.server import Server
from tests.support import examples
from tests.support.rpc import Rpc, connect


@pytest.fixture
async def rpc(server) -> AsyncIterator[Rpc]:
    """An empty server."""
    async with connect(server.target) as rpc:
        yield rpc


@pytest.fixture
async def world(rpc: Rpc) -> Rpc:
    """A server with the small world of tests.support.examples."""
    await examples.build(rpc)
    return rpc


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rpc]:
    """The small world on one server for a whole module: for many requests that change nothing."""
    database = tmp_path_factory.mktemp("shared") / "policy.db"
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), database=database))
    try:
        async with connect(server.addresses[0]) as rpc:
            await examples.build(rpc)
            yield rpc
    finally:
        await server.stop()
