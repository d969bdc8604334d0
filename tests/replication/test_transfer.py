"""The encoding in which policy travels: whatever the size of its payloads it leads to the same state, and what is none
is refused as such."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy_service.domain.changes import Change, Position, image_of, key_of
from policy_service.domain.encoding import policy_to_json, to_json
from policy_service.domain.feed import ChangePart, Head, Manifest, Snapshot, checksum
from policy_service.domain.records import AccessGroup, Member, MemberLimits, Model, Record, Team, UnlistedUsers
from policy_service.domain.state import SLICE, Prepared, State
from policy_service.domain.transfer import Packer, Unpacker, shown
from policy_service.errors import DigestMismatch, Malformed, RevisionCompacted, UnknownFormat
from policy_service.replication.loading import Taker, load_snapshot
from tests.domain.worlds import build, many, worlds
from tests.replication.feeds import in_no_time
from tests.store.support import NONE, dump, group, member, model, only, team

World = Sequence[Record]
limits_of_payloads = st.one_of(st.integers(1, 400), st.sampled_from((1 << 17, 1 << 20)))


def show(records: Iterable[Record], packer: Packer) -> None:
    """As a store does: teams before their members, a policy before the members that have it."""
    policies: dict[Any, int] = {}
    for record in sorted(records, key=lambda record: (isinstance(record, Member), *key_of(record))):
        match record:
            case Team():
                packer.team(record.id, to_json(record))
            case AccessGroup():
                packer.group(record.name, to_json(record))
            case Model():
                packer.model(record.name, record.provider)
            case Member():
                decides = (record.allowed_models, record.limits, record.blocked)
                if decides not in policies:
                    policies[decides] = packer.policy(policy_to_json(record))
                packer.member(record.team, record.user, policies[decides])


def unpacked(payloads: Iterable[bytes]) -> State:
    state = State("epoch")
    unpacker = Unpacker(state)
    for payload in payloads:
        for items in unpacker.read(payload):
            for key, value in items:
                state.put(key, value)
    return state


def content(state: State) -> dict[str, Any]:
    state.move_to(Position("e", 1, "", state.digest))
    return dump(state)


def changes_between(old: World, new: World) -> Iterator[Change]:
    """What a log would hold: a team's tombstone takes its members along, unnamed."""
    before, after = ({key_of(record): record for record in records} for records in (old, new))
    teams = {record.id for record in new if isinstance(record, Team)}
    for key, record in before.items():
        if key not in after and not (isinstance(record, Member) and record.team not in teams):
            yield Change(record, None)
    for record in sorted(new, key=lambda record: isinstance(record, Member)):
        if before.get(key_of(record)) != record:
            yield Change(before.get(key_of(record)), record)


@many
@given(worlds(), limits_of_payloads)
def test_a_world_comes_out_as_it_went_in(records: World, limit: int) -> None:
    packer = Packer(limit)
    show(records, packer)
    assert content(unpacked(packer.finish())) == content(build(records))


@many
@given(worlds(), worlds(), st.sampled_from(("t", "u", None)), limits_of_payloads)
def test_changes_come_out_as_they_went_in(old: World, new: World, gone: str | None, limit: int) -> None:
    new = [record for record in new if gone not in (getattr(record, "id", None), getattr(record, "team", None))]
    packer, state = Packer(limit), build(old)
    for change in changes_between(old, new):
        packer.put(image_of(change))
    unpacker, prepared = Unpacker(state), Prepared(state)
    for payload in packer.finish():
        for items in unpacker.read(payload):
            for key, value in items:
                prepared.put(key, value)
    state.apply(prepared, state.position)
    assert content(state) == content(build(new))


NAME = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)


@many
@given(st.lists(st.tuples(NAME, st.sampled_from(("a", "b", "c"))), min_size=1, max_size=60), st.integers(100, 500))
def test_payloads_are_about_as_large_as_they_may_be(members: list[tuple[str, str]], limit: int) -> None:
    """One item may pass the limit; escapes and what closes a list of members pass it by little."""
    packer = Packer(limit)
    records = [team("t"), *{user: member("t", user, only(listed)) for user, listed in members}.values()]
    show(records, packer)
    payloads = packer.finish()
    assert content(unpacked(payloads)) == content(build(records))
    escapes = max(len(json.dumps(user, ensure_ascii=False)) for user, _ in members)
    for payload in payloads:
        assert len(payload) <= limit + 40 + 20 * escapes
    total = sum(len(payload) for payload in payloads)
    assert len(payloads) <= 2 + 2 * total / max(1, limit - 100)


def test_many_members_are_packed_closely() -> None:
    limit = 1 << 17
    packer = Packer(limit)
    show([team("t"), *(member("t", f"user-{at}", only("a")) for at in range(50_000))], packer)
    payloads = packer.finish()
    assert all(len(payload) <= limit for payload in payloads)
    assert all(len(payload) > limit * 2 / 3 for payload in payloads[:-1])
    assert sum(len(payload) for payload in payloads) < 50_000 * 20


def test_one_item_that_is_larger_than_a_payload_comes_alone() -> None:
    packer = Packer(100)
    large = only(*(f"model-{at}" for at in range(100)))
    show([team("t", large), team("u", NONE), model("a")], packer)
    payloads = packer.finish()
    assert [len(json.loads(payload)) for payload in payloads] == [1, 1, 1] or len(json.loads(payloads[-1])) == 2
    assert sum(len(payload) > 100 for payload in payloads) == 1
    assert content(unpacked(payloads)) == content(build([team("t", large), team("u", NONE), model("a")]))


def test_nothing_is_one_empty_payload() -> None:
    assert Packer(100).finish() == [b"[]"]


def test_what_is_ready_can_be_taken_before_the_rest() -> None:
    records = [team("t"), *(member("t", f"u{at}", only(f"{at % 3}")) for at in range(50))]
    packer, taken = Packer(200), []
    show(records[:20], packer)
    taken, packer.ready = packer.ready, []
    assert taken
    show(records[20:], packer)
    assert content(unpacked([*taken, *packer.finish()])) == content(build(records))


def test_equal_policies_are_packed_and_held_once() -> None:
    limits = MemberLimits(max_budget_in_team=0.1, rpm_limit=2**63 - 1)
    teams = [team("t"), team("u")]
    members = [member(one.id, f"u{at}", only("a"), limits=limits, blocked=True) for one in teams for at in range(50)]
    packer = Packer(300)
    for record in [*teams, *members]:
        packer.put(image_of(Change(None, record)))
    payloads = packer.finish()
    assert len(payloads) > 3
    assert b"".join(payloads).count(b'"p"') == 1
    state = unpacked(payloads)
    assert len({id(policy) for one in state.teams.values() for policy in one.members.values()}) == 1


def test_only_what_decides_travels() -> None:
    packer = Packer(1 << 20)
    packer.put(image_of(Change(None, team("t", display_name="SECRET", labels={"SECRET": "SECRET"}))))
    packer.put(image_of(Change(None, member("t", "ann", labels={"SECRET": "SECRET"}))))
    packer.put(image_of(Change(None, model("a", labels={"SECRET": "SECRET"}))))
    packer.put(image_of(Change(None, group("g"))))
    (payload,) = packer.finish()
    assert b"SECRET" not in payload
    assert b"time" not in payload
    assert b"etag" not in payload


def test_members_come_in_slices() -> None:
    packer = Packer(1 << 20)
    show([team("t"), *(member("t", f"u{at}") for at in range(2 * SLICE + 1))], packer)
    (payload,) = packer.finish()
    sizes = [len(items) for items in Unpacker(State()).read(payload)]
    assert sizes == [1, 0, SLICE, SLICE, 1], "an empty one after the policy, which takes a while"


def test_what_the_state_keeps_is_shown() -> None:
    aliased = team("t", only("a"), model_aliases={"x": "a"}, blocked=True, unlisted_users=UnlistedUsers.TEAM_SCOPE)
    state = build([])
    assert shown(aliased) == {
        "models": {"mode": "ONLY", "models": ["a"]},
        "model_aliases": {"x": "a"},
        "blocked": True,
        "unlisted_users": "TEAM_SCOPE",
        "default_member_limits": {},
    }
    assert shown(state.value_of(member("t", "ann", only("a"), limits=MemberLimits(rpm_limit=1)))) == {
        "allowed_models": {"mode": "ONLY", "models": ["a"]},
        "blocked": False,
        "limits": {"rpm_limit": 1},
    }
    assert shown(group("g", "a", excluded=("b",))) == {"models": ["a"], "excluded_models": ["b"]}
    assert shown(model("a", "p")) == {"provider": "p"}
    assert shown(None) is None


# What is none


async def loaded(payload: bytes) -> State:
    """A snapshot of this payload, as a replica would load it, and what it would make of it."""
    manifest = Manifest(position=Position("e", 1, "0" * 64, "1" * 32), checksums=(checksum(payload),))

    async def chunks() -> Any:
        yield payload

    return await load_snapshot(Snapshot(manifest, chunks()))


async def taken(payload: bytes) -> bool:
    """A change set of this payload, on a state with something in it."""
    state = build([team("t"), member("t", "ann"), group("g"), model("a")])
    position = Position("epoch", 1, "0" * 64, "1" * 32)
    return await Taker(state).take(ChangePart(position=position, previous_hash="0" * 64, payload=payload))


GARBAGE = [
    b"",
    b"\xff\xfe",
    b"{",
    b"null",
    b"1",
    b'"t"',
    b"[1]",
    b"[[]]",
    b"[[1]]",
    b"[null]",
    b'[["x","y",1]]',
    b'[["m","t",{"ann":7}]]',
    b'[["m","t",{"ann":"0"}]]',
    b'[["m","t",[]]]',
    b'[["m",["t"],{"ann":null}]]',
    b'[["m",{},{"ann":null}]]',
    b'[["m","t"]]',
    b'[["m","nobody",{"ann":null}]]',
    b'[["p",0,{"mode":"INHERIT"},{},false],["m","nobody",{"ann":0}]]',
    b'[["p",0]]',
    b'[["p",[],{"mode":"ALL"},{},false]]',
    b'[["p",0,{"mode":"SOME"},{},false]]',
    b'[["p",0,{"mode":"ONLY","models":[1]},{},false]]',
    b'[["p",0,{"mode":"ONLY","models":[["a"]]},{},false]]',
    b'[["p",0,{"mode":"ONLY","models":7},{},false]]',
    b'[["p",0,{"mode":"ALL"},{"unknown":1},false]]',
    b'[["p",0,{"mode":"ALL"},{"rpm_limit":[]},false]]',
    b'[["p",0,[],{},false]]',
    b'[["t","t",{}]]',
    b'[["t","t",[]]]',
    b'[["t","t",{"models":{"mode":"ALL"},"unlisted_users":"SOME"}]]',
    b'[["t",7,{"models":{"mode":"ALL"},"unlisted_users":"DENY"}]]',
    b'[["t",["t"],{"models":{"mode":"ALL"},"unlisted_users":"DENY"}]]',
    b'[["t",["t"],null]]',
    b'[["t","t",{"models":{"mode":"ALL"},"unlisted_users":"DENY","model_aliases":["x"]}]]',
    b'[["t","t",{"models":{"mode":"ALL"},"unlisted_users":"DENY","model_aliases":7}]]',
    b'[["g","g",{}]]',
    b'[["g","g",{"models":[1]}]]',
    b'[["g","g",{"models":[[]]}]]',
    b'[["g",7,{"models":["a"]}]]',
    b'[["c","a",7]]',
    b'[["c","a",{}]]',
    b'[["c",[],"p"]]',
    b'[["c","\\ud800","p"]]',
    b'[["p",0,{"mode":"ALL"},{},false],["m","t",{"\\ud800":0}]]',
    b"[" * 100_000,
    b'[["c","a",' + b"[" * 100_000,
    b'[["c","a",' + b"1" * 5_000 + b"]]",
    b'[["p",NaN,{"mode":"ALL"},{"max_budget_in_team":NaN},false]]',
]


@pytest.mark.parametrize("payload", GARBAGE, ids=lambda payload: repr(payload[:60])[2:-1])
@in_no_time
async def test_garbage_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed):
        await taken(payload)
    with pytest.raises((Malformed, DigestMismatch)):  # a member that is dropped is in no snapshot, and no matter
        await loaded(payload)


@in_no_time
async def test_nesting_that_decodes_may_still_be_too_deep_to_encode() -> None:
    """Between the two limits lies a range that depends on who calls."""
    for depth in range(600, 1_000, 2):
        deep = b"[" * depth + b"]" * depth
        payload = b'[["t","t",{"models":{"mode":"ALL"},"unlisted_users":"DENY","blocked":' + deep + b"}]]"
        for trying in (loaded, taken):
            with pytest.raises((Malformed, DigestMismatch)):
                await trying(payload)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-2, 2**70),
        st.floats(),
        st.sampled_from(("t", "ann", "a", "g", "ALL", "ONLY", "DENY", "", "*", "\ud800", "p/*", "mode")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(("mode", "models", "excluded_models", "unlisted_users", "blocked", "rpm_limit", "ann", "")),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
items = st.tuples(st.sampled_from("pmtgcx"), json_values, json_values, json_values, json_values).flatmap(
    lambda item: st.integers(1, 5).map(lambda length: list(item[:length]))
)
known_items = st.sampled_from(
    (
        ["p", 0, {"mode": "ALL"}, {}, False],
        ["p", 1, {"mode": "ONLY", "models": ["a"]}, {"rpm_limit": 1}, True],
        ["m", "t", {"ann": 0, "bob": 1}],
        ["m", "t", {"ann": None}],
        ["t", "t", None],
        ["t", "u", {"models": {"mode": "ALL"}, "unlisted_users": "DENY"}],
        ["g", "g", {"models": ["a", "*"]}],
        ["c", "a", "p"],
    )
)
payloads = st.one_of(
    st.binary(max_size=50),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.lists(st.one_of(items, known_items), max_size=5).map(lambda found: json.dumps(found).encode()),
)


@settings(max_examples=200, deadline=None, database=None)
@given(payloads)
def test_whatever_comes_is_refused_in_one_of_the_ways_that_are_known(payload: bytes) -> None:
    for trying in (loaded, taken):
        with pytest.raises((Malformed, DigestMismatch)):
            asyncio.run(trying(payload))


@settings(max_examples=100, deadline=None, database=None)
@given(worlds(), st.data())
def test_a_payload_with_another_byte_is_refused_or_says_the_same(records: World, data: st.DataObject) -> None:
    packer = Packer(1 << 20)
    show(records, packer)
    (payload,) = packer.finish()
    at = data.draw(st.integers(0, len(payload) - 1))
    other = payload[:at] + bytes((data.draw(st.integers(0, 255)),)) + payload[at + 1 :]
    assume(other != payload)
    try:
        state = unpacked([other])
    except (Malformed, AttributeError, KeyError, TypeError, ValueError):
        return
    assert content(state) == content(build(records)) or state.digest != build(records).digest


# Sets in parts


def parts_of(state: State, *changes: Change, limit: int = 60) -> list[ChangePart]:
    """The next change set of a state, in small parts."""
    prepared, packer = Prepared(state), Packer(limit)
    for change in changes:
        prepared.add(change)
        packer.put(image_of(change))
    former = state.position
    position = Position(former.epoch, former.revision + 1, f"{former.revision + 1:064x}", prepared.digest)
    payloads = packer.finish()
    return [
        ChangePart(position=position, previous_hash=former.hash, part=at, last=at == len(payloads) - 1, payload=payload)
        for at, payload in enumerate(payloads)
    ]


def a_set() -> tuple[State, list[ChangePart], dict[str, Any]]:
    """A state, the parts of its next set, and what it is after them."""
    records = [team("t"), member("t", "ann")]
    new = [member("t", f"u{at}", only(f"m{at}")) for at in range(5)]
    state, after = build(records), build([*records, *new])
    parts = parts_of(state, *(Change(None, record) for record in new))
    assert len(parts) >= 4
    after.move_to(parts[0].position)
    return state, parts, dump(after)


@in_no_time
async def test_a_set_is_applied_with_its_last_part() -> None:
    state, parts, after = a_set()
    taker, before = Taker(state), dump(state)
    for part in parts:
        assert dump(state) == before
        assert await taker.take(part) is part.last
    assert dump(state) == after
    assert taker.parts == parts
    for part in parts:
        assert not await taker.take(part), "it is passed over"
    assert dump(state) == after


@in_no_time
async def test_a_set_that_begins_again() -> None:
    state, parts, after = a_set()
    taker = Taker(state)
    for part in [*parts[:2], *parts[:3], *parts]:
        await taker.take(part)
    assert dump(state) == after


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts[1:],
        lambda parts: [parts[0], *parts[2:]],
        lambda parts: [parts[0], parts[1], parts[1], *parts[2:]],
        lambda parts: [parts[1], parts[0], *parts[2:]],
        lambda parts: [replaced(part, epoch="other") for part in parts],
        lambda parts: [replaced(part, revision=part.position.revision + 1) for part in parts],
        lambda parts: [replace(part, previous_hash="1" * 64) for part in parts],
        lambda parts: [*parts[:2], *(replaced(part, hash="2" * 64) for part in parts[2:])],
    ],
    ids=["no first", "no second", "second twice", "swapped", "epoch", "revision", "previous", "of two sets"],
)
@in_no_time
async def test_parts_that_do_not_go_on(change: Any) -> None:
    state, parts, _ = a_set()
    taker, before = Taker(state), dump(state)
    with pytest.raises(RevisionCompacted):
        await take_all(taker, change(parts))
    assert dump(state) == before


@pytest.mark.parametrize("names_first", [True, False])
@in_no_time
async def test_a_set_that_drops_a_team_and_names_its_members_is_not_applied_in_part(names_first: bool) -> None:
    """No authority makes one. Its digest is what it would be."""
    state = build([team("t"), member("t", "ann")])
    items = [b'["t","t",null]', b'["p",0,{"mode":"ALL"},{},false],["m","t",{"ann":0}]']
    payload = b"[" + b",".join(reversed(items) if names_first else items) + b"]"
    prepared = Prepared(state)
    for found in Unpacker(state).read(payload):
        for key, value in found:
            prepared.put(key, value)
    before, position = dump(state), Position("epoch", 1, "1" * 64, prepared.digest)
    with pytest.raises(Malformed, match="drops a team"):
        await Taker(state).take(ChangePart(position=position, previous_hash="0" * 64, payload=payload))
    assert dump(state) == before


async def take_all(taker: Taker, parts: Iterable[ChangePart]) -> None:
    for part in parts:
        await taker.take(part)


def replaced(part: ChangePart, **fields: Any) -> ChangePart:
    return replace(part, position=part.position._replace(**fields))


# Headers

POSITION = Position("e", 1, "0" * 64, "0" * 32)
HEAD = Head(position=POSITION, ancestors=("d",), publisher="p", tick_ms=7)
PART = ChangePart(position=POSITION, previous_hash="1" * 64, payload=b"[]")
MANIFEST = Manifest(position=POSITION, ancestors=("d",), checksums=("2" * 64,))


def read(item: Any, header: bytes) -> Any:
    if isinstance(item, ChangePart):
        return ChangePart.read(header, item.payload, item.signature)
    return type(item).read(header, item.signature)


NEITHER = (None, 1.5, {}, "", "É", [7])
NUMBER, FLAG, NAME_OF_AN_EPOCH = (*NEITHER, -1, 2**63, True, "1"), (*NEITHER, 1, "true"), (*NEITHER, 7, "E", "x" * 65)
HASH = (*NEITHER, 7, "0" * 31, "0" * 33, "0" * 65, "A" * 64)
WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("epoch", "publisher"), NAME_OF_AN_EPOCH),
    **dict.fromkeys(("hash", "digest", "previous_hash"), HASH),
    **dict.fromkeys(("revision", "tick_ms", "part"), NUMBER),
    **dict.fromkeys(("ancestors", "checksums"), (*NEITHER, "e", ["É"], ["2" * 64, None])),
    "last": FLAG,
    "format": (None, -1, 1.5, "1", True),
}


@pytest.mark.parametrize("item", [HEAD, PART, MANIFEST], ids=["head", "part", "manifest"])
def test_headers_are_read_back_and_each_field_is_checked(item: Any) -> None:
    assert read(item, item.header) == item
    fields = json.loads(item.header)
    for name in fields:
        for wrong in WRONG[name]:
            with pytest.raises(Malformed):
                read(item, json.dumps(fields | {name: wrong}).encode())
        with pytest.raises(Malformed):
            read(item, json.dumps({key: one for key, one in fields.items() if key != name}).encode())


def test_what_is_signed_of_one_kind_is_signed_of_no_other() -> None:
    assert len({item.signed.split(b"\n")[0] for item in (HEAD, PART, MANIFEST)}) == 3
    assert PART.signed != replace(PART, payload=b"[ ]").signed


@pytest.mark.parametrize("item", [HEAD, PART, MANIFEST], ids=["head", "part", "manifest"])
def test_a_newer_format_is_said_to_be_one(item: Any) -> None:
    """Whatever else is in it."""
    with pytest.raises(UnknownFormat, match="format 2 is newer than 1"):
        read(item, b'{"format":2}')
    with pytest.raises(UnknownFormat):
        read(item, json.dumps(json.loads(item.header) | {"format": 99, "epoch": []}).encode())


@settings(max_examples=100, deadline=None, database=None)
@given(st.one_of(st.binary(max_size=50), json_values.map(lambda value: json.dumps(value).encode())))
def test_whatever_comes_as_a_header_is_refused(header: bytes) -> None:
    for item in (HEAD, PART, MANIFEST):
        with pytest.raises((Malformed, UnknownFormat)):
            read(item, header)


def test_too_many_ancestors_are_refused() -> None:
    fields = json.loads(HEAD.header)
    assert read(HEAD, json.dumps(fields | {"ancestors": ["a"] * 1_000}).encode())
    with pytest.raises(Malformed):
        read(HEAD, json.dumps(fields | {"ancestors": ["a"] * 1_001}).encode())
