"""An HTTP/1.1 client that costs little: requests are ready as bytes, connections stay open, each has one request at a
time, and of an answer no more is read than its status and where it ends."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from bench.processes import LIMIT_S

_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n")


class Request(NamedTuple):
    """The bytes of a request, and whether the policy allows it."""

    head: bytes
    body: bytes
    allowed: bool


class Answers(NamedTuple):
    """What came of it: how long each took, in milliseconds, of those allowed and of those denied."""

    seconds: float
    allowed_ms: list[float]
    denied_ms: list[float]

    @property
    def count(self) -> int:
        return len(self.allowed_ms) + len(self.denied_ms)


class Load:
    """Sends requests, again and again, over all its connections. `guarded`: those that are not allowed get a 403."""

    def __init__(self, requests: Iterator[Request], guarded: bool) -> None:
        self._requests, self._guarded = requests, guarded
        self._connections: list[_Connection] = []
        self._ends = 0.0
        self._busy = 0
        self._answers = Answers(0.0, [], [])
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self, port: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", port)

    def close(self) -> None:
        self._done.cancel()
        for connection in self._connections:
            connection.transport.abort()

    async def run(self, seconds: float) -> Answers:
        """For so long, and until everything is answered. Raises for an answer that was not to be expected."""
        self._answers = Answers(0.0, [], [])
        self._done = asyncio.get_running_loop().create_future()
        self._busy = len(self._connections)
        began = time.perf_counter()
        self._ends = began + seconds
        for connection in self._connections:
            assert not connection.transport.is_closing()
            connection.send(next(self._requests))
        async with asyncio.timeout(seconds + LIMIT_S):
            await self._done
        return self._answers._replace(seconds=time.perf_counter() - began)

    def opened(self, connection: _Connection) -> None:
        self._connections.append(connection)

    def answered(self, connection: _Connection, status: bytes) -> None:
        request, now = connection.request, time.perf_counter()
        allowed = request.allowed or not self._guarded
        if status != (b"200" if allowed else b"403"):
            self.failed(f"{status.decode()} where {'200' if allowed else '403'} was expected: {request.head.decode()}")
            return
        (self._answers.allowed_ms if allowed else self._answers.denied_ms).append((now - connection.began) * 1e3)
        if now < self._ends:
            connection.send(next(self._requests))
            return
        self._busy -= 1
        if not self._busy and not self._done.done():
            self._done.set_result(None)

    def failed(self, words: str) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(words))


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport
    request: Request

    def __init__(self, load: Load) -> None:
        self.began = 0.0
        self._load = load
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._load.opened(self)

    def send(self, request: Request) -> None:
        self.request, self.began = request, time.perf_counter()
        self.transport.write(request.head + request.body)

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data
        end = received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(received, 0, end)
        if length is None:
            self._load.failed(f"an answer without a length: {received[:end].decode()}")
        elif len(received) >= end + int(length[1]):
            self._received = b""
            self._load.answered(self, received[9:12])

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.failed("a connection was closed")


@asynccontextmanager
async def connected(port: int, count: int, requests: Iterator[Request], guarded: bool) -> AsyncIterator[Load]:
    """So many connections, which stay open."""
    load = Load(requests, guarded)
    try:
        await load.connect(port, count)
        yield load
    finally:
        load.close()
