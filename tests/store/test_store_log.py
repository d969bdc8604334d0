"""Every store: the change log, its filters and pages, and what retention leaves of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from policy_service.domain.changes import Change, Position
from policy_service.domain.records import Kind
from policy_service.domain.state import State
from policy_service.store.protocol import EXPIRED_AT_ONCE, PAGE_BYTES, LogFilter, Store
from tests.store.audit import anchor_of, ends, problems, rebuilt, state_of, whole_log
from tests.store.support import NONE, START, Ledger, dump, group, loaded, member, model, team

HOUR = timedelta(hours=1)
FIRST = (0, -1)


async def revisions(store: Store, select: LogFilter, limit: int = 1_000) -> list[int]:
    return [entry.revision for entry, _ in await whole_log(store, select, limit)]


async def test_entries_come_back_as_they_were(store: Store, ledger: Ledger) -> None:
    ledger.time = START + timedelta(microseconds=1)
    changes = [Change(None, team("é", labels={'"': "\\"})), Change(None, member("é", "😀")), Change(None, group("g"))]
    commit, _ = ledger.prepare(*changes)
    await store.commit(commit)
    ((entry, images),) = await whole_log(store)
    assert entry == commit.entry
    assert list(images) == commit.images
    assert [image.key.kind for image in images] == [Kind.TEAM, Kind.MEMBER, Kind.GROUP]


async def test_the_chain_verifies_and_every_digest_is_right(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t"), member("t", "ann"), member("t", "bob"), group("g"), model("m"))
    await ledger.put(team("t", NONE), member("t", "bob", NONE))
    await ledger.drop(team("t"))
    await ledger.put(team("t"), model("m", "q"))
    log = await whole_log(store)
    assert list(problems(Position(ledger.state.position.epoch, 0, "0" * 64, State().digest), log)) == []
    for entry, records in rebuilt(log):
        assert state_of(records.values(), entry.position).digest == entry.digest


@pytest.fixture
async def history(ledger: Ledger) -> None:
    """Five revisions, an hour apart."""
    for changed in (
        [team("t"), member("t", "ann"), group("g")],
        [team("u"), model("m")],
        [model("t")],
        [team("u", NONE), team("t", NONE)],
        [member("u", "ann"), group("h")],
    ):
        await ledger.put(*changed)
        ledger.time += HOUR


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (LogFilter(), [1, 2, 3, 4, 5]),
        (LogFilter(team="t"), [1, 4]),
        (LogFilter(team="u"), [2, 4, 5]),
        (LogFilter(team="g"), []),
        (LogFilter(team="T"), []),
        (LogFilter(start=START), [1, 2, 3, 4, 5]),
        (LogFilter(start=START + HOUR), [2, 3, 4, 5]),
        (LogFilter(start=START + timedelta(microseconds=1)), [2, 3, 4, 5]),
        (LogFilter(end=START + HOUR), [1]),
        (LogFilter(end=START + HOUR + timedelta(microseconds=1)), [1, 2]),
        (LogFilter(end=START), []),
        (LogFilter(start=START + HOUR, end=START + 3 * HOUR), [2, 3]),
        (LogFilter(start=START + HOUR, end=START + HOUR), []),
        (LogFilter("u", START + 2 * HOUR, START + 4 * HOUR), [4]),
        (LogFilter(start=START + 5 * HOUR), []),
    ],
    ids=str,
)
async def test_filters(store: Store, select: LogFilter, expected: list[int]) -> None:
    for limit in (1, 2, 3, 5, 9):
        assert await revisions(store, select, limit) == expected


@pytest.mark.usefixtures("history")
async def test_a_filtered_entry_is_shown_whole(store: Store) -> None:
    ((_, images), _) = await whole_log(store, LogFilter(team="t"))
    assert [str(image.key) for image in images] == ["t", "t/ann", "g"]


@pytest.mark.usefixtures("history")
async def test_more_says_whether_there_is_more_log(store: Store) -> None:
    four, more = await store.log(LogFilter(), FIRST, 4)
    assert ([part.entry.revision for part in four], more) == ([1, 2, 3, 4], True)
    last, more = await store.log(LogFilter(), ends(four), 1)
    assert ([part.entry.revision for part in last], more) == ([5], False)
    assert await store.log(LogFilter(), FIRST, 5) == ([*four, *last], False)
    assert await store.log(LogFilter(), ends(last), 5) == ([], False)
    assert await store.log(LogFilter(team="t"), ends(four), 5) == ([], False)
    assert (await store.log(LogFilter(team="t"), FIRST, 1)).more
    assert not (await store.log(LogFilter(team="t"), FIRST, 2)).more


@pytest.mark.usefixtures("history")
async def test_a_page_may_begin_inside_an_entry(store: Store) -> None:
    ((entry, first_change, images), *_), _ = await store.log(LogFilter(), (1, 0), 9)
    assert (entry.revision, first_change) == (1, 1)
    assert [str(image.key) for image in images] == ["t/ann", "g"]
    following, _ = await store.log(LogFilter(), (1, 2), 9)
    assert (following[0].entry.revision, following[0].first_change) == (2, 0)


def big(name: str, text: str) -> Change:
    return Change(None, team(name, labels={"k": text * (PAGE_BYTES * 2 // 5 // len(text.encode()))}))


@pytest.mark.parametrize("text", ["x", "😀"], ids=["ascii", "emoji"])
async def test_an_entry_that_does_not_fit_a_page_goes_on_in_the_next(store: Store, ledger: Ledger, text: str) -> None:
    await ledger.put(model("before"))
    await ledger.commit(*(big(name, text) for name in "abcdefg"))
    await ledger.put(model("after"))
    after, shapes = FIRST, []
    more = True
    while more:
        slices, more = await store.log(LogFilter(), after, 100)
        shapes.append([(part.entry.revision, part.first_change, len(part.images)) for part in slices])
        after = ends(slices)
    assert shapes == [[(1, 0, 1), (2, 0, 3)], [(2, 3, 3)], [(2, 6, 1), (3, 0, 1)]]
    assert list(problems(await anchor_of(store), await whole_log(store))) == []


async def test_a_page_may_end_with_the_last_change_of_an_entry(store: Store, ledger: Ledger) -> None:
    await ledger.commit(*(big(name, "x") for name in "abc"))
    assert not (await store.log(LogFilter(), FIRST, 100)).more
    await ledger.put(model("m"))
    slices, more = await store.log(LogFilter(), FIRST, 100)
    assert [(part.entry.revision, len(part.images)) for part in slices] == [(1, 3)]
    assert more
    slices, more = await store.log(LogFilter(), ends(slices), 100)
    assert [(part.entry.revision, part.first_change) for part in slices] == [(2, 0)]
    assert not more


@pytest.mark.usefixtures("history")
async def test_retention_leaves_an_anchor_from_which_the_chain_verifies(store: Store, ledger: Ledger) -> None:
    dropped = await whole_log(store)
    await ledger.put(model("n"), forget_log_before=START + 2 * HOUR)
    assert await revisions(store, LogFilter()) == [3, 4, 5, 6]
    assert await anchor_of(store) == dropped[1][0].position
    assert list(problems(await anchor_of(store), await whole_log(store))) == []
    assert list(problems(dropped[0][0].position, await whole_log(store))) != []
    assert await store.position() == ledger.state.position
    assert dump(await loaded(store)) == dump(ledger.state)


@pytest.mark.usefixtures("history")
async def test_retention_never_takes_the_last_entry(store: Store, ledger: Ledger) -> None:
    await ledger.put(model("n"), forget_log_before=START + 100 * HOUR)
    assert await revisions(store, LogFilter()) == [6]
    assert await store.position() == ledger.state.position
    assert list(problems(await anchor_of(store), await whole_log(store))) == []
    await ledger.put(model("o"), forget_log_before=START + 100 * HOUR)
    assert await revisions(store, LogFilter()) == [7]
    assert dump(await loaded(store)) == dump(ledger.state)


@pytest.mark.usefixtures("history")
async def test_without_retention_nothing_is_forgotten(store: Store, ledger: Ledger) -> None:
    ledger.time += 10_000 * HOUR
    await ledger.put(model("n"))
    await ledger.put(model("o"), forget_log_before=START)
    assert await revisions(store, LogFilter()) == [1, 2, 3, 4, 5, 6, 7]


async def test_one_commit_takes_a_bounded_number_of_entries(store: Store, ledger: Ledger) -> None:
    for number in range(2 * EXPIRED_AT_ONCE + 10):
        await ledger.put(model("m", f"{number}"))
    for oldest in (101, 201, 213):
        await ledger.put(model("n", f"{oldest}"), forget_log_before=START + HOUR)
        assert (await revisions(store, LogFilter()))[0] == oldest
        assert list(problems(await anchor_of(store), await whole_log(store))) == []


async def test_a_clock_that_went_back_makes_retention_take_nothing_too_young(store: Store, ledger: Ledger) -> None:
    for name, hour in (("a", 10), ("b", 1), ("c", 11)):
        ledger.time = START + hour * HOUR
        await ledger.put(model(name))
    ledger.time = START + 12 * HOUR
    await ledger.put(model("d"), forget_log_before=START + 5 * HOUR)
    assert await revisions(store, LogFilter()) == [1, 2, 3, 4]
