"""The teams of a LiteLLM proxy: the JSON of its `GET /team/list` or `GET /team/info`.

A file holds a list of teams, one team, one answer of /team/info (`team_info` with `team_memberships` beside it), a list
of those, or a mapping with `teams`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from policy_service.cli.litellm.document import InputError, Value, json_document, path_text

TEAM_LIMITS = (
    "max_budget",
    "soft_budget",
    "budget_limits",
    "tpm_limit",
    "rpm_limit",
    "max_parallel_requests",
    "model_max_budget",
)
MEMBER_LIMITS_NOT_READ = ("soft_budget", "max_parallel_requests", "model_max_budget")
ALL_TEAM_MODELS = "all-team-models"


@dataclass(frozen=True, slots=True)
class Budget:
    """A row of LiteLLM's budget table: a member's models and limits. None is unset."""

    allowed_models: tuple[str, ...] = ()
    max_budget: float | None = None
    budget_duration: str | None = None
    tpm_limit: float | None = None
    rpm_limit: float | None = None
    not_read: tuple[str, ...] = ()  # limits that are set, but that this service does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLMTeam:
    """A team as LiteLLM has it."""

    id: str
    place: str  # the file, and where in it
    name: str = ""  # `team_alias`
    models: tuple[str, ...]
    access_group_ids: tuple[str, ...] = ()
    access_group_models: tuple[str, ...] | None = None  # what these groups grant; None: the file does not say
    aliases: Mapping[str, str] = field(default_factory=dict)  # `litellm_model_table.model_aliases`
    blocked: bool = False
    default_models: tuple[str, ...] = ()  # `default_team_member_models`
    default_budget: Budget | None = None  # `team_member_budget_table`
    has_default_budget: bool = False  # whether `metadata` names one; /team/list does not say what is in it
    roles: Mapping[str, str] = field(default_factory=dict)  # `members_with_roles`: user to role
    email_only: int = 0  # entries there without a user_id
    memberships: Mapping[str, Budget] = field(default_factory=dict)  # `team_memberships`: user to what is theirs
    key_users: tuple[str, ...] = ()  # of each key its user; empty: it has none
    keys_with_models: int = 0
    limits: tuple[str, ...] = ()  # of the team itself: the names of those that are set
    has_router_settings: bool = False


def read_teams(files: Iterable[tuple[str, bytes]]) -> list[LiteLLMTeam]:
    """Reads files, given by name and content. Raises InputError, with all that is wrong with the first bad one."""
    teams: dict[str, LiteLLMTeam] = {}
    for file, content in files:
        for team in _read_file(content, file):
            if team.id in teams:
                raise InputError([f"{team.place}: team {team.id!r} is also {teams[team.id].place}; give it once"])
            teams[team.id] = team
    return list(teams.values())


def _read_file(content: bytes, file: str) -> list[LiteLLMTeam]:
    document = json_document(content, file)
    root = document.root
    values = [root]
    if isinstance(root.content, list):
        values = root.items()
    elif "teams" in root:
        values = root["teams"].items(required=True)
    teams = [_team(value, f"{file} {path_text(value.path)}".rstrip()) for value in values if _is_team(value)]
    document.raise_any()
    return teams


def _is_team(value: Value) -> bool:
    if not value.require_mapping():
        return False
    team = _inner(value)
    if "team_id" not in team:
        team.problem("there is no team_id in it; give what GET /team/list or GET /team/info returns")
    elif "team_memberships" not in value:
        value.problem("there are no team_memberships in it; take it from GET /team/list or GET /team/info")
    return "team_id" in team and "team_memberships" in value


def _inner(value: Value) -> Value:
    is_info = "team_info" in value
    return value["team_info"] if is_info else value


def _team(value: Value, place: str) -> LiteLLMTeam:
    team = _inner(value)
    granted = team["access_group_models"]
    keys = [key for key in value["keys"].items() if isinstance(key.content, dict)]
    roles, email_only = _roles(team["members_with_roles"])
    identifier = team["team_id"].text(required=True)
    return LiteLLMTeam(
        id=identifier,
        place=place,
        name=team["team_alias"].text(),
        # Null would be as good as [], which is everything: whoever writes that has to mean it.
        models=team["models"].texts(required=True),
        access_group_ids=team["access_group_ids"].texts(),
        access_group_models=None if granted.content is None else granted.texts(),
        aliases=_aliases(team),
        blocked=team["blocked"].flag(),
        default_models=team["default_team_member_models"].texts(),
        default_budget=_budget(team["team_member_budget_table"]),
        has_default_budget=bool(team["metadata"]["team_member_budget_id"].content),
        roles=roles,
        email_only=email_only,
        memberships=dict(_memberships(value["team_memberships"], identifier)),
        key_users=tuple(key["user_id"].text() for key in keys),
        keys_with_models=sum(bool(set(key["models"].texts()) - {ALL_TEAM_MODELS}) for key in keys),
        limits=tuple(name for name in TEAM_LIMITS if _is_set(team[name])),
        has_router_settings=bool(team["router_settings"].content),
    )


def _aliases(team: Value) -> dict[str, str]:
    table = team["litellm_model_table"]
    if table.content is None and team["model_id"].content is not None:
        table.problem("is missing, and model_id says that the team has aliases; take it from GET /team/info")
    aliases = table["model_aliases"]
    if isinstance(aliases.content, str):  # as LiteLLM stores it
        try:
            aliases.content = json.loads(aliases.content)
        except ValueError:
            aliases.problem("is a text, but not JSON; it has to be a mapping")
            return {}
    return {alias: target.text(required=True) for alias, target in aliases.pairs()}


def _roles(value: Value) -> tuple[dict[str, str], int]:
    roles: dict[str, str] = {}
    email_only = 0
    items = [] if value.content == {} else value.items(required=True)  # LiteLLM stores {} for none
    for item in items:
        user, role = item["user_id"].text(), item["role"].text()
        if not item.require_mapping():
            continue
        if not user:
            email_only += 1
        elif roles.get(user) != "admin":
            roles[user] = role
    return roles, email_only


def _memberships(value: Value, team: str) -> Iterator[tuple[str, Budget]]:
    users = set()
    for item in value.items(required=True):
        if not item.require_mapping():
            continue
        user = item["user_id"].text(required=True)
        if item["team_id"].text() not in ("", team):
            item["team_id"].problem(f"is of another team than {team!r}; take it from GET /team/info")
        if user in users:
            item["user_id"].problem(f"{user!r} is here twice; LiteLLM has one row a member")
        users.add(user)
        yield user, _budget(item["litellm_budget_table"]) or Budget()


def _budget(value: Value) -> Budget | None:
    if value.content is None or not value.require_mapping():
        return None
    return Budget(
        allowed_models=value["allowed_models"].texts(),
        max_budget=value["max_budget"].number(),
        budget_duration=value["budget_duration"].text() or None,
        tpm_limit=value["tpm_limit"].number(),
        rpm_limit=value["rpm_limit"].number(),
        not_read=tuple(name for name in MEMBER_LIMITS_NOT_READ if _is_set(value[name])),
    )


def _is_set(value: Value) -> bool:
    return value.content not in (None, {}, [])  # 0 is a limit
