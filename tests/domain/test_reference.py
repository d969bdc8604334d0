"""The reference itself: it answers the decision cases as they say."""

from __future__ import annotations

import pytest

from tests.conformance.cases import WORLDS, Case, World
from tests.conformance.records import records_of
from tests.domain.reference import Reference, matches


@pytest.mark.parametrize(("world", "cases"), WORLDS, ids=lambda part: getattr(part, "name", ""))
def test_the_reference_answers_the_cases(world: World, cases: list[Case]) -> None:
    reference = Reference(records_of(world))
    for case in cases:
        answer = reference.decide(case.team, case.user, case.model)
        assert (answer.allowed, answer.reason) == (case.allowed, case.reason), case.id
        assert case.resolved in (None, answer.resolved_model), case.id


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("", "", True),
        ("*", "", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("a.c*", "abc", False),
    ],
)
def test_the_reference_matches(pattern: str, text: str, expected: bool) -> None:
    assert matches(pattern, text) == expected
