"""Runs the installed command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

COMMAND = Path(sys.executable).with_name("policy-service")
TIMEOUT_S = 60


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


def _take_interrupts() -> None:
    """Tests that run in the background of a shell ignore SIGINT, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Running]:
    """Runs the command until the end of the block."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment({}),
        preexec_fn=_take_interrupts,
    )
    command = Running(process)
    try:
        yield command
    finally:
        await command.kill()


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")} | more
