"""Every store: pages hold each item exactly once, in byte order, bounded by count and by size."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from policy_service.domain.records import Record, ScopeSource
from policy_service.store.protocol import PAGE_BYTES, Page, Store
from tests.store.support import NAMES, Ledger, group, member, model, pages, seeded, team

Listing = tuple[Callable[[Any, int], Awaitable[Page[Any]]], Callable[[Any], Any], Any]
LISTINGS = ("teams", "members of a team", "members of a user", "all members", "groups", "models")


def listing(store: Store, what: str) -> Listing:
    """How to page through what is listed: the page, the key of an item, the key before the first."""
    match what:
        case "teams":
            return store.teams, lambda found: found.id, ""
        case "groups":
            return store.groups, lambda found: found.name, ""
        case "models":
            return store.models, lambda found: found.name, ""
    where = {"members of a team": ("t", ""), "members of a user": ("", "ann"), "all members": ("", "")}[what]
    page = lambda after, limit: store.members(*where, None, after, limit)  # noqa: E731
    return page, lambda found: (found.team, found.user), ("", "")


def records(what: str, names: tuple[str, ...], text: str = "") -> list[Record]:
    """Records so named, each of a little more than the text's size."""
    labels = {"k": text} if text else {}
    match what:
        case "teams":
            return [team(name, labels=labels) for name in names]
        case "groups":
            return [group(name, text or "m") for name in names]
        case "models":
            return [model(name, labels=labels) for name in names]
        case "members of a user":
            return [record for name in names for record in (team(name), member(name, "ann", labels=labels))]
    return [team("t"), *(member("t", name, labels=labels) for name in names)]


def listed(what: str, items: list[Any]) -> list[str]:
    """By what the items are told apart."""
    attribute = {"teams": "id", "groups": "name", "models": "name", "members of a user": "team"}.get(what, "user")
    return [getattr(item, attribute) for item in items]


@pytest.mark.parametrize("what", LISTINGS)
async def test_pages_of_any_size_hold_each_item_once_in_byte_order(store: Store, ledger: Ledger, what: str) -> None:
    assert list(NAMES) == sorted(NAMES, key=str.encode)
    await ledger.put(*records(what, NAMES[::-1]))
    for limit in (1, 2, 5, len(NAMES) - 1, len(NAMES), len(NAMES) + 1, 1_000):
        found = await pages(*listing(store, what), limit)
        assert listed(what, sum(found, [])) == list(NAMES)
        assert [len(items) for items in found[:-1]] == [limit] * (len(found) - 1)
        assert 0 < len(found[-1]) <= limit


@pytest.mark.parametrize("what", LISTINGS)
async def test_more_says_whether_there_is_more(store: Store, ledger: Ledger, what: str) -> None:
    await ledger.put(*records(what, ("a", "b", "c")))
    page, key, start = listing(store, what)
    two, more = await page(start, 2)
    assert (len(two), more) == (2, True)
    last, more = await page(key(two[-1]), 1)
    assert (len(last), more) == (1, False)
    assert await page(start, 3) == Page([*two, *last], more=False)
    assert await page(key(last[-1]), 3) == Page([], more=False)


@pytest.mark.parametrize("text", ["x", "😀", "\\"], ids=["ascii", "emoji", "backslash"])
@pytest.mark.parametrize("what", LISTINGS)
async def test_a_page_ends_when_its_bytes_pass_the_bound(store: Store, ledger: Ledger, what: str, text: str) -> None:
    written = len(text.encode()) * (2 if text == "\\" else 1)
    await ledger.put(*records(what, tuple("abcdefg"), text * (PAGE_BYTES * 2 // 5 // written)))
    found = await pages(*listing(store, what), 1_000)
    assert [listed(what, items) for items in found] == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


@pytest.mark.parametrize("what", LISTINGS)
async def test_an_item_beyond_the_bound_has_a_page_of_its_own(store: Store, ledger: Ledger, what: str) -> None:
    await ledger.put(*records(what, ("a", "b"), "x" * (PAGE_BYTES + 1)))
    found = await pages(*listing(store, what), 1_000)
    assert [listed(what, items) for items in found] == [["a"], ["b"]]


@pytest.mark.parametrize("what", LISTINGS)
async def test_a_full_last_page_is_the_last(store: Store, ledger: Ledger, what: str) -> None:
    await ledger.put(*records(what, tuple("abcdef"), "x" * (PAGE_BYTES * 2 // 5)))
    found = await pages(*listing(store, what), 1_000)
    assert [listed(what, items) for items in found] == [["a", "b", "c"], ["d", "e", "f"]]


@pytest.mark.parametrize("what", LISTINGS)
async def test_what_exists_throughout_appears_once_while_others_come_and_go(
    store: Store, ledger: Ledger, what: str
) -> None:
    await ledger.put(*records(what, ("b", "d", "f", "h")))
    page, key, start = listing(store, what)
    first, _ = await page(start, 2)
    await ledger.drop(records(what, ("d",))[-1])
    await ledger.put(*[record for record in records(what, ("a", "e", "i")) if record != team("t")])
    rest = sum(await pages(page, key, key(first[-1]), 2), [])
    assert listed(what, [*first, *rest]) == ["b", "d", "e", "f", "h", "i"]


@pytest.fixture
async def membership(ledger: Ledger) -> None:
    await ledger.put(
        *(team(name) for name in ("t", "u", "é")),
        seeded("t", "ann"),
        member("t", "bob"),
        seeded("t", "zoe"),
        member("u", "ann"),
        seeded("é", "ann"),
        seeded("é", "bob"),
    )


@pytest.mark.usefixtures("membership")
@pytest.mark.parametrize(
    ("team_name", "user", "source", "expected"),
    [
        ("t", "", None, ["t/ann", "t/bob", "t/zoe"]),
        ("", "ann", None, ["t/ann", "u/ann", "é/ann"]),
        ("t", "ann", None, ["t/ann"]),
        ("t", "", ScopeSource.SEEDED, ["t/ann", "t/zoe"]),
        ("t", "", ScopeSource.EXPLICIT, ["t/bob"]),
        ("", "ann", ScopeSource.SEEDED, ["t/ann", "é/ann"]),
        ("u", "ann", ScopeSource.SEEDED, []),
        ("u", "ann", ScopeSource.EXPLICIT, ["u/ann"]),
        ("", "", ScopeSource.EXPLICIT, ["t/bob", "u/ann"]),
        ("T", "", None, []),
        ("", "Ann", None, []),
        ("é", "zoe", None, []),
    ],
)
async def test_members_by_team_by_user_and_by_source(
    store: Store, team_name: str, user: str, source: ScopeSource | None, expected: list[str]
) -> None:
    page = lambda after, size: store.members(team_name, user, source, after, size)  # noqa: E731
    for limit in (1, 2, 9):
        found = sum(await pages(page, lambda m: (m.team, m.user), ("", ""), limit), [])
        assert [f"{m.team}/{m.user}" for m in found] == expected
