"""The command `policy-service` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from .waiting import eventually

COMMAND = str(Path(sys.executable).with_name("policy-service"))
DEADLINE_S = 20.0


class Ended(NamedTuple):
    """What a command left."""

    status: int
    stdout: str
    stderr: str


class Serving:
    """A server that runs; all it has written so far."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def target(self) -> str:
        found = re.search(r" info serving listen=(\S+)", self.output)
        assert found, self.output
        return found[1]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("POLICY_SERVICE_")}
    return inherited | {"COLUMNS": "200", "NO_COLOR": "1"} | dict(more)


async def run(*arguments: str, **environment: str) -> Ended:
    """Runs the command to its end."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        COMMAND, *arguments, stdout=pipe, stderr=pipe, env=_environment(environment)
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode is not None
    return Ended(process.returncode, stdout.decode(), stderr.decode())


@asynccontextmanager
async def serving(folder: Path, *arguments: str, **environment: str) -> AsyncIterator[Serving]:
    """`policy-service serve` until the end of the block. Its standard output and error go to a file in `folder`."""
    output = folder / "output.txt"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            COMMAND, "serve", *arguments, stdout=file, stderr=file, env=_environment(environment), cwd=folder
        )
    server = Serving(output)

    async def started_or_ended() -> bool:
        return " info serving " in server.output or process.returncode is not None

    try:
        await eventually(started_or_ended, "the server starts", DEADLINE_S)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        status = await asyncio.wait_for(process.wait(), DEADLINE_S)
    assert status == 0, server.output
