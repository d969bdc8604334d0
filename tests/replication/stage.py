"""A real Redis, an authority that publishes to it and a replica that follows, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from policy_client import AccessClient, AdminClient
from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.replication.following import Follow
from policy_service.replication.signing import make_keys
from policy_service.server import Server
from tests.replication.redis_servers import PREFIX, RedisServer
from tests.replication.truth import Truth, prepare, until_equal

MAX_STALENESS_S = 2.0
FREE_PORT = Address("127.0.0.1:0")


@dataclass
class Stage:
    """An authority that publishes, and a replica that follows."""

    redis: RedisServer
    authority: AccessClient
    admin: AdminClient
    replica: AccessClient
    follow: Follow
    truth: Truth
    end_authority: Callable[[], Awaitable[None]]

    async def key(self, ending: str) -> str:
        """The one key with this ending; of chunks the first."""
        keys = await self.redis.keys(f"{PREFIX}*{ending}")
        assert keys
        return keys[0]


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Server]:
    """A server, stopped at the end."""
    server = await Server.start(config)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def set_up(redis: RedisServer, folder: Path) -> AsyncIterator[Stage]:
    public = make_keys(folder / "key")
    publishing = Config(
        listen=FREE_PORT,
        database=folder / "policy.db",
        drain_timeout_s=1,
        publish=redis.url(),
        redis_prefix=PREFIX,
        signing_key=folder / "key",
    )
    follow = Follow(url=redis.url(), redis_prefix=PREFIX, verify_key=public, max_staleness_s=MAX_STALENESS_S)
    authority = await Server.start(publishing)
    async with (
        running(Config(listen=FREE_PORT, follow=follow, drain_timeout_s=1)) as replica,
        AccessClient(authority.addresses[0], timeout_s=5) as access,
        AdminClient(authority.addresses[0]) as admin,
        AccessClient(replica.addresses[0], timeout_s=5) as asked,
    ):
        made = Stage(redis, access, admin, asked, follow, Truth(MAX_STALENESS_S), authority.stop)
        try:
            await prepare(admin, made.truth)
            await until_equal(access, [asked])
            yield made
        finally:
            await authority.stop()
