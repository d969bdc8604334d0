"""Verifies the audit log from what ListAuditEvents returns alone: nothing is missing, nothing was changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC

from policy_service.cli.revisions import number_of
from policy_service.domain.changes import LOG_FORMAT, NO_HASH, ChangesHash, LogEntry, entry_hash
from policy_service.v1.admin_pb2 import AuditEvent


class BrokenChain(Exception):
    """The log is not what was committed. The message says at which revision, and what is wrong there."""


class Chain:
    """Takes the events, the oldest first, large ones in their parts. `expected` has hashes known from elsewhere, by
    revision: whoever rewrites a log can make new hashes, but not those that somebody else keeps. `head` is where the
    server says it is: the number and the hash of its last revision. (Its epoch may be newer than that of the entry,
    since a database that was restored begins one.)"""

    def __init__(self, expected: Mapping[str, str], head: tuple[int, str] | None = None) -> None:
        self._expected = dict(expected)
        self._head, self._head_hash = head or (0, NO_HASH)
        self._part: AuditEvent | None = None  # the last part taken of an event that goes on
        self._taken = 0  # changes of it
        self._changes = ChangesHash()
        self.first: AuditEvent | None = None
        self.last: AuditEvent | None = None
        self.count = 0

    def take(self, part: AuditEvent) -> None:
        """Takes the next part. Raises BrokenChain."""
        if self._part is None:
            self._begin(part)
        elif part.revision != self._part.revision:
            raise BrokenChain(f"revision {self._part.revision}: its end is missing")
        if part.first_change != self._taken:
            raise BrokenChain(f"revision {part.revision}: changes are missing")
        for change in part.changes:
            self._changes.add(change.kind, change.name, change.before_json, change.after_json)
        self._taken += len(part.changes)
        self._part = part
        if self._taken >= part.change_count:
            self._end(part)

    def finish(self) -> None:
        """There are no more. Raises BrokenChain."""
        if self._part is not None:
            raise BrokenChain(f"revision {self._part.revision}: its end is missing")
        if self._expected:
            first = min(self._expected, key=number_of)
            raise BrokenChain(f"revision {first}: is expected and not in the log{self._beginning_after(first)}")
        if self._head > (0 if self.last is None else number_of(self.last.revision)):
            end = "is empty" if self.last is None else f"ends with {self.last.revision}"
            raise BrokenChain(f"revision {self._head}: the server is there, and the log {end}")

    def _beginning_after(self, revision: str) -> str:
        if self.first is None or number_of(revision) >= number_of(self.first.revision):
            return ""
        return f", which begins with {self.first.revision}; expect a later one"

    def _begin(self, part: AuditEvent) -> None:
        self._taken, self._changes = 0, ChangesHash()
        number = number_of(part.revision)
        if part.format > LOG_FORMAT:
            raise BrokenChain(f"revision {part.revision}: has the newer format {part.format}; use a newer version")
        if self.last is None:
            if (number == 1) != (part.previous_hash == NO_HASH):
                refers = "is the first, but refers to one" if number == 1 else "is not the first, but refers to none"
                raise BrokenChain(f"revision {part.revision}: {refers} before it")
            return
        if number != number_of(self.last.revision) + 1:
            raise BrokenChain(f"revision {part.revision}: follows {self.last.revision}; what was between is missing")
        if part.previous_hash != self.last.hash:
            raise BrokenChain(f"revision {part.revision}: does not follow from {self.last.revision}")

    def _end(self, event: AuditEvent) -> None:
        if event.hash != entry_hash(_entry(event), self._changes.hex):
            raise BrokenChain(f"revision {event.revision}: was changed, its hash is of something else")
        if self._expected.pop(event.revision, event.hash) != event.hash:
            raise BrokenChain(f"revision {event.revision}: is not the expected one, its hash is {event.hash}")
        if number_of(event.revision) == self._head and event.hash != self._head_hash:
            raise BrokenChain(f"revision {event.revision}: is not the one that the server is at")
        self.first, self.last, self._part = self.first or event, event, None
        self.count += 1


def _entry(event: AuditEvent) -> LogEntry:
    return LogEntry(
        epoch=event.revision.rpartition(".")[0],
        revision=number_of(event.revision),
        time=event.time.ToDatetime(UTC),
        actor=event.actor,
        peer=event.peer,
        rpc=event.rpc,
        digest=event.digest,
        previous_hash=event.previous_hash,
        hash=event.hash,
        change_count=event.change_count,
        format=event.format,
    )
