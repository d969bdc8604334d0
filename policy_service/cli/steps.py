"""The steps of `policy-service apply`: mutations, and what they change in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

from policy_client import AdminClient
from policy_service.domain.records import AccessGroup, Member, Model, Team

MAX_BATCH_BYTES = 1 << 20  # far below what a server accepts in one request, and answers
_M = TypeVar("_M", bound=Message)


class Action(StrEnum):
    """What happens to a record."""

    CREATE = "created"
    UPDATE = "updated"
    DELETE = "deleted"


class Change(NamedTuple):
    """One record that a step changes; the details are words."""

    action: Action
    kind: str
    name: str
    team: str = ""  # of a member
    details: str = ""

    @property
    def what(self) -> str:
        return f"{self.kind} {self.name}" + (f" of {self.team}" if self.team else "")


def updated(kind: str, name: str, differences: Iterable[object], team: str = "") -> Change:
    """A record of which these fields change."""
    return Change(Action.UPDATE, kind, name, team, "; ".join(map(str, differences)))


class Answer(Protocol):
    """What all mutations answer."""

    @property
    def revision(self) -> str: ...

    @property
    def warnings(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One mutation. `first` steps free a name that another step needs."""

    changes: tuple[Change, ...]
    run: Callable[[AdminClient], Awaitable[Answer]]
    first: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    """What a server has of what a manifest manages: models and groups by name, teams by identifier, their members by
    user. With etags."""

    models: dict[str, Model] = field(default_factory=dict)
    groups: dict[str, AccessGroup] = field(default_factory=dict)
    teams: dict[str, Team] = field(default_factory=dict)
    members: dict[str, dict[str, Member]] = field(default_factory=dict)


def batches(
    messages: Iterable[_M], max_count: int, size_of: Callable[[_M], int] = lambda message: message.ByteSize()
) -> list[list[_M]]:
    """The messages in order, at most so many in a batch and about MAX_BATCH_BYTES."""
    made: list[list[_M]] = []
    size = 0
    for message in messages:
        size += size_of(message)
        if not made or len(made[-1]) == max_count or size > MAX_BATCH_BYTES:
            made.append([])
            size = size_of(message)
        made[-1].append(message)
    return made
