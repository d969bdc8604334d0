"""Every store: which scopes list an entry, and what is excluded anywhere."""

from __future__ import annotations

import pytest

from policy_service.domain.records import MemberLimits, ModelScope
from policy_service.store.protocol import Store
from tests.store.support import ALL, NONE, Ledger, group, member, model, only, team

ODD = ('"', "\\", '\\"', 'a","b', "é", "😀", "\\u00e9", "%", "_", "a b", "'", "*", "mode", "ONLY", "models")


def excluding(*entries: str, scope: ModelScope = ALL) -> ModelScope:
    return ModelScope(scope.mode, scope.models, entries)


@pytest.mark.parametrize("entry", ["g", *ODD])
async def test_every_place_that_lists_an_entry_is_found(store: Store, ledger: Ledger, entry: str) -> None:
    await ledger.put(
        team("grants", only("other", entry)),
        team("excludes", excluding(entry)),
        team("default", default_team_member_models=only(entry)),
        team("without", default_team_member_models=excluding(entry, scope=NONE)),
        team("unrelated", only("x")),
        member("unrelated", "ann", only(entry)),
        member("unrelated", "bob", excluding(entry, scope=NONE)),
        member("unrelated", "eve", only("x")),
        member("grants", "ann", only(entry)),
    )
    assert set(await store.scopes_listing(entry, 100)) == {
        "team grants (models)",
        "team excludes (models)",
        "team default (default_team_member_models)",
        "team without (default_team_member_models)",
        "member unrelated/ann",
        "member unrelated/bob",
        "member grants/ann",
    }


async def test_a_team_that_lists_it_twice_is_named_for_both(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t", only("g"), default_team_member_models=only("g")))
    assert await store.scopes_listing("g", 9) == ["team t (models)", "team t (default_team_member_models)"]


async def test_nothing_else_counts_as_listing_it(store: Store, ledger: Ledger) -> None:
    limits = MemberLimits(budget_duration="g")
    await ledger.put(
        team(
            "g",
            only("gg", "G", " g", 'g"', "g*"),
            display_name="g",
            labels={"g": "g"},
            model_aliases={"g": "g"},
            default_member_limits=limits,
            etag="g",
        ),
        member("g", "g", only("ag", "g/"), labels={"g": "g"}, limits=limits, etag="g"),
        group("h", "g", excluded=("g",)),
        model("g", "g", labels={"g": "g"}),
    )
    assert await store.scopes_listing("g", 9) == []
    for word in ("ONLY", "mode", "models", "SEEDED", "EXPLICIT", "h", "", "budget_duration"):
        assert await store.scopes_listing(word, 9) == []


@pytest.mark.parametrize("limit", [1, 3, 5, 6, 7])
async def test_at_most_so_many_are_named(store: Store, ledger: Ledger, limit: int) -> None:
    await ledger.put(
        *(team(name, only("g"), default_team_member_models=only("g")) for name in ("t", "u")),
        member("t", "ann", only("g")),
        member("t", "bob", only("g", "h")),
    )
    found = await store.scopes_listing("g", limit)
    assert len(found) == len(set(found)) == min(limit, 6)


async def test_scopes_that_are_no_more_do_not_list(store: Store, ledger: Ledger) -> None:
    scope = only("g", excluded=("x",))
    await ledger.put(team("t", scope), team("u"), member("u", "ann", scope), member("u", "bob", scope))
    assert len(await store.scopes_listing("g", 9)) == 3
    assert await store.excluded_entries() == {"x"}
    await ledger.put(team("t"), member("u", "ann"))
    assert await store.scopes_listing("g", 9) == ["member u/bob"]
    assert await store.excluded_entries() == {"x"}
    await ledger.drop(member("u", "bob"))
    assert await store.scopes_listing("g", 9) == []
    assert await store.excluded_entries() == set()
    await ledger.put(member("u", "bob", scope))
    assert await store.scopes_listing("g", 9) == ["member u/bob"]
    await ledger.drop(team("u"))
    assert await store.scopes_listing("g", 9) == []
    assert await store.excluded_entries() == set()


async def test_the_exclusions_of_all_scopes_and_nothing_else(store: Store, ledger: Ledger) -> None:
    await ledger.put(
        team("t", only("granted", excluded=("a", *ODD))),
        team("u", default_team_member_models=excluding("b", scope=NONE), labels={"excluded_models": "no"}),
        member("u", "ann", excluding("c", "a", scope=NONE), labels={"excluded_models": "no"}),
        member("u", "bob", only("excluded_models")),
        group("g", "granted", excluded=("of a group",)),
    )
    assert await store.excluded_entries() == {"a", "b", "c", *ODD}
