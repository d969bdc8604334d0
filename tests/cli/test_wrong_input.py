"""Every command with wrong input: the message, the exit status, nothing on standard output, and nothing changed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.security.principals import with_token, write_credentials

from .commands import Cli, Ended, commands, invoke, options, run, run_together
from .world import build
from .wrong_input import FILES, RIGHT, ROWS, WITH_CONTEXT, WITH_SERVER, Row, write_files

if TYPE_CHECKING:
    from tests.conftest import StartServer

COMMANDS = commands()
XML: Row = ("--output xml", "'xml' is not one of 'text', 'json', 'yaml'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that the rows name."""
    folder = tmp_path / "files"
    folder.mkdir()
    write_files(folder)
    return folder


def problem(ended: Ended, words: str, status: int) -> str:
    """What is not as it should be."""
    if (ended.status, ended.out) != (status, ""):
        return f"ended with {ended}"
    if "Traceback" in ended.err:
        return f"has a traceback: {ended.err}"
    return "" if words in ended.err else f"does not say {words!r} but {ended.err}"


def test_every_command_is_in_the_table() -> None:
    assert COMMANDS.keys() <= ROWS.keys()
    assert RIGHT.keys() == {name for name, command in COMMANDS.items() if "--context" in options(command)}


@pytest.mark.parametrize("name", COMMANDS)
async def test_wrong_input_is_refused(name: str, cli: Cli, folder: Path) -> None:
    """Of a command that talks to a server also with wrong options of that kind."""
    await build(cli.target)
    before = await cli.revision()
    rows: list[Row] = list(ROWS[name])
    if name in RIGHT:
        common = [*WITH_SERVER, XML] if "--output" in options(COMMANDS[name]) else WITH_SERVER
        rows += [(f"{RIGHT[name]} {arguments}", words) for arguments, words, *_ in common]
    problems = []
    for arguments, words, *status in rows:
        given = [*name.split(), *shlex.split(arguments.replace("FOLDER", str(folder)))]
        found = problem(await cli(*given), words.replace("FOLDER", str(folder)), status[0] if status else 2)
        if found or await cli.revision() != before:
            problems.append(f"{name} {arguments}: {found or 'changed something'}")
    assert problems == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


@pytest.mark.parametrize("name", RIGHT)
async def test_a_context_that_cannot_be_used(name: str, folder: Path) -> None:
    problems = []
    for arguments, words, *_ in WITH_CONTEXT:
        given = shlex.split(f"{name} {RIGHT[name]} {arguments}".replace("FOLDER", str(folder)))
        found = problem(await invoke(*given), words.replace("FOLDER", str(folder)), 2)
        problems += [f"{arguments}: {found}"] if found else []
    assert problems == []


async def test_the_right_arguments_are_right(cli: Cli, folder: Path) -> None:
    """So that it is the wrong option on top of them which is refused."""
    await build(cli.target)
    for name, arguments in RIGHT.items():
        if name != "watch":  # which goes on until Ctrl-C
            ended = await cli(*shlex.split(f"{name} {arguments}".replace("FOLDER", str(folder))))
            assert ended.status == (1 if name in ("check", "explain") else 0), f"{name}: {ended}"


def right(folder: Path) -> list[list[str]]:
    return [shlex.split(f"{name} {arguments}".replace("FOLDER", str(folder))) for name, arguments in RIGHT.items()]


async def test_no_server_is_5(folder: Path) -> None:
    given = right(folder)
    for arguments, ended in zip(given, await run_together(*given, POLICY_SERVICE_SERVER="127.0.0.1:1"), strict=True):
        assert problem(ended, "policy-service: no answer from 127.0.0.1:1: ", 5) == "", arguments


async def test_a_server_of_another_authority_is_5(start_server: StartServer, folder: Path) -> None:
    issued = trustme.CA().issue_cert("127.0.0.1")
    files = {"ca": trustme.CA().cert_pem, "cert": issued.cert_chain_pems[0], "key": issued.private_key_pem}
    for name, pem in files.items():
        pem.write_to_path(folder / name)
    server = await start_server(tls_cert=folder / "cert", tls_key=folder / "key")
    given = [each for each in right(folder) if each[0] in ("check", "status", "model")]  # some for each service
    environment = {"POLICY_SERVICE_SERVER": server.target, "POLICY_SERVICE_TLS_CA": f"{folder}/ca"}
    for arguments, ended in zip(given, await run_together(*given, **environment), strict=True):
        assert problem(ended, "CERTIFICATE_VERIFY_FAILED", 5) == "", arguments


async def test_who_may_not_is_told_so(start_server: StartServer, folder: Path) -> None:
    """Without a token, with one that the server does not know, and with one that lacks the permission."""
    entries = [with_token(each, f"ps_{each}", each) for each in ("check", "replicate")]
    server = await start_server(credentials=write_credentials(folder.parent / "credentials", *entries))
    for token in ("check", "replicate", "unknown"):
        (folder / token).write_text(f"ps_{token}\n")
    cli = Cli(server.target)
    for given in right(folder):
        lacking = "replicate" if given[0] in ("check", "explain", "models") else "check"
        assert problem(await cli(*given), "(--token-file, or --tls-cert with --tls-key, says who you are)", 2) == ""
        assert problem(await cli(*given, "--token-file", f"{folder}/unknown"), "--token-file", 2) == ""
        assert problem(await cli(*given, "--token-file", f"{folder}/{lacking}"), "needs the permission ", 2) == ""


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (("team", "create", "support", "--mode", "ALL"), "exists already", 4),
        (("team", "show", "ghost"), "there is no team 'ghost'", 3),
        (("team", "update", "support"), "there is nothing to change", 2),
    ],
)
async def test_so_it_is_of_a_process(cli: Cli, arguments: tuple[str, ...], words: str, status: int) -> None:
    await build(cli.target)
    assert problem(await run(*arguments, "--server", cli.target), words, status) == ""
