"""Entries against names: the wildcard as the reference has it, on any text, and in linear time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_service.domain.matching import (
    Exclusions,
    Pattern,
    Patterns,
    Spelling,
    exclusions_of,
    names_of,
    patterns_of,
    spell,
)
from policy_service.domain.names import fold
from policy_service.domain.records import AccessGroup, Model, ModelScope, Team, UnlistedUsers
from policy_service.domain.records import Mode as M
from policy_service.domain.state import provider_names
from tests.domain.reference import ignoring_case, matches
from tests.domain.worlds import build, decide

texts = settings(max_examples=300, deadline=None, database=None)


def patterns(alphabet: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    part = st.one_of(st.just("*"), st.text(alphabet, max_size=3))
    return st.lists(part, max_size=6).map("".join).filter(lambda pattern: "*" in pattern)


anything = st.characters(exclude_characters="*", exclude_categories=["Cs"])


def all_texts(alphabet: str, longest: int) -> list[str]:
    return ["".join(letters) for length in range(longest + 1) for letters in product(alphabet, repeat=length)]


def test_every_short_pattern_matches_as_the_reference() -> None:
    texts = all_texts("ab", 5)
    for pattern in all_texts("*ab", 6):
        if "*" in pattern:
            compiled = Pattern(pattern)
            assert [t for t in texts if compiled.matches(t)] == [t for t in texts if matches(pattern, t)], pattern


@texts
@given(patterns(anything), st.text(anything, max_size=10))
def test_a_pattern_matches_as_the_reference_on_any_text(pattern: str, text: str) -> None:
    assert Pattern(pattern).matches(text) == matches(pattern, text)


@texts
@given(st.lists(st.text(anything, max_size=4), min_size=2, max_size=5), st.data())
def test_a_pattern_matches_what_it_is_filled_with(parts: list[str], data: st.DataObject) -> None:
    runs = [data.draw(st.text(anything, max_size=4)) for _ in parts[1:]]
    text = parts[0] + "".join(run + part for run, part in zip(runs, parts[1:], strict=True))
    assert Pattern("*".join(parts)).matches(text)


@pytest.mark.parametrize("special", [*".^$+?()[]{}|\\", "[ab]", "a|b", "(a)", ".+", "\\d", "{1}", "a.b"])
def test_nothing_but_the_star_is_special(special: str) -> None:
    pattern = Pattern(f"{special}*{special}")
    assert pattern.matches(f"{special}x{special}")
    assert not pattern.matches("axb")
    assert not pattern.matches("aaaa")


def calls_made_by(function: Callable[[], object]) -> int:
    """How many calls, of Python and of C, a call makes."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("pattern", "unit"), [("a*" * 20 + "b", "a"), ("*a" * 20 + "*b*", "ab"), ("*ab" * 20 + "c", "ab")]
)
def test_matching_does_no_more_for_longer_names(pattern: str, unit: str) -> None:
    """A backtracking matcher would try a number of ways that explodes with the length of the name."""
    compiled = Pattern(pattern)
    short, long = (calls_made_by(lambda times=times: compiled.matches(unit * times)) for times in (40, 4_000))
    assert long <= short <= 3 * pattern.count("*") + 10


def test_a_decision_does_work_in_proportion_to_the_entries() -> None:
    def calls(count: int) -> int:
        wild = tuple(f"x{'*a' * 20}{number}" for number in range(count))
        excluded = tuple(f"*/{'*a' * 20}{number}" for number in range(count))
        scope = ModelScope(M.ONLY, wild, excluded)
        state = build([Team(id="t", models=scope, unlisted_users=UnlistedUsers.TEAM_SCOPE)])
        return calls_made_by(lambda: decide(state, "t", "", "/".join(["x", *["a" * 10] * 20])))

    once, twice, four_times = calls(16), calls(32), calls(64)
    assert four_times - twice <= 2.1 * (twice - once)


def test_patterns_name_the_first_that_matches() -> None:
    entries = ("x*", "openai/*", "*")
    found = patterns_of(entries)
    assert found is not None
    assert found.texts == ["x*", "openai/*", "*"]
    assert found.first("x1") == "x*"
    assert found.first("gpt", "openai/gpt") == "openai/*"
    assert found.first("gpt") == "*"
    assert names_of(entries) == frozenset()
    assert names_of(("a", "b*", "a")) == {"a"}
    assert patterns_of(("a",)) is None


@texts
@given(st.lists(patterns(st.sampled_from("ab/")), max_size=4), st.text(st.sampled_from("ab/"), max_size=6))
def test_patterns_match_together_as_the_reference_does_one_by_one(entries: list[str], text: str) -> None:
    together = Patterns(map(Pattern, entries))
    matching = [entry for entry in entries if matches(entry, text)]
    assert together.match(text) == bool(matching)
    assert together.first(text) == (matching[0] if matching else None)


def spelled(name: str, providers: tuple[str, ...] = (), unknown: bool = False) -> Spelling:
    folded = fold(name)
    return spell(name, folded, provider_names(folded, providers), unknown)


@pytest.mark.parametrize(
    ("exclusion", "name", "providers", "unknown", "excluded"),
    [
        ("O1", "o1", (), False, True),
        ("o1", "x/y/O1", (), False, True),
        ("y/o1", "x/y/o1", (), False, True),
        ("x/o1", "x/y/o1", (), False, False),
        ("p/o1", "o1", ("p",), False, True),
        ("p/o1", "o1", ("q",), False, False),
        ("p/o1", "o1", ("q",), True, True),
        ("p/q/o1", "o1", (), True, True),
        ("p/q/o1", "q", (), True, False),
        ("p/*", "o1", (), True, True),
        ("p/*", "x/o1", (), True, False),
        ("p*/o1", "o1", (), True, True),
        ("p*/o1", "o2", (), True, False),
        ("*", "anything", (), False, True),
        ("P*1", "o1", ("p",), False, True),
    ],
)
def test_an_exclusion_is_tried_on_every_spelling(
    exclusion: str, name: str, providers: tuple[str, ...], unknown: bool, excluded: bool
) -> None:
    match = Exclusions((exclusion,)).match(spelled(name, providers, unknown))
    assert match == (exclusion if excluded else None)


def test_an_exclusion_that_names_a_group_is_passed_over() -> None:
    exclusions = Exclusions(("beta", "Beta"))
    spelling = spelled("x/beta")
    assert exclusions.match(spelling) == "beta"
    assert exclusions.match(spelling, {"beta"}) == "Beta"
    assert exclusions.match(spelling, {"beta", "Beta"}) is None


def test_a_scope_without_exclusions_compiles_to_none() -> None:
    assert exclusions_of(()) is None


@texts
@given(st.text(max_size=8))
def test_case_is_ignored_as_unicode_says(text: str) -> None:
    assert fold(text) == ignoring_case(text)


@pytest.mark.parametrize(
    ("written", "asked"),
    [("Straße", "STRASSE"), ("É", "é"), ("σας", "ΣΑΣ"), ("ΐ", "Ϊ́"), ("ǰ", "J̌"), ("K", "k"), ("ﬁne", "FINE")],
)
def test_two_spellings_of_a_word_exclude_each_other(written: str, asked: str) -> None:
    for exclusion, name in ((written, asked), (asked, written)):
        assert Exclusions((exclusion,)).match(spelled(f"x/{name}")) == exclusion


def test_a_group_recompiles_no_scope_yet_its_name_means_the_group_at_once() -> None:
    team = Team(id="t", models=ModelScope(M.ONLY, ("g", "b"), ("g2",)), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    state = build([team])
    assert decide(state, "t", "", "g").allowed
    for record in (
        AccessGroup(name="g", models=("a", "b")),
        AccessGroup(name="g2", models=("b",)),
        Model(name="a", provider="p"),
    ):
        state.load(record)
    assert not decide(state, "t", "", "g").allowed
    assert decide(state, "t", "", "a").allowed
    assert not decide(state, "t", "", "b").allowed
