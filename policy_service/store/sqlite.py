"""The store in one SQLite file: WAL, `synchronous=FULL`, one writer. All SQL but the schema is here."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from policy_service.domain.changelog import Lineage, Loading, LogSlice, Visitor
from policy_service.domain.changes import Position
from policy_service.domain.encoding import format_time, parse_time, scope_from_json
from policy_service.domain.records import AccessGroup, Member, Model, ScopeSource, Team
from policy_service.domain.state import State
from policy_service.errors import DatabaseError, Unavailable
from policy_service.store import witness
from policy_service.store.migrations import migrate, schema_version
from policy_service.store.protocol import (
    LOG_SLICES,
    PAGE_BYTES,
    Commit,
    LogFilter,
    Page,
    RecordedRequest,
    new_epoch,
    team_scopes_listing,
)
from policy_service.store.sqlite_commit import CommitWriter, write_epoch
from policy_service.store.sqlite_files import connect, connected, lock
from policy_service.store.sqlite_rows import (
    LINEAGE,
    LOG_COLUMNS,
    MEMBER_COLUMNS,
    POSITION,
    group_of,
    image_of,
    lineage_of,
    log_entry_of,
    member_of,
    model_of,
    position_of,
    team_of,
)
from policy_service.store.sqlite_visit import LoadingLog, Progress, finish_loading, show, silently

BUSY_TIMEOUT_S = 5.0
READERS = 4

R = TypeVar("R")

log = logging.getLogger(__name__)


class SqliteStore:
    """Open with `open`. The file is locked against a second authority while it is open."""

    def __init__(self, path: Path, lock: int, writer: aiosqlite.Connection) -> None:
        self.location = str(path.absolute())
        self._lock, self._writer = lock, writer
        self._readers: list[aiosqlite.Connection] = []
        self._free: asyncio.Queue[aiosqlite.Connection] = asyncio.Queue()
        self._reads: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """Opens or creates the database and migrates it. Raises DatabaseError."""
        _make_file(path)
        locked = lock(path)
        try:
            writer = await connect(path, BUSY_TIMEOUT_S)
        except BaseException as error:
            os.close(locked)
            if isinstance(error, sqlite3.Error):
                raise DatabaseError(f"cannot open the database {path}: {error}") from error
            raise
        store = cls(path, locked, writer)
        try:
            version = await schema_version(writer, str(path))  # before the first write: what is not ours stays as it is
            await writer.execute("PRAGMA journal_mode = WAL")
            await writer.execute("PRAGMA synchronous = FULL")
            await migrate(writer, version)
            await writer.execute("DELETE FROM policies WHERE policy NOT IN (SELECT policy FROM members)")
            for _ in range(READERS):
                reader = await connect(path, BUSY_TIMEOUT_S)
                store._readers.append(reader)
                store._free.put_nowait(reader)
            await store._notice_going_back()
        except BaseException as error:
            await store.close()
            if isinstance(error, sqlite3.Error):
                raise DatabaseError(f"cannot use the database {path}: {error}") from error
            raise
        return store

    async def _notice_going_back(self) -> None:
        """Begins a new epoch when the database has lost, or never had, what was last committed under its name."""
        noted = witness.noted(self._lock)
        position = await self.position()
        if noted is not None and noted[0] == position.epoch:
            _, revision, hash_ = noted
            if revision > position.revision or await self.hash_at(revision) not in (None, hash_):
                epoch = new_epoch()
                await self.begin_epoch(epoch)
                fields = {"database": self.location, "epoch": epoch, "former": position.token, "lost": revision}
                log.warning("the database was put back to a former state; a new epoch began", extra={"fields": fields})
                return
        witness.note(self._lock, position)

    async def close(self) -> None:
        if self._lock < 0:
            return
        await asyncio.gather(*self._reads, return_exceptions=True)
        for connection in (*self._readers, self._writer):
            await connection.close()
        os.close(self._lock)
        self._lock = -1

    # Reading

    async def _read(self, read: Callable[[aiosqlite.Connection], Coroutine[Any, Any, R]]) -> R:
        """Runs a read of one statement, which sees one revision, to its end even when the caller goes away: a
        statement left half read would hold its connection at an old revision."""
        task = asyncio.create_task(self._read_to_the_end(read))
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_forget_outcome)
            raise
        except sqlite3.Error as error:
            raise Unavailable(f"the database cannot be read: {error}") from error

    async def _read_to_the_end(self, read: Callable[[aiosqlite.Connection], Coroutine[Any, Any, R]]) -> R:
        connection = await self._free.get()
        try:
            return await read(connection)
        finally:
            self._free.put_nowait(connection)

    async def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        async def read(connection: aiosqlite.Connection) -> list[Any]:
            return list(await connection.execute_fetchall(sql, parameters))

        return await self._read(read)

    async def _page(self, make: Callable[[Any], R], limit: int, sql: str, *parameters: Any) -> Page[R]:
        """Rows made into records, until there are `limit` or their text passes PAGE_BYTES."""

        async def read(connection: aiosqlite.Connection) -> Page[R]:
            items: list[R] = []
            size = 0
            async with connection.execute(sql, (*parameters, limit + 1)) as cursor:
                async for row in cursor:
                    if len(items) == limit or size > PAGE_BYTES:
                        return Page(items, more=True)
                    items.append(make(row))
                    size += sum(len(column.encode()) for column in row if isinstance(column, str))
            return Page(items, more=False)

        return await self._read(read)

    async def position(self) -> Position:
        return position_of((await self._rows(POSITION))[0])

    async def lineage(self) -> Lineage:
        return lineage_of((await self._rows(LINEAGE))[0])

    async def load(self, state: State) -> None:
        ((members,),) = await self._rows("SELECT coalesce(sum(member_count), 0) FROM teams")
        finish_loading(state, await self.visit(Loading(state), LoadingLog(members)), self.location)

    async def visit(self, visitor: Visitor, progress: Progress = silently) -> Lineage:
        try:
            async with connected(Path(self.location), BUSY_TIMEOUT_S) as connection:
                return await show(connection, visitor, self.location, progress)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the database cannot be read: {error}") from error

    async def team(self, team: str) -> Team | None:
        rows = await self._rows("SELECT body, member_count FROM teams WHERE team = ?", team)
        return team_of(rows[0]) if rows else None

    async def member(self, team: str, user: str) -> Member | None:
        rows = await self._rows(f'{MEMBER_COLUMNS} WHERE team = ? AND "user" = ?', team, user)
        return member_of(rows[0]) if rows else None

    async def group(self, name: str) -> AccessGroup | None:
        rows = await self._rows("SELECT body FROM groups WHERE name = ?", name)
        return group_of(rows[0]) if rows else None

    async def models_named(self, names: Sequence[str]) -> dict[str, Model]:
        sql = "SELECT body FROM models WHERE name IN (SELECT value FROM json_each(?))"
        return {model.name: model for model in map(model_of, await self._rows(sql, json.dumps(names)))}

    async def users_in(self, team: str, users: Sequence[str]) -> set[str]:
        sql = 'SELECT "user" FROM members WHERE team = ? AND "user" IN (SELECT value FROM json_each(?))'
        return {row[0] for row in await self._rows(sql, team, json.dumps(users))}

    async def teams(self, after: str, limit: int) -> Page[Team]:
        sql = "SELECT body, member_count FROM teams WHERE team > ? ORDER BY team LIMIT ?"
        return await self._page(team_of, limit, sql, after)

    async def members(
        self, team: str, user: str, source: ScopeSource | None, after: tuple[str, str], limit: int
    ) -> Page[Member]:
        where = ['(team, "user") > (?, ?)']
        parameters: list[Any] = [*after]
        for column, value in (("team", team), ('"user"', user), ("scope_source", source)):
            if value:
                where.append(f"{column} = ?")
                parameters.append(value)
        sql = f'{MEMBER_COLUMNS} WHERE {" AND ".join(where)} ORDER BY team, "user" LIMIT ?'
        return await self._page(member_of, limit, sql, *parameters)

    async def groups(self, after: str, limit: int) -> Page[AccessGroup]:
        return await self._page(group_of, limit, "SELECT body FROM groups WHERE name > ? ORDER BY name LIMIT ?", after)

    async def models(self, after: str, limit: int) -> Page[Model]:
        return await self._page(model_of, limit, "SELECT body FROM models WHERE name > ? ORDER BY name LIMIT ?", after)

    async def scopes_listing(self, entry: str, limit: int) -> list[str]:
        quoted = json.dumps(entry, ensure_ascii=False)
        found: list[str] = []
        for body, count in await self._rows("SELECT body, member_count FROM teams WHERE instr(body, ?) > 0", quoted):
            found += team_scopes_listing(team_of((body, count)), entry)
        policies = await self._rows("SELECT policy, body FROM policies WHERE instr(body, ?) > 0", quoted)
        for policy, body in policies:
            if len(found) >= limit:
                break
            if entry in scope_from_json(json.loads(body)["allowed_models"]).entries:
                sql = 'SELECT team, "user" FROM members WHERE policy = ? ORDER BY team, "user" LIMIT ?'
                found += [f"member {team}/{user}" for team, user in await self._rows(sql, policy, limit)]
        return found[:limit]

    async def excluded_entries(self) -> set[str]:
        found: set[str] = set()
        for body, count in await self._rows(
            "SELECT body, member_count FROM teams WHERE instr(body, '\"excluded_models\"') > 0"
        ):
            team = team_of((body, count))
            found.update(team.models.excluded_models, team.default_team_member_models.excluded_models)
        for (body,) in await self._rows(
            """SELECT body FROM policies WHERE instr(body, '"excluded_models"') > 0
                AND EXISTS (SELECT 1 FROM members WHERE members.policy = policies.policy)"""
        ):
            found.update(scope_from_json(json.loads(body)["allowed_models"]).excluded_models)
        return found

    async def log(self, select: LogFilter, after: tuple[int, int], limit: int) -> Page[LogSlice]:
        where = ["(log.revision, change) > (?, ?)", "log.revision >= ?"]
        parameters: list[Any] = [*after, after[0]]
        if select.team:
            where.append("log.revision IN (SELECT revision FROM log_changes WHERE team = ?)")
            parameters.append(select.team)
        for bound, time in (("time >= ?", select.start), ("time < ?", select.end)):
            if time is not None:
                where.append(bound)
                parameters.append(format_time(time))
        sql = f"""SELECT {LOG_COLUMNS}, change, kind, team, name, before_json, after_json
            FROM log JOIN log_changes USING (revision) WHERE {" AND ".join(where)} ORDER BY log.revision, change"""

        async def read(connection: aiosqlite.Connection) -> Page[LogSlice]:
            slices: list[LogSlice] = []
            size = 0
            async with connection.execute(sql, parameters) as cursor:
                async for row in cursor:
                    entry, change, image = log_entry_of(row[:11]), row[11], image_of(row[12:])
                    begins = not slices or slices[-1].entry.revision != entry.revision
                    if size > PAGE_BYTES or (begins and len(slices) == limit):
                        return Page(slices, more=True)
                    if begins:
                        slices.append(LogSlice(entry, change, []))
                    slices[-1].images.append(image)
                    size += image.size
            return Page(slices, more=False)

        return await self._read(read)

    async def hash_at(self, revision: int) -> str | None:
        sql = """SELECT hash FROM log WHERE revision = ? UNION ALL
            SELECT hash.value FROM meta revision JOIN meta hash WHERE revision.name = 'anchor_revision'
                AND hash.name = 'anchor_hash' AND CAST(revision.value AS INTEGER) = ?"""
        rows = await self._rows(sql, revision, revision)
        return rows[0][0] if rows else None

    async def log_after(self, revision: int, change: int) -> list[LogSlice]:
        return (await self.log(LogFilter(), (revision, change), LOG_SLICES)).items

    async def recorded_request(self, rpc: str, request_id: str) -> RecordedRequest | None:
        sql = "SELECT rpc, request_id, request_hash, response, time FROM requests WHERE rpc = ? AND request_id = ?"
        rows = await self._rows(sql, rpc, request_id)
        if not rows:
            return None
        found_rpc, found_id, request_hash, response, time = rows[0]
        return RecordedRequest(found_rpc, found_id, request_hash, response, parse_time(time))

    # Writing

    async def commit(self, commit: Commit) -> None:
        async with self._transaction():
            await CommitWriter(self._writer, self.location).write(commit)
        if commit.entry is not None:
            witness.note(self._lock, commit.entry.position)

    async def begin_epoch(self, epoch: str) -> None:
        async with self._transaction():
            (row,) = await self._writer.execute_fetchall(LINEAGE)
            position, ancestors = lineage_of(row)
            await write_epoch(self._writer, epoch, (*ancestors, position.epoch))
        witness.note(self._lock, position._replace(epoch=epoch))

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        try:
            await self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                await self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    await self._writer.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise Unavailable(f"the database cannot be written: {error}") from error


def _make_file(path: Path) -> None:
    """Makes the database file if there is none, readable by its owner alone. Raises DatabaseError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError(f"cannot use the database {path}: {error.strerror}") from error


def _forget_outcome(task: asyncio.Task[Any]) -> None:
    """Nobody waits for this read any more; whether it failed is of no interest."""
    if not task.cancelled():
        task.exception()
