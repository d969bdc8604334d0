"""What becomes of the lists of a team and of its members, and of aliases."""

from __future__ import annotations

from typing import Any

import pytest

from policy_service.domain.records import ModelScope

from .files import ALL, CATALOGUE, INHERIT, NONE, deployment, imported, only, team

LISTS: list[tuple[list[str], ModelScope | None, list[str]]] = [
    # None: everything, which is ALL for a team and INHERIT for a member.
    ([], None, []),
    (["*"], None, []),
    (["all-proxy-models"], None, []),
    (["gpt-4o", "all-proxy-models"], None, []),
    (["no-default-models", "*"], None, []),
    (["all-team-models"], None, ["ALL_TEAM_MODELS"]),
    (["gpt-4o", "all-team-models"], None, ["ALL_TEAM_MODELS"]),
    (["no-default-models"], NONE, []),
    (["no-default-models", "no-default-models"], NONE, []),
    (["no-default-models", "gpt-4o"], only("gpt-4o"), []),
    (["gpt-4o", "o3", "gpt-4o"], only("gpt-4o", "o3"), []),
    (["everyday", "o3"], only("everyday", "o3"), []),
    (["gpt-*"], only("gpt-*"), []),
    (["gpt-4.1*"], only("gpt-4.1*"), ["PATTERN_IS_LITERAL"]),
    (["(gpt|o)*"], only("(gpt|o)*"), ["PATTERN_IS_LITERAL"]),
    (["openai/*"], only("openai/*"), ["PROVIDER_FROM_CATALOGUE"]),
    (["o*"], only("o*"), ["PROVIDER_FROM_CATALOGUE"]),
    (["*penai*"], only("*penai*"), ["PROVIDER_FROM_CATALOGUE"]),
    (["no-such"], only("no-such"), ["UNKNOWN_ENTRY"]),
    (["groq/llama"], only("groq/llama"), []),
    ([""], NONE, ["ENTRY_LEFT_OUT"]),
    ([" gpt-4o"], NONE, ["ENTRY_LEFT_OUT"]),
    (["gpt\u00004o", "o3"], only("o3"), ["ENTRY_LEFT_OUT"]),
    (["e\u0301clair"], NONE, ["ENTRY_LEFT_OUT"]),
    (["\ud800"], NONE, ["ENTRY_LEFT_OUT"]),
    (["x" * 257], NONE, ["ENTRY_LEFT_OUT"]),
    (["gpt-4o,o3"], only("gpt-4o,o3"), ["UNKNOWN_ENTRY"]),  # nothing can be asked for by that name
]


@pytest.mark.parametrize(("models", "scope", "codes"), LISTS)
def test_a_list_of_a_team(models: list[str], scope: ModelScope | None, codes: list[str]) -> None:
    result = imported(team(models=models, members={"ann": None, "sam": None}))
    assert result.team().team.models == (scope or ALL)
    assert result.codes == codes
    assert all(result.finding(code).members == 2 for code in codes)


@pytest.mark.parametrize(("models", "scope", "codes"), LISTS)
def test_a_list_of_members(models: list[str], scope: ModelScope | None, codes: list[str]) -> None:
    result = imported(team(models=[], members={"ann": models, "sam": models, "eve": ["o3"]}))
    assert result.scopes() == {"ann": scope or INHERIT, "sam": scope or INHERIT, "eve": only("o3")}
    assert result.codes == codes
    assert all(result.finding(code).members == 2 for code in codes)


@pytest.mark.parametrize(("models", "scope", "codes"), LISTS)
def test_a_default_for_members(models: list[str], scope: ModelScope | None, codes: list[str]) -> None:
    result = imported(team(models=[], default_team_member_models=models))
    assert result.team().team.default_team_member_models == (scope or INHERIT)
    assert result.codes == codes


def test_all_team_models_of_a_proxy_without_models_grants_nothing() -> None:
    result = imported(team(models=["all-team-models"]), models=[])
    assert (result.team().team.models, result.codes) == (NONE, [])


def test_a_member_without_a_row_of_its_own_or_with_an_empty_one_may_use_what_the_team_may() -> None:
    members: dict[str, Any] = {"none": None, "empty": [], "null": {"allowed_models": None}, "no-table": {}}
    result = imported(team(default_team_member_models=["o3"], members=members))
    assert set(result.scopes().values()) == {INHERIT}
    assert result.seeded() == []


def test_a_member_whose_list_means_the_default_is_seeded() -> None:
    members = {"same": ["o3", "claude"], "again": ["o3", "o3", "claude"], "other": ["claude", "o3"], "all": []}
    result = imported(team(models=[], default_team_member_models=["o3", "claude"], members=members))
    assert result.seeded() == ["same", "again"]
    none = imported(team(default_team_member_models=["no-default-models"], members={"a": ["no-default-models"]}))
    assert none.seeded() == ["a"]


def test_what_is_too_much_for_a_scope_is_left_out() -> None:
    names = [f"m{n}" for n in range(2_001)]
    result = imported(team(models=names, members={"ann": [f"x{n}*" for n in range(65)]}))
    assert result.team().team.models == only(*names[:2_000])
    assert result.scopes()["ann"] == only(*[f"x{n}*" for n in range(64)])
    told = [finding for finding in result.findings if finding.code == "TOO_MANY_ENTRIES"]
    assert [(finding.subject, finding.here[-5:]) for finding in told] == [
        ("models", "m2000"),
        ("allowed_models", " x64*"),
    ]
    groups = [deployment(f"m{n}", "p/m", f"g{n}") for n in range(70)]
    result = imported(team(models=[f"g{n}" for n in range(70)]), models=groups)
    assert result.team().team.models == only(*[f"g{n}" for n in range(64)])
    assert not result.allows("", "m69")


# Aliases of a team: (the team's models, aliases, what its models are then).
ALIASES = [
    (["gpt-4o"], {"best": "gpt-4o"}, only("gpt-4o"), []),
    (["everyday"], {"best": "gpt-4o"}, only("everyday"), []),
    (["everyday"], {"best": "o3"}, only("everyday", "o3"), ["ALIAS_TARGET_ADDED"]),
    (["no-default-models"], {"best": "o3"}, only("o3"), ["ALIAS_TARGET_ADDED"]),
    ([], {"best": "o3"}, ALL, []),
    (["best"], {"best": "o3"}, only("best", "o3"), ["ALIAS_TARGET_ADDED"]),
    (["gpt-4o"], {"gpt-4o": "azure/gpt-4o"}, only("gpt-4o", "azure/gpt-4o"), ["ALIAS_TARGET_ADDED"]),
    (["o3"], {"best": "no-such"}, only("o3", "no-such"), ["ALIAS_TARGET_ADDED"]),
]


@pytest.mark.parametrize(("models", "aliases", "scope", "codes"), ALIASES)
def test_aliases_of_a_team(models: list[str], aliases: dict[str, str], scope: ModelScope, codes: list[str]) -> None:
    result = imported(team(models=models, aliases=aliases, members={"ann": None}))
    assert result.team().team.models == scope
    assert result.team().team.model_aliases == aliases
    assert result.codes == codes
    assert all(result.allows("ann", alias) for alias in aliases)


@pytest.mark.parametrize(
    ("alias", "target"),
    [
        ("a*", "o3"),
        ("a,b", "o3"),
        (" a", "o3"),
        ("a" * 257, "o3"),
        ("a", "o*"),
        ("a", "o\n3"),
        ("a", "everyday"),  # a group, which would be granted as such
    ],
)
def test_an_alias_that_cannot_be_is_left_out_and_grants_nothing(alias: str, target: str) -> None:
    result = imported(team(models=["claude"], aliases={alias: target}))
    assert result.team().team.models == only("claude")
    assert result.team().team.model_aliases == {}
    assert result.codes == ["ALIAS_LEFT_OUT"]
    proxy_wide = imported(team(models=[alias, "claude"]), group_aliases={alias: target})
    assert proxy_wide.team().team.model_aliases == {}
    assert proxy_wide.codes[0] == "ALIAS_LEFT_OUT"


def test_aliases_over_the_bound_are_left_out() -> None:
    result = imported(team(models=[], aliases={f"a{n}": "o3" for n in range(258)}))
    assert len(result.team().team.model_aliases) == 256
    assert result.codes == ["ALIAS_LEFT_OUT", "ALIAS_LEFT_OUT"]


# Aliases of the proxy: (the team's models, whether it has the alias, what its models are then).
GROUP_ALIASES = [
    (["gpt-4o"], True, only("gpt-4o"), []),
    (["everyday"], True, only("everyday"), []),
    (["gpt-4"], True, only("gpt-4", "gpt-4o"), ["ALIAS_TARGET_ADDED"]),
    (["gpt-*"], True, only("gpt-*"), []),
    (["*-4"], True, only("*-4", "gpt-4o"), ["ALIAS_TARGET_ADDED"]),
    ([], True, ALL, []),
    (["o3"], False, only("o3"), []),
    (["no-default-models"], False, NONE, []),
]


@pytest.mark.parametrize(("models", "has_it", "scope", "codes"), GROUP_ALIASES)
def test_aliases_of_the_proxy(models: list[str], has_it: bool, scope: ModelScope, codes: list[str]) -> None:
    result = imported(team(models=models, members={"ann": None}), group_aliases={"gpt-4": "gpt-4o"})
    assert result.team().team.models == scope
    assert result.team().team.model_aliases == ({"gpt-4": "gpt-4o"} if has_it else {})
    assert result.codes == ["GROUP_ALIAS", *codes]
    assert result.allows("ann", "gpt-4") is has_it


def test_an_alias_of_the_proxy_may_be_hidden_and_is_resolved_after_that_of_a_team() -> None:
    result = imported(
        team(models=[], aliases={"best": "gpt-4", "other": "o3"}),
        group_aliases={"gpt-4": {"model": "gpt-4o", "hidden": True}, "other": "claude"},
    )
    assert result.team().team.model_aliases == {"best": "gpt-4o", "other": "o3", "gpt-4": "gpt-4o"}


# What a member may ask for in a team with the alias best -> o3: (the member's list, best, o3, findings).
MEMBERS_AND_ALIASES = [
    (["best"], only("best"), True, False, []),
    (["b*"], only("b*", "best"), True, False, ["PROVIDER_FROM_CATALOGUE"]),
    (["o3"], only("o3"), True, True, ["ALIAS_FOR_MEMBERS"]),
    (["openai/*"], only("openai/*"), True, True, ["PROVIDER_FROM_CATALOGUE", "ALIAS_FOR_MEMBERS"]),
    (["best", "o3"], only("best", "o3"), True, True, []),
    (["claude"], only("claude"), False, False, []),
    (["no-default-models"], NONE, False, False, []),
    ([], INHERIT, True, True, []),
]


@pytest.mark.parametrize(("models", "scope", "alias", "target", "codes"), MEMBERS_AND_ALIASES)
def test_members_and_aliases(models: list[str], scope: ModelScope, alias: bool, target: bool, codes: list[str]) -> None:
    result = imported(team(models=[], aliases={"best": "o3"}, members={"ann": models}))
    assert result.scopes()["ann"] == scope
    assert (result.allows("ann", "best"), result.allows("ann", "o3")) == (alias, target)
    assert result.codes == codes


def test_a_member_may_use_an_alias_of_the_proxy_by_either_name() -> None:
    """LiteLLM tries both, so this is no difference."""
    members = {"ann": ["gpt-4"], "sam": ["gpt-4o"], "eve": ["*-4"]}
    result = imported(team(models=[], members=members), group_aliases={"gpt-4": "gpt-4o"})
    assert result.scopes() == {"ann": only("gpt-4"), "sam": only("gpt-4o"), "eve": only("*-4", "gpt-4")}
    assert [result.allows(user, "gpt-4") for user in members] == [True, True, True]
    assert result.codes == ["GROUP_ALIAS"]


def test_a_team_alias_that_hides_one_of_the_proxy_is_granted_by_that_ones_target_too() -> None:
    result = imported(
        team(models=[], aliases={"best": "o3"}, members={"ann": ["claude"]}), group_aliases={"best": "claude"}
    )
    assert result.scopes()["ann"] == only("claude", "best")
    assert result.team().team.model_aliases == {"best": "o3"}


def test_a_name_is_known_when_the_configuration_has_anything_for_it() -> None:
    models = [
        *CATALOGUE,
        deployment("bedrock/*", "bedrock/*"),
        deployment("legacy", "gpt-3.5-turbo"),
        deployment("tuned", "openai/ft", team_id="t"),
    ]
    entries = ["bedrock/nova", "legacy", "everyday", "tuned", "gpt-4", "balanced", "best"]
    result = imported(
        team(models=entries, aliases={"best": "o3"}),
        models=models,
        router_settings={
            "model_group_alias": {"gpt-4": "gpt-4o"},
            "routing_groups": [{"group_name": "balanced", "models": ["gpt-4o"]}],
        },
    )
    assert "UNKNOWN_ENTRY" not in result.codes
