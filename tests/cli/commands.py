"""Runs the command: the installed one as a process, or in this process, which is a hundred times quicker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import typer.main
import yaml
from typer.testing import CliRunner

from policy_client import AccessClient
from policy_service.cli.main import app

COMMAND = Path(sys.executable).with_name("policy-service")
FOREGROUND = (sys.executable, Path(__file__).with_name("foreground.py"))
TIMEOUT_S = 60
NOWHERE = "/nonexistent"
_IN_PROCESS = typer.main.get_command(app)


class Ended(NamedTuple):
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


async def run(*arguments: str, text: str = "", **environment: str) -> Ended:
    """The command's exit status and output; `text` is its standard input, which is no terminal."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(environment),
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate(text.encode())
    return Ended(process.returncode or 0, out.decode(), err.decode())


def commands() -> dict[str, Any]:
    """Every command that does something, by its name with those of the groups it is in."""

    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if not hasattr(command, "commands"):
            yield name, command
        for below, each in getattr(command, "commands", {}).items():
            yield from walk(f"{name} {below}".strip(), each)

    return dict(walk("", _IN_PROCESS))


def options(command: Any) -> set[str]:
    """The names of its options."""
    return {name for parameter in command.params for name in parameter.opts if name.startswith("-")}


async def invoke(*arguments: str, text: str | bytes = "", **environment: str) -> Ended:
    """As `run`, in a thread of this process: for tables, and wherever the process does not matter. One at a time: the
    streams are the process's. What a command lets through, which would be a traceback, is raised."""
    return await asyncio.to_thread(_invoke, arguments, text, environment)


def _invoke(arguments: tuple[str, ...], text: str | bytes, environment: dict[str, str]) -> Ended:
    wanted = _environment(environment)
    changed = {name: wanted.get(name) for name in (os.environ.keys() | wanted)}
    status = 0
    with CliRunner().isolation(input=text, env=changed) as (out, err, _):
        try:
            _IN_PROCESS.main(args=list(arguments), prog_name="policy-service")
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return Ended(status, out.getvalue().decode(), err.getvalue().decode())


async def run_together(*many: Sequence[str], **environment: str) -> list[Ended]:
    """As `run`, side by side: for commands that wait. They are forks of one process that has loaded the code."""
    pipe = asyncio.subprocess.PIPE
    program = Path(__file__).with_name("forks.py")
    with TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable, program, folder, stdin=pipe, stdout=pipe, env=_environment(environment)
        )
        async with asyncio.timeout(TIMEOUT_S):
            out, _ = await process.communicate(json.dumps(many).encode())
    assert process.returncode == 0
    return [Ended(*each) for each in json.loads(out)]


def load_yaml(text: str) -> Any:
    """The document; by the quick parser, for long ones."""
    return yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)


class Cli:
    """The command, in this process, against one server."""

    def __init__(self, target: str) -> None:
        self.target = target

    async def __call__(self, *arguments: str, text: str | bytes = "", **environment: str) -> Ended:
        return await invoke(*arguments, text=text, **{"POLICY_SERVICE_SERVER": self.target} | environment)

    async def done(self, *arguments: str) -> str:
        """What a command prints that succeeds and has nothing else to say."""
        ended = await self(*arguments)
        assert (ended.status, ended.err) == (0, "")
        return ended.out

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.done(*arguments, "--output", "json"))

    async def yaml(self, *arguments: str) -> Any:
        return load_yaml(await self.done(*arguments, "-o", "yaml"))

    async def revision(self) -> str:
        """What the server is at."""
        async with AccessClient(self.target) as access:
            return (await access.check("x", "x", "x")).revision


async def run_and_answer(*arguments: str, answer: str, meanwhile: Callable[[], Awaitable[object]]) -> Ended:
    """Runs the command on a terminal. When it has asked, first `meanwhile` happens, then the answer is typed."""
    ours, its = os.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdin=its,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment({}),
    )
    os.close(its)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            asked = await process.stdout.readuntil(b"[y/N]:")
            await meanwhile()
            os.write(ours, answer.encode() + b"\n")
            out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
            await process.wait()
    finally:
        os.close(ours)
    return Ended(process.returncode or 0, (asked + out).decode(), err.decode())


class Running:
    """A command that goes on until it is interrupted; the lines that it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = asyncio.gather(self._read(process.stdout, self.out), self._read(process.stderr, self.err))

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            lines.append(line.decode().rstrip("\n"))

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    async def ended(self) -> int:
        """The exit status."""
        async with asyncio.timeout(TIMEOUT_S):
            await self._readers
            return await self._process.wait()

    async def kill(self) -> None:
        if not self.has_ended:
            self._process.kill()
        await self.ended()


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Running]:
    """Runs the command until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        *FOREGROUND,
        COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment({}),
    )
    command = Running(process)
    try:
        yield command
    finally:
        await command.kill()


def _environment(more: dict[str, str]) -> dict[str, str]:
    """What configures nothing that is not given, not even by the configuration file of who runs the tests; lines are
    not broken."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}
    return inherited | {"XDG_CONFIG_HOME": NOWHERE, "COLUMNS": "1000", "NO_COLOR": "1"} | more
