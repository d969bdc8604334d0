"""A proxy that stands for the network between two machines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Passes on what comes to its port. Connections that were silenced stay open, and nothing comes through any more;
    new ones are passed on."""

    def __init__(self, port: int) -> None:
        self.target = ""
        self._port = port
        self._heard: set[object] = set()
        self._writers: list[asyncio.StreamWriter] = []

    def silence(self) -> None:
        self._heard.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = object()
        self._heard.add(connection)
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += (writer, back)

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while content := await source.read(1 << 16):
                    if connection in self._heard:
                        target.write(content)
                        await target.drain()
            if connection in self._heard:
                target.close()

        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))
        writer.close()
        back.close()

    async def close(self) -> None:
        """Closes what is open, the silenced too."""
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)


@asynccontextmanager
async def silencing(target: str) -> AsyncIterator[Proxy]:
    """A proxy before this server."""
    proxy = Proxy(int(target.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
