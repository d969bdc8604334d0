"""Small files of a LiteLLM proxy, and what their import gives."""

from __future__ import annotations

import json
from typing import Any

import yaml

from policy_service.cli.litellm.configuration import read_configuration
from policy_service.cli.litellm.findings import Finding
from policy_service.cli.litellm.teams import read_teams
from policy_service.cli.litellm.translation import translate
from policy_service.cli.manifest import Manifest, TeamEntry, parse_manifest
from policy_service.cli.manifest_writer import manifest_text
from policy_service.domain.decide import decide
from policy_service.domain.records import Mode, ModelScope
from policy_service.domain.rules import seed
from policy_service.domain.state import State

ALL, INHERIT, NONE = ModelScope(Mode.ALL), ModelScope(Mode.INHERIT), ModelScope(Mode.NONE)


def only(*models: str) -> ModelScope:
    return ModelScope(Mode.ONLY, models)


def deployment(name: str, model: str, *groups: str, **info: Any) -> dict[str, Any]:
    """An entry of `model_list`."""
    return {
        "model_name": name,
        "litellm_params": {"model": model},
        "model_info": {"access_groups": list(groups)} | info,
    }


CATALOGUE = (
    deployment("gpt-4o", "openai/gpt-4o", "everyday"),
    deployment("gpt-4o-mini", "openai/gpt-4o-mini", "everyday", "cheap"),
    deployment("o3", "openai/o3"),
    deployment("claude", "anthropic/claude-sonnet-4-5"),
    deployment("groq/llama", "groq/llama"),
)


def team(
    identifier: str = "t",
    models: Any = ("gpt-4o",),
    *,
    members: dict[str, Any] | None = None,
    aliases: Any = None,
    **fields: Any,
) -> dict[str, Any]:
    """A team of /team/list. `members`: user to the `allowed_models` of the membership, to its whole budget, or to None
    when there is no membership."""
    members = members or {}
    return {
        "team_id": identifier,
        "team_alias": None,
        "models": list(models),
        "members_with_roles": [{"user_id": user, "user_email": None, "role": "user"} for user in members],
        "litellm_model_table": None if aliases is None else {"model_aliases": aliases},
        "team_memberships": [
            membership(identifier, user, budget) for user, budget in members.items() if budget is not None
        ],
        "keys": [],
    } | fields


def membership(identifier: str, user: str, budget: Any) -> dict[str, Any]:
    """A row of `team_memberships`."""
    row = budget if isinstance(budget, dict) else {"allowed_models": list(budget)}
    return {"user_id": user, "team_id": identifier, "litellm_budget_table": row}


class Imported:
    """What an import gave."""

    def __init__(self, manifest: Manifest, findings: list[Finding]) -> None:
        self.manifest, self.findings = manifest, findings
        self.text = "".join(manifest_text(manifest))

    @property
    def codes(self) -> list[str]:
        """The findings but those that every team has."""
        always = ("OPEN_DOOR_CLOSED", "GROUP_AS_MODEL")
        return [finding.code for finding in self.findings if finding.code not in always]

    def finding(self, code: str) -> Finding:
        """The only one of its code."""
        (found,) = [finding for finding in self.findings if finding.code == code]
        return found

    def team(self, identifier: str = "t") -> TeamEntry:
        (found,) = [entry for entry in self.manifest.teams or () if entry.team.id == identifier]
        return found

    @property
    def groups(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        return {group.name: (group.models, group.excluded_models) for group in self.manifest.groups or ()}

    def scopes(self, identifier: str = "t") -> dict[str, ModelScope]:
        """The members' scopes, seeded or not."""
        return {entry.member.user: entry.member.allowed_models for entry in self.team(identifier).members or ()}

    def seeded(self, identifier: str = "t") -> list[str]:
        return [entry.member.user for entry in self.team(identifier).members or () if not entry.has_scope]

    def allows(self, user: str, model: str, identifier: str = "t") -> bool:
        """What the service would answer."""
        state = State()
        for known in self.manifest.models or ():
            state.load(known)
        for group in self.manifest.groups or ():
            state.load(group)
        for entry in self.manifest.teams or ():
            state.load(entry.team)
            for member in entry.members or ():
                state.load(seed(member.member, entry.team))
        return decide(state, identifier, user, model).allowed


def imported(
    *teams: dict[str, Any],
    models: Any = CATALOGUE,
    group_aliases: dict[str, Any] | None = None,
    keep_open_door: bool = False,
    **settings: Any,
) -> Imported:
    """Imports; `settings` are further keys of the configuration."""
    config = {"model_list": list(models), "router_settings": {"model_group_alias": group_aliases or {}}} | settings
    manifest, findings = translate(
        read_configuration(yaml.safe_dump(config, allow_unicode=True).encode(), "config.yaml"),
        read_teams([("teams.json", json.dumps(teams).encode())]),
        keep_open_door=keep_open_door,
    )
    result = Imported(manifest, findings)
    parse_manifest(result.text.encode(), "written.yaml")
    return result
