"""The decision cases through the pure engine."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from policy_service.domain.decide import Reason, decide
from policy_service.domain.records import (
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.rules import refuse_group_name, refuse_names_of_groups, seed
from policy_service.domain.state import State
from policy_service.domain.validation import Problems, check_asked, check_group, check_member, check_model, check_team

from .cases import CASES, WORLDS, Case, World

INHERIT = {"mode": "INHERIT"}


def scope_of(fields: dict[str, Any]) -> ModelScope:
    mode = Mode(fields.get("mode", "ONLY"))
    return ModelScope(mode, tuple(fields.get("models", ())), tuple(fields.get("excluded_models", ())))


def team_of(name: str, fields: dict[str, Any]) -> Team:
    return Team(
        id=name,
        models=scope_of(fields["models"]),
        default_team_member_models=scope_of(fields.get("default_team_member_models", INHERIT)),
        default_member_limits=MemberLimits(**fields.get("default_member_limits", {})),
        model_aliases=fields.get("model_aliases", {}),
        blocked=fields.get("blocked", False),
        unlisted_users=UnlistedUsers(fields.get("unlisted_users", "DENY")),
    )


def member_of(team: Team, user: str, fields: dict[str, Any]) -> Member:
    given = "allowed_models" in fields
    member = Member(
        team=team.id,
        user=user,
        role=Role(fields.get("role", "MEMBER")),
        allowed_models=scope_of(fields.get("allowed_models", INHERIT)),
        scope_source=ScopeSource.EXPLICIT if given else ScopeSource.SEEDED,
        limits=MemberLimits(**fields.get("limits", {})),
        blocked=fields.get("blocked", False),
    )
    return seed(member, team)


def records_of(world: World) -> list[Record]:
    teams = {name: team_of(name, fields) for name, fields in world.teams.items()}
    records: list[Record] = [Model(name=name, provider=provider) for name, provider in world.catalogue.items()]
    for name, group in world.groups.items():
        excluded = tuple(group.get("excluded_models", ()))
        records.append(AccessGroup(name=name, models=tuple(group["models"]), excluded_models=excluded))
    records.extend(teams.values())
    for team, members in world.members.items():
        records.extend(member_of(teams[team], user, fields) for user, fields in members.items())
    return records


def state_of(world: World) -> State:
    state = State("epoch")
    for record in records_of(world):
        state.load(record)
    return state


STATES = {world.name: state_of(world) for world, _ in WORLDS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_decides(case: Case) -> None:
    decision = decide(STATES[case.world.name], case.team, case.user, case.model)

    assert (decision.allowed, decision.reason) == (case.allowed, case.reason)
    assert (decision.limits is not None) == decision.allowed
    if case.resolved is not None:
        assert decision.resolved_model == case.resolved
    if case.limits is not None:
        assert decision.limits == MemberLimits(**case.limits)


@pytest.mark.parametrize(("world", "cases"), WORLDS, ids=lambda part: getattr(part, "name", ""))
def test_a_server_would_accept_the_world_and_its_questions(world: World, cases: list[Case]) -> None:
    state, problems = STATES[world.name], Problems()
    for record in records_of(world):
        match record:
            case Model():
                check_model(problems, "model", record)
            case AccessGroup():
                check_group(problems, "group", record)
                refuse_group_name(state, record.name)
            case Team():
                check_team(problems, "team", record, state.group_names)
                refuse_names_of_groups(state, record.model_aliases, "alias")
            case Member():
                check_member(problems, "member", record, state.group_names)
    for asked in cases:
        check_asked(problems, asked.team, asked.user, asked.model)
    problems.raise_any()


def test_the_table_is_whole() -> None:
    assert {case.reason for case in CASES} == set(Reason)
    assert [name for name, count in Counter(world.name for world, _ in WORLDS).items() if count > 1] == []
    assert [id_ for id_, count in Counter(case.id for case in CASES).items() if count > 1] == []
