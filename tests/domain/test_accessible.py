"""The list of accessible models: what Check allows of all that is known, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain import accessible
from policy_service.domain.accessible import AccessiblePage, Overview, accessible_page, overview
from policy_service.domain.decide import decide
from policy_service.domain.records import (
    AccessGroup,
    Member,
    Mode,
    Model,
    ModelScope,
    Record,
    Team,
    UnlistedUsers,
)
from policy_service.domain.state import State
from tests.domain.worlds import TEAMS, USERS, build, many, some, worlds

World = tuple[Record, ...]


def known_names(records: World, team_id: str, user: str) -> set[str]:
    """The catalogue, the team's aliases, and the entries without `*` of both scopes and their groups."""
    names = {record.name for record in records if isinstance(record, Model)}
    groups = {record.name: record for record in records if isinstance(record, AccessGroup)}
    listed: set[str] = set()
    for record in records:
        if isinstance(record, Team) and record.id == team_id:
            names |= set(record.model_aliases)
            listed |= set(record.models.models)
        if isinstance(record, Member) and (record.team, record.user) == (team_id, user):
            listed |= set(record.allowed_models.models)
    for name in listed:
        names |= set(groups[name].models) if name in groups else {name}
    return {name for name in names if "*" not in name}


def all_pages(state: State, team: str, user: str, limit: int) -> list[AccessiblePage]:
    pages = [accessible_page(state, team, user, "", limit)]
    while pages[-1].last_tried is not None:
        assert len(pages) < 100
        pages.append(accessible_page(state, team, user, pages[-1].last_tried, limit))
    return pages


@many
@given(worlds(), st.integers(1, 4))
def test_list_is_check(records: World, limit: int) -> None:
    state = build(records)
    for team in (*TEAMS, "ghost"):
        for user in USERS:
            pages = all_pages(state, team, user, limit)
            listed = [name for page in pages for name in page.models]
            allowed = {name for name in known_names(records, team, user) if decide(state, team, user, name).allowed}
            assert listed == sorted(allowed, key=str.encode)
            assert all(len(page.models) <= limit for page in pages)


@some
@given(worlds())
def test_the_overview_names_what_decides_for_everything(records: World) -> None:
    state = build(records)
    for team in (*TEAMS, "ghost"):
        for user in USERS:
            reason, team_patterns, member_patterns = overview(state, team, user)
            reasons = {decide(state, team, user, name).reason for name in ("no-such-model", "a", "p/b")}
            if reason.startswith("ALLOWED"):
                assert reasons <= {reason, "MODEL_NOT_IN_TEAM_SCOPE", "MODEL_NOT_IN_MEMBER_SCOPE"}
            else:
                assert reasons <= {reason, "MODEL_NOT_IN_TEAM_SCOPE"}
                assert accessible_page(state, team, user, "", 10).models == []
            if reason in ("TEAM_NOT_FOUND", "TEAM_BLOCKED", "NOT_A_MEMBER", "MEMBER_BLOCKED"):
                assert team_patterns == member_patterns == []


def member(user: str, *models: str, mode: Mode = Mode.ONLY) -> Member:
    return Member(team="t", user=user, allowed_models=ModelScope(mode, models))


PATTERNS_WORLD: list[Record] = [
    AccessGroup(name="g", models=("m", "q*", "h")),
    AccessGroup(name="h", models=("z*",)),
    Team(id="t", models=ModelScope(Mode.ONLY, ("p*", "a", "g"), ("x*",)), unlisted_users=UnlistedUsers.TEAM_SCOPE),
    Team(id="all", models=ModelScope(Mode.ALL), unlisted_users=UnlistedUsers.TEAM_SCOPE),
    Team(id="none", models=ModelScope(Mode.NONE), unlisted_users=UnlistedUsers.TEAM_SCOPE),
    member("inherits", mode=Mode.INHERIT),
    member("none", mode=Mode.NONE),
    member("only", "b*", "g", "b*"),
]


@pytest.mark.parametrize(
    ("team", "user", "expected"),
    [
        ("t", "", ("ALLOWED_BY_TEAM_SCOPE", ["p*", "q*"], [])),
        ("t", "inherits", ("ALLOWED_BY_TEAM_SCOPE", ["p*", "q*"], [])),
        ("t", "none", ("MODEL_NOT_IN_MEMBER_SCOPE", ["p*", "q*"], [])),
        ("t", "only", ("ALLOWED_BY_MEMBER_SCOPE", ["p*", "q*"], ["b*", "q*"])),
        ("all", "", ("ALLOWED_BY_TEAM_SCOPE", ["*"], [])),
        ("none", "", ("MODEL_NOT_IN_TEAM_SCOPE", [], [])),
    ],
)
def test_patterns_are_those_of_the_scopes_and_their_groups(team: str, user: str, expected: tuple[object, ...]) -> None:
    assert overview(build(PATTERNS_WORLD), team, user) == Overview(*expected)


def test_a_page_says_that_it_is_the_last() -> None:
    state = build(
        [Team(id="t", models=ModelScope(Mode.ONLY, ("a", "b", "c")), unlisted_users=UnlistedUsers.TEAM_SCOPE)]
    )
    assert accessible_page(state, "t", "", "", 2) == (["a", "b"], "b")
    assert accessible_page(state, "t", "", "b", 2) == (["c"], None)
    assert accessible_page(state, "t", "", "", 3) == (["a", "b", "c"], None)
    assert accessible_page(state, "t", "", "c", 3) == ([], None)


def test_a_page_tries_a_bounded_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accessible, "MAX_NAMES_TRIED", 3)
    names = [f"m{number}" for number in range(10)]
    team = Team(id="t", models=ModelScope(Mode.ONLY, ("m8", "m9")), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    state = build([*(Model(name=name, provider="p") for name in names), team])

    pages = all_pages(state, "t", "", 10)

    assert [page.models for page in pages] == [[], [], ["m8"], ["m9"]]
    assert [page.last_tried for page in pages] == ["m2", "m5", "m8", None]


def test_names_sort_by_their_bytes_and_what_nobody_may_ask_is_left_out() -> None:
    names = ("é", "z", "Z", "\U0001f600", "\ufb21", "with,comma", "a//b", "what?")
    team = Team(id="t", models=ModelScope(Mode.ONLY, names), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    assert accessible_page(build([team]), "t", "", "", 10).models == ["Z", "z", "é", "\ufb21", "\U0001f600"]
