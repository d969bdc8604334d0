"""Messages to records and back. What is wrong with a message goes to `Problems` under its path."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from policy_service.answers import limits_message
from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.validation import Problems
from policy_service.v1 import resources_pb2 as pb

E = TypeVar("E", bound=StrEnum)

_MODES = {int(number): Mode(name) for name, number in pb.ModelScope.Mode.items() if number}
_ROLES = {int(number): Role(name) for name, number in pb.Role.items() if number}
_SOURCES = {int(number): ScopeSource(name) for name, number in pb.ScopeSource.items() if number}
_UNLISTED = {int(number): UnlistedUsers(name) for name, number in pb.UnlistedUsers.items() if number}


def _enum(problems: Problems, field: str, number: int, values: dict[int, E], unspecified: E) -> E:
    if number and number not in values:
        problems.add(field, f"{number} is no value of this enum; use {', '.join(values.values())}")
    return values.get(number, unspecified)


def role_of(problems: Problems, field: str, number: int) -> Role:
    return _enum(problems, field, number, _ROLES, Role.MEMBER)


def unlisted_users_of(problems: Problems, field: str, number: int) -> UnlistedUsers:
    return _enum(problems, field, number, _UNLISTED, UnlistedUsers.DENY)


def source_filter_of(problems: Problems, field: str, number: int) -> ScopeSource | None:
    """None for no filter."""
    return _enum(problems, field, number, _SOURCES, ScopeSource.SEEDED) if number else None


def scope_of(problems: Problems, field: str, message: pb.ModelScope) -> ModelScope:
    """The scope; an unspecified mode reads as ONLY when there are models, and is refused when there are none."""
    models, excluded = tuple(message.models), tuple(message.excluded_models)
    if message.mode == pb.ModelScope.MODE_UNSPECIFIED:
        if not models:
            words = "is missing and models is empty; an empty list is never a grant and never a restriction: "
            problems.add(f"{field}.mode", words + "list models, or set the mode (ALL, INHERIT or NONE)")
            return ModelScope(Mode.NONE, models, excluded)
        return ModelScope(Mode.ONLY, models, excluded)
    return ModelScope(_enum(problems, f"{field}.mode", message.mode, _MODES, Mode.NONE), models, excluded)


def limits_of(message: pb.MemberLimits) -> MemberLimits:
    given = {field.name: value for field, value in message.ListFields()}
    return MemberLimits(**given)


def team_of(problems: Problems, field: str, message: pb.Team) -> Team:
    """A team to create; output-only fields and the etag are not read."""
    if message.HasField("models"):
        models = scope_of(problems, f"{field}.models", message.models)
    else:
        problems.add(f"{field}.models", "is required; give mode ALL or NONE, or list models")
        models = ModelScope(Mode.NONE)
    default = INHERIT
    if message.HasField("default_team_member_models"):
        path = f"{field}.default_team_member_models"
        default = scope_of(problems, path, message.default_team_member_models)
    return Team(
        id=message.id,
        display_name=message.display_name if message.HasField("display_name") else None,
        models=models,
        default_team_member_models=default,
        default_member_limits=limits_of(message.default_member_limits),
        model_aliases=dict(message.model_aliases),
        blocked=message.blocked,
        unlisted_users=unlisted_users_of(problems, f"{field}.unlisted_users", message.unlisted_users),
        labels=dict(message.labels),
    )


def member_of(problems: Problems, field: str, message: pb.Member) -> Member:
    """A member to add: SEEDED when no scope is given."""
    given = message.HasField("allowed_models")
    return Member(
        team=message.team,
        user=message.user,
        role=role_of(problems, f"{field}.role", message.role),
        allowed_models=scope_of(problems, f"{field}.allowed_models", message.allowed_models) if given else INHERIT,
        scope_source=ScopeSource.EXPLICIT if given else ScopeSource.SEEDED,
        limits=limits_of(message.limits),
        blocked=message.blocked,
        labels=dict(message.labels),
    )


def group_of(message: pb.AccessGroup) -> AccessGroup:
    models, excluded = tuple(message.models), tuple(message.excluded_models)
    return AccessGroup(name=message.name, models=models, excluded_models=excluded, etag=message.etag)


def model_of(message: pb.Model) -> Model:
    return Model(name=message.name, provider=message.provider, labels=dict(message.labels))


def timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


def scope_message(scope: ModelScope) -> pb.ModelScope:
    mode = pb.ModelScope.Mode.Value(scope.mode.value)
    return pb.ModelScope(mode=mode, models=scope.models, excluded_models=scope.excluded_models)


def team_message(team: Team) -> pb.Team:
    return pb.Team(
        id=team.id,
        display_name=team.display_name,
        models=scope_message(team.models),
        default_team_member_models=scope_message(team.default_team_member_models),
        default_member_limits=limits_message(team.default_member_limits),
        model_aliases=team.model_aliases,
        blocked=team.blocked,
        unlisted_users=pb.UnlistedUsers.Value(team.unlisted_users.value),
        labels=team.labels,
        member_count=team.member_count,
        etag=team.etag,
        create_time=timestamp(team.create_time),
        update_time=timestamp(team.update_time),
    )


def member_message(member: Member) -> pb.Member:
    return pb.Member(
        team=member.team,
        user=member.user,
        role=pb.Role.Value(member.role.value),
        allowed_models=scope_message(member.allowed_models),
        scope_source=pb.ScopeSource.Value(member.scope_source.value),
        limits=limits_message(member.limits),
        blocked=member.blocked,
        labels=member.labels,
        etag=member.etag,
        create_time=timestamp(member.create_time),
        update_time=timestamp(member.update_time),
    )


def group_message(group: AccessGroup) -> pb.AccessGroup:
    return pb.AccessGroup(
        name=group.name,
        models=group.models,
        excluded_models=group.excluded_models,
        etag=group.etag,
        create_time=timestamp(group.create_time),
        update_time=timestamp(group.update_time),
    )


def model_message(model: Model) -> pb.Model:
    return pb.Model(name=model.name, provider=model.provider, labels=model.labels)
