"""The processes of a data plane as the system sees them: whose they are, where they listen, who has a connection."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.process import Serving
from tests.support.waiting import until

LISTENING, ESTABLISHED = "0A", "01"


class Socket(NamedTuple):
    """A TCP socket: its own port, the other end's, and its inode."""

    port: int
    peer_port: int
    inode: int


def data_planes(parent: int | None = None) -> list[int]:
    """The process ids of the data planes that a server started, which by default is this process."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            _, _, fields = (folder / "stat").read_text().rpartition(")")
            state, its_parent = fields.split()[:2]
            program = (folder / "cmdline").read_bytes().partition(b"\0")[0]
            if int(its_parent) == (parent or os.getpid()) and state != "Z" and program.endswith(b"envoy"):
                found.append(int(folder.name))
    return sorted(found)


def id_of(server: Serving) -> int:
    """The process id of a server that is a process of its own."""
    return server._process.pid


def runs(process: int) -> bool:
    try:
        _, _, fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")
    except OSError:
        return False
    return fields.split()[0] != "Z"


def _sockets(state: str) -> Iterator[Socket]:
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state:
                port, peer_port = (int(fields[column].rpartition(":")[2], 16) for column in (1, 2))
                yield Socket(port, peer_port, int(fields[9]))


def _inodes(process: int) -> set[int]:
    found = set()
    with suppress(OSError):
        for link in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):
                if match := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                    found.add(int(match[1]))
    return found


def ports_listened_on(process: int) -> list[int]:
    """One for each socket."""
    inodes = _inodes(process)
    return [socket.port for socket in _sockets(LISTENING) if socket.inode in inodes]


async def server_of(client_port: int, processes: list[int]) -> int:
    """The one of the processes that took the connection from this port."""

    async def found() -> int | None:
        ends = {socket.inode for socket in _sockets(ESTABLISHED) if socket.peer_port == client_port}
        return next((process for process in processes if _inodes(process) & ends), None)

    process = await until(found, f"one of them has the connection from {client_port}")
    assert process is not None
    return process
