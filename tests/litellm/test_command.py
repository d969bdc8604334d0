"""`policy-service import litellm`: what it writes where, and when it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from policy_service.cli.manifest import parse_manifest

from .commands import EXAMPLE_CONFIG, EXAMPLE_TEAMS, run_import
from .files import team

EXAMPLE = ("--config", EXAMPLE_CONFIG, "--teams", EXAMPLE_TEAMS)


def test_the_yaml_is_on_standard_output_and_the_findings_on_standard_error() -> None:
    ended = run_import(*EXAMPLE)
    manifest = parse_manifest(ended.stdout.encode(), "out")
    assert (ended.exit_code, len(manifest.models or ()), len(manifest.teams or ())) == (0, 19, 9)
    lines = ended.stderr.splitlines()
    at = lines.index("ALL_TEAM_MODELS  team platform: 'all-team-models' in allowed_models (1 member)")
    assert lines[at + 1 : at + 3] == [
        "  LiteLLM: grants every name that the proxy's configuration has by then, and no other",
        "  here:    has the mode INHERIT",
    ]
    assert lines[-1] == f"19 models, 7 groups, 9 teams, 33 members; {(len(lines) - 1) // 3} findings"


def test_the_same_files_give_the_same_bytes() -> None:
    assert run_import(*EXAMPLE).output == run_import(*EXAMPLE).output


def test_with_a_file_nothing_is_on_standard_output(tmp_path: Path) -> None:
    file = tmp_path / "acme.yaml"
    ended = run_import(*EXAMPLE, "-f", str(file))
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert ended.stderr.splitlines()[-1].endswith(f" in {file}; look at it, then `policy-service apply -f {file}`")
    assert file.read_text() == run_import(*EXAMPLE).stdout
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_findings_for_programs(tmp_path: Path, output: str) -> None:
    ended = run_import(*EXAMPLE, "--file", str(tmp_path / "acme.yaml"), "-o", output)
    document = json.loads(ended.stdout) if output == "json" else yaml.safe_load(ended.stdout)
    assert (ended.exit_code, ended.stderr) == (0, "")
    findings = document.pop("findings")
    assert document == {"models": 19, "groups": 7, "teams": 9, "members": 33}
    assert {
        "code": "ALIAS_FOR_MEMBERS",
        "team": "support",
        "subject": "alias 'smart'",
        "litellm": "denies it to a member whose own list has 'o3', but not the alias",
        "here": "allows it to who may use 'o3'",
        "members": 1,
    } in findings


def test_without_teams_the_file_says_nothing_of_teams() -> None:
    ended = run_import("--config", EXAMPLE_CONFIG)
    manifest = parse_manifest(ended.stdout.encode(), "out")
    assert (len(manifest.models or ()), len(manifest.groups or ()), manifest.teams) == (19, 7, None)
    assert ended.stderr.splitlines()[-1].startswith("19 models, 7 groups, 0 teams, 0 members; ")


def test_names_that_do_not_print_are_shown_escaped(tmp_path: Path) -> None:
    teams = tmp_path / "teams.json"
    teams.write_text(json.dumps(team("a\x1b[31m", members={"\ud800\n": None})))
    ended = run_import("--config", EXAMPLE_CONFIG, "--teams", str(teams))
    assert ended.exit_code == 0
    assert "TEAM_LEFT_OUT  team a\\x1b[31m: team_id (1 member)" in ended.stderr
    teams.write_text(json.dumps(team("t", members={"\ud800\n": None})))
    ended = run_import("--config", EXAMPLE_CONFIG, "--teams", str(teams))
    assert "USER_LEFT_OUT  team t: user '\\\\ud800\\\\n' (1 member)" in ended.stderr


# (arguments, with {} for the folder, and a part of the message)
REFUSED = [
    (("--config", "{}/no.yaml"), "{}/no.yaml cannot be read: No such file or directory"),
    (("--config", "{}"), "{} cannot be read: Is a directory"),
    (("--config", EXAMPLE_TEAMS, "--teams", EXAMPLE_TEAMS), "teams.json:1: is a list; it has to be a mapping"),
    (("--config", EXAMPLE_CONFIG, "--teams", "{}/no.json"), "{}/no.json cannot be read: No such file or directory"),
    (("--config", EXAMPLE_CONFIG, "--teams", EXAMPLE_CONFIG), "config.yaml:1: this is not JSON: Expecting value"),
    (("--config", EXAMPLE_CONFIG, "--teams", "{}/bad.json"), "{}/bad.json: [0].models: is the number 4; it has to be"),
    ((*EXAMPLE, "--file", "{}/there.yaml"), "{}/there.yaml is there already; remove it, or give --file another name"),
    ((*EXAMPLE, "--file", "{}/no/out.yaml"), "{}/no/out.yaml cannot be written: No such file or directory"),
    ((*EXAMPLE, "--output", "json"), "the findings are on standard output; say with --file where the YAML goes"),
    ((*EXAMPLE, "--output", "xml", "--file", "{}/out.yaml"), "'xml' is not one of 'text', 'json', 'yaml'"),
    (("--teams", EXAMPLE_TEAMS), "Missing option '--config'"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_is_refused_writes_nothing(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "there.yaml").write_text("mine")
    (tmp_path / "bad.json").write_text(json.dumps([team() | {"models": 4}]))
    before = {path: path.read_text() for path in tmp_path.iterdir()}
    ended = run_import(*(argument.replace("{}", str(tmp_path)) for argument in arguments))
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert message.replace("{}", str(tmp_path)) in " ".join(ended.stderr.replace("│", " ").split())
    assert {path: path.read_text() for path in tmp_path.iterdir()} == before
