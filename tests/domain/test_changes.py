"""The change log's chain: every field of an entry and of its changes is under the hash."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from policy_service.domain.changes import (
    NO_HASH,
    Change,
    ChangeImage,
    Key,
    LogEntry,
    Position,
    changes_hash,
    entry_hash,
    image_of,
    key_of,
)
from policy_service.domain.encoding import canonical, to_json
from policy_service.domain.records import AccessGroup, Kind, Member, Mode, Model, ModelScope, Record, Team

TEAM = Team(id="t", models=ModelScope(Mode.ALL), etag="e")
MEMBER = Member(team="t", user="ann", etag="e")
GROUP = AccessGroup(name="g", models=("a",), etag="e")
MODEL = Model(name="a", provider="p")
ENTRY = LogEntry(
    epoch="epoch",
    revision=3,
    time=datetime(2026, 1, 1, tzinfo=UTC),
    actor="ann",
    peer="ipv4:127.0.0.1:1",
    rpc="CreateTeam",
    digest="0" * 32,
    previous_hash=NO_HASH,
    hash="",
    change_count=1,
)
CHANGES = changes_hash([image_of(Change(None, TEAM))])
OTHER: dict[str, Any] = {
    "epoch": "other",
    "revision": 4,
    "time": ENTRY.time + timedelta(microseconds=1),
    "actor": "bob",
    "peer": "",
    "rpc": "UpdateTeam",
    "digest": "1" * 32,
    "previous_hash": "1" * 64,
    "change_count": 2,
    "format": 2,
}


@pytest.mark.parametrize(
    ("record", "key", "name"),
    [
        (TEAM, (Kind.TEAM, "t", ""), "t"),
        (MEMBER, (Kind.MEMBER, "t", "ann"), "t/ann"),
        (GROUP, (Kind.GROUP, "", "g"), "g"),
        (MODEL, (Kind.MODEL, "", "a"), "a"),
    ],
)
def test_a_key_names_a_record(record: Record, key: tuple[Kind, str, str], name: str) -> None:
    assert key_of(record) == key
    assert str(key_of(record)) == name
    assert Change(None, record).key == Change(record, None).key == Change(record, record).key == key


def test_an_image_holds_both_sides() -> None:
    text = canonical(to_json(MODEL))
    assert image_of(Change(None, MODEL)) == (key_of(MODEL), "", text)
    assert image_of(Change(MODEL, None)) == (key_of(MODEL), text, "")
    later = replace(MODEL, provider="q")
    assert image_of(Change(MODEL, later)) == (key_of(MODEL), text, canonical(to_json(later)))


def test_the_table_of_other_values_is_whole() -> None:
    assert set(OTHER) == {field.name for field in fields(LogEntry)} - {"hash"}


@pytest.mark.parametrize("name", OTHER)
def test_an_entrys_hash_covers_the_field(name: str) -> None:
    changed = replace(ENTRY, **{name: OTHER[name]})
    assert entry_hash(changed, CHANGES) != entry_hash(ENTRY, CHANGES)


def test_an_entrys_hash_covers_its_changes_and_not_itself() -> None:
    assert entry_hash(ENTRY, NO_HASH) != entry_hash(ENTRY, CHANGES)
    assert entry_hash(replace(ENTRY, hash="1" * 64), CHANGES) == entry_hash(ENTRY, CHANGES)


def test_hashes_are_stable() -> None:
    """These are in databases that exist: they never change."""
    assert CHANGES == "263f89c43cf02b41d6a3ba6260b42749532d0f0b6afdd199be3bfda3bba4f819"
    assert entry_hash(ENTRY, CHANGES) == "af6d8213eb8a21c045f7ec7a93bf94e7f361cc434729c3e3fac5b140887ba793"


IMAGE = ChangeImage(Key(Kind.TEAM, "t", ""), "before", "after")


@pytest.mark.parametrize(
    "images",
    [
        [],
        [IMAGE, IMAGE],
        [IMAGE._replace(before="other")],
        [IMAGE._replace(before="")],
        [IMAGE._replace(after="other")],
        [IMAGE._replace(before="after", after="before")],
        [IMAGE._replace(key=Key(Kind.MODEL, "", "t"))],
        [IMAGE._replace(key=Key(Kind.TEAM, "u", ""))],
        [IMAGE._replace(key=Key(Kind.MEMBER, "t", "ann"))],
    ],
)
def test_the_hash_of_changes_covers_the_image(images: list[ChangeImage]) -> None:
    assert changes_hash(images) != changes_hash([IMAGE])


def test_the_hash_of_changes_covers_their_order() -> None:
    images = [image_of(Change(None, TEAM)), image_of(Change(None, MODEL))]
    assert changes_hash(images) != changes_hash(images[::-1])
    assert changes_hash(iter(images)) == changes_hash(images)


@pytest.mark.parametrize("record", [TEAM, MEMBER, GROUP, MODEL])
def test_the_hash_of_changes_covers_every_field_of_a_record(record: Record) -> None:
    hashes = {changes_hash([image_of(Change(record, after))]) for after in (record, *variants(record))}
    assert len(hashes) == 1 + len(fields(record)) - isinstance(record, Team)  # a team's member_count is derived


def variants(record: Record) -> list[Record]:
    """The record with each field changed."""
    return [replace(record, **{field.name: other(getattr(record, field.name))}) for field in fields(record)]


def other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case ModelScope():
            return replace(value, mode=Mode.NONE)
        case datetime():
            return value + timedelta(microseconds=1)
        case int():
            return value + 1
        case tuple():
            return (*value, "x")
        case dict():
            return {**value, "x": "y"}
        case None:
            return "x"
        case str() if hasattr(value, "name"):
            return next(choice for choice in type(value) if choice is not value)
        case str():
            return value + "x"
        case _:
            return replace(value, rpm_limit=1)


def test_a_position_is_the_token_that_callers_see() -> None:
    assert ENTRY.position == Position("epoch", 3, "", "0" * 32)
    assert ENTRY.position.token == "epoch.3"
