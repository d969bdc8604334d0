"""The configuration of a LiteLLM proxy (`config.yaml`), as far as it says which models there are, and by which names.

Nothing is resolved: not `os.environ/...`, whose values are those of the proxy's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policy_service.cli.litellm.document import Value, yaml_document

ENVIRONMENT = "os.environ/"


@dataclass(frozen=True, slots=True)
class Deployment:
    """An entry of `model_list`: what serves a name. Several may serve one."""

    name: str  # `model_name`: what clients ask for; with `*` a pattern of such names
    model: str  # `litellm_params.model`: what the provider is asked for, with the provider before a slash
    provider: str  # `litellm_params.custom_llm_provider`; empty: the prefix of `model` says it
    groups: tuple[str, ...]  # `model_info.access_groups`
    team: str  # `model_info.team_id`: the only team that it serves; empty: it serves all


@dataclass(frozen=True, slots=True)
class Configuration:
    """What there is to import, and the settings that bear on access but are not read."""

    deployments: tuple[Deployment, ...]
    group_aliases: Mapping[str, str]  # `router_settings.model_group_alias`: alias to name
    routing_groups: tuple[str, ...]  # `router_settings.routing_groups`: names that clients may ask for, too
    settings_not_read: tuple[str, ...]  # by their paths
    checks_itself: bool  # false: `general_settings.custom_auth` is there, and LiteLLM's own checks are not switched on


def read_configuration(content: bytes, file: str) -> Configuration:
    """Reads the YAML. Raises InputError with all that is wrong with it; `file` is its name in the messages."""
    document = yaml_document(content, file)
    root = document.root
    if root.require_mapping():
        if root["include"].content is not None:
            root["include"].problem(
                "included files are not read; put them into one file (model_list and the settings) and import that"
            )
        if "model_list" not in root and "router_settings" not in root:
            root.problem("there is no model_list in it; give the config.yaml of a LiteLLM proxy")
    items = (item for item in root["model_list"].items() if item.require_mapping())
    deployments = tuple(_deployment(item) for item in items if item["litellm_params"].require_mapping())
    router, general = root["router_settings"], root["general_settings"]
    configuration = Configuration(
        deployments=deployments,
        group_aliases=_group_aliases(router["model_group_alias"]),
        routing_groups=tuple(group["group_name"].text() for group in router["routing_groups"].items()),
        settings_not_read=_settings_not_read(root),
        checks_itself=not general["custom_auth"].content or general["custom_auth_run_common_checks"].flag(),
    )
    document.raise_any()
    return configuration


def _deployment(item: Value) -> Deployment:
    params, info = item["litellm_params"], item["model_info"]
    return Deployment(
        name=item["model_name"].text(required=True),
        model=params["model"].text(required=True),
        provider=params["custom_llm_provider"].text(),
        groups=tuple(dict.fromkeys(info["access_groups"].texts())),
        team=info["team_id"].text(),
    )


def _group_aliases(value: Value) -> dict[str, str]:
    aliases = {}
    for alias, target in value.pairs():
        # A name, or {model: name, hidden: true}: hidden from lists, not from use.
        aliases[alias] = (target["model"] if isinstance(target.content, dict) else target).text(required=True)
    return aliases


def _settings_not_read(root: Value) -> tuple[str, ...]:
    settings: dict[str, Any] = {
        "litellm_settings.model_alias_map": root["litellm_settings"]["model_alias_map"].content,
        "router_settings.routing_groups": root["router_settings"]["routing_groups"].content,
        "general_settings.store_model_in_db": root["general_settings"]["store_model_in_db"].content,
    }
    return tuple(path for path, content in settings.items() if content)
