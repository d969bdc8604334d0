"""What feeds need of a store: its change log and all that it holds. The one thing store and replication share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from policy_service.domain.changes import ChangeImage, LogEntry, Position
from policy_service.domain.encoding import from_json as record_from_json
from policy_service.domain.encoding import limits_from_json, scope_from_json
from policy_service.domain.records import Kind
from policy_service.domain.state import Policy, State

Fields = Mapping[str, Any]


class LogSlice(NamedTuple):
    """A log entry with some of its changes: those from `first_change` on that fitted."""

    entry: LogEntry
    first_change: int
    images: list[ChangeImage]


class Lineage(NamedTuple):
    """Where a log stands, and the epochs that its own grew out of, the oldest first."""

    position: Position
    ancestors: tuple[str, ...]


class Visitor(Protocol):
    """Takes all that a store holds: teams before their members, a policy before the members that have it."""

    def team(self, name: str, fields: Fields) -> None: ...

    def group(self, name: str, fields: Fields) -> None: ...

    def model(self, name: str, provider: str) -> None: ...

    def policy(self, fields: Fields) -> Any:
        """Takes what of a member decides (`allowed_models`, `limits`, `blocked`); returns what `member` takes."""

    def member(self, team: str, user: str, policy: Any) -> None:
        """Members come team by team."""


class ChangeLog(Protocol):
    """Raises Unavailable when the store cannot be read now."""

    async def lineage(self) -> Lineage: ...

    async def hash_at(self, revision: int) -> str | None:
        """The hash of the entry of a revision; of the one before the first that is kept, too. None when not kept."""

    async def log_after(self, revision: int, change: int) -> list[LogSlice]:
        """Some of the log, about 1 MiB, from beyond the change of the revision (-1: from its first change; the
        last: from the next revision). Empty at the end."""

    async def visit(self, visitor: Visitor) -> Lineage:
        """Shows the visitor everything, as it is at one revision, in slices that leave the event loop free."""


class Loading:
    """The visitor that builds up a state."""

    def __init__(self, state: State) -> None:
        self._state = state

    def team(self, name: str, fields: Fields) -> None:
        self._state.load(record_from_json(Kind.TEAM, fields))

    def group(self, name: str, fields: Fields) -> None:
        self._state.load(record_from_json(Kind.GROUP, fields))

    def model(self, name: str, provider: str) -> None:
        self._state.load(record_from_json(Kind.MODEL, {"name": name, "provider": provider}))

    def policy(self, fields: Fields) -> Policy:
        limits = limits_from_json(fields.get("limits", {}))
        return self._state.intern(scope_from_json(fields["allowed_models"]), limits, fields.get("blocked", False))

    def member(self, team: str, user: str, policy: Policy) -> None:
        self._state.put_member(team, user, policy)
