"""`policy-service credential create`: a token, shown once, and the entry with which a server knows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from policy_service.cli.main import app
from policy_service.services.auth import parse_credentials

from .conftest import Connect, build_world
from .principals import ALMIGHTY, bearer, sha256, with_token, write_credentials
from .processes import run
from .table import checks_alone, codes

TOKEN = re.compile(r"ps_[A-Za-z0-9_-]{43}")


def _read(stdout: str) -> tuple[str, list[dict[str, Any]]]:
    """The token and the entry of the command's output."""
    first, _, entry = stdout.partition("add this under `principals:` in the credentials file:\n")
    (token,) = TOKEN.findall(first)
    return token, yaml.safe_load(entry)


async def test_the_token_works_with_the_printed_entry(start_server: Any, connect: Connect, tmp_path: Path) -> None:
    ended = await run("credential", "create", "gateway", "--permission", "check", "--permission", "check")
    assert (ended.status, ended.stderr) == (0, "")
    token, entries = _read(ended.stdout)
    assert entries == [{"name": "gateway", "token_sha256": sha256(token), "permissions": ["check"]}]
    assert ended.stdout.count(token) == 1

    admin = with_token("admin", ALMIGHTY, "admin")
    file = write_credentials(tmp_path / "credentials.yaml", *entries, admin)
    channel = connect((await start_server(credentials=file)).target)
    await build_world(channel, bearer(ALMIGHTY))
    assert await codes(channel, bearer(token)) == checks_alone()


def test_the_printed_entry_can_be_pasted() -> None:
    permissions = ["--permission", "admin", "--permission", "replicate"]
    names = ("yes", "Zürich: 1 #x")
    outputs = [CliRunner().invoke(app, ["credential", "create", name, *permissions]) for name in names]
    pasted = "".join(output.stdout.partition("file:\n")[2] for output in outputs)
    credentials = parse_credentials("principals:\n" + pasted, "credentials.yaml")
    tokens = [_read(output.stdout)[0] for output in outputs]
    found = [credentials.identify([f"Bearer {token}"], []) for token in tokens]
    assert [(principal.name, *sorted(principal.permissions)) for principal in found] == [
        ("yes", "admin", "replicate"),
        ("Zürich: 1 #x", "admin", "replicate"),
    ]
    assert tokens[0] != tokens[1]


REFUSED: dict[str, tuple[list[str], str]] = {
    "empty name": (["", "--permission", "check"], "is empty"),
    "spaces around": ([" gw", "--permission", "check"], "has white space at its start or end"),
    "line break": (["g\nw", "--permission", "check"], "holds control, format or line-separating characters"),
    "too long": (["x" * 257, "--permission", "check"], "is longer than 256 bytes"),
    "no name": (["--permission", "check"], "Missing argument"),
    "unknown permission": (["gw", "--permission", "root"], "'root' is not one of 'check', 'replicate', 'admin'"),
    "no permission": (["gw"], "Missing option '--permission'"),
}
RESERVED: dict[str, tuple[list[str], str]] = {
    name: ([name, "--permission", "check"], "reserved") for name in ("local", "anonymous")
}


def _assert_refused(arguments: list[str], words: str) -> None:
    ended = CliRunner().invoke(app, ["credential", "create", *arguments], env={"COLUMNS": "200"})
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert words in ended.stderr


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_wrong_arguments_are_refused(arguments: list[str], words: str) -> None:
    _assert_refused(arguments, words)


async def test_the_command_ends_with_status_2_when_it_refuses() -> None:
    ended = await run("credential", "create", " gw", "--permission", "check")
    assert (ended.status, ended.stdout) == (2, "")
    assert "has white space at its start or end" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("arguments", "words"), RESERVED.values(), ids=RESERVED)
def test_a_reserved_name_is_refused(arguments: list[str], words: str) -> None:
    _assert_refused(arguments, words)


def test_programs_get_the_token_and_the_entry_as_a_document() -> None:
    arguments = ["credential", "create", "gateway", "--permission", "check", "-o", "json"]
    document = json.loads(CliRunner().invoke(app, arguments).stdout)
    token = document.pop("token")
    assert TOKEN.fullmatch(token)
    entry = {"name": "gateway", "token_sha256": sha256(token), "permissions": ["check"]}
    assert document == {"principal": entry}
