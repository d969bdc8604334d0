"""The records an administrator keeps. Frozen; the field names are the contract's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

EPOCH_START = datetime.fromtimestamp(0, UTC)


class Mode(StrEnum):
    """How a scope's lists are read."""

    INHERIT = "INHERIT"
    ALL = "ALL"
    NONE = "NONE"
    ONLY = "ONLY"


class Role(StrEnum):
    """A member's role; it changes no decision."""

    MEMBER = "MEMBER"
    TEAM_ADMIN = "TEAM_ADMIN"


class ScopeSource(StrEnum):
    """Where a member's scope came from."""

    SEEDED = "SEEDED"
    EXPLICIT = "EXPLICIT"


class UnlistedUsers(StrEnum):
    """What a request gets whose user is empty or no member."""

    DENY = "DENY"
    TEAM_SCOPE = "TEAM_SCOPE"


class Kind(StrEnum):
    """The kinds of record."""

    TEAM = "team"
    MEMBER = "member"
    GROUP = "group"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class ModelScope:
    """Entries that grant and entries that exclude, in the order they were given."""

    mode: Mode
    models: tuple[str, ...] = ()
    excluded_models: tuple[str, ...] = ()

    @property
    def entries(self) -> tuple[str, ...]:
        """Both lists."""
        return self.models + self.excluded_models


INHERIT = ModelScope(Mode.INHERIT)


@dataclass(frozen=True, slots=True)
class MemberLimits:
    """Limits for a gateway to enforce: money a `budget_duration`, tokens and requests a minute. None is unset."""

    max_budget_in_team: float | None = None
    budget_duration: str | None = None
    tpm_limit: int | None = None
    rpm_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """A team. `member_count` is derived and no part of its identity."""

    id: str
    display_name: str | None = None
    models: ModelScope
    default_team_member_models: ModelScope = INHERIT
    default_member_limits: MemberLimits = MemberLimits()
    model_aliases: Mapping[str, str] = field(default_factory=dict)
    blocked: bool = False
    unlisted_users: UnlistedUsers = UnlistedUsers.DENY
    labels: Mapping[str, str] = field(default_factory=dict)
    member_count: int = field(default=0, compare=False)
    etag: str = ""
    create_time: datetime = EPOCH_START
    update_time: datetime = EPOCH_START


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A user in a team."""

    team: str
    user: str
    role: Role = Role.MEMBER
    allowed_models: ModelScope = INHERIT
    scope_source: ScopeSource = ScopeSource.EXPLICIT
    limits: MemberLimits = MemberLimits()
    blocked: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""
    create_time: datetime = EPOCH_START
    update_time: datetime = EPOCH_START


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessGroup:
    """A named set of models that any scope can list."""

    name: str
    models: tuple[str, ...]
    excluded_models: tuple[str, ...] = ()
    etag: str = ""
    create_time: datetime = EPOCH_START
    update_time: datetime = EPOCH_START


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model of the catalogue."""

    name: str
    provider: str
    labels: Mapping[str, str] = field(default_factory=dict)


Record = Team | Member | AccessGroup | Model
