"""Writes `answers.yaml`: what LiteLLM itself answers to questions about `examples/litellm`.

It runs LiteLLM's own functions, so it needs an environment of its own that has LiteLLM; the tests read what it wrote.

    python3.11 -m venv build/litellm
    build/litellm/bin/pip install 'litellm[proxy]==1.102.4' prisma grpcio
    LITELLM_LOCAL_MODEL_COST_MAP=True build/litellm/bin/python tests/litellm/litellm_answers.py

The codes of findings beside the answers are written by hand. They are kept, and a new question has none.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from litellm import Router
from litellm.caching.caching import DualCache
from litellm.proxy._types import (
    LiteLLM_TeamMembership,
    LiteLLM_TeamTable,
    ProxyException,
    UserAPIKeyAuth,
)
from litellm.proxy.auth.auth_checks import _check_team_member_model_access, can_team_access_model
from litellm.proxy.utils import ProxyLogging

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples" / "litellm"
ANSWERS = HERE / "answers.yaml"
HEADING = """\
# What LiteLLM 1.102.4 answers about examples/litellm; written by litellm_answers.py.
#
# team: user ('' is none): lines `model: answer`, with the codes of the findings that say why this service answers
# otherwise: `closed` after the import as it is, `open` after one with --keep-open-door.
"""
# A deployed name, one of every provider, the proxy's aliases, names that only wildcards serve, bare and not, names of
# groups, and one that nobody serves.
ASKED = [
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-3.5-turbo",
    "o3",
    "claude-haiku-4-5",
    "claude-sonnet-4-5",
    "fast-chat",
    "gpt-4o-eu",
    "gemini/gemini-2.5-flash",
    "gemini-2.5-flash",
    "gpt-4",
    "claude",
    "embed",
    "text-embedding-3-small",
    "openai/gpt-5",
    "gpt-5-mini",
    "openai/o3",
    "bedrock/us.amazon.nova-lite",
    "bedrock/us.amazon.nova-pro",
    "everyday",
    "made-up",
]
ASKED_OF = {
    "platform": ["cheap", "azure/gpt-4o-eu"],
    "research": ["research-ft", "gpt-4x1-mini", "gpt-4.1-mini", "o4-mini", "gpt-4o-2024-11-20", "GPT-4o"],
    "support": ["fast", "smart", "claude-opus-4-1"],
    "legal": ["eu/resident", "gpt-4.1-eu", "bedrock/eu.anthropic.claude-haiku-4-5", "bedrock/eux-anthropic"],
    "marketing": ["copywriter", "copycat", "claude-opus-4-1", "brand-voice", "azure/gpt-4o-eu"],
    "contractors": ["text-embedding-3-large", "gpt-4o-mini-2024-07-18"],
    "7d1f0c1e-52a4-4a53-9d0e-0c8f4f7f0b11": [
        "openai/ft:gpt-4o-mini:acme::a1b2c3",
        "gemini/gemini-2.5-pro",
        "bedrock/eu.anthropic.claude-haiku-4-5",
        "bedrock/us-amazon.nova-lite",
        "openai-direct",
    ],
}
OUTSIDERS = ["", "stranger@acme.example"]  # a key without a user, and one of a user who is no member
Answers = dict[str, dict[str, dict[str, dict[str, Any]]]]


def example_router() -> Router:
    """The router that the proxy would make of the example's configuration."""
    config = yaml.safe_load((EXAMPLE / "config.yaml").read_text())
    return Router(model_list=config["model_list"], model_group_alias=config["router_settings"]["model_group_alias"])


def example_teams() -> Iterator[tuple[LiteLLM_TeamTable, dict[str, LiteLLM_TeamMembership], dict[str, str]]]:
    """Each team with its memberships and aliases, as the proxy has them when it checks a request."""
    for answer in json.loads((EXAMPLE / "teams.json").read_text()):
        team = answer.get("team_info", answer)
        # The proxy looks a team's groups up by their ids; what it finds is in the dump.
        groups = team.get("access_group_models")
        memberships = {row["user_id"]: LiteLLM_TeamMembership(**row) for row in answer["team_memberships"]}
        aliases = (team.get("litellm_model_table") or {}).get("model_aliases") or {}
        table = LiteLLM_TeamTable(**{key: value for key, value in team.items() if key != "litellm_model_table"})
        table.access_group_ids = []
        table.metadata = {"granted": groups or []}
        yield table, memberships, json.loads(aliases) if isinstance(aliases, str) else aliases


async def answer(
    router: Router,
    team: LiteLLM_TeamTable,
    membership: LiteLLM_TeamMembership | None,
    aliases: dict[str, str],
    user: str,
    model: str,
) -> bool:
    """The checks that the proxy makes of a request with a key of the team, in its order: `common_checks`."""
    if team.blocked:
        return False
    cache = DualCache()
    try:
        try:
            await can_team_access_model(model, team, router, aliases)
        except ProxyException:
            granted = (team.metadata or {})["granted"]
            if not granted:
                raise
            await can_team_access_model(model, team.model_copy(update={"models": granted}), router, aliases)
        await _check_team_member_model_access(
            model=model,
            team_object=team,
            valid_token=UserAPIKeyAuth(api_key="none", user_id=user or None, team_id=team.team_id),
            llm_router=router,
            prisma_client=None,
            user_api_key_cache=cache,
            proxy_logging_obj=ProxyLogging(user_api_key_cache=cache),
            team_membership=membership,
            team_membership_loaded=True,
        )
    except ProxyException:
        return False
    return True


async def all_answers(codes: Answers) -> Answers:
    """The answers to every question, with the codes that are known."""
    router = example_router()
    found: Answers = {}
    for team, memberships, aliases in example_teams():
        users = [member.user_id for member in team.members_with_roles if member.user_id]
        for user in dict.fromkeys((*users, *memberships, *OUTSIDERS)):
            lines = found.setdefault(team.team_id, {}).setdefault(user, {})
            for model in [*ASKED, *ASKED_OF.get(team.team_id, [])]:
                allowed = await answer(router, team, memberships.get(user), aliases, user, model)
                old = codes.get(team.team_id, {}).get(user, {}).get(model, {})
                known = {key: value for key, value in old.items() if key != "litellm"}
                lines[model] = {"litellm": "allow" if allowed else "deny", **known}
    return found


def main() -> None:
    """Writes the file."""
    codes: Answers = yaml.safe_load(ANSWERS.read_text()) if ANSWERS.exists() else {}
    found = asyncio.run(all_answers(codes))
    text = HEADING
    for team, users in found.items():
        text += f"{team}:\n"
        for user, lines in users.items():
            text += f"  {user or chr(39) * 2}:\n"
            for model, line in lines.items():
                fields = ", ".join(f"{key}: {value}" for key, value in line.items())
                text += f"    {json.dumps(model)}: {{{fields}}}\n"
    ANSWERS.write_text(text)


if __name__ == "__main__":
    main()
