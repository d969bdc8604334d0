"""What the command line says of itself: `--help` of every command, and completion by the shell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from policy_service.cli.main import app

from .commands import COMMAND, Ended, commands, invoke, options

COMMANDS = commands()
# What changes the policy: says with --dry-run what it would change.
CHANGING = {
    *(f"team {verb}" for verb in ("create", "update", "delete")),
    *(f"member {verb}" for verb in ("add", "update", "remove", "reseed")),
    *(f"group {verb}" for verb in ("set", "delete")),
    *(f"model {verb}" for verb in ("set", "delete")),
    "apply",
}
LOCAL = {"backup", "restore", "credential create"}  # they talk to no server
# What answers: for people, or for programs with --output.
ANSWERING = {
    *("check", "explain", "models", "status", "watch"),
    *(f"{noun} {verb}" for noun in ("team", "member", "group", "model") for verb in ("list", "show")),
    *("audit list", "audit verify", "context list", "import litellm"),
    *LOCAL,
}
# What has one kind of output alone: a file, or a line that says what was done on this machine.
ELSE = {
    *("export", "context set", "context use", "context delete", "serve", "keygen"),
}


def groups(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every group of commands, from the whole on."""
    command = command or typer.main.get_command(app)
    if hasattr(command, "commands"):
        yield name, command
        for below, each in command.commands.items():
            yield from groups(each, f"{name} {below}".strip())


def test_every_command_is_of_one_of_these_kinds() -> None:
    assert COMMANDS.keys() <= CHANGING | ANSWERING | ELSE
    assert not CHANGING & ANSWERING
    assert not (CHANGING | ANSWERING) & ELSE


@pytest.mark.parametrize("name", COMMANDS)
async def test_help(name: str) -> None:
    """Says what the command is for, and what every option and argument is."""
    command = COMMANDS[name]
    ended = await invoke(*name.split(), "--help")
    assert (ended.status, ended.err) == (0, "")
    purpose = command.help.split("\n")[0]
    assert len(purpose.split()) > 2
    assert purpose in ended.out
    for parameter in command.params:
        assert parameter.help, f"{name}: what is {parameter.name}?"
        assert " ".join(parameter.help.split()) in " ".join(ended.out.split())
        assert parameter.opts[-1] in ended.out or parameter.metavar in ended.out


@pytest.mark.parametrize("name", dict(groups()))
async def test_help_of_groups(name: str) -> None:
    """Says what the group is for, and lists its commands with their purposes. Without a command, too."""
    group = dict(groups())[name]
    ended = await invoke(*name.split(), "--help")
    assert (ended.status, ended.err) == (0, "")
    assert group.help in ended.out
    for below, command in group.commands.items():
        purpose = command.help.split("\n")[0].rstrip(".")
        assert any(line.split()[1:2] == [below] and purpose in line for line in ended.lines), below
    bare = await invoke(*name.split())
    assert (bare.status, group.help in bare.out + bare.err) == (2, True)


def test_what_changes_something_has_a_dry_run() -> None:
    assert {name for name, command in COMMANDS.items() if "--dry-run" in options(command)} == CHANGING


def test_what_answers_or_changes_has_outputs_for_programs() -> None:
    both = {name for name, command in COMMANDS.items() if {"--output", "-o"} <= options(command)}
    assert both == (CHANGING | ANSWERING) & COMMANDS.keys()


def test_every_command_can_be_told_which_server_by_the_same_options() -> None:
    same = {"--server", "--context", "--config", "--token-file", "--tls-ca", "--tls-cert", "--tls-key"}
    talking = CHANGING | ANSWERING - {"context list", "import litellm"} - LOCAL | {"export"}
    assert {name for name, command in COMMANDS.items() if same <= options(command)} == talking


def test_an_option_means_the_same_everywhere() -> None:
    """Whatever has a short form, or a variable of the environment, has it everywhere. But for `serve`, which makes the
    server, and for what is somebody else's configuration."""
    forms: dict[str, set[Any]] = {}
    for name, command in COMMANDS.items():
        if name in ("serve", "context set", "import litellm"):
            continue
        for parameter in command.params:
            if parameter.opts[0].startswith("--"):
                forms.setdefault(parameter.opts[0], set()).add((*parameter.opts, parameter.envvar))
    assert {option: found for option, found in forms.items() if len(found) > 1} == {}


# Completion. The shells' scripts call the command with what was typed so far, each in its way.


async def complete(typed: str, shell: str = "zsh", **environment: str) -> Ended:
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1)}
    asked = {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"} if shell != "bash" else words
    return await invoke(_POLICY_SERVICE_COMPLETE=f"complete_{shell}", **asked, **environment)


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete -o default -F _policy_service_completion policy-service"),
        ("zsh", "compdef _policy_service_completion policy-service"),
        ("fish", "complete --command policy-service"),
    ],
)
async def test_the_shells_have_scripts_that_complete(shell: str, words: str) -> None:
    script = await invoke(_POLICY_SERVICE_COMPLETE=f"source_{shell}")
    assert (script.status, script.err) == (0, "")
    assert words in script.out
    completed = await complete("policy-service te", shell)
    assert (completed.status, completed.err) == (0, "")
    assert "team" in completed.out
    assert "serve" not in completed.out


async def test_in_a_real_shell() -> None:
    """The script that `--show-completion` prints, which finds the shell out itself."""
    typed = "COMP_WORDS=(policy-service member re); COMP_CWORD=2; _policy_service_completion policy-service"
    bash = await asyncio.create_subprocess_exec(
        "bash",
        "--norc",
        "-c",
        f'eval "$(policy-service --show-completion)"; {typed}; echo "${{COMPREPLY[@]}}"',
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
    )
    out, _ = await bash.communicate()
    assert out.decode().split() == ["remove", "reseed"]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("policy-service team create x --mo", ["--mode", "--model"]),
        ("policy-service team create x --mode ", ["ALL", "NONE", "ONLY"]),
        ("policy-service check --output j", ["json"]),
        ("policy-service context use ", ["production", "staging", "prøve"]),
        ("policy-service context delete pr", ["production", "prøve"]),
        ("policy-service team list --context s", ["staging"]),
        ("policy-service team list --config {other} --context ", ["elsewhere"]),
    ],
)
async def test_what_is_completed(typed: str, names: list[str], tmp_path: Path) -> None:
    """Contexts by the file alone: none of the servers is there."""
    other, config = tmp_path / "other.yaml", tmp_path / "config.yaml"
    contexts = "".join(f"  {name}: {{server: '127.0.0.1:1'}}\n" for name in ("staging", "production", "prøve"))
    config.write_text(f"contexts:\n{contexts}")
    other.write_text("contexts:\n  elsewhere: {server: '127.0.0.1:1'}\n")
    completed = await complete(typed.format(other=other), "bash", POLICY_SERVICE_CONFIG=str(config))
    assert (completed.status, completed.err) == (0, "")
    assert sorted(completed.out.split()) == sorted(names)


@pytest.mark.parametrize("content", [None, b"contexts: [", b"\xff", b"contexts: {a: {}}", b"5"])
async def test_completion_never_fails(content: bytes | None, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    if content is not None:
        config.write_bytes(content)
    for typed in ("policy-service context use ", "policy-service check --context "):
        assert await complete(typed, "bash", POLICY_SERVICE_CONFIG=str(config)) == Ended(0, "\n", "")
