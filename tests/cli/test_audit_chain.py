"""The chain of the audit log: what it takes, and what it says of a log in which something was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from policy_service.cli.audit_chain import BrokenChain, Chain
from policy_service.v1.admin_pb2 import AuditEvent
from tests.support.audit import NO_HASH, hash_of

EPOCH = "00000000000000aa"
OTHER = "f" * 64
Events = list[AuditEvent]


def event(number: int, changes: int = 1, previous: str = NO_HASH) -> AuditEvent:
    made = AuditEvent(
        revision=f"{EPOCH}.{number}",
        actor="ann",
        peer="ipv4:127.0.0.1:1",
        rpc="Test",
        digest="d" * 32,
        previous_hash=previous,
        change_count=changes,
        format=1,
        changes=[
            AuditEvent.Change(kind="member", name=f"t/u{at}", before_json="", after_json=f'{{"é":{number}}}')
            for at in range(changes)
        ],
    )
    made.time.FromNanoseconds(1_900_000_000_123_456_000 + number)
    made.hash = hash_of(made)
    return made


def log(count: int = 5, first: int = 1, previous: str = NO_HASH) -> Events:
    """A log that is whole. Its third event has seven changes."""
    events: Events = []
    for number in range(first, first + count):
        events.append(event(number, 7 if number == 3 else 1, events[-1].hash if events else previous))
    return events


def rehashed(events: Iterable[AuditEvent]) -> Events:
    """With hashes that fit: what somebody makes who can write to the database."""
    made: Events = []
    for found in events:
        found.previous_hash = made[-1].hash if made else found.previous_hash
        found.hash = hash_of(found)
        made.append(found)
    return made


def in_parts(found: AuditEvent, *sizes: int) -> Events:
    parts: Events = []
    at = 0
    for size in sizes:
        part = AuditEvent()
        part.CopyFrom(found)
        del part.changes[:]
        part.changes.extend(found.changes[at : at + size])
        part.first_change = at
        parts.append(part)
        at += size
    return parts


def verified(
    events: Sequence[AuditEvent], expected: dict[str, str] | None = None, head: AuditEvent | None = None
) -> Chain:
    chain = Chain(expected or {}, None if head is None else (int(head.revision.partition(".")[2]), head.hash))
    for found in events:
        chain.take(found)
    chain.finish()
    return chain


def test_a_log_that_is_whole() -> None:
    events = log()
    chain = verified(events, {found.revision: found.hash for found in events}, events[-1])
    assert (chain.first, chain.last, chain.count) == (events[0], events[-1], 5)
    assert verified([]).count == 0
    assert verified(events, head=events[2]).count == 5


def test_a_log_that_begins_later() -> None:
    """Retention deletes from its beginning."""
    events = log(3, first=8, previous=OTHER)
    chain = verified(events, {events[1].revision: events[1].hash}, events[-1])
    assert chain.first == events[0]
    with pytest.raises(
        BrokenChain, match=rf"{EPOCH}\.7: is expected .* which begins with {EPOCH}\.8; expect a later one"
    ):
        verified(events, {f"{EPOCH}.7": OTHER})


def test_an_epoch_that_began_in_the_middle() -> None:
    events = log()
    for found in events[3:]:
        found.revision = found.revision.replace("aa", "bb")
    chain = verified(rehashed(events))
    assert chain.last is not None
    assert chain.last.revision == "00000000000000bb.5"


@pytest.mark.parametrize("sizes", [(7,), (1, 6), (3, 3, 1), (1,) * 7])
def test_an_event_in_parts_counts_once(sizes: tuple[int, ...]) -> None:
    events = log()
    assert verified([*events[:2], *in_parts(events[2], *sizes), *events[3:]]).count == 5


def _set(at: int, **fields: object) -> Callable[[Events], Events]:
    def change(events: Events) -> Events:
        for name, value in fields.items():
            setattr(events[at], name, value)
        return events

    return change


def _image(events: Events) -> Events:
    events[2].changes[4].after_json = "{}"
    return events


def _time(events: Events) -> Events:
    events[1].time.nanos += 1_000
    return events


def _change_moved(events: Events) -> Events:
    changes = list(events[2].changes)
    del events[2].changes[:]
    events[2].changes.extend([changes[1], changes[0], *changes[2:]])
    return events


BROKEN: dict[str, tuple[Callable[[Events], Sequence[AuditEvent]], str]] = {
    "actor": (_set(1, actor="eve"), "2: was changed, its hash is of something else"),
    "peer": (_set(1, peer=""), "2: was changed"),
    "rpc": (_set(1, rpc="Other"), "2: was changed"),
    "digest": (_set(4, digest="e" * 32), "5: was changed"),
    "hash": (_set(1, hash=OTHER), "2: was changed"),
    "time": (_time, "2: was changed"),
    "older format": (_set(1, format=0), "2: was changed"),
    "newer format": (_set(1, format=2), "2: has the newer format 2; use a newer version"),
    "epoch": (_set(0, revision="bb.1"), "bb.1: was changed"),
    "image": (_image, "3: was changed"),
    "order of changes": (_change_moved, "3: was changed"),
    "fewer changes": (_set(2, change_count=6), "3: was changed"),
    "more changes": (_set(2, change_count=8), "3: its end is missing"),
    "more changes, last": (lambda events: _set(2, change_count=8)(events)[:3], "3: its end is missing"),
    "previous hash": (_set(2, previous_hash=OTHER), "3: does not follow from 2"),
    "rewritten": (
        lambda events: [*rehashed(_set(1, actor="eve")(events)[:2]), *events[2:]],
        "3: does not follow from 2",
    ),
    "middle": (lambda events: [*events[:2], *events[3:]], "4: follows 2; what was between is missing"),
    "swapped": (lambda events: [events[0], events[2], events[1], *events[3:]], "3: follows 1; what was between"),
    "twice": (lambda events: [*events[:2], *events[1:]], "2: follows 2; what was between"),
    "numbers": (lambda events: rehashed(_set(2, revision=f"{EPOCH}.7")(events)), "7: follows 2; what was between"),
    "first refers": (
        lambda events: rehashed(_set(0, previous_hash=OTHER)(events)),
        "1: is the first, but refers to one",
    ),
    "refers to none": (lambda _: log(3, first=4), "4: is not the first, but refers to none before it"),
    "a part": (lambda events: [*events[:2], *in_parts(events[2], 3, 4)[:1], *events[3:]], "3: its end is missing"),
    "last part": (lambda events: [*events[:2], *in_parts(events[2], 3, 4)[:1]], "3: its end is missing"),
    "first part": (lambda events: [*events[:2], *in_parts(events[2], 3, 4)[1:]], "3: changes are missing"),
    "middle part": (lambda events: [*events[:2], *in_parts(events[2], 2, 2, 3)[::2]], "3: changes are missing"),
    "part twice": (lambda events: [*events[:2], *in_parts(events[2], 3, 4)[:1] * 2], "3: changes are missing"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_log_that_is_not(what: str) -> None:
    change, message = BROKEN[what]
    events = change(log())
    with pytest.raises(BrokenChain) as caught:
        verified(events)
    assert str(caught.value).replace(f"{EPOCH}.", "").startswith(f"revision {message}")


def test_what_only_others_know() -> None:
    """A log with new hashes throughout is whole by itself."""
    kept = {found.revision: found.hash for found in log()}
    forged = rehashed(_set(1, actor="eve")(log()))
    assert verified(forged).count == 5
    for number, message in ((2, "is not the expected one, its hash is "), (5, "is not the expected one")):
        revision = f"{EPOCH}.{number}"
        with pytest.raises(BrokenChain, match=f"{revision}: {message}"):
            verified(forged, {revision: kept[revision]})
    assert verified(forged, {f"{EPOCH}.1": kept[f"{EPOCH}.1"]}).count == 5
    for events in (log()[:3], rehashed(log()[1:4])):
        with pytest.raises(BrokenChain, match=rf"{EPOCH}\.5: is expected and not in the log"):
            verified(events, {f"{EPOCH}.5": kept[f"{EPOCH}.5"]})
    many = {f"{EPOCH}.{number}": OTHER for number in (10, 9, 11)}
    with pytest.raises(BrokenChain, match=rf"{EPOCH}\.9: is expected"):
        verified(log(), many)


def test_where_the_server_is() -> None:
    """The log is read after it: it goes at least so far. The epoch may be newer than the entry's."""
    events = log()
    head = event(5)
    head.CopyFrom(events[4])
    head.revision = "00000000000000bb.5"
    assert verified(events, head=head).count == 5
    with pytest.raises(BrokenChain, match=r"revision 5: the server is there, and the log ends with .*\.4"):
        verified(events[:4], head=head)
    with pytest.raises(BrokenChain, match="revision 5: the server is there, and the log is empty"):
        verified([], head=head)
    head.hash = OTHER
    with pytest.raises(BrokenChain, match=r"\.5: is not the one that the server is at"):
        verified(events, head=head)
