"""The table of decision cases itself: whole, and of what a server accepts. The decisions: test_fronts.py."""

from __future__ import annotations

from collections import Counter

import pytest

from policy_service.domain.decide import Reason
from policy_service.domain.records import AccessGroup, Member, Model, Team
from policy_service.domain.rules import refuse_group_name, refuse_names_of_groups
from policy_service.domain.validation import Problems, check_asked, check_group, check_member, check_model, check_team
from tests.conformance.cases import CASES, WORLDS, Case, World
from tests.conformance.records import records_of, state_of


@pytest.mark.parametrize(("world", "cases"), WORLDS, ids=lambda part: getattr(part, "name", ""))
def test_a_server_would_accept_the_world_and_its_questions(world: World, cases: list[Case]) -> None:
    state, problems = state_of(world), Problems()
    for record in records_of(world):
        match record:
            case Model():
                check_model(problems, "model", record)
            case AccessGroup():
                check_group(problems, "group", record)
                refuse_group_name(state, record.name)
            case Team():
                check_team(problems, "team", record, state.groups)
                refuse_names_of_groups(state, record.model_aliases, "alias")
            case Member():
                check_member(problems, "member", record, state.groups)
    for asked in cases:
        check_asked(problems, asked.team, asked.user, asked.model)
    problems.raise_any()


def test_the_table_is_whole() -> None:
    assert {case.reason for case in CASES} == set(Reason)
    assert [name for name, count in Counter(world.name for world, _ in WORLDS).items() if count > 1] == []
    assert [id_ for id_, count in Counter(case.id for case in CASES).items() if count > 1] == []
