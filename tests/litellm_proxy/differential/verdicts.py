"""Run with a Python that has LiteLLM: reads worlds from standard input and writes what LiteLLM's own functions say.

A line is a world: `config` as in config.yaml, `teams` as its API has them, `questions` as [team, user, model]. For
each question a line is written: `allowed`, and in `names` what LiteLLM knows of each name in it, of the aliases and of
their targets: `by_provider`, as what else it tries entries with `*` on it (null: nothing), and `groups`, its access
groups.
Nothing of the project is imported here.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any

import litellm
from litellm import Router
from litellm.caching.caching import DualCache
from litellm.litellm_core_utils.get_llm_provider_logic import get_llm_provider
from litellm.proxy._types import LiteLLM_TeamMembership, LiteLLM_TeamTable, ProxyException, UserAPIKeyAuth
from litellm.proxy.auth.auth_checks import (
    _can_object_call_model,
    _check_team_member_model_access,
    can_team_access_model,
)
from litellm.proxy.auth.auth_utils import get_model_from_request
from litellm.proxy.utils import ProxyLogging

CACHE = DualCache()
LOGGING = ProxyLogging(user_api_key_cache=CACHE)
# What denies. The check fails on an entry that is no regular expression, and with it the request.
DENIALS = (ProxyException, re.error)
Names = str | list[str]


class Team:
    """A team as the proxy has it when it checks a request."""

    def __init__(self, answer: dict[str, Any]) -> None:
        team = answer.get("team_info", answer)
        table = team["litellm_model_table"] or {"model_aliases": "{}"}
        self.aliases: dict[str, str] = json.loads(table["model_aliases"])
        self.table = LiteLLM_TeamTable(**{key: value for key, value in team.items() if key != "litellm_model_table"})
        self.memberships = {row["user_id"]: LiteLLM_TeamMembership(**row) for row in answer["team_memberships"]}


async def team_allows(router: Router, team: Team, names: Names) -> bool:
    """The team's check, and the function below it, which has to say the same: no team has groups of the database."""
    try:
        _can_object_call_model(
            model=names,
            llm_router=router,
            models=team.table.models,
            team_model_aliases=team.aliases,
            team_id=team.table.team_id,
            object_type="team",
        )
        below = True
    except DENIALS:
        below = False
    try:
        await can_team_access_model(names, team.table, router, team.aliases)
        allowed = True
    except DENIALS:
        allowed = False
    if allowed != below:
        raise AssertionError(f"{team.table.team_id}: {names}: can_team_access_model says {allowed}, not {below}")
    return allowed


async def member_allows(router: Router, team: Team, user: str, names: Names) -> bool:
    """The member's check."""
    try:
        await _check_team_member_model_access(
            model=names,
            team_object=team.table,
            valid_token=UserAPIKeyAuth(api_key="none", user_id=user, team_id=team.table.team_id),
            llm_router=router,
            prisma_client=None,
            user_api_key_cache=CACHE,
            proxy_logging_obj=LOGGING,
            team_membership=team.memberships.get(user),
            team_membership_loaded=True,
        )
    except DENIALS:
        return False
    return True


def known(router: Router, team: Team, name: str) -> dict[str, Any]:
    """What LiteLLM knows of a name."""
    try:
        stripped, provider, _, _ = get_llm_provider(model=name)
    except litellm.exceptions.BadRequestError:
        stripped, provider = name, None
    hidden = provider is None or (stripped == name and "/" in name)
    groups = router.get_model_access_groups(model_name=name, team_id=team.table.team_id)
    return {"by_provider": None if hidden else f"{provider}/{stripped}", "groups": sorted(groups)}


async def verdict(router: Router, team: Team, user: str, model: str) -> dict[str, Any]:
    """The proxy's checks of a request with a key of the team, in its order (`common_checks`)."""
    names = get_model_from_request({"model": model}, "/chat/completions", llm_router=router)
    if not names:
        raise AssertionError(f"no model in {model!r}")
    allowed = (
        not team.table.blocked
        and await team_allows(router, team, names)
        and (not user or await member_allows(router, team, user, names))
    )
    asked = [names] if isinstance(names, str) else names
    asked += [*router.model_group_alias, *team.aliases.values()]
    told = dict.fromkeys(name for each in asked for name in (each, router._get_model_from_alias(each)) if name)
    return {"allowed": allowed, "names": {name: known(router, team, name) for name in told}}


async def main() -> None:
    """Answers all."""
    litellm.suppress_debug_info = True
    config, router = None, None
    for line in sys.stdin:
        world = json.loads(line)
        if world["config"] != config:
            config = world["config"]
            aliases = config["router_settings"]["model_group_alias"]
            router = Router(model_list=config["model_list"], model_group_alias=aliases)
        teams = {answer["team_id"]: Team(answer) for answer in world["teams"]}
        for team, user, model in world["questions"]:
            print(json.dumps(await verdict(router, teams[team], user, model)))


if __name__ == "__main__":
    asyncio.run(main())
