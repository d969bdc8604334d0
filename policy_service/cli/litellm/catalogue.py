"""A configuration's names as this service's catalogue and access groups."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from policy_service.cli.litellm.asking import name_problem
from policy_service.cli.litellm.configuration import ENVIRONMENT, Configuration, Deployment
from policy_service.cli.litellm.findings import Findings, listed, shown
from policy_service.cli.litellm.groups import load_groups
from policy_service.domain.matching import Pattern
from policy_service.domain.names import entry_problem, plain_name_problem
from policy_service.domain.records import AccessGroup, Model
from policy_service.domain.state import State

# Those of which LiteLLM knows models by their bare names (its function `get_llm_provider`).
KNOWN_PROVIDERS = frozenset(
    (
        "ai21_chat",
        "aleph_alpha",
        "anthropic",
        "anthropic_text",
        "baseten",
        "bedrock",
        "bytez",
        "cohere",
        "cohere_chat",
        "empower",
        "gdc",
        "gradient_ai",
        "lemonade",
        "maritalk",
        "nlp_cloud",
        "openai",
        "openrouter",
        "petals",
        "replicate",
        "text-completion-openai",
        "vertex_ai",
        "watsonx",
    )
)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The models and groups, and how names of the configuration are understood."""

    models: tuple[Model, ...]
    groups: tuple[AccessGroup, ...]
    inlined: Mapping[str, tuple[str, ...]]  # groups that cannot be groups here: the entries that stand for them
    group_aliases: Mapping[str, str]
    names: Collection[str]  # what clients may ask for: deployed names, aliases, routing groups
    wildcards: tuple[str, ...]  # deployed patterns of such names
    state: State  # the models and groups: what `decide` needs to judge a scope

    def knows(self, name: str) -> bool:
        """Whether the proxy's configuration has something of this name, or a pattern for it."""
        known = name in self.names or name in self.state.groups or name in self.inlined or name in self.wildcards
        return known or any(Pattern(wildcard).matches(name) for wildcard in self.wildcards)

    def asks_provider(self, pattern: str) -> bool:
        """Whether the pattern may grant a bare name as `provider/name`, here or in LiteLLM."""
        prefix = pattern.partition("*")[0]
        providers = KNOWN_PROVIDERS | set(self.state.providers.values())
        compiled = Pattern(pattern)
        return "/" in pattern or any(
            (prefix and provider.startswith(prefix)) or compiled.matches(f"{provider}/") for provider in providers
        )


def make_catalogue(configuration: Configuration, team_aliases: Collection[str], findings: Findings) -> Catalogue:
    """`team_aliases`: those of all teams, whose names no group may have."""
    deployments = list(_usable(configuration.deployments, findings))
    names = {deployment.name for deployment in configuration.deployments if "*" not in deployment.name}
    models = tuple(_models(deployments, findings))
    state = State()
    for model in models:
        state.load(model)
    taken = names | set(team_aliases) | set(configuration.group_aliases)
    inlined = load_groups(state, deployments, taken, findings)
    _note_settings(configuration, findings)
    return Catalogue(
        models=models,
        groups=tuple(group.source for group in state.groups.values()),
        inlined=inlined,
        group_aliases=dict(_group_aliases(configuration, state, findings)),
        names=names | set(configuration.group_aliases) | set(configuration.routing_groups),
        wildcards=tuple(sorted({deployment.name for deployment in deployments if "*" in deployment.name})),
        state=state,
    )


def _note_settings(configuration: Configuration, findings: Findings) -> None:
    for path in configuration.settings_not_read:
        findings.add(
            "SETTING_NOT_IMPORTED",
            f"setting {path}",
            litellm="has names, or models, by this setting",
            here="has what model_list, access_groups and model_group_alias say, and no more",
        )
    if not configuration.checks_itself:
        findings.add(
            "CUSTOM_AUTH",
            "setting general_settings.custom_auth",
            litellm="leaves all checks to this code, unless custom_auth_run_common_checks is true",
            here="checks teams and members as described in the other findings, whatever that code does",
        )


def _usable(deployments: Iterable[Deployment], findings: Findings) -> Iterator[Deployment]:
    for deployment in deployments:
        name = deployment.name
        problem = entry_problem(name) if "*" in name else name_problem(name)
        if name.startswith(ENVIRONMENT):
            problem = (
                "is a variable of the proxy's environment; write its value into the configuration and import again"
            )
        if problem is not None:
            findings.add(
                "MODEL_LEFT_OUT",
                f"model {shown(name)!r}",
                litellm="serves this name",
                here=f"has it neither in the catalogue nor in a group: the name {problem}",
            )
        elif deployment.team:
            findings.add(
                "MODEL_OF_ONE_TEAM",
                f"model {shown(name)!r}",
                litellm=f"serves it to team {shown(deployment.team)!r} only",
                here="has it neither in the catalogue nor in a group; a team that lists the name may use it",
            )
        else:
            yield deployment


def _models(deployments: Iterable[Deployment], findings: Findings) -> Iterator[Model]:
    by_name: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        if "*" not in deployment.name:
            by_name.setdefault(deployment.name, []).append(deployment)
    for name, serving in by_name.items():
        providers = dict.fromkeys(provider for provider in map(_provider, serving) if provider)
        if not providers:
            findings.add(
                "PROVIDER_UNKNOWN",
                f"model {shown(name)!r}",
                litellm=f"finds the provider of {shown(serving[0].model)!r} in its own list of known models",
                here="does not know the provider: the name is not in the catalogue, no pattern `provider/*` grants it",
            )
            continue
        # A deployment that is asked for the very name is the likeliest to be meant by a pattern such as `openai/*`.
        same = (_provider(each) for each in serving if each.model.endswith(f"/{name}"))
        provider = next(filter(None, same), next(iter(providers)))
        if len(providers) > 1:
            findings.add(
                "SEVERAL_PROVIDERS",
                f"model {shown(name)!r}",
                litellm=f"serves it from {listed(providers)}",
                here=f"has one provider for a name, here {provider!r}: a pattern of another does not grant it",
            )
        yield Model(name=name, provider=provider)


def _provider(deployment: Deployment) -> str:
    """Empty when the configuration does not say it."""
    provider = deployment.provider
    if not provider and "/" in deployment.model and not deployment.model.startswith(ENVIRONMENT):
        provider = deployment.model.partition("/")[0]
    return "" if not provider or plain_name_problem(provider) or provider.startswith(ENVIRONMENT) else provider


def _group_aliases(configuration: Configuration, state: State, findings: Findings) -> Iterator[tuple[str, str]]:
    for alias, target in configuration.group_aliases.items():
        problem = alias_problem(state, alias, target)
        if problem is not None:
            findings.add(
                "ALIAS_LEFT_OUT",
                f"model_group_alias {shown(alias)!r}",
                litellm=f"takes it for {shown(target)!r}",
                here=f"does not have it: {problem}",
            )
            continue
        findings.add(
            "GROUP_ALIAS",
            f"model_group_alias {alias!r}",
            litellm=f"takes it for {target!r}, whichever team asks",
            here="has it as an alias of the teams of this import that may use one of the two, and of no other team",
        )
        yield alias, target


def alias_problem(state: State, alias: str, target: str) -> str | None:
    """Why an alias cannot be one here, or None."""
    if target in state.groups:
        return f"its target {target!r} is an access group, and nothing can be asked for by that name"
    for what, name in (("the name", alias), ("the target", target)):
        problem = name_problem(name)
        if problem is not None:
            return f"{what} {problem}"
    return None
