"""What becomes of the names of a configuration: models, providers, access groups."""

from __future__ import annotations

from typing import Any

import pytest

from .files import CATALOGUE, deployment, imported, only, team

# (deployments, name -> provider of the catalogue, findings)
MODELS: list[tuple[list[dict[str, Any]], dict[str, str], list[str]]] = [
    ([deployment("gpt-4o", "openai/gpt-4o")], {"gpt-4o": "openai"}, []),
    ([deployment("fast", "bedrock/converse/us.meta.llama")], {"fast": "bedrock"}, []),
    ([deployment("a/b/c", "openai/x")], {"a/b/c": "openai"}, []),
    ([deployment("openai/*", "openai/*")], {}, []),
    ([deployment("*", "openai/*")], {}, []),
    ([deployment("gpt-4o", "openai/gpt-4o"), deployment("gpt-4o", "openai/gpt-4o")], {"gpt-4o": "openai"}, []),
    (
        [deployment("gpt-4o", "azure/gpt-4o-eu"), deployment("gpt-4o", "openai/gpt-4o")],
        {"gpt-4o": "openai"},
        ["SEVERAL_PROVIDERS"],
    ),
    (
        [deployment("chat", "azure/gpt-4o-eu"), deployment("chat", "openai/gpt-4o")],
        {"chat": "azure"},
        ["SEVERAL_PROVIDERS"],
    ),
    ([deployment("gpt-3.5", "gpt-3.5-turbo")], {}, ["PROVIDER_UNKNOWN"]),
    ([deployment("gpt-3.5", "gpt-3.5-turbo"), deployment("gpt-3.5", "azure/gpt-35")], {"gpt-3.5": "azure"}, []),
    ([deployment("a", "os.environ/MODEL")], {}, ["PROVIDER_UNKNOWN"]),
    ([deployment("a", "/x")], {}, ["PROVIDER_UNKNOWN"]),
    ([deployment("a", "open*ai/x")], {}, ["PROVIDER_UNKNOWN"]),
    ([deployment("os.environ/NAME", "openai/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("llama,70b", "groq/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("a?b", "groq/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("a//b", "groq/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment(" a", "groq/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("a\u200bb", "groq/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("a" * 257, "groq/x")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("a" * 256 + "*", "groq/*")], {}, ["MODEL_LEFT_OUT"]),
    ([deployment("tuned", "openai/ft", team_id="research")], {}, ["MODEL_OF_ONE_TEAM"]),
]


@pytest.mark.parametrize(("models", "providers", "codes"), MODELS)
def test_models_and_their_providers(models: list[dict[str, Any]], providers: dict[str, str], codes: list[str]) -> None:
    result = imported(models=models)
    assert {model.name: model.provider for model in result.manifest.models or ()} == providers
    assert result.codes == codes


def test_the_provider_may_be_said_beside_the_model() -> None:
    custom = deployment("qwen", "Qwen/Qwen3")
    custom["litellm_params"]["custom_llm_provider"] = "hosted_vllm"
    assert (
        imported(models=[custom]).manifest.models
        == imported(models=[deployment("qwen", "hosted_vllm/x")]).manifest.models
    )


def test_settings_that_are_not_read_are_reported() -> None:
    result = imported(
        general_settings={"store_model_in_db": True},
        litellm_settings={"model_alias_map": {"a": "b"}},
        router_settings={"routing_groups": [{"group_name": "g", "models": ["gpt-4o"]}]},
    )
    assert [finding.subject for finding in result.findings if finding.code == "SETTING_NOT_IMPORTED"] == [
        "setting litellm_settings.model_alias_map",
        "setting router_settings.routing_groups",
        "setting general_settings.store_model_in_db",
    ]
    assert "SETTING_NOT_IMPORTED" not in imported(general_settings={"store_model_in_db": False}).codes


@pytest.mark.parametrize(
    ("settings", "codes"),
    [
        ({"custom_auth": "my.auth"}, ["CUSTOM_AUTH"]),
        ({"custom_auth": "my.auth", "custom_auth_run_common_checks": False}, ["CUSTOM_AUTH"]),
        ({"custom_auth": "my.auth", "custom_auth_run_common_checks": True}, []),
        ({"custom_auth": None}, []),
    ],
)
def test_custom_authentication_is_reported_when_it_does_all_checks(settings: dict[str, Any], codes: list[str]) -> None:
    assert imported(general_settings=settings).codes == codes


def test_groups_have_the_names_that_are_deployed_in_them() -> None:
    result = imported()
    assert result.groups == {"everyday": (("gpt-4o", "gpt-4o-mini"), ()), "cheap": (("gpt-4o-mini",), ())}
    assert result.findings == []


# A group that cannot be one here; its name; what a team that lists it has instead.
INLINED = [
    ("eu/resident", ("m1", "m2")),
    ("wild*", ("m1", "m2", "wild*")),
    ("gpt-4o", ("m1", "m2", "gpt-4o")),  # also a model's name
    ("tuned", ("m1", "m2", "tuned")),  # also that of a model of one team
    ("legacy", ("m1", "m2", "legacy")),  # also that of a model whose provider is unknown
    ("best", ("m1", "m2")),  # also an alias of another team
    ("gpt-4", ("m1", "m2", "gpt-4")),  # also an alias of the proxy
    (" padded", ("m1", "m2")),
    ("g" * 257, ("m1", "m2")),
]


@pytest.mark.parametrize(("group", "entries"), INLINED)
def test_a_group_that_cannot_be_one_is_spelled_out_where_it_is_listed(group: str, entries: tuple[str, ...]) -> None:
    models = [
        *CATALOGUE,
        deployment("m1", "openai/m1", group),
        deployment("m2", "openai/m2", group),
        deployment("legacy", "gpt-3.5-turbo"),
        deployment("tuned", "openai/ft", team_id="research"),
    ]
    teams = [
        team(models=["o3", group], members={"ann": [group]}),
        team("u", models=[], aliases={"best": "o3"}),
    ]
    result = imported(*teams, models=models, group_aliases={"gpt-4": "m1"})
    assert group not in result.groups
    assert result.finding("GROUP_INLINED").members == 0
    assert set(entries) <= set(result.team().team.models.models)
    assert result.scopes()["ann"] == only(*entries)
    assert result.allows("ann", "m2")


@pytest.mark.parametrize("name", ["all-proxy-models", "no-default-models", "all-team-models", "os.environ/GROUP"])
def test_a_group_whose_name_means_something_else_is_left_out(name: str) -> None:
    result = imported(models=[deployment("m1", "openai/m1", name)])
    assert (result.groups, result.codes) == ({}, ["GROUP_LEFT_OUT"])


# (deployments, what the group g has and excludes)
WILDCARDS = [
    ([deployment("openai/*", "openai/*", "g")], ("openai/*",), ()),
    # What has a deployment of its own is not served by the wildcard.
    ([deployment("openai/*", "openai/*", "g"), deployment("openai/o3", "openai/o3")], ("openai/*",), ("openai/o3",)),
    (
        [deployment("openai/*", "openai/*", "g"), deployment("openai/o3", "openai/o3", "g")],
        ("openai/*", "openai/o3"),
        (),
    ),
    ([deployment("openai/*", "openai/*", "g"), deployment("o3", "openai/o3")], ("openai/*",), ()),
    # Nor what a longer wildcard serves.
    ([deployment("openai/*", "openai/*", "g"), deployment("openai/ft*", "openai/*")], ("openai/*",), ("openai/ft*",)),
    ([deployment("openai/ft*", "openai/*", "g"), deployment("openai/*", "openai/*")], ("openai/ft*",), ()),
    ([deployment("openai/*", "openai/*", "g"), deployment("bedrock/us*", "bedrock/*")], ("openai/*",), ()),
    ([deployment("openai/*", "openai/*", "g"), deployment("*-mini-2024", "openai/*")], ("openai/*",), ("*-mini-2024",)),
    ([deployment("*-a", "openai/*", "g"), deployment("x/y*-b", "openai/*")], ("*-a",), ()),
    # An exclusion is tried on every spelling: it would take azure/o3 out too.
    ([deployment("*3", "x/*", "g"), deployment("o3", "x/o3"), deployment("azure/o3", "x/o3", "g")], ("azure/o3",), ()),
]


@pytest.mark.parametrize(("models", "entries", "excluded"), WILDCARDS)
def test_wildcards_in_a_group(
    models: list[dict[str, Any]], entries: tuple[str, ...], excluded: tuple[str, ...]
) -> None:
    result = imported(models=models)
    assert result.groups == {"g": (entries, excluded)}
    assert result.codes == ["GROUP_WILDCARD"]


def test_a_group_of_which_nothing_can_be_kept_is_none() -> None:
    models = [deployment("*3", "x/*", "g"), *(deployment(f"m{n}3", "x/y") for n in range(2_001))]
    result = imported(team(models=["g"]), models=models)
    assert (result.groups, result.codes) == ({}, ["GROUP_WILDCARD", "UNKNOWN_ENTRY"])
    assert not result.allows("", "m13")


def test_what_is_too_much_for_a_group_is_left_out() -> None:
    result = imported(models=[deployment(f"m{n}", "x/y", "g") for n in range(2_001)])
    assert (len(result.groups["g"][0]), result.codes) == (2_000, ["TOO_MANY_ENTRIES"])


def test_the_name_of_a_group_is_no_model() -> None:
    teams = [
        team("a", models=["everyday"], members={"ann": None}),
        team("b", models=[], members={"bob": None}),
        team("c", models=["every*"], members={"cem": None}),
        team("d", models=["o3"], members={"dan": None}),
    ]
    result = imported(*teams, keep_open_door=True)
    finding = result.finding("GROUP_AS_MODEL")
    assert (finding.team, finding.subject, finding.members) == ("", "access groups cheap, everyday", 3)
    assert not any(result.allows("", "everyday", identifier) for identifier in "abcd")
    assert [f.code for f in imported(teams[3], keep_open_door=True).findings] == []
