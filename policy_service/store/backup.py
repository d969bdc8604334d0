"""Backups of a SQLite database, and databases made of backups.

A backup is a database file of its own: compact, at one revision, at the schema version that the database had.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from policy_service.domain.changelog import Loading
from policy_service.domain.changes import Position
from policy_service.domain.state import State
from policy_service.errors import DatabaseError
from policy_service.store.migrations import any_schema_version, migrate, schema_version
from policy_service.store.protocol import new_epoch
from policy_service.store.sqlite import BUSY_TIMEOUT_S
from policy_service.store.sqlite_commit import write_epoch
from policy_service.store.sqlite_files import COMPANIONS, connected, lock, lock_file, sync
from policy_service.store.sqlite_rows import LINEAGE, lineage_of
from policy_service.store.sqlite_visit import finish_loading, show


class Content(NamedTuple):
    """What a database file holds."""

    position: Position
    teams: int
    members: int


class Restored(NamedTuple):
    """What a database holds now, the epoch of the backup it was made of, and where the former database is kept."""

    content: Content
    backup_epoch: str
    former: Path | None


async def backup(database: Path, file: Path) -> Content:
    """Copies the database, which may be in use, as it is at one revision, into a new file. Raises DatabaseError, and
    leaves nothing behind then."""
    database = _checked_target(database, file)
    await _check_version(database)
    with _temporary(file) as temporary:
        await _copy(database, temporary)
        content = await _content(temporary, database)
        sync(temporary)
        temporary.rename(file)
        sync(file.parent)
    return content


async def restore(file: Path, database: Path) -> Restored:
    """Puts what a backup holds in the place of the database, in a new epoch. Raises DatabaseError, and leaves the
    database as it was then.

    The database is exchanged in one step. What a crash leaves is the former or the new one, and perhaps files named
    `.<database>.*.tmp`, of which `.former.tmp` are the database before.
    """
    database = _checked_source(file, database)
    await _check_version(file)
    content = await _content(file, file)
    locked = lock(database)
    try:
        with _temporary(database) as temporary:
            await _copy(file, temporary)
            former_epochs = await _close_off(database)
            position = await _begin_epoch(temporary, former_epochs)
            sync(temporary)
            former = _exchange(temporary, database)
    finally:
        os.close(locked)
    return Restored(content._replace(position=position), content.position.epoch, former)


# What is asked for, checked


def _checked_target(database: Path, file: Path) -> Path:
    """The database itself, not a link to it."""
    database = Path(os.path.realpath(database))
    _refuse_own_files(database, file)
    _refuse_unless_file(database)
    if os.path.lexists(file):
        raise DatabaseError(f"{file} is there already; name a file that is not")
    return database


def _checked_source(file: Path, database: Path) -> Path:
    """The database itself, not a link to it."""
    database = Path(os.path.realpath(database))
    _refuse_own_files(database, file)
    _refuse_unless_file(file)
    if _exists(database):
        _refuse_unless_file(database)
    return database


def _refuse_own_files(database: Path, file: Path) -> None:
    own = [database, lock_file(database), *(Path(f"{database}{suffix}") for suffix in COMPANIONS)]
    if Path(os.path.realpath(file)) in own:
        raise DatabaseError(f"{file} belongs to the database itself; name another file")


def _refuse_unless_file(path: Path) -> None:
    if not os.path.isfile(path):
        raise DatabaseError(f"{path} is no file" if _exists(path) else f"{path} does not exist")


def _exists(path: Path) -> bool:
    return os.path.exists(path)


async def _check_version(path: Path) -> None:
    try:
        async with connected(path, BUSY_TIMEOUT_S) as connection:
            version = await schema_version(connection, str(path))
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot read {path}: {error}") from error
    if version == 0:
        raise DatabaseError(f"{path} is empty")


async def _content(path: Path, named: Path) -> Content:
    """Reads all of a database. Raises DatabaseError, which calls it `named`, when its records are not those of its
    log."""
    state = State()
    try:
        async with connected(path, BUSY_TIMEOUT_S) as connection:
            lineage = await show(connection, Loading(state), str(named))
    except sqlite3.OperationalError as error:
        raise DatabaseError(f"cannot read {named}: {error}") from error
    finish_loading(state, lineage, str(named))
    return Content(state.position, len(state.teams), sum(len(team.members) for team in state.teams.values()))


# Copying


@contextmanager
def _temporary(beside: Path) -> Iterator[Path]:
    """An empty file that is its owner's alone; gone at the end, unless it was renamed. Raises DatabaseError for what
    cannot be done with files."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{beside.name}.", suffix=".tmp", dir=beside.parent)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            for suffix in ("", *COMPANIONS):
                Path(f"{name}{suffix}").unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseError(f"cannot write {beside}: {error.strerror}") from error


async def _copy(source: Path, target: Path) -> None:
    """Fills an empty file with what a database holds at one revision."""
    try:
        async with connected(source, BUSY_TIMEOUT_S) as connection:
            await connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot copy {source} to {target.parent}: {error}") from error


async def _begin_epoch(path: Path, former_epochs: tuple[str, ...]) -> Position:
    """Migrates a copy of a backup and gives it a new epoch. Followers of the backup's epochs, and of those of the
    database that it replaces, learn from the ancestors that they have to start over."""
    try:
        async with connected(path, BUSY_TIMEOUT_S) as connection:
            await migrate(connection, await schema_version(connection, str(path)))
            position, ancestors = lineage_of(*await connection.execute_fetchall(LINEAGE))
            epoch = new_epoch()
            await write_epoch(connection, epoch, (*ancestors, position.epoch, *former_epochs))
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot write {path}: {error}") from error
    return position._replace(epoch=epoch)


# Replacing a database


async def _close_off(database: Path) -> tuple[str, ...]:
    """Brings all of a database into its one file, so that exchanging this is all there is to do. Returns its epochs,
    the oldest first; none for one that is not there or too damaged to be read.

    Raises DatabaseError for the database of another program, and for one that is being read.
    """
    if not _exists(database):
        return ()
    try:
        async with connected(database, BUSY_TIMEOUT_S) as connection:
            ((is_busy, *_),) = await connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            if is_busy:
                raise DatabaseError(f"{database} is being read by another program; try again when that has ended")
            if not await any_schema_version(connection, str(database)):
                return ()
            position, ancestors = lineage_of(*await connection.execute_fetchall(LINEAGE))
    except sqlite3.OperationalError as error:
        raise DatabaseError(f"cannot use the database {database}: {error}") from error
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return ()
    return (*ancestors, position.epoch)


def _exchange(new: Path, database: Path) -> Path | None:
    """Puts the new file in the place of the database, which is kept under a name that tells when. What is done is on
    the disk before what needs it: a companion of the former database may never be beside the new one."""
    kept = Path(f"{database}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    former = new.with_suffix(".former.tmp")  # it gets its name when it is the database no more
    is_replaced = database.exists()
    if is_replaced:
        former.hardlink_to(database)
    try:
        for suffix in COMPANIONS:
            if Path(f"{database}{suffix}").exists():
                Path(f"{database}{suffix}").rename(f"{kept}{suffix}")
        sync(database.parent)
        new.rename(database)
    except OSError:
        former.unlink(missing_ok=True)
        raise
    sync(database.parent)
    if not is_replaced:
        return None
    former.rename(kept)
    sync(database.parent)
    return kept
