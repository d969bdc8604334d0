"""`policy-service serve` as a process of its own, which can be asked to stop and killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("policy-service")
GRPCURL = Path(sys.executable).with_name("grpcurl")
START_S = 60.0
END_S = 60.0


class Serving:
    """A running server: where it listens, as its start-up line says, and all that it wrote to standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[str] = []
        self._announced = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.lines.append(line.decode())
            if " serving " in self.lines[-1]:
                self._announced.set()
        self._announced.set()

    async def started(self) -> Serving:
        await asyncio.wait_for(self._announced.wait(), START_S)
        assert self.announcement, f"it did not start: {self.lines}"
        return self

    @property
    def announcement(self) -> str:
        """The start-up line."""
        return next((line for line in self.lines if " serving " in line), "")

    def announced(self, field: str) -> str:
        """A field of the start-up line."""
        found = re.search(rf' {field}=("[^"]*"|\S+)', self.announcement)
        assert found, self.announcement
        return found[1].strip('"')

    @property
    def target(self) -> str:
        return self.announced("listen")

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)

    async def ended(self) -> int:
        """The exit status."""
        status = await asyncio.wait_for(self._process.wait(), END_S)
        await self._reader
        return status

    async def stop(self) -> int:
        self.terminate()
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()


async def launch(database: Path, *options: str, listen: str = "127.0.0.1:0", **configured: str) -> Serving:
    """Starts a server on a free port, with an environment that configures no more than is given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}
    environment |= {f"POLICY_SERVICE_{name}": value for name, value in configured.items()}
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "serve",
        f"--listen={listen}",
        f"--database={database}",
        *options,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    return Serving(process)


@asynccontextmanager
async def serving(
    database: Path, *options: str, listen: str = "127.0.0.1:0", **configured: str
) -> AsyncIterator[Serving]:
    """A server that is killed at the end, if it still runs."""
    server = await launch(database, *options, listen=listen, **configured)
    try:
        yield await server.started()
    finally:
        await server.kill()


async def grpcurl(*arguments: str) -> tuple[int, str]:
    """Runs the real grpcurl. Its exit status and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
