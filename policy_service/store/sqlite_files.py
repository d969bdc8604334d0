"""The files of a SQLite database: its lock, its connections, and how a change of a directory is made durable."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite

from policy_service.errors import DatabaseError

# What SQLite keeps beside a database: each belongs to the file of that name, and to no other that takes its place.
COMPANIONS = ("-wal", "-shm", "-journal")


def lock(path: Path) -> int:
    """Takes the lock file beside the database, which the kernel releases with the process. Makes the directory if
    there is none. Raises DatabaseError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = os.open(lock_file(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseError(f"cannot use the database {path}: {error.strerror}") from error
    try:
        fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(taken)
        raise DatabaseError(f"{path} is in use by another Policy Service; stop it, or name another file") from error
    return taken


def lock_file(path: Path) -> Path:
    return Path(f"{path.resolve()}.lock")


async def connect(path: Path, timeout_s: float) -> aiosqlite.Connection:
    """Opens a database that is there, for reading and writing if its permissions allow that. A statement that finds
    it locked waits up to `timeout_s`. Raises sqlite3.OperationalError."""
    return await aiosqlite.connect(_uri(path), uri=True, isolation_level=None, timeout=timeout_s)


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=rw"


@asynccontextmanager
async def connected(path: Path, timeout_s: float) -> AsyncIterator[aiosqlite.Connection]:
    """A connection of its own, closed at the end; also when the caller is cancelled while it is being opened."""
    opening = asyncio.create_task(connect(path, timeout_s))
    try:
        yield await asyncio.shield(opening)
    finally:
        await (await opening).close()


def sync(path: Path) -> None:
    """Waits until a file's content, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
