"""A world's records, as the service would make them of its fields."""

from __future__ import annotations

from typing import Any

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
from policy_service.domain.rules import seed
from policy_service.domain.state import State
from tests.conformance.cases import World

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
