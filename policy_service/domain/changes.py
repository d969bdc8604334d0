"""The change log: one entry a mutation, chained by hash. It is the audit log and what replicas follow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from policy_service.domain.encoding import canonical, format_time, to_json
from policy_service.domain.records import AccessGroup, Kind, Member, Record, Team

LOG_FORMAT = 1
NO_HASH = "0" * 64


class Key(NamedTuple):
    """A record's kind and name. `team` is set for teams and members; a team's `name` is empty."""

    kind: Kind
    team: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.team, self.name) if part)


def key_of(record: Record) -> Key:
    if isinstance(record, Team):
        return Key(Kind.TEAM, record.id, "")
    if isinstance(record, Member):
        return Key(Kind.MEMBER, record.team, record.user)
    return Key(Kind.GROUP if isinstance(record, AccessGroup) else Kind.MODEL, "", record.name)


@dataclass(frozen=True, slots=True)
class Change:
    """A record before and after: None before it was created, None after it was deleted (a tombstone). A team's
    tombstone takes its members with it, unnamed."""

    before: Record | None
    after: Record | None

    @property
    def key(self) -> Key:
        record = self.after or self.before
        assert record is not None  # noqa: S101 - a change has at least one side
        return key_of(record)


class ChangeImage(NamedTuple):
    """A change as the log keeps it: JSON texts, empty for none."""

    key: Key
    before: str
    after: str

    @property
    def size(self) -> int:
        """Bytes of the texts."""
        return len(self.before.encode()) + len(self.after.encode())


def image_of(change: Change) -> ChangeImage:
    before = "" if change.before is None else canonical(to_json(change.before))
    after = "" if change.after is None else canonical(to_json(change.after))
    return ChangeImage(change.key, before, after)


class Position(NamedTuple):
    """Where a log stands: the lineage of the database, the revision, the hash of its entry, the digest after it."""

    epoch: str
    revision: int
    hash: str
    digest: str

    @property
    def token(self) -> str:
        """The revision as callers see it."""
        return f"{self.epoch}.{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One mutation. `time` is UTC, `digest` the policy's after it, hashes are SHA-256 in hexadecimal."""

    epoch: str
    revision: int
    time: datetime
    actor: str
    peer: str
    rpc: str
    digest: str
    previous_hash: str
    hash: str
    change_count: int
    format: int = LOG_FORMAT

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.revision, self.hash, self.digest)


class ChangesHash:
    """Covers changes in order: the kind and printed name of each record, and its two images."""

    def __init__(self) -> None:
        self._total = hashlib.sha256()

    def add(self, kind: str, name: str, before: str, after: str) -> None:
        """Takes the next change."""
        self._total.update(canonical([kind, name, before, after]).encode() + b"\n")

    @property
    def hex(self) -> str:
        return self._total.hexdigest()


def changes_hash(images: Iterable[ChangeImage]) -> str:
    """Covers the images in order."""
    total = ChangesHash()
    for key, before, after in images:
        total.add(key.kind.value, str(key), before, after)
    return total.hex


def entry_hash(entry: LogEntry, hash_of_changes: str) -> str:
    """The hash that chains: over all of the entry but itself."""
    fields = {name: getattr(entry, name) for name in LogEntry.__slots__ if name not in ("time", "hash")}
    fields |= {"time": format_time(entry.time), "changes": hash_of_changes}
    return hashlib.sha256(canonical(fields).encode()).hexdigest()
