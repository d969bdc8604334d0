"""A small world, for the commands to show, to change and to refuse to change."""

from __future__ import annotations

from policy_client import AdminClient
from policy_service.v1.resources_pb2 import (
    TEAM_SCOPE,
    AccessGroup,
    Member,
    MemberLimits,
    Model,
    ModelScope,
    Team,
)

MODELS = [
    Model(name="ft/tuned", provider="openai"),
    Model(name="gpt-4o", provider="openai", labels={"tier": "gold", "site": "eu"}),
    Model(name="gpt-4o-mini", provider="openai"),
    Model(name="o1", provider="openai"),
]
GROUPS = [
    AccessGroup(name="cheap", models=["gpt-4o-mini"]),
    AccessGroup(name="unused", models=["gpt-*", "o1"], excluded_models=["gpt-4o"]),
]
# Here who is no member may use what the team may: sam, who may use less, is not removed just so.
SUPPORT = Team(
    id="support",
    display_name="Support",
    models=ModelScope(models=["gpt-4o", "cheap"], excluded_models=["o1"]),
    default_team_member_models=ModelScope(models=["cheap"]),
    default_member_limits=MemberLimits(rpm_limit=60, budget_duration="30d"),
    model_aliases={"fast": "gpt-4o-mini"},
    unlisted_users=TEAM_SCOPE,
    labels={"env": "prod"},
)
SUPPORT_MEMBERS = [
    Member(user="ann", allowed_models=ModelScope(mode=ModelScope.INHERIT)),
    Member(user="sam"),
    Member(user="zoe", allowed_models=ModelScope(models=["gpt-4o"]), labels={"desk": "2"}),
]
OPEN = Team(id="open", models=ModelScope(mode=ModelScope.ALL, excluded_models=["openai/ft/*"]))
EMPTY = Team(id="empty", models=ModelScope(mode=ModelScope.NONE))


async def build(target: str) -> None:
    """Makes it, on an empty server."""
    async with AdminClient(target) as admin:
        await admin.upsert_models(MODELS)
        for group in GROUPS:
            await admin.set_access_group(group)
        await admin.create_team(SUPPORT, SUPPORT_MEMBERS)
        await admin.create_team(OPEN, [Member(user="ann"), Member(user="bob")])
        await admin.create_team(EMPTY)
