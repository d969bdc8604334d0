"""The change log read by its definition: the chain of hashes verified, the policy built up from the images alone.

Nothing here uses the service's own hashing or encoding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Any

from policy_service.domain.changelog import LogSlice
from policy_service.domain.changes import ChangeImage, Key, LogEntry, Position
from policy_service.domain.encoding import from_json
from policy_service.domain.records import Kind, Member, Record
from policy_service.domain.state import State
from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import LogFilter, Store
from policy_service.store.sqlite import SqliteStore

Logged = tuple[LogEntry, Sequence[ChangeImage]]


async def whole_log(store: Store, select: LogFilter = LogFilter(), limit: int = 1_000) -> list[Logged]:  # noqa: B008
    """Every entry with all its changes, put together from pages of at most `limit` slices."""
    found: list[tuple[LogEntry, list[ChangeImage]]] = []
    after, more = (0, -1), True
    while more:
        slices, more = await store.log(select, after, limit)
        assert len(slices) <= limit
        assert all(part.images for part in slices)
        for entry, first_change, images in slices:
            if first_change == 0:
                found.append((entry, []))
            assert found[-1][0] == entry
            assert len(found[-1][1]) == first_change
            found[-1][1].extend(images)
            after = (entry.revision, first_change + len(images) - 1)
    return found


def ends(slices: Sequence[LogSlice]) -> tuple[int, int]:
    """The key after which the next page begins."""
    last = slices[-1]
    return last.entry.revision, last.first_change + len(last.images) - 1


async def anchor_of(store: Store) -> Position:
    """Where the kept part of the log begins."""
    if isinstance(store, MemoryStore):
        return store._anchor
    assert isinstance(store, SqliteStore)
    meta = dict(await store._writer.execute_fetchall("SELECT name, value FROM meta"))
    return Position(meta["epoch"], int(meta["anchor_revision"]), meta["anchor_hash"], meta["anchor_digest"])


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def hash_of(entry: LogEntry, images: Iterable[ChangeImage]) -> str:
    lines = [
        canonical([kind.value, "/".join(part for part in (team, name) if part), before, after]) + b"\n"
        for (kind, team, name), before, after in images
    ]
    fields = {
        "format": entry.format,
        "epoch": entry.epoch,
        "revision": entry.revision,
        "time": entry.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "actor": entry.actor,
        "peer": entry.peer,
        "rpc": entry.rpc,
        "digest": entry.digest,
        "previous_hash": entry.previous_hash,
        "change_count": entry.change_count,
        "changes": hashlib.sha256(b"".join(lines)).hexdigest(),
    }
    return hashlib.sha256(canonical(fields)).hexdigest()


def problems(anchor: Position, log: Iterable[Logged]) -> Iterator[str]:
    """What is wrong with the chain from the anchor on; nothing when it verifies. An epoch that has ended does not come
    back."""
    head, epochs = anchor, [""]
    for entry, images in log:
        if entry.revision != head.revision + 1:
            yield f"{entry.epoch}.{entry.revision} follows {head.token}"
        if entry.epoch != epochs[-1]:
            if entry.epoch in epochs:
                yield f"revision {entry.revision} is of the epoch {entry.epoch}, which had ended"
            epochs.append(entry.epoch)
        if entry.previous_hash != head.hash:
            yield f"revision {entry.revision} does not chain to the one before"
        if entry.change_count != len(images):
            yield f"revision {entry.revision} has {len(images)} changes, not {entry.change_count}"
        if entry.hash != hash_of(entry, images):
            yield f"revision {entry.revision} was changed"
        head = entry.position


def rebuilt(log: Iterable[Logged]) -> Iterator[tuple[LogEntry, dict[Key, Record]]]:
    """The records after each entry of a whole log, by its after-images alone. Raises when a before-image is wrong."""
    records: dict[Key, Record] = {}
    for entry, images in log:
        for key, before, after in images:
            assert records.get(key) == (from_json(key.kind, json.loads(before)) if before else None), key
            if after:
                records[key] = from_json(key.kind, json.loads(after))
                continue
            del records[key]
            if key.kind is Kind.TEAM:
                for gone in [k for k in records if k.kind is Kind.MEMBER and k.team == key.team]:
                    del records[gone]
        yield entry, dict(records)


def state_of(records: Iterable[Record], position: Position) -> State:
    """A state with these records; a member is loaded after its team."""
    state = State()
    for record in sorted(records, key=lambda record: isinstance(record, Member)):
        state.load(record)
    state.move_to(position)
    return state
