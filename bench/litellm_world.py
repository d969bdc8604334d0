"""One policy in two languages, this service's and LiteLLM's, and the chat completions that are asked for under it.

Runs in LiteLLM's environment, too, so it needs no more than what the service itself does.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any, NamedTuple

JSON = dict[str, Any]
TEAMS, MEMBERS = 100, 100  # of each team
CALLERS = 100  # who ask: LiteLLM keeps 200 memberships in memory, and asks its database for others
PLAIN = (
    *("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano", "o3", "o4-mini"),
    *("claude-opus-4-1", "claude-sonnet-4-5", "claude-haiku-4-5", "mistral-large", "mistral-small", "codestral"),
    *("gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.5-flash-lite", "command-a", "command-r", "grok-4", "grok-3-mini"),
    *("deepseek-chat", "deepseek-reasoner", "llama-3.3-70b", "llama-4-scout", "qwen3-32b", "qwen3-coder", "kimi-k2"),
)
GROUP, GROUPED = "open-weights", ("gpt-oss-20b", "gpt-oss-120b", "mixtral-8x22b", "gemma-3-27b", "phi-4", "olmo-2-32b")
WILDCARDS = ("bedrock/*", "azure/*", "groq/*")
SERVED = ("llama-4-maverick", "nova-pro", "gpt-4o-eu", "gpt-5-chat")  # by the wildcards, after their provider
TEAM_PLAIN, MEMBER_PLAIN = 17, 4  # with wildcards and the group 20 and 6
ALLOWED, BY_MEMBER, BY_TEAM = KINDS = ("allowed", "denied by the member's list", "denied by the team's list")

TEXT = "The report says that costs rose by 4 % in May. Why, and since when? Name the three largest causes. "
MESSAGES = [
    {"role": "system", "content": "You answer in two sentences, and say what you do not know."},
    {"role": "user", "content": TEXT * 3},
    {"role": "user", "content": TEXT},
]


class Ask(NamedTuple):
    """A member of a team, and the model that is asked for."""

    team: str
    user: str
    model: str


class Lists(NamedTuple):
    """What a team, or a member, may use, in the words of LiteLLM and of this service."""

    plain: tuple[str, ...]
    wildcards: tuple[str, ...]

    @property
    def entries(self) -> list[str]:
        return [*self.plain, *self.wildcards, GROUP]


@cache
def team_lists(team: int) -> Lists:
    chance = Random(team)
    return Lists(tuple(chance.sample(PLAIN, TEAM_PLAIN)), tuple(chance.sample(WILDCARDS, 2)))


@cache
def member_lists(team: int, member: int) -> Lists:
    chance, outer = Random(team * MEMBERS + member), team_lists(team)
    return Lists(tuple(chance.sample(outer.plain, MEMBER_PLAIN)), (chance.choice(outer.wildcards),))


def team_id(team: int) -> str:
    return f"team-{team:03d}"


def user_id(team: int, member: int) -> str:
    return f"user-{member:03d}@{team_id(team)}.example"


def callers() -> list[tuple[int, int]]:
    """Team and member of each."""
    chance = Random(0)
    return [(chance.randrange(TEAMS), chance.randrange(MEMBERS)) for _ in range(CALLERS)]


def asks(kind: str, count: int, seed: int) -> list[Ask]:
    """Random ones of a kind. Of those that are allowed, 60 % name a listed model, 25 % one that a wildcard covers, and
    15 % one of the group."""
    chance, who = Random(seed), callers()
    found = []
    for _ in range(count):
        team, member = chance.choice(who)
        found.append(Ask(team_id(team), user_id(team, member), _model(chance, kind, team, member)))
    return found


def _model(chance: Random, kind: str, team: int, member: int) -> str:
    outer, inner = team_lists(team), member_lists(team, member)
    if kind == BY_TEAM:
        return chance.choice([name for name in PLAIN if name not in outer.plain])
    if kind == BY_MEMBER:
        return chance.choice([name for name in outer.plain if name not in inner.plain])
    which = chance.random()
    if which < 0.6:
        return chance.choice(inner.plain)
    return chance.choice(GROUPED) if which < 0.75 else inner.wildcards[0].replace("*", chance.choice(SERVED))


def policy() -> JSON:
    """What `policy-service apply` reads."""
    teams = [
        {
            "id": team_id(team),
            "models": {"models": team_lists(team).entries},
            "members": [
                {"user": user_id(team, member), "allowed_models": {"models": member_lists(team, member).entries}}
                for member in range(MEMBERS)
            ],
        }
        for team in range(TEAMS)
    ]
    return {"groups": [{"name": GROUP, "models": list(GROUPED)}], "teams": teams}


def deployments() -> list[JSON]:
    """`model_list` of LiteLLM's configuration; every model answers by itself, with its name."""
    plain = [_deployment(name, f"openai/{name}", name, []) for name in PLAIN]
    grouped = [_deployment(name, f"openai/{name}", name, [GROUP]) for name in GROUPED]
    return [*plain, *grouped, *(_deployment(name, "openai/*", name, []) for name in WILDCARDS)]


def _deployment(name: str, model: str, words: str, groups: list[str]) -> JSON:
    parameters = {"model": model, "api_key": "none", "mock_response": f"This is {words}."}
    info = {"id": f"id-of-{name}", **({"access_groups": groups} if groups else {})}
    return {"model_name": name, "litellm_params": parameters, "model_info": info}


def chat(model: str) -> JSON:
    """The body of a chat completion."""
    return {
        "model": model,
        "messages": [dict(message) for message in MESSAGES],
        "temperature": 1,  # the only one that every model takes
        "tools": [_tool("find_reports", "month"), _tool("read_report", "report_id")],
    }


def _tool(name: str, argument: str) -> JSON:
    parameters = {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]}
    function = {"name": name, "description": f"What is known by {argument}.", "parameters": parameters}
    return {"type": "function", "function": function}
