"""Records as JSON and back: what the store keeps, the audit log shows and the hashes cover.

`canonical` is byte for byte stable. Field names are the contract's, absent and empty fields are left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from policy_service.domain.records import (
    AccessGroup,
    Kind,
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

Json = dict[str, Any]
R = TypeVar("R", Team, Member, AccessGroup, Model)


_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no escapes but the needed ones."""
    return _ENCODER.encode(value)


def _without_empty(fields: Json) -> Json:
    return {key: value for key, value in fields.items() if value not in (None, "", [], {}, False)}


def format_time(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds, so that times sort as text."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def scope_to_json(scope: ModelScope) -> Json:
    return _without_empty(
        {"mode": scope.mode.value, "models": list(scope.models), "excluded_models": list(scope.excluded_models)}
    )


def scope_from_json(fields: Mapping[str, Any]) -> ModelScope:
    return ModelScope(Mode(fields["mode"]), tuple(fields.get("models", ())), tuple(fields.get("excluded_models", ())))


def limits_to_json(limits: MemberLimits) -> Json:
    fields = {name: getattr(limits, name) for name in MemberLimits.__slots__}
    return {name: value for name, value in fields.items() if value is not None}


def limits_from_json(fields: Mapping[str, Any]) -> MemberLimits:
    return MemberLimits(**fields)


def policy_to_json(member: Member) -> Json:
    """What of a member decides: equal for many members, so it is kept once."""
    return _without_empty(
        {
            "allowed_models": scope_to_json(member.allowed_models),
            "limits": limits_to_json(member.limits),
            "blocked": member.blocked,
        }
    )


def _stamps(record: Team | Member | AccessGroup) -> Json:
    return {
        "etag": record.etag,
        "create_time": format_time(record.create_time),
        "update_time": format_time(record.update_time),
    }


def _stamps_from_json(fields: Mapping[str, Any]) -> Json:
    return {
        "etag": fields["etag"],
        "create_time": parse_time(fields["create_time"]),
        "update_time": parse_time(fields["update_time"]),
    }


def profile_to_json(member: Member) -> Json:
    """What of a member does not decide."""
    fields = {"role": member.role.value, "scope_source": member.scope_source.value, "labels": dict(member.labels)}
    return _without_empty(fields | _stamps(member))


def to_json(record: Record) -> Json:
    """The record, without what is derived."""
    if isinstance(record, Member):
        return {"team": record.team, "user": record.user} | policy_to_json(record) | profile_to_json(record)
    if isinstance(record, Team):
        return _without_empty(
            {
                "id": record.id,
                "models": scope_to_json(record.models),
                "default_team_member_models": scope_to_json(record.default_team_member_models),
                "default_member_limits": limits_to_json(record.default_member_limits),
                "model_aliases": dict(record.model_aliases),
                "blocked": record.blocked,
                "unlisted_users": record.unlisted_users.value,
                "labels": dict(record.labels),
            }
            | _stamps(record)
        ) | ({} if record.display_name is None else {"display_name": record.display_name})
    if isinstance(record, AccessGroup):
        lists = {"models": list(record.models), "excluded_models": list(record.excluded_models)}
        return _without_empty({"name": record.name} | lists | _stamps(record))
    return _without_empty({"name": record.name, "provider": record.provider, "labels": dict(record.labels)})


def team_from_json(fields: Mapping[str, Any], member_count: int = 0) -> Team:
    return Team(
        id=fields["id"],
        display_name=fields.get("display_name"),
        models=scope_from_json(fields["models"]),
        default_team_member_models=scope_from_json(fields["default_team_member_models"]),
        default_member_limits=limits_from_json(fields.get("default_member_limits", {})),
        model_aliases=fields.get("model_aliases", {}),
        blocked=fields.get("blocked", False),
        unlisted_users=UnlistedUsers(fields["unlisted_users"]),
        labels=fields.get("labels", {}),
        member_count=member_count,
        **_stamps_from_json(fields),
    )


def member_from_json(fields: Mapping[str, Any]) -> Member:
    return Member(
        team=fields["team"],
        user=fields["user"],
        role=Role(fields["role"]),
        allowed_models=scope_from_json(fields["allowed_models"]),
        scope_source=ScopeSource(fields["scope_source"]),
        limits=limits_from_json(fields.get("limits", {})),
        blocked=fields.get("blocked", False),
        labels=fields.get("labels", {}),
        **_stamps_from_json(fields),
    )


def group_from_json(fields: Mapping[str, Any]) -> AccessGroup:
    return AccessGroup(
        name=fields["name"],
        models=tuple(fields["models"]),
        excluded_models=tuple(fields.get("excluded_models", ())),
        **_stamps_from_json(fields),
    )


def model_from_json(fields: Mapping[str, Any]) -> Model:
    return Model(name=fields["name"], provider=fields["provider"], labels=fields.get("labels", {}))


def from_json(kind: Kind, fields: Mapping[str, Any]) -> Record:
    """The record that `to_json` encoded."""
    match kind:
        case Kind.TEAM:
            return team_from_json(fields)
        case Kind.MEMBER:
            return member_from_json(fields)
        case Kind.GROUP:
            return group_from_json(fields)
        case Kind.MODEL:
            return model_from_json(fields)
