"""An empty PostgreSQL on loopback, which does not wait for the disk."""

from __future__ import annotations

import asyncio
import getpass
import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGINT
from typing import NamedTuple

from bench.processes import LIMIT_S, free_port

_DEBIAN = Path("/usr/lib/postgresql")  # has a folder a version, none of which is on the PATH
_ACCOUNT = "postgres"  # instead of root, whom it refuses to run as
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "track_commit_timestamp": "on",
}


class Postgres(NamedTuple):
    """`uri`: of a database in it."""

    pid: int
    uri: str
    psql: Path

    async def analyze(self) -> None:
        """What it would do by itself after a while: look how the data is distributed."""
        await _run([self.psql, self.uri, "--command=VACUUM ANALYZE"])


def missing() -> str:
    if not _programs():
        return "there is no PostgreSQL: install the package postgresql"
    if os.getuid() == 0 and _ACCOUNT not in {account.pw_name for account in pwd.getpwall()}:
        return f"PostgreSQL does not run as root, and there is no account {_ACCOUNT}"
    return ""


@asynccontextmanager
async def postgres() -> AsyncIterator[Postgres]:
    programs, port = _programs(), free_port()
    assert programs
    account = _ACCOUNT if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="bench-postgres-") as folder:
        if account:
            shutil.chown(folder, account)
        data = Path(folder) / "data"
        await _run([programs / "initdb", "--pgdata", data, "--auth=trust", "--no-sync"], account)
        settings = [f"--{name}={value}" for name, value in (SETTINGS | {"port": str(port)}).items()]
        server = await _start([programs / "postgres", "-D", data, *settings], account)
        try:
            uri = f"postgres://{account or getpass.getuser()}@127.0.0.1:{port}/postgres?sslmode=disable"
            await _ready([programs / "psql", uri, "--command=SELECT 1"])
            yield Postgres(server.pid, uri, programs / "psql")
        finally:
            with suppress(ProcessLookupError):
                server.send_signal(SIGINT)  # it ends its own processes
            await server.wait()


def _programs() -> Path | None:
    """The folder of initdb and the rest."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    folders = [path.parent for path in _DEBIAN.glob("*/bin/initdb")]
    return max(folders, default=None, key=lambda folder: int(folder.parent.name))


async def _start(command: list[Path | str], account: str | None) -> asyncio.subprocess.Process:
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, user=account, cwd="/")


async def _run(command: list[Path | str], account: str | None = None) -> None:
    process = await _start(command, account)
    if await process.wait():
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")


async def _ready(attempt: list[Path | str]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            with suppress(RuntimeError):
                return await _run(attempt)
            await asyncio.sleep(0.1)
