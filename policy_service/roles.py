"""What an instance is: the authority, which owns the store, or a replica, which follows one. Each builds its parts on
the server's exit stack and offers the same to the listeners: a source of checks, AdminService, ReplicationService."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Protocol

from policy_client.connection import TLS, Connection, RetryPolicy
from policy_service.authority.authority import Authority
from policy_service.config import AuthorityAccess, Config
from policy_service.domain.changelog import Lineage
from policy_service.domain.source import PolicySource
from policy_service.domain.state import State
from policy_service.errors import StartupError
from policy_service.replication.following import Follow, make_replica, source_of
from policy_service.replication.grpc_feed import GrpcFeed
from policy_service.replication.loading import collector_paused
from policy_service.replication.log_feed import LogFeed
from policy_service.replication.publisher import Publisher
from policy_service.replication.redis_connection import RedisLocation
from policy_service.replication.replica import Condition, Replica
from policy_service.replication.signing import Signer, unsigned
from policy_service.services.admin import AdminService
from policy_service.services.health import HealthService
from policy_service.services.replication import NotTheAuthority, ReplicaReplicationService, ReplicationService
from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import Store
from policy_service.store.sqlite import SqliteStore
from policy_service.tasks import Tasks, cancel
from policy_service.v1 import replication_pb2 as pb

HEALTH_POLL_S = 0.25
POLICY_POLL_S = 0.02
END_PUBLISHER_S = 2.0  # how long a stop waits until Redis has the last mutations
START_PUBLISHER_S = 3.0  # how long a start waits for Redis to say whether it is ahead of the database


class Role(Protocol):
    """What the listeners need of an instance."""

    source: PolicySource
    admin: object
    replication: object

    def described(self) -> dict[str, object]:
        """What the start-up line says of it."""

    def end_streams(self) -> None:
        """Ends what would go on for ever, so that the server can drain."""


class AuthorityRole:
    """Owns the store and commits mutations."""

    def __init__(self, store: Store, state: State, feed: LogFeed) -> None:
        self._store, self._state, self._feed = store, state, feed
        self._started = datetime.now(UTC)
        self._published_to = ""
        self._publishing: asyncio.Task[None] | None = None
        self._problem, self._problem_time = "", self._started
        self._replication = ReplicationService(feed, self._status)
        self.source: PolicySource
        self.admin: object
        self.replication: object = self._replication

    @classmethod
    async def start(
        cls, config: Config, stack: AsyncExitStack, tasks: Tasks, health: HealthService, owns_process: bool
    ) -> AuthorityRole:
        """Raises StartupError."""
        sign = Signer.read(config.signing_key).sign if config.signing_key else unsigned
        store: Store = MemoryStore() if config.database is None else await SqliteStore.open(config.database)
        stack.push_async_callback(store.close)
        state = State()
        with collector_paused(owns_process):
            await store.load(state)
        feed = LogFeed(store, lambda: Lineage(state.position, state.ancestors), sign)
        role = cls(store, state, feed)
        stack.push_async_callback(feed.close)
        days = config.log_retention_days
        retention = None if days is None else timedelta(days=days)
        authority = Authority(store, state, log_retention=retention, wake=feed.wake)
        publisher = None
        if config.publish is not None:
            publisher = role._publisher(config.publish, config.redis_prefix, sign, health, authority)
            stack.push_async_callback(publisher.close)
            stack.push_async_callback(role._end_publishing, publisher)  # after the writer's last mutation
        writer = tasks.supervise("writer", authority.run)
        stack.push_async_callback(_finish_writer, authority, writer)
        if publisher is not None:
            await publisher.look(START_PUBLISHER_S)
            role._publishing = tasks.supervise("publisher", publisher.run)
        role.source, role.admin = authority, AdminService(authority)
        return role

    def _publisher(
        self, url: str, prefix: str, sign: Callable[[bytes], bytes], health: HealthService, authority: Authority
    ) -> Publisher:
        location = RedisLocation(url, prefix)
        self._published_to = location.text

        def report(problem: str | None) -> None:
            health.set("publisher", serving=problem is None)
            if problem is not None:
                self._problem_time = datetime.now(UTC)
            self._problem = problem or ""

        return Publisher(location, self._feed, self._store.hash_at, authority.begin_epoch, report, sign=sign)

    async def _end_publishing(self, publisher: Publisher) -> None:
        if self._publishing is not None:
            await publisher.catch_up(END_PUBLISHER_S)
            await cancel(self._publishing)

    def _status(self) -> pb.GetStatusResponse:
        state = self._state
        status = pb.GetStatusResponse(
            role=pb.GetStatusResponse.AUTHORITY,
            state=pb.GetStatusResponse.FRESH,
            revision=state.revision,
            digest=state.digest,
            head_revision=state.revision,
            ancestors=state.ancestors,
            feed=self._published_to,
            last_error=self._problem,
        )
        status.start_time.FromDatetime(self._started)
        if self._problem:
            status.last_error_time.FromDatetime(self._problem_time)
        return status

    def end_streams(self) -> None:
        self._replication.end()

    def described(self) -> dict[str, object]:
        teams, members = len(self._state.teams), sum(len(team.members) for team in self._state.teams.values())
        fields: dict[str, object] = {"database": self._store.location, "revision": self._state.revision}
        fields |= {"teams": teams, "members": members}
        return fields | ({"publish": self._published_to} if self._published_to else {})


async def _finish_writer(authority: Authority, writer: asyncio.Task[None]) -> None:
    if not writer.done():
        await authority.finish()
    await writer


class ReplicaRole:
    """Follows an authority."""

    def __init__(self, follow: Follow, replica: Replica, health: HealthService, services: tuple[str, ...]) -> None:
        self._replica, self._health, self._services = replica, health, services
        self._started = datetime.now(UTC)
        address = follow.authority_address
        authority = "" if address is None else address.text
        self._source = source_of(follow, replica)
        self.source: PolicySource = self._source
        self.admin: object = NotTheAuthority(authority)
        self.replication: object = ReplicaReplicationService(authority, self._status)

    @classmethod
    async def start(
        cls,
        follow: Follow,
        access: AuthorityAccess,
        stack: AsyncExitStack,
        tasks: Tasks,
        health: HealthService,
        owns_process: bool,
        services: tuple[str, ...],
    ) -> ReplicaRole:
        """`services`: the names whose health is the replica's. Raises StartupError."""
        replica = make_replica(follow, _grpc_feed(follow, access, stack), owns_process=owns_process)
        stack.push_async_callback(replica.feed.close)
        stack.push_async_callback(replica.close)
        await replica.begin()
        role = cls(follow, replica, health, services)
        stack.push_async_callback(cancel, tasks.supervise("follower", replica.run))
        stack.push_async_callback(cancel, tasks.supervise("freshness", role._show_health))
        return role

    async def wait_for_policy(self, most_s: float) -> None:
        """Returns once there is a policy, or something stands in the way of one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while self._replica.state is None and self._replica.failure is None:  # noqa: ASYNC110
                    await asyncio.sleep(POLICY_POLL_S)

    async def _show_health(self) -> None:
        """Health follows the clock: a policy becomes stale while nothing happens."""
        while True:
            self._health.set("follower", serving=self._replica.condition is Condition.FRESH)
            for name in ("", *self._services):
                self._health.set(name, serving=self._source.problem() is None)
            await asyncio.sleep(HEALTH_POLL_S)

    def _status(self) -> pb.GetStatusResponse:
        replica = self._replica
        status = pb.GetStatusResponse(
            role=pb.GetStatusResponse.REPLICA,
            state=pb.GetStatusResponse.State.Value(replica.condition.value),
            feed=replica.feed.location,
            counters=replica.counters,
        )
        if replica.state is not None:
            status.revision, status.digest = replica.state.revision, replica.state.digest
            status.ancestors.extend(replica.state.ancestors)
        if replica.head is not None:
            status.head_revision = replica.head.position.token
        age_s = replica.age_s
        if age_s is not None:
            status.staleness.FromNanoseconds(int(age_s * 1e9))
        if replica.failure is not None:
            status.last_error = replica.failure.message
            status.last_error_time.FromDatetime(replica.failure.time)
        status.start_time.FromDatetime(self._started)
        return status

    def end_streams(self) -> None:
        """Nobody follows a replica."""

    def described(self) -> dict[str, object]:
        return {"follow": self._replica.feed.location}


def _grpc_feed(follow: Follow, access: AuthorityAccess, stack: AsyncExitStack) -> GrpcFeed | None:
    """The feed of the authority itself, where its address is known."""
    address = follow.authority_address
    if address is None:
        if access != AuthorityAccess():
            raise StartupError(
                "--follow-token-file and --follow-tls-... are for the authority; with Redis give --authority, too"
            )
        return None
    tls = None
    if access.tls_ca or access.tls_cert or access.tls_key:
        tls = TLS(ca=access.tls_ca, cert=access.tls_cert, key=access.tls_key)
    elif not address.is_local:
        raise StartupError(f"{address.text} is another machine: give --follow-tls-ca, so that nobody else answers")
    try:
        token = None if access.token_file is None else access.token_file.read_text().strip()
        connection = Connection(address.text, token=token, tls=tls, channel=None, retry=RetryPolicy(), timeout_s=5.0)
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot follow {address.text}: {error}") from error
    stack.push_async_callback(connection.close)
    return GrpcFeed(connection.channel, f"grpc://{address.text}", connection.metadata)
