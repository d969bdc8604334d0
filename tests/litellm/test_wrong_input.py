"""Files that cannot be imported: the message says where, and what to change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policy_service.cli.litellm.configuration import read_configuration
from policy_service.cli.litellm.document import InputError
from policy_service.cli.litellm.teams import read_teams

from .commands import EXAMPLE_CONFIG, run_import
from .files import membership, team

# (the YAML, how the message begins)
CONFIGURATIONS = [
    ("", "config.yaml:1: the document is empty"),
    ("- a\n", "config.yaml:1: is a list; it has to be a mapping"),
    ("a: [\n", "config.yaml:2: this is not YAML: "),
    ("a: \x01\n", "config.yaml:1: this is not YAML: "),
    ("a: b\n---\nc: d\n", "config.yaml:2: this is not YAML: "),
    ("a: !!python/name:os.system x\n", "config.yaml:1: could not determine a constructor for the tag"),
    ("{[a]: b}\n", "config.yaml:1: found unhashable key"),
    ("a: " + "[" * 60 + "]" * 60, "config.yaml:1: this nests deeper than 50 levels"),
    ("a: 2024-13-45\n", "config.yaml: month must be in 1..12"),
    ("a: &x [*x]\n", "config.yaml:1: there is no model_list in it; give the config.yaml of a LiteLLM proxy"),
    ("general_settings: {}\n", "config.yaml:1: there is no model_list in it"),
    ("model_list: []\nmodel_list: 4\n", "config.yaml:2: model_list: is the number 4; it has to be a list"),
    ("model_list: {}\n", "config.yaml:1: model_list: is a mapping; it has to be a list"),
    ("model_list:\n  - x\n", "config.yaml:2: model_list[0]: is the text 'x'; it has to be a mapping"),
    (
        "model_list:\n  - litellm_params: {model: a/b}\n",
        "config.yaml:2: model_list[0].model_name: is missing or empty; it has to be a text",
    ),
    (
        "model_list:\n  - model_name: 4\n    litellm_params: {model: a/b}\n",
        "config.yaml:2: model_list[0].model_name: is the number 4; it has to be a text",
    ),
    (
        "model_list:\n  - model_name: ''\n    litellm_params: {model: a/b}\n",
        "config.yaml:2: model_list[0].model_name: is the text ''; it has to be a text",
    ),
    (
        "model_list:\n  - model_name: a\n",
        "config.yaml:2: model_list[0].litellm_params: is missing or empty; it has to be a mapping",
    ),
    (
        "model_list:\n  - model_name: a\n    litellm_params:\n      model: [x]\n",
        "config.yaml:4: model_list[0].litellm_params.model: is a list; it has to be a text",
    ),
    (
        "model_list:\n  - model_name: a\n    litellm_params: {model: a/b, custom_llm_provider: 1}\n",
        "config.yaml:3: model_list[0].litellm_params.custom_llm_provider: is the number 1; it has to be a text",
    ),
    (
        "model_list:\n  - model_name: a\n    litellm_params: {model: a/b}\n    model_info:\n      access_groups: x\n",
        "config.yaml:5: model_list[0].model_info.access_groups: is the text 'x'; it has to be a list",
    ),
    (
        "model_list:\n  - model_name: a\n    litellm_params: {model: a/b}\n    model_info: {access_groups:\n [x, 4]}\n",
        "config.yaml:5: model_list[0].model_info.access_groups[1]: is the number 4; it has to be a text",
    ),
    (
        "model_list: []\nrouter_settings:\n  model_group_alias: [a]\n",
        "config.yaml:3: router_settings.model_group_alias: is a list; it has to be a mapping",
    ),
    (
        "model_list: []\nrouter_settings:\n  model_group_alias:\n    a: {hidden: true}\n",
        "config.yaml:4: router_settings.model_group_alias.a.model: is missing or empty; it has to be a text",
    ),
    (
        "model_list: []\nrouter_settings: {model_group_alias: {1: a}}\n",
        "config.yaml:2: router_settings.model_group_alias: the key 1 is the number 1; it has to be a text",
    ),
    (
        "model_list: []\ninclude:\n  - more.yaml\n",
        "config.yaml:3: include: included files are not read; put them into one file",
    ),
]


@pytest.mark.parametrize(("text", "message"), CONFIGURATIONS)
def test_a_configuration_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read_configuration(text.encode(), "config.yaml")
    (line,) = str(raised.value).splitlines()
    assert line.startswith(message)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = "model_list:\n" + "  - {model_name: 4, litellm_params: {model: 5}}\n" * 30
    with pytest.raises(InputError) as raised:
        read_configuration(text.encode(), "c")
    lines = str(raised.value).splitlines()
    assert (len(set(lines)), lines[-1]) == (21, "and 40 more problems")


def test_a_configuration_is_read_as_litellm_reads_it() -> None:
    """Merge keys, anchors, the last of a repeated key; what is not needed may be anything."""
    text = """\
        x: &base {model: openai/a, tags: [1, 2024-01-01]}
        model_list:
          - {model_name: a, litellm_params: {<<: *base, model: azure/b}, model_info: null}
          - {model_name: b, model_name: c, litellm_params: *base}
        """
    deployments = read_configuration(text.encode(), "c").deployments
    assert [(each.name, each.model) for each in deployments] == [("a", "azure/b"), ("c", "openai/a")]


def changed(**fields: Any) -> Any:
    """A team with other fields; one that is ... is left out."""
    made = team() | fields
    return [{key: value for key, value in made.items() if value is not ...}]


MEMBERSHIP = membership("t", "ann", [])
# (the JSON, how the message begins)
TEAMS: list[tuple[Any, str]] = [
    ("x", "teams.json: is the text 'x'; it has to be a mapping"),
    ({}, "teams.json: there is no team_id in it; give what GET /team/list or GET /team/info returns"),
    ({"error": {"message": "no"}}, "teams.json: there is no team_id in it"),
    ([4], "teams.json: [0]: is the number 4; it has to be a mapping"),
    ({"teams": {}}, "teams.json: teams: is a mapping; it has to be a list"),
    (
        {"teams": changed(team_memberships=...)},
        "teams.json: teams[0]: there are no team_memberships in it; take it from",
    ),
    ({"team_info": {}}, "teams.json: team_info: there is no team_id in it"),
    ({"team_info": team()}, "teams.json: there are no team_memberships in it"),
    (changed(team_id=None), "teams.json: [0].team_id: is missing or empty; it has to be a text"),
    (changed(team_id=7), "teams.json: [0].team_id: is the number 7; it has to be a text"),
    (changed(models=...), "teams.json: [0].models: is missing or empty; it has to be a list"),
    (changed(models=None), "teams.json: [0].models: is missing or empty; it has to be a list"),
    (changed(models="gpt-4o"), "teams.json: [0].models: is the text 'gpt-4o'; it has to be a list"),
    (changed(models=["a", None]), "teams.json: [0].models[1]: is missing or empty; it has to be a text"),
    (changed(blocked="false"), "teams.json: [0].blocked: is the text 'false'; it has to be true or false"),
    (changed(blocked=1), "teams.json: [0].blocked: is the number 1; it has to be true or false"),
    (
        changed(default_team_member_models={}),
        "teams.json: [0].default_team_member_models: is a mapping; it has to be a",
    ),
    (
        changed(model_id=3),
        "teams.json: [0].litellm_model_table: is missing, and model_id says that the team has aliases",
    ),
    (
        changed(litellm_model_table={"model_aliases": ["a"]}),
        "teams.json: [0].litellm_model_table.model_aliases: is a list; it has to be a mapping",
    ),
    (
        changed(litellm_model_table={"model_aliases": "{"}),
        "teams.json: [0].litellm_model_table.model_aliases: is a text, but not JSON; it has to be a mapping",
    ),
    (
        changed(litellm_model_table={"model_aliases": '{"a": 4}'}),
        "teams.json: [0].litellm_model_table.model_aliases.a: is the number 4; it has to be a text",
    ),
    (changed(members_with_roles=...), "teams.json: [0].members_with_roles: is missing or empty; it has to be a list"),
    (
        changed(members_with_roles=["ann"]),
        "teams.json: [0].members_with_roles[0]: is the text 'ann'; it has to be a map",
    ),
    (changed(members_with_roles=[{"user_id": 4}]), "teams.json: [0].members_with_roles[0].user_id: is the number 4"),
    (changed(team_memberships={}), "teams.json: [0].team_memberships: is a mapping; it has to be a list"),
    (changed(team_memberships=None), "teams.json: [0].team_memberships: is missing or empty; it has to be a list"),
    (changed(team_memberships=[4]), "teams.json: [0].team_memberships[0]: is the number 4; it has to be a mapping"),
    (
        changed(team_memberships=[{}]),
        "teams.json: [0].team_memberships[0].user_id: is missing or empty; it has to be a",
    ),
    (
        changed(team_memberships=[MEMBERSHIP, MEMBERSHIP]),
        "teams.json: [0].team_memberships[1].user_id: 'ann' is here twice; LiteLLM has one row a member",
    ),
    (
        changed(team_memberships=[membership("other", "ann", [])]),
        "teams.json: [0].team_memberships[0].team_id: is of another team than 't'",
    ),
    (
        changed(team_memberships=[membership("t", "ann", {"allowed_models": "x"})]),
        "teams.json: [0].team_memberships[0].litellm_budget_table.allowed_models: is the text 'x'; it has to be a list",
    ),
    (
        changed(team_memberships=[membership("t", "ann", {"max_budget": "12"})]),
        "teams.json: [0].team_memberships[0].litellm_budget_table.max_budget: is the text '12'; it has to be a number",
    ),
    (
        changed(team_memberships=[membership("t", "ann", {"tpm_limit": True})]),
        "teams.json: [0].team_memberships[0].litellm_budget_table.tpm_limit: is true; it has to be a number",
    ),
    (changed(keys=4), "teams.json: [0].keys: is the number 4; it has to be a list"),
    ([team(), team()], "teams.json [1]: team 't' is also teams.json [0]; give it once"),
]


@pytest.mark.parametrize(("content", "message"), TEAMS)
def test_a_file_of_teams_that_is_wrong(content: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read_teams([("teams.json", json.dumps(content).encode())])
    (line,) = str(raised.value).splitlines()
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "teams.json:1: this is not JSON: Expecting value"),
        (b"[\n{]", "teams.json:2: this is not JSON: "),
        (b"\xff", "teams.json: this is not UTF-8; save the file in that encoding"),
        (b"[" * 100_000, "teams.json: this is not JSON that can be read: "),
        (b"1" * 5_000, "teams.json: this is not JSON that can be read: "),
    ],
)
def test_a_file_that_is_no_json(content: bytes, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read_teams([("teams.json", content)])
    assert str(raised.value).startswith(message)


def test_a_configuration_that_is_not_utf_8() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        read_configuration(b"model_list: [\xe4]", "config.yaml")


FORMS: list[tuple[Any, list[str]]] = [
    ([], []),
    ([team("a"), team("b")], ["a", "b"]),
    (team("a"), ["a"]),
    ({"teams": [team("a")], "total": 1}, ["a"]),
    ({"team_id": "a", "team_info": team("a"), "keys": [], "team_memberships": []}, ["a"]),
    ([{"team_id": "a", "team_info": team("a"), "keys": [], "team_memberships": []}, team("b")], ["a", "b"]),
    ([team("a", members_with_roles={})], ["a"]),
]


@pytest.mark.parametrize(("content", "identifiers"), FORMS)
def test_the_forms_of_a_file_of_teams(content: Any, identifiers: list[str]) -> None:
    assert [each.id for each in read_teams([("t", b"\xef\xbb\xbf" + json.dumps(content).encode())])] == identifiers


def test_one_team_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(team()))
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    ended = run_import("--config", EXAMPLE_CONFIG, "--teams", files[0], "--teams", files[1])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert f"{files[1]}: team 't' is also {files[0]}; give it once" in ended.stderr
