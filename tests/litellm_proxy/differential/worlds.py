"""Random proxies as LiteLLM has them, with their teams, and questions about them. Pure: a seed gives one world.

Names are few, so that lists, wildcards, groups and aliases meet; every way in which LiteLLM and this service differ
has names of its own among them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from tests.litellm.files import deployment

WORLDS_OF_A_CONFIGURATION = 4  # a Router takes LiteLLM some milliseconds
TEAMS = ("research", "support", "legal")
QUESTIONS_OF_A_TEAM = 4
MEMBERS = ("ann", "bob", "cat")
LEFT = "yan"  # has a membership, but is in nobody's `members_with_roles`
OUTSIDERS = ("", "zoe")  # a key without a user, and one whose user is no member

# `model_name` and `litellm_params.model`: of many providers, one of two at once, and one of which the file says none.
PLAIN = (
    ("gpt-4o", "openai/gpt-4o"),
    ("gpt-4o", "azure/gpt-4o-eu"),
    ("gpt-4o-mini", "openai/gpt-4o-mini"),
    ("gpt-4.1", "openai/gpt-4.1"),
    ("gpt-4.1-mini", "openai/gpt-4.1-mini"),
    ("o3", "openai/o3"),
    ("gpt-3.5-turbo", "gpt-3.5-turbo"),
    ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5"),
    ("claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
    ("smart", "anthropic/claude-opus-4-1"),
    ("fast-chat", "groq/llama-3.3-70b-versatile"),
    ("llama-3.1+tools", "ollama/llama-3.1"),
    ("command-r-plus", "cohere/command-r-plus"),
    ("gemini/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
    ("bedrock/us.amazon.nova-pro", "bedrock/us.amazon.nova-pro-v1:0"),
    ("azure/gpt-4o-eu", "azure/gpt-4o-eu"),
    ("eu/gpt-4.1", "azure/gpt-41-prod"),
)
DEPLOYED_WILDCARDS = ("openai/*", "bedrock/*", "bedrock/us.*", "gemini/*", "anthropic/claude-*", "groq/*")
GROUPS = ("everyday", "cheap", "frontier", "eu/resident")
PROXY_ALIASES: dict[str, Any] = {
    "gpt-4": "gpt-4o",
    "claude": "claude-sonnet-4-5",
    "embed": {"model": "gpt-4o-mini", "hidden": True},
    "nova": "bedrock/us.amazon.nova-lite",  # which at most a wildcard serves
}
# Two of them are also names of the proxy: a team's alias takes precedence.
TEAM_ALIASES = ("fast", "writer", "house", "gpt-4", "gpt-4o")
ONLY_BY_WILDCARD = (
    "openai/gpt-5",
    "openai/gpt-4o",
    "openai/o3",
    "bedrock/us.amazon.nova-lite",
    "bedrock/US.amazon.nova-pro",
    "bedrock/eu.anthropic.claude-haiku-4-5",
    "gemini/gemini-2.5-flash",
    "anthropic/claude-opus-4-1",
    "groq/llama-3.3-70b-versatile",
    "gemini-2.5-pro",
    "gpt-5",
    "o4-mini",
)
NEAR_MISSES = (
    "gpt-4x1-mini",
    "gpt-401",
    "gpt-4o1",
    "gpt-4.1z",
    "llama-3x1",
    "llama-3.11tools",
    "bedrockz/us.amazon.nova-pro",
    "bedrock/usxamazon.nova",
    "o3-pro",
    "gpt-4o-mini-2024-07-18",
    "my-gpt-4o-mini",
    "my-claude-haiku-4-5",
    "GPT-4o",
    "Claude-Sonnet-4-5",
    "OpenAI/gpt-4o",
    "azure/gpt-4o",
    "made-up",
)
NAMES = tuple(
    dict.fromkeys((*(name for name, _ in PLAIN), *PROXY_ALIASES, *TEAM_ALIASES, *ONLY_BY_WILDCARD, *NEAR_MISSES))
)
PATTERNS = (
    "openai/*",
    "anthropic/*",
    "bedrock/*",
    "gemini/*",
    "azure/*",
    "groq/*",
    "gpt-4*",
    "gpt-4o*",
    "claude-*",
    "*-mini",
    "bedrock/us.*",
    "gpt-4.*",
    "gpt-4.1*",
    "llama-3.1*",
    "llama-3.1+*",
    "o3|o4-*",
)
NOT_REGULAR = "gpt-4[*"  # no regular expression: LiteLLM's check fails on it


class Question(NamedTuple):
    """A request: `user` is empty for a key without one, `model` as the client wrote it."""

    team: str
    user: str
    model: str


@dataclass(frozen=True)
class Team:
    """A team of the proxy's database."""

    id: str
    models: list[str]
    default_models: list[str]
    aliases: dict[str, str]
    blocked: bool
    lists: dict[str, list[str] | None]  # of who has a membership: `allowed_models`
    roles: tuple[str, ...] = MEMBERS

    def answer(self, *, as_info: bool) -> dict[str, Any]:
        """What `GET /team/list`, or `GET /team/info`, has of it."""
        team = {
            "team_id": self.id,
            "models": self.models,
            "default_team_member_models": self.default_models,
            "blocked": self.blocked,
            "members_with_roles": [{"user_id": user, "role": "user"} for user in self.roles],
            "litellm_model_table": {"model_aliases": json.dumps(self.aliases)} if self.aliases else None,
        }
        beside = {
            "team_memberships": [
                {
                    "user_id": user,
                    "team_id": self.id,
                    "budget_id": user,
                    "litellm_budget_table": {"allowed_models": own},
                }
                for user, own in self.lists.items()
            ],
            "keys": [],
        }
        return {"team_id": self.id, "team_info": team, **beside} if as_info else {**team, **beside}


@dataclass(frozen=True)
class World:
    """A proxy, its teams, and what is asked."""

    seed: int
    config: dict[str, Any]  # `config.yaml`
    teams: dict[str, Team]
    keep_open_door: bool  # of the import
    as_info: bool  # whether the teams come from `GET /team/info`
    questions: list[Question] = field(default_factory=list)

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The teams as the proxy's API has them."""
        return [team.answer(as_info=self.as_info) for team in self.teams.values()]

    @property
    def proxy_aliases(self) -> dict[str, str]:
        """`model_group_alias`, to names."""
        given = self.config["router_settings"]["model_group_alias"]
        return {alias: target["model"] if isinstance(target, dict) else target for alias, target in given.items()}

    def groups(self) -> dict[str, set[str]]:
        """The names of the deployments in each access group."""
        held: dict[str, set[str]] = {}
        for each in self.config["model_list"]:
            for group in each["model_info"]["access_groups"]:
                held.setdefault(group, set()).add(each["model_name"])
        return held


def random_world(seed: int) -> World:
    """Worlds whose seeds follow each other share a configuration."""
    rng = Random(f"world {seed}")
    world = World(
        seed=seed,
        config=_config(Random(f"configuration {seed // WORLDS_OF_A_CONFIGURATION}")),
        teams={identifier: _team(rng, identifier) for identifier in TEAMS},
        keep_open_door=rng.random() < 0.4,
        as_info=rng.random() < 0.5,
    )
    for team in world.teams.values():
        for _ in range(QUESTIONS_OF_A_TEAM):
            user = _one_of(rng, (74, rng.choice(MEMBERS)), (6, LEFT), (20, rng.choice(OUTSIDERS)))
            world.questions.append(Question(team.id, user, _asked(rng, world, team, user)))
    return world


def _config(rng: Random) -> dict[str, Any]:
    plain = rng.sample(PLAIN, rng.randint(9, len(PLAIN)))
    wildcards = rng.sample(DEPLOYED_WILDCARDS, rng.randint(0, 4))
    models = [
        *(deployment(name, model, *_groups(rng, 0.5)) for name, model in plain),
        *(deployment(name, name, *_groups(rng, 0.3)) for name in wildcards),
    ]
    aliases = {alias: PROXY_ALIASES[alias] for alias in rng.sample(list(PROXY_ALIASES), rng.randint(0, 3))}
    return {"model_list": models, "router_settings": {"model_group_alias": aliases}}


def _groups(rng: Random, share: float) -> list[str]:
    return rng.sample(GROUPS, rng.randint(1, 2)) if rng.random() < share else []


def _team(rng: Random, identifier: str) -> Team:
    default = _list(rng) if rng.random() < 0.3 else []
    users = [user for user in MEMBERS if rng.random() < 0.7] + [LEFT] * (rng.random() < 0.7)
    lists: dict[str, list[str] | None] = {
        user: _one_of(rng, (60, _list(rng)), (15, default), (15, []), (10, None)) for user in users
    }
    aliases = {alias: _target(rng) for alias in rng.sample(TEAM_ALIASES, rng.choice((0, 0, 1, 2)))}
    return Team(identifier, _list(rng), default, aliases, rng.random() < 0.04, lists)


def _target(rng: Random) -> str:
    return _one_of(rng, (95, rng.choice(NAMES)), (5, rng.choice(GROUPS)))


def _list(rng: Random) -> list[str]:
    """Of a team or a member."""
    entries = [_entry(rng) for _ in range(rng.randint(1, 5))]
    return _one_of(
        rng,
        (70, entries),
        (14, []),
        (4, ["all-proxy-models"]),
        (3, ["no-default-models"]),
        (3, ["no-default-models", *entries]),
        (2, [*entries, "all-proxy-models"]),
        (2, ["*"]),
        (2, [*entries, NOT_REGULAR]),
    )


def _entry(rng: Random) -> str:
    return _one_of(rng, (45, rng.choice(NAMES)), (30, rng.choice(PATTERNS)), (25, rng.choice(GROUPS)))


def _asked(rng: Random, world: World, team: Team, user: str) -> str:
    """Mostly something that the lists, or the aliases, have to do with."""
    groups, pairs = world.groups(), [*team.aliases.items(), *world.proxy_aliases.items()]
    entries = [*team.models, *(team.lists.get(user) or ())] or [rng.choice(NAMES)]

    def one() -> str:
        near = _near(rng, rng.choice(entries), groups)
        alias = rng.choice([name for pair in pairs for name in pair] or NAMES)
        return _one_of(rng, (62, near), (18, rng.choice(NAMES)), (16, alias), (4, rng.choice(GROUPS)))

    return rng.choice((",", ", ")).join((one(), one())) if rng.random() < 0.04 else one()


def _near(rng: Random, entry: str, groups: dict[str, set[str]]) -> str:
    """A name that the entry may grant."""
    if entry in groups:
        return _near(rng, rng.choice(sorted(groups[entry])), {})
    if "*" in entry or entry.endswith("-models"):
        first = entry.strip("*")[:3]
        found = [name for name in NAMES if first in name.lower()]
        return rng.choice(found or NAMES)
    spelled = [entry.rpartition("/")[2], entry.swapcase(), f"openai/{entry}"]
    return _one_of(rng, (85, entry), (15, rng.choice(spelled)))


def _one_of(rng: Random, *choices: tuple[int, Any]) -> Any:
    """Choices with their weights."""
    return rng.choices([choice for _, choice in choices], [weight for weight, _ in choices])[0]
