"""The process of the load generator, and what a measurement asks of it."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import TypeVar

from bench.load.call import Call
from bench.load.connection import Connection, Row
from bench.load.loops import Closed, Open, Spacing, closed_loop, open_loop

CONNECTIONS, STREAMS = 8, 16
Result = TypeVar("Result")

_rows: dict[int, list[Row]] = {}  # of each load, a row for each connection; in the process of the generator


class Generator:
    """Get one from `generator`. Its loads are made once and used again and again, one at a time."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool, self._numbers = pool, count()

    async def load(self, port: int, calls: Sequence[Call], *, connections: int = CONNECTIONS, token: str = "") -> Load:
        """Calls of one path, which its loops ask a server in turn, over new connections each time: one that does
        nothing for long is closed. The loops raise WrongAnswer."""
        number = next(self._numbers)
        await self.run(_make, number, port, calls, connections, token)
        return Load(self, number)

    async def run(self, work: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


class Load:
    """`pids`: processes whose processor time is taken over the same seconds."""

    def __init__(self, generator: Generator, number: int) -> None:
        self._generator, self._number = generator, number

    async def closed(
        self, seconds: float, pids: Sequence[int] = (), *, warm_up_s: float = 0.3, streams: int = STREAMS
    ) -> Closed:
        return await self._generator.run(_closed, self._number, streams, warm_up_s, seconds, pids)

    async def open(
        self, rate: float, seconds: float, pids: Sequence[int] = (), *, warm_up_s: float = 0.3, spacing: Spacing
    ) -> Open:
        return await self._generator.run(_open, self._number, rate, warm_up_s, seconds, spacing, pids)

    async def forget(self) -> None:
        await self._generator.run(_forget, self._number)


@asynccontextmanager
async def generator() -> AsyncIterator[Generator]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=gc.disable) as pool:
        yield Generator(pool)


def _make(number: int, port: int, calls: Sequence[Call], connections: int, token: str) -> None:
    _rows[number] = Row.of(port, calls, token).every(connections)


def _closed(number: int, streams: int, warm_up_s: float, seconds: float, pids: Sequence[int]) -> Closed:
    with _connected(number) as connections:
        return closed_loop(connections, streams, warm_up_s, seconds, pids)


def _open(number: int, rate: float, warm_up_s: float, seconds: float, spacing: Spacing, pids: Sequence[int]) -> Open:
    with _connected(number) as connections:
        return open_loop(connections, rate, warm_up_s, seconds, spacing, pids)


@contextmanager
def _connected(number: int) -> Iterator[list[Connection]]:
    """Connections, which ask what was not asked so far."""
    connections: list[Connection] = []
    try:
        for row in _rows[number]:
            connections.append(Connection(row))
        yield connections
    finally:
        for connection in connections:
            connection.close()
    _rows[number] = [row.after(made.sent) for row, made in zip(_rows[number], connections, strict=True)]


def _forget(number: int) -> None:
    del _rows[number]
