"""What a replica is configured with, and the replica that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy_service.addresses import Address
from policy_service.domain.feed import Feed, Signable
from policy_service.errors import StartupError
from policy_service.replication.cache import StateCache
from policy_service.replication.grpc_feed import GrpcFeed
from policy_service.replication.redis_connection import RedisLocation
from policy_service.replication.redis_feed import RedisFeed
from policy_service.replication.replica import Replica, ReplicaOptions
from policy_service.replication.signing import Verifier
from policy_service.replication.source import ReplicaSource

DEFAULT_PREFIX = "policy_service"
REDIS_SCHEMES = ("redis", "rediss", "unix")
MIN_STALENESS_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """What a replica follows, and how. `url` is redis://, rediss://, unix:// or grpc://HOST:PORT. Times in seconds.
    Raises StartupError when inconsistent; the messages name the options of `serve`."""

    url: str
    authority: Address | None = None
    redis_prefix: str = DEFAULT_PREFIX
    verify_key: Path | None = None
    trust_redis: bool = False
    state_cache: Path | None = None
    max_staleness_s: float = 10.0
    max_policy_age_s: float = 86_400.0
    refuse_when_stale: bool = False
    revision_wait_s: float = 2.0

    def __post_init__(self) -> None:
        scheme, separator, _ = self.url.partition("://")
        if scheme not in (*REDIS_SCHEMES, "grpc") or not separator:  # not shown: it may be a password
            raise StartupError("--follow is none of redis://..., rediss://..., unix://... and grpc://HOST:PORT")
        if not self.is_redis:
            self._check_grpc()
        elif self.verify_key is None and not self.trust_redis:
            raise StartupError(
                "whoever can write to Redis could write policy: give --verify-key with the authority's public key, or "
                "say --trust-redis"
            )
        # said so that what is no number (nan) is refused, too
        if not self.max_staleness_s >= MIN_STALENESS_S:
            raise StartupError(f"--max-staleness is less than {MIN_STALENESS_S:g} s; heads do not come that often")
        if not self.max_policy_age_s >= self.max_staleness_s:
            raise StartupError("--max-policy-age is less than --max-staleness; give at least as much")
        if not self.revision_wait_s >= 0:
            raise StartupError("--revision-wait is less than 0; give 0 for not waiting at all")

    @classmethod
    def of(cls, url: str, *, authority: str | None, **options: Any) -> Follow:
        """With the authority's address as text."""
        return cls(url=url, authority=None if authority is None else Address(authority), **options)

    @property
    def is_redis(self) -> bool:
        return self.url.partition("://")[0] in REDIS_SCHEMES

    @property
    def authority_address(self) -> Address | None:
        """Where the authority itself is asked, if that is known."""
        return self.authority if self.is_redis else Address(self.url.removeprefix("grpc://"))

    def _check_grpc(self) -> None:
        address = self.authority_address
        assert address is not None  # noqa: S101 - it is the URL's
        if self.authority is not None and self.authority != address:
            raise StartupError("--authority goes with Redis; with --follow grpc:// the authority is what is followed")
        if self.trust_redis:
            raise StartupError("--trust-redis goes with a Redis that is followed; leave it out")


def make_replica(follow: Follow, authority: GrpcFeed | None, *, owns_process: bool) -> Replica:
    """The replica, not running yet; its feed is the caller's to close. `authority`: the authority's own feed, which is
    what is followed, or confirms its epoch to who follows Redis. Raises StartupError."""
    feed: Feed
    if follow.is_redis:
        feed = RedisFeed(RedisLocation(follow.url, follow.redis_prefix))
    else:
        assert authority is not None  # noqa: S101 - `authority_address` is set then
        feed = authority
    options = ReplicaOptions(
        max_staleness_s=follow.max_staleness_s, max_policy_age_s=follow.max_policy_age_s, owns_process=owns_process
    )

    async def confirm() -> str:
        assert authority is not None  # noqa: S101 - used only with one
        return (await authority.head()).head.position.epoch

    return Replica(
        feed,
        options,
        verify=Verifier.read(follow.verify_key).check if follow.verify_key else _unverified,
        confirm=None if authority is None else confirm,
        cache=None if follow.state_cache is None else StateCache(follow.state_cache),
    )


def source_of(follow: Follow, replica: Replica) -> ReplicaSource:
    return ReplicaSource(replica, refuse_when_stale=follow.refuse_when_stale, wait_s=follow.revision_wait_s)


def _unverified(_: Signable) -> None:
    """Where no key is configured."""
