"""Short ways to write resources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from policy_service.v1.access_pb2 import CheckModelAccessRequest
from policy_service.v1.resources_pb2 import AccessGroup, Member, Model, ModelScope, Team

ALL = ModelScope(mode=ModelScope.ALL)
NONE = ModelScope(mode=ModelScope.NONE)
INHERIT = ModelScope(mode=ModelScope.INHERIT)


def only(*models: str, without: Sequence[str] = ()) -> ModelScope:
    """Mode ONLY, as the server returns it."""
    return ModelScope(mode=ModelScope.ONLY, models=models, excluded_models=without)


def team(name: str, models: ModelScope = ALL, **fields: Any) -> Team:
    return Team(id=name, models=models, **fields)


def member(team: str, user: str, **fields: Any) -> Member:
    return Member(team=team, user=user, **fields)


def group(name: str, *models: str, without: Sequence[str] = ()) -> AccessGroup:
    return AccessGroup(name=name, models=models, excluded_models=without)


def model(name: str, provider: str = "openai", **fields: Any) -> Model:
    return Model(name=name, provider=provider, **fields)


def check(team: str, user: str, model: str, at_least: str = "") -> CheckModelAccessRequest:
    return CheckModelAccessRequest(team=team, user=user, model=model, at_least_revision=at_least)


def bare(resource: Message) -> Message:
    """The resource without what the server stamps on it."""
    copy = type(resource)()
    copy.CopyFrom(resource)
    for name in ("etag", "create_time", "update_time", "member_count"):
        if name in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    return copy
