"""A server that others made, as a process of its own, killed at the end of its `async with`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from bench.processes import LIMIT_S

_SHOWN = 2_000  # of the last characters that it wrote


@asynccontextmanager
async def started(
    folder: Path, command: Sequence[str | Path], port: int, environment: Mapping[str, str] | None = None
) -> AsyncIterator[int]:
    """The id of the process, once it listens. What it writes is in the folder, and in the error when it ends early."""
    written = folder / f"{Path(command[0]).name}-{port}.log"
    with written.open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=environment)
    try:
        await _listening(process, port, written)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _listening(process: asyncio.subprocess.Process, port: int, written: Path) -> None:
    until = time.monotonic() + LIMIT_S
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        if process.returncode is not None or time.monotonic() > until:
            said = await asyncio.to_thread(written.read_text)
            raise RuntimeError(f"{written.stem} does not listen:\n{said[-_SHOWN:]}")
        await asyncio.sleep(0.02)


async def finished(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Runs it to its end, which has to be a good one."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}:\n{said.decode()[-_SHOWN:]}")
