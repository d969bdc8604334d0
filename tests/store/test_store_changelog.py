"""Every store: the whole policy shown at one revision, the log as feeds read it, and epochs."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from policy_service.domain.changelog import Fields, Lineage, Loading, LogSlice
from policy_service.domain.changes import Change
from policy_service.domain.feed import MAX_ANCESTORS
from policy_service.domain.records import MemberLimits, Record
from policy_service.domain.state import State
from policy_service.errors import DatabaseError, Unavailable
from policy_service.store import protocol, sqlite_visit
from policy_service.store.protocol import BODIES_AT_ONCE, LOG_SLICES, MEMBERS_AT_ONCE, PAGE_BYTES, Store
from policy_service.store.sqlite import SqliteStore
from tests.store.audit import anchor_of, ends, problems, rebuilt, state_of, whole_log
from tests.store.support import (
    NAMES,
    NONE,
    START,
    Ledger,
    dump,
    group,
    loaded,
    member,
    model,
    only,
    opened,
    seeded,
    team,
)

BEGINNING = (0, -1)
LAST_CHANGE = 2**62


class Seen:
    """A visitor that writes down what it is shown, and checks the order of it."""

    def __init__(self) -> None:
        self.teams: dict[str, Fields] = {}
        self.groups: dict[str, Fields] = {}
        self.models: dict[str, str] = {}
        self.policies: list[Fields] = []
        self.members: dict[tuple[str, str], int] = {}
        self._teams_with_members: list[str] = []

    def team(self, name: str, fields: Fields) -> None:
        assert not self.members
        self.teams[name] = fields

    def group(self, name: str, fields: Fields) -> None:
        self.groups[name] = fields

    def model(self, name: str, provider: str) -> None:
        self.models[name] = provider

    def policy(self, fields: Fields) -> int:
        self.policies.append(fields)
        return len(self.policies) - 1

    def member(self, team_name: str, user: str, policy: int) -> None:
        assert team_name in self.teams
        if self._teams_with_members[-1:] != [team_name]:
            assert team_name not in self._teams_with_members, "team by team"
            self._teams_with_members.append(team_name)
        assert (team_name, user) not in self.members
        self.members[team_name, user] = policy


async def seen(store: Store) -> Seen:
    visitor = Seen()
    await store.visit(visitor)
    return visitor


def many(count: int) -> list[Record]:
    """More than one slice of everything, in an order that is not that of the names."""
    records: list[Record] = [*(team(name) for name in NAMES), *(group(name) for name in NAMES)]
    records += [team(f"t{at}", only(f"m{at}")) for at in range(BODIES_AT_ONCE)]
    records += [model(f"m{at}") for at in range(2 * BODIES_AT_ONCE + 1)]
    members = [member(NAMES[at % len(NAMES)], f"u{at}", only(f"{at % 120}")) for at in range(count)]
    random.Random(1).shuffle(members)
    return [*records, *members]


async def test_an_empty_store_shows_nothing(store: Store) -> None:
    visitor = Seen()
    lineage = await store.visit(visitor)
    assert lineage == await store.lineage() == Lineage(await store.position(), ())
    assert vars(visitor) == vars(Seen())


async def test_what_is_shown(store: Store, ledger: Ledger) -> None:
    await ledger.put(
        team("t", NONE, display_name="T", model_aliases={"a": "b"}),
        seeded("t", "ann", only("a"), labels={"x": "1"}),
        member("t", "bob", only("a")),
        member("t", "eve", only("a"), limits=MemberLimits(rpm_limit=3), blocked=True),
        member("t", "gone", only("gone")),
        group("g", "m", excluded=("n",)),
        model("m", "q"),
    )
    await ledger.drop(member("t", "gone"))
    visitor = await seen(store)
    shared = {"allowed_models": {"mode": "ONLY", "models": ["a"]}}
    own = shared | {"limits": {"rpm_limit": 3}, "blocked": True}
    assert {name: visitor.policies[policy] for (_, name), policy in visitor.members.items()} == {
        "ann": shared,
        "bob": shared,
        "eve": own,
    }
    assert sorted(visitor.policies, key=len) == [shared, own], "each once, and none that nobody has"
    assert visitor.teams["t"]["model_aliases"] == {"a": "b"}
    assert visitor.teams["t"]["models"] == {"mode": "NONE"}
    assert visitor.groups["g"]["excluded_models"] == ["n"]
    assert visitor.models == {"m": "q"}


async def test_what_is_shown_builds_up_the_state(store: Store, ledger: Ledger) -> None:
    await ledger.put(*many(2 * MEMBERS_AT_ONCE + 1))
    state = State()
    lineage = await store.visit(Loading(state))
    assert lineage == (ledger.state.position, ())
    state.move_to(lineage.position)
    assert dump(state) == dump(await loaded(store)) == dump(ledger.state)
    assert sum(len(team.members) for team in state.teams.values()) == 2 * MEMBERS_AT_ONCE + 1


async def test_sqlite_shows_members_in_the_order_of_their_keys(tmp_path: Path) -> None:
    async with opened(tmp_path / "policy.db") as store:
        await (await Ledger.of(store)).put(*many(300))
        keys = list((await seen(store)).members)
    assert keys == sorted(keys)


async def test_commits_go_on_and_what_is_shown_is_of_one_revision(store: Store, ledger: Ledger) -> None:
    await ledger.put(*many(4 * MEMBERS_AT_ONCE))
    done = False

    async def change() -> None:
        """Every revision changes something of every kind."""
        turn = 0
        while not done:
            turn += 1
            name, scope = NAMES[turn % len(NAMES)], only(f"{turn}")
            await ledger.put(
                team(name, scope), member(name, f"new{turn}", scope), group("g", f"{turn}"), model(f"{turn}")
            )
            if turn < BODIES_AT_ONCE:
                await ledger.drop(team(f"t{turn}"))
            await asyncio.sleep(0)

    changing = asyncio.create_task(change())
    overtaken = 0
    while overtaken < 5:
        state = State()
        position, _ = await store.visit(Loading(state))
        assert state.digest == position.digest
        overtaken += ledger.state.position.revision > position.revision
    done = True
    await changing
    assert dump(await loaded(store)) == dump(ledger.state)


async def test_the_event_loop_has_turns_while_a_visitor_looks(store: Store, ledger: Ledger) -> None:
    await ledger.put(*many(4 * MEMBERS_AT_ONCE))
    turns = [(0, 0, 0)]
    visitor = Seen()
    looking = asyncio.create_task(store.visit(visitor))
    while not looking.done():
        await asyncio.sleep(0)
        turns.append((len(visitor.teams), len(visitor.groups) + len(visitor.models), len(visitor.members)))
    await looking
    steps = [[now - before for before, now in zip(was, then, strict=True)] for was, then in pairwise(turns)]
    teams, bodies, members = (max(column) for column in zip(*steps, strict=True))
    assert teams <= BODIES_AT_ONCE
    assert bodies <= BODIES_AT_ONCE
    assert members <= MEMBERS_AT_ONCE


async def test_a_loading_that_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path / "policy.db") as store:
        await (await Ledger.of(store)).put(*many(2 * MEMBERS_AT_ONCE + 1))
        for pause_s, said in ((3_600.0, ()), (0.0, (MEMBERS_AT_ONCE, 2 * MEMBERS_AT_ONCE, 2 * MEMBERS_AT_ONCE + 1))):
            monkeypatch.setattr(sqlite_visit, "PROGRESS_S", pause_s)
            with caplog.at_level(logging.INFO):
                await store.load(State())
            lines = [record for record in caplog.records if record.message == "loading the policy"]
            expected = [{"members": members, "of": 2 * MEMBERS_AT_ONCE + 1} for members in said]
            assert [vars(line)["fields"] for line in lines] == expected


async def test_a_visitor_that_fails_or_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    """A read that stayed open would keep the log of SQLite from being emptied."""
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        ledger = await Ledger.of(store)
        await ledger.put(*many(2 * MEMBERS_AT_ONCE))
        for turns in range(60):
            looking = asyncio.create_task(store.visit(Seen()))
            for _ in range(turns):
                await asyncio.sleep(0.0005)
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await ledger.put(model("m", f"{turns}"))
            assert await emptied(store)
        with pytest.raises(Fault):
            await store.visit(Failing())
        assert await emptied(store)


class Fault(Exception):
    """What a visitor raises."""


class Failing(Seen):
    """Does not take members."""

    def member(self, team_name: str, user: str, policy: int) -> None:
        raise Fault


async def emptied(store: SqliteStore) -> bool:
    """Whether the whole log of SQLite could be written back: nobody reads an older revision."""
    await store._writer.execute("PRAGMA busy_timeout = 0")
    ((is_busy, *_),) = await store._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    return not is_busy


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE teams SET body = '[]'",
        "UPDATE policies SET body = '[]'",
        "UPDATE groups SET body = 'no JSON'",
        "DELETE FROM policies",
        "DELETE FROM teams WHERE team = 't'",
        "DELETE FROM meta WHERE name = 'epoch'",
        "UPDATE meta SET value = 'no JSON' WHERE name = 'ancestors'",
    ],
)
async def test_damaged_records_are_said_to_be(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        await (await Ledger.of(store)).put(team("t"), member("t", "ann"), group("g"))
        edit(path, statement)
        with pytest.raises(DatabaseError, match="the file was damaged or edited"):
            await store.visit(Loading(State()))


async def test_a_database_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        path.unlink()
        with pytest.raises(Unavailable, match="cannot be read"):
            await store.visit(Seen())
        assert not path.exists()


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


# The log


async def test_the_hash_of_each_entry_and_of_the_beginning(store: Store, ledger: Ledger) -> None:
    assert await store.hash_at(0) == "0" * 64
    assert await store.hash_at(1) is None
    entries = [await ledger.put(model("m", f"{at}")) for at in range(3)]
    assert [await store.hash_at(at) for at in range(-1, 5)] == [
        None,
        "0" * 64,
        *(entry.hash for entry in entries),
        None,
    ]


async def test_the_hash_of_the_last_entry_that_is_not_kept(store: Store, ledger: Ledger) -> None:
    first = await ledger.put(model("m", "1"))
    second = await ledger.put(model("m", "2"))
    ledger.time = START.replace(year=2031)
    third = await ledger.put(model("m", "3"), forget_log_before=ledger.time)
    assert [await store.hash_at(at) for at in range(5)] == [None, None, second.hash, third.hash, None]
    assert await store.log_after(second.revision, LAST_CHANGE) == await store.log_after(*BEGINNING)
    assert first.hash != second.hash


async def everything_after(store: Store, revision: int, change: int) -> list[list[LogSlice]]:
    """The log, piece by piece."""
    pieces = []
    while piece := await store.log_after(revision, change):
        pieces.append(piece)
        revision, change = ends(piece)
    return pieces


async def test_the_log_piece_by_piece(store: Store, ledger: Ledger) -> None:
    for count in (3, 1, 2):
        await ledger.put(*(model(f"{count}{at}") for at in range(count)))
    whole = [LogSlice(entry, 0, list(images)) for entry, images in await whole_log(store)]
    assert await store.log_after(*BEGINNING) == whole
    assert await store.log_after(1, -1) == whole
    entry, _, images = whole[0]
    assert await store.log_after(1, 0) == [LogSlice(entry, 1, images[1:]), *whole[1:]]
    for last in (2, 3, LAST_CHANGE):
        assert await store.log_after(1, last) == whole[1:]
    for revision in (3, 4, 100):
        assert await store.log_after(revision, LAST_CHANGE) == []


async def test_a_piece_has_a_bounded_number_of_entries(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(7):
        await ledger.put(model("m", f"{at}"))
    assert LOG_SLICES > 7
    module = __import__(type(store).__module__, fromlist=["LOG_SLICES"])
    monkeypatch.setattr(module, "LOG_SLICES", 3)
    pieces = await everything_after(store, *BEGINNING)
    assert [[part.entry.revision for part in piece] for piece in pieces] == [[1, 2, 3], [4, 5, 6], [7]]


async def test_an_entry_larger_than_a_piece_comes_in_several(store: Store, ledger: Ledger) -> None:
    await ledger.put(model("before"))
    await ledger.commit(*(large(name) for name in "abcdefg"))
    await ledger.put(model("after"))
    pieces = await everything_after(store, 1, LAST_CHANGE)
    shapes = [[(part.entry.revision, part.first_change, len(part.images)) for part in piece] for piece in pieces]
    assert shapes == [[(2, 0, 3)], [(2, 3, 3)], [(2, 6, 1), (3, 0, 1)]]
    images = [image for piece in pieces for part in piece if part.entry.revision == 2 for image in part.images]
    assert [image.key.team for image in images] == list("abcdefg")


async def test_a_change_larger_than_a_piece_comes_alone(store: Store, ledger: Ledger) -> None:
    await ledger.commit(large("a", times=3), large("b", times=3))
    pieces = await everything_after(store, 0, LAST_CHANGE)
    assert [[(part.first_change, len(part.images)) for part in piece] for piece in pieces] == [[(0, 1)], [(1, 1)]]


def large(name: str, times: int = 1) -> Change:
    """A change of two fifths of a page."""
    return Change(None, team(name, labels={"k": "x" * (times * PAGE_BYTES * 2 // 5)}))


# Epochs


async def test_a_new_epoch_changes_the_epoch_alone(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t"), member("t", "ann"))
    former, log, before = ledger.state.position, await whole_log(store), dump(await loaded(store))
    await store.begin_epoch("2")
    position = former._replace(epoch="2")
    assert await store.position() == position
    assert await store.lineage() == (position, (former.epoch,))
    assert await store.visit(Seen()) == (position, (former.epoch,))
    assert await whole_log(store) == log
    assert await store.hash_at(1) == former.hash
    state = await loaded(store)
    assert state.ancestors == (former.epoch,)
    assert dump(state) == before | {"position": position, "revision": position.token}


async def test_entries_keep_the_epoch_that_they_were_made_in(store: Store) -> None:
    epochs = [(await store.position()).epoch, "2", "3"]
    for epoch in epochs:
        if epoch != epochs[0]:
            await store.begin_epoch(epoch)
        ledger = await Ledger.of(store)
        await ledger.put(team("t", only(epoch)), member("t", epoch))
        await ledger.put(model("m", epoch))
    assert await store.lineage() == (ledger.state.position, tuple(epochs[:2]))
    log = await whole_log(store)
    assert [entry.epoch for entry, _ in log] == [epoch for epoch in epochs for _ in range(2)]
    assert list(problems(await anchor_of(store), log)) == []
    for entry, records in rebuilt(log):
        assert state_of(records.values(), entry.position).digest == entry.digest
    assert dump(await loaded(store)) == dump(ledger.state)


async def test_an_epoch_of_an_empty_log(store: Store) -> None:
    former = await store.position()
    await store.begin_epoch("2")
    assert await store.lineage() == (former._replace(epoch="2"), (former.epoch,))
    await (await Ledger.of(store)).put(model("m"))
    assert (await store.position()).token == "2.1"


async def test_whoever_is_still_in_the_former_epoch_commits_nothing(store: Store, ledger: Ledger) -> None:
    await ledger.put(model("m"))
    await store.begin_epoch("2")
    with pytest.raises(DatabaseError, match=r"moved to 2\.1 behind this process's back"):
        await ledger.put(model("n"))
    assert await store.models_named(["n"]) == {}
    await (await Ledger.of(store)).put(model("n"))


async def test_retention_goes_on_across_epochs(store: Store, ledger: Ledger) -> None:
    await ledger.put(model("m", "1"))
    second = await ledger.put(model("m", "2"))
    await store.begin_epoch("2")
    ledger = await Ledger.of(store)
    ledger.time = START.replace(year=2031)
    third = await ledger.put(model("m", "3"), forget_log_before=ledger.time)
    assert [entry.position for entry, _ in await whole_log(store)] == [third.position]
    assert await store.hash_at(2) == second.hash
    assert list(problems(await anchor_of(store), await whole_log(store))) == []
    assert await store.lineage() == (third.position, (second.epoch,))


async def test_the_youngest_ancestors_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert protocol.MAX_ANCESTORS == MAX_ANCESTORS == 1_000
    monkeypatch.setattr(protocol, "MAX_ANCESTORS", 3)
    for epoch in "abcdef":
        await store.begin_epoch(epoch)
    assert (await store.lineage()).ancestors == ("c", "d", "e")


async def test_epochs_are_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        first = (await store.position()).epoch
        await store.begin_epoch("2")
        await store.begin_epoch("3")
    async with opened(path) as store:
        position, ancestors = await store.lineage()
        assert (position.epoch, ancestors) == ("3", (first, "2"))
    with closing(sqlite3.connect(path)) as connection:
        (kept,) = connection.execute("SELECT value FROM meta WHERE name = 'ancestors'").fetchone()
    assert json.loads(kept) == [first, "2"]


async def test_an_epoch_that_cannot_be_stored_does_not_begin(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        lineage = await store.lineage()
        await store._writer.execute_fetchall("PRAGMA busy_timeout = 1")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable, match="locked"):
                await store.begin_epoch("2")
        assert await store.lineage() == lineage
        await store.begin_epoch("2")
        assert (await store.lineage()).ancestors == (lineage.position.epoch,)
