"""What a store does. One writer commits; anybody reads. Every read is of one revision."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

from policy_service.domain.changelog import ChangeLog, LogSlice
from policy_service.domain.changes import Change, ChangeImage, LogEntry, Position
from policy_service.domain.feed import MAX_ANCESTORS
from policy_service.domain.records import AccessGroup, Member, Model, ScopeSource, Team
from policy_service.domain.state import State

EXPIRED_AT_ONCE = 100  # recorded requests, and log entries, that one commit drops at most
PAGE_BYTES = 1 << 20  # a page ends when its records' JSON passes this, so that it fits a message
LOG_SLICES = 1_000  # log entries that `log_after` returns at most
BODIES_AT_ONCE = 50  # teams, groups, models and policies that `visit` shows within a few milliseconds
MEMBERS_AT_ONCE = 1_000  # so many members are


class RecordedRequest(NamedTuple):
    """A mutation that succeeded under a request_id: what was asked (a hash) and what was answered."""

    rpc: str
    request_id: str
    request_hash: bytes
    response: bytes
    time: datetime


R = TypeVar("R")


class Page(NamedTuple, Generic[R]):
    """Items in the order of their keys, and whether there are more after them."""

    items: list[R]
    more: bool


class LogFilter(NamedTuple):
    """Which log entries: those that touch a team (empty: all), at or after `start`, before `end`."""

    team: str = ""
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One atomic, durable step. Without `entry` (a mutation that changed nothing) it only records the request."""

    entry: LogEntry | None = None
    changes: Sequence[Change] = ()
    images: Sequence[ChangeImage] = ()
    request: RecordedRequest | None = None
    forget_requests_before: datetime | None = None
    forget_log_before: datetime | None = None


class Store(ChangeLog, Protocol):
    """Errors: DatabaseError when the store cannot be used or is damaged, Unavailable when it cannot do it now."""

    location: str

    async def position(self) -> Position:
        """Where the log stands."""

    async def load(self, state: State) -> None:
        """Builds up an empty state and moves it to where the log stands. Raises DatabaseError when the records do not
        have the digest that the log says."""

    async def team(self, team: str) -> Team | None: ...

    async def member(self, team: str, user: str) -> Member | None: ...

    async def group(self, name: str) -> AccessGroup | None: ...

    async def models_named(self, names: Sequence[str]) -> dict[str, Model]:
        """Those of the names that the catalogue has."""

    async def users_in(self, team: str, users: Sequence[str]) -> set[str]:
        """Those of the users that are members of the team."""

    async def teams(self, after: str, limit: int) -> Page[Team]:
        """A page of at most `limit` teams, and about PAGE_BYTES, beyond `after` in byte order of the identifiers."""

    async def members(
        self, team: str, user: str, source: ScopeSource | None, after: tuple[str, str], limit: int
    ) -> Page[Member]:
        """A page of the team's members (if given) and the user's memberships (if given), by (team, user)."""

    async def groups(self, after: str, limit: int) -> Page[AccessGroup]: ...

    async def models(self, after: str, limit: int) -> Page[Model]: ...

    async def scopes_listing(self, entry: str, limit: int) -> list[str]:
        """Up to `limit` scopes that list exactly this entry, in words."""

    async def excluded_entries(self) -> set[str]:
        """Every entry that some scope excludes."""

    async def log(self, select: LogFilter, after: tuple[int, int], limit: int) -> Page[LogSlice]:
        """A page of the log, the oldest first, from beyond (revision, index of change). An entry that does not fit
        is cut; the next page goes on with it."""

    async def recorded_request(self, rpc: str, request_id: str) -> RecordedRequest | None: ...

    async def commit(self, commit: Commit) -> None:
        """All or nothing, durable on return. On an exception nothing was committed, but see `position`: when the
        outcome is in doubt, that says whether the entry is there."""

    async def begin_epoch(self, epoch: str) -> None:
        """Makes this the store's epoch, and the one before it the youngest ancestor; durable on return. Entries keep
        the epoch that they were made in. For whoever commits, between two commits."""

    async def close(self) -> None:
        """Releases the database. May be called twice."""


def new_epoch() -> str:
    """The name of a lineage that no other has."""
    return secrets.token_hex(8)


def ancestry(epochs: Iterable[str]) -> list[str]:
    """The epochs, the oldest first, each once, and no more than the youngest that are kept."""
    return list(dict.fromkeys(epochs))[-MAX_ANCESTORS:]


def team_scopes_listing(team: Team, entry: str) -> list[str]:
    """The team's own scopes that list exactly this entry, in words."""
    scopes = {"models": team.models, "default_team_member_models": team.default_team_member_models}
    return [f"team {team.id} ({field})" for field, scope in scopes.items() if entry in scope.entries]
