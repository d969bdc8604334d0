"""What of a team stays in LiteLLM, because this service has nothing like it: reported, so that nobody misses it."""

from __future__ import annotations

from collections.abc import Collection

from policy_service.cli.litellm.findings import Findings, listed
from policy_service.cli.litellm.teams import LiteLLMTeam


def note_closed_door(team: LiteLLMTeam, users: Collection[str], findings: Findings) -> None:
    """`users`: the members."""
    outside = sum(user not in users for user in team.key_users)
    findings.add(
        "OPEN_DOOR_CLOSED",
        "users who are no members",
        team=team.id,
        litellm="allows what the team may use to every key of the team, whoever its user is, or without one",
        here=f"denies who is no member; in the file {outside} of the team's {len(team.key_users)} keys are without a "
        "user, or of one who is no member",
    )


def note_leftover(team: LiteLLMTeam, size: int, findings: Findings) -> None:
    """`size`: how many members the team has."""
    if team.has_default_budget and team.default_budget is None:
        findings.add(
            "LIMITS_LEFT_OUT",
            "team_member_budget_id of the team",
            team=team.id,
            members=size,
            litellm="has a budget for every member without one",
            here="does not have it, as the file does not say which; GET /team/info does",
        )
    if team.limits:
        findings.add(
            "TEAM_LIMITS_LEFT_OUT",
            f"{listed(team.limits)} of the team",
            team=team.id,
            members=size,
            litellm="has these limits for the team as a whole",
            here="has limits of members only; leave them in LiteLLM",
        )
    if team.keys_with_models:
        findings.add(
            "KEYS_LEFT_OUT",
            "models of keys",
            team=team.id,
            litellm=f"narrows keys of the team, {team.keys_with_models} in the file, to models of their own",
            here="knows no keys; leave that in LiteLLM",
        )
    if team.has_router_settings:
        findings.add(
            "TEAM_SETTING_LEFT_OUT",
            "router_settings of the team",
            team=team.id,
            members=size,
            litellm="routes the team's requests by settings of its own, which may have aliases and fallbacks",
            here="does not have them",
        )
