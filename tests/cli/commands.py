"""Runs the installed command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
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


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")} | more
