"""Fixtures: a Redis and a Valkey, and an authority."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy_service.replication.redis_feed import RedisFeed
from tests.replication.origin import Origin, redis_feed
from tests.replication.redis_servers import RedisServer, redis_server
from tests.replication.stage import Stage, set_up


@pytest.fixture(params=["redis", "valkey"])
async def redis(request: pytest.FixtureRequest) -> AsyncIterator[RedisServer]:
    """An empty server."""
    async with redis_server(request.param) as server:
        yield server


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    made = await Origin.make()
    yield made
    await made.feed.close()


@pytest.fixture
async def feed(redis: RedisServer) -> AsyncIterator[RedisFeed]:
    async with redis_feed(redis.location()) as feed:
        yield feed


@pytest.fixture
async def stage(redis: RedisServer, tmp_path: Path) -> AsyncIterator[Stage]:
    """An authority that publishes to the server, and a replica that follows."""
    async with set_up(redis, tmp_path) as stage:
        yield stage
