"""Runs the installed command on a terminal: what it shows there, and what somebody types."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import struct
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .commands import COMMAND, FOREGROUND, TIMEOUT_S

COLUMNS, ROWS = 100, 40
CTRL_C = "\x03"


class Terminal:
    """The command's controlling terminal. `screen` has all that was written to it, `out` what went to a pipe."""

    def __init__(self, process: asyncio.subprocess.Process, ours: int) -> None:
        self._process, self._ours = process, ours
        self.screen, self.out = "", ""
        self._grown = asyncio.Event()
        self._closed = asyncio.Event()
        asyncio.get_running_loop().add_reader(ours, self._read)
        self._piped = asyncio.create_task(self._read_pipe())

    def _read(self) -> None:
        try:
            read = os.read(self._ours, 1 << 16)
        except OSError:  # the other end was closed
            read = b""
        if not read:
            asyncio.get_running_loop().remove_reader(self._ours)
            self._closed.set()
        self.screen += read.decode(errors="replace")
        self._grown.set()

    async def _read_pipe(self) -> None:
        if self._process.stdout is not None:
            self.out = (await self._process.stdout.read()).decode()

    @property
    def lines(self) -> list[str]:
        """What is left in each line when those that were cleared are written again, without colours."""
        left = (line.rpartition("\x1b[2K")[2] for line in self.screen.split("\n"))
        return [re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", line).strip("\r") for line in left]

    async def shows(self, text: str) -> None:
        """Waits until it does."""
        async with asyncio.timeout(TIMEOUT_S):
            while text not in self.screen:
                assert not self._closed.is_set(), self.screen
                self._grown.clear()
                await self._grown.wait()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    async def interrupted(self) -> int:
        """Presses Ctrl-C until the command has ended: a prompt misses one that comes right before it reads."""
        while not self._closed.is_set():
            self.type(CTRL_C)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), 2.0)
        return await self.ended()

    async def ended(self, limit_s: float = TIMEOUT_S) -> int:
        """The exit status."""
        async with asyncio.timeout(limit_s):
            await self._closed.wait()
            await self._piped
            return await self._process.wait()


@asynccontextmanager
async def on_terminal(*arguments: str, out_piped: bool = False) -> AsyncIterator[Terminal]:
    """Runs the command until the end of the block; its standard output may be a pipe."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}
    environment |= {"TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    process = await asyncio.create_subprocess_exec(
        *FOREGROUND,
        COMMAND,
        *arguments,
        stdin=its,
        stdout=asyncio.subprocess.PIPE if out_piped else its,
        stderr=its,
        env=environment,
        start_new_session=True,
    )
    os.close(its)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await terminal.ended()
        os.close(ours)
