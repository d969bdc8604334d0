"""One data-plane process and the pipe to it."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import struct
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from policy_service.config import Config
from policy_service.dataplane import envoy
from policy_service.dataplane.process import BEAT, BEAT_S, Beat
from policy_service.tasks import cancel

FIRST_DELAY_S, MAX_DELAY_S = 0.25, 30.0  # before a process that ended is started again; doubled each time
STABLE_S = 60.0  # one that ran so long is started again at once, nearly
FIRST_BEAT_S = 15.0  # from the start of a process
HANG_S = 30.0  # without a beat after that
END_S = 5.0  # for a process to end that was asked to
SILENT = Beat(serving=False, running=0)

log = logging.getLogger(__name__)


class Child:
    """Keeps a process running until `stop`. `beat` is its last; `changed` is called with each."""

    def __init__(
        self, number: int, folder: Path, where: envoy.Socket, config: Config, changed: Callable[[], None]
    ) -> None:
        self._number, self._folder, self._where, self._config = number, folder, where, config
        self._changed = changed
        self.beat = SILENT
        self._heard_at = 0.0
        self._beats = 0
        self._process: asyncio.subprocess.Process | None = None
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._keep_running(), name=f"data plane {self._number}")

    async def _keep_running(self) -> None:
        loop, delay_s = asyncio.get_running_loop(), FIRST_DELAY_S
        while True:
            began = loop.time()
            try:
                ended = await self._run()
            except OSError as error:
                ended = str(error)
            self._hear(SILENT)
            if loop.time() - began > STABLE_S:
                delay_s = FIRST_DELAY_S
            fields = {"process": self._number, "ended": ended, "restart_in_s": delay_s}
            log.error("a data-plane process ended by itself", extra={"fields": fields})
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, MAX_DELAY_S)

    async def _run(self) -> str:
        """Returns how it ended."""
        loop = asyncio.get_running_loop()
        ours, theirs = multiprocessing.Pipe()
        with ours:
            with theirs:
                process = await envoy.launch(self._folder, self._where, self._config, theirs.fileno())
            self._process, self._heard_at, self._beats = process, loop.time(), 0
            with suppress(OSError):  # it ended already; its status says how
                ours.send(self._config)
            loop.add_reader(ours.fileno(), self._read, ours)
            try:
                return await self._watch(process)
            finally:
                loop.remove_reader(ours.fileno())

    async def _watch(self, process: asyncio.subprocess.Process) -> str:
        loop = asyncio.get_running_loop()
        while True:
            with suppress(TimeoutError):
                status = await asyncio.wait_for(process.wait(), BEAT_S)
                return f"with status {status}" if status >= 0 else f"by signal {-status}"
            most_s = HANG_S if self._beats else FIRST_BEAT_S
            if loop.time() - self._heard_at > most_s:
                process.kill()
                await process.wait()
                return f"killed after {most_s:g} s without a sign of life"

    def _read(self, pipe: Connection) -> None:
        try:
            while pipe.poll():
                self._heard_at = asyncio.get_running_loop().time()
                self._beats += 1
                self._hear(Beat.decode(pipe.recv_bytes(BEAT.size)))
        except (EOFError, OSError, struct.error):  # it ended; its status says how
            asyncio.get_running_loop().remove_reader(pipe.fileno())

    def _hear(self, beat: Beat) -> None:
        self.beat = beat
        self._changed()

    async def stop(self) -> None:
        """Drains the process and ends it."""
        if self._process is not None and self._process.returncode is None and self._beats:
            with suppress(OSError):  # whatever happens, it ends
                await self._drain(self._process)
        if self._running is not None:
            await cancel(self._running)  # which would start another
        if self._process is not None and self._process.returncode is None:
            await _end(self._process)

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        """Nothing listens any more, connections are told to go; returns once no call has run for two beats."""
        envoy.serve(self._folder)
        quiet, beats = 0, self._beats
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_timeout_s):
                while quiet < 2 and process.returncode is None:
                    await asyncio.sleep(BEAT_S / 4)
                    if self._beats > beats:
                        quiet = 0 if self.beat.running else quiet + 1
                        beats = self._beats


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        process.kill()
        await process.wait()
