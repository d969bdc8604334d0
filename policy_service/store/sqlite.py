"""The store in one SQLite file: WAL, `synchronous=FULL`, one writer. All SQL but the schema is here."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from policy_service.domain.changes import Change, ChangeImage, Key, LogEntry, Position, key_of
from policy_service.domain.encoding import (
    canonical,
    format_time,
    group_from_json,
    limits_from_json,
    member_from_json,
    model_from_json,
    parse_time,
    policy_to_json,
    profile_to_json,
    scope_from_json,
    team_from_json,
    to_json,
)
from policy_service.domain.records import AccessGroup, Kind, Member, Model, ScopeSource, Team
from policy_service.domain.state import Policy, State
from policy_service.errors import DatabaseError, Unavailable
from policy_service.store.migrations import migrate
from policy_service.store.protocol import (
    PAGE_BYTES,
    Commit,
    LogFilter,
    LogSlice,
    Page,
    RecordedRequest,
    team_scopes_listing,
)

ROWS_AT_ONCE = 5_000
EXPIRED_AT_ONCE = 100  # expired requests and log entries that one commit drops at most
BUSY_TIMEOUT_S = 5.0
READERS = 4

R = TypeVar("R")


class SqliteStore:
    """Open with `open`. The file is locked against a second authority while it is open."""

    def __init__(self, path: Path, lock: int, writer: aiosqlite.Connection) -> None:
        self.location = str(path.absolute())
        self._lock, self._writer = lock, writer
        self._readers: list[aiosqlite.Connection] = []
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """Opens or creates the database and migrates it. Raises DatabaseError."""
        lock = _lock(path)
        try:
            writer = await _connect(path)
        except BaseException:
            os.close(lock)
            raise
        store = cls(path, lock, writer)
        try:
            await writer.execute("PRAGMA journal_mode = WAL")
            await writer.execute("PRAGMA synchronous = FULL")
            await migrate(writer, str(path))
            await writer.execute("DELETE FROM policies WHERE policy NOT IN (SELECT policy FROM members)")
            for _ in range(READERS):
                reader = await _connect(path)
                store._readers.append(reader)
                store._free.put_nowait(reader)
        except BaseException as error:
            await store.close()
            if isinstance(error, sqlite3.Error):
                raise DatabaseError(f"cannot use the database {path}: {error}") from error
            raise
        return store

    async def close(self) -> None:
        if self._lock < 0:
            return
        for connection in (*self._readers, self._writer):
            await connection.close()
        os.close(self._lock)
        self._lock = -1

    # Reading

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[aiosqlite.Connection]:
        """A connection for one statement, which sees one revision."""
        connection = await self._free.get()
        try:
            yield connection
        except sqlite3.Error as error:
            raise Unavailable(f"the database cannot be read: {error}") from error
        finally:
            self._free.put_nowait(connection)

    async def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        async with self._reader() as connection:
            return list(await connection.execute_fetchall(sql, parameters))

    async def _page(self, make: Callable[[Any], R], limit: int, sql: str, *parameters: Any) -> Page[R]:
        """Rows made into records, until there are `limit` or their text passes PAGE_BYTES."""
        items: list[R] = []
        size = 0
        async with self._reader() as connection, connection.execute(sql, (*parameters, limit + 1)) as cursor:
            async for row in cursor:
                if len(items) == limit or size > PAGE_BYTES:
                    return Page(items, more=True)
                items.append(make(row))
                size += sum(len(column) for column in row if isinstance(column, str))
        return Page(items, more=False)

    async def position(self) -> Position:
        return _position((await self._rows(_POSITION))[0])

    async def load(self, state: State) -> None:
        position = await self.position()
        async for (body,) in self._stream("SELECT body FROM teams"):
            state.load(team_from_json(json.loads(body)))
        async for (body,) in self._stream("SELECT body FROM groups"):
            state.load(group_from_json(json.loads(body)))
        async for (body,) in self._stream("SELECT body FROM models"):
            state.load(model_from_json(json.loads(body)))
        policies: dict[int, Policy] = {}
        async for policy, body in self._stream("SELECT policy, body FROM policies"):
            policies[policy] = _policy(state, json.loads(body))
        async for team, user, policy in self._stream('SELECT team, "user", policy FROM members'):
            state.load_member(team, user, policies[policy])
        if state.digest != position.digest:
            raise DatabaseError(
                f"the records in {self.location} are not those of its log (digest {state.digest}, the log says "
                f"{position.digest}): the file was damaged or edited; restore a backup"
            )
        state.move_to(position)

    async def _stream(self, sql: str) -> AsyncIterator[Any]:
        """All rows, many at once; used before the server serves."""
        async with self._reader() as connection, connection.execute(sql) as cursor:
            while rows := await cursor.fetchmany(ROWS_AT_ONCE):
                for row in rows:
                    yield row

    async def team(self, team: str) -> Team | None:
        rows = await self._rows("SELECT body, member_count FROM teams WHERE team = ?", team)
        return _team(rows[0]) if rows else None

    async def member(self, team: str, user: str) -> Member | None:
        rows = await self._rows(f'{_MEMBER_COLUMNS} WHERE team = ? AND "user" = ?', team, user)
        return _member(rows[0]) if rows else None

    async def group(self, name: str) -> AccessGroup | None:
        rows = await self._rows("SELECT body FROM groups WHERE name = ?", name)
        return _group(rows[0]) if rows else None

    async def models_named(self, names: Sequence[str]) -> dict[str, Model]:
        sql = "SELECT body FROM models WHERE name IN (SELECT value FROM json_each(?))"
        return {model.name: model for model in map(_model, await self._rows(sql, json.dumps(names)))}

    async def users_in(self, team: str, users: Sequence[str]) -> set[str]:
        sql = 'SELECT "user" FROM members WHERE team = ? AND "user" IN (SELECT value FROM json_each(?))'
        return {row[0] for row in await self._rows(sql, team, json.dumps(users))}

    async def teams(self, after: str, limit: int) -> Page[Team]:
        sql = "SELECT body, member_count FROM teams WHERE team > ? ORDER BY team LIMIT ?"
        return await self._page(_team, limit, sql, after)

    async def members(
        self, team: str, user: str, source: ScopeSource | None, after: tuple[str, str], limit: int
    ) -> Page[Member]:
        where = ['(team, "user") > (?, ?)']
        parameters: list[Any] = [*after]
        for column, value in (("team", team), ('"user"', user), ("scope_source", source)):
            if value:
                where.append(f"{column} = ?")
                parameters.append(value)
        sql = f'{_MEMBER_COLUMNS} WHERE {" AND ".join(where)} ORDER BY team, "user" LIMIT ?'
        return await self._page(_member, limit, sql, *parameters)

    async def groups(self, after: str, limit: int) -> Page[AccessGroup]:
        return await self._page(_group, limit, "SELECT body FROM groups WHERE name > ? ORDER BY name LIMIT ?", after)

    async def models(self, after: str, limit: int) -> Page[Model]:
        return await self._page(_model, limit, "SELECT body FROM models WHERE name > ? ORDER BY name LIMIT ?", after)

    async def scopes_listing(self, entry: str, limit: int) -> list[str]:
        quoted = json.dumps(entry, ensure_ascii=False)
        found: list[str] = []
        for body, count in await self._rows("SELECT body, member_count FROM teams WHERE instr(body, ?) > 0", quoted):
            found += team_scopes_listing(_team((body, count)), entry)
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
            team = _team((body, count))
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
        sql = f"""SELECT {_LOG_COLUMNS}, change, kind, team, name, before_json, after_json
            FROM log JOIN log_changes USING (revision) WHERE {" AND ".join(where)} ORDER BY log.revision, change"""
        slices: list[LogSlice] = []
        size = 0
        async with self._reader() as connection, connection.execute(sql, parameters) as cursor:
            async for row in cursor:
                entry, change, image = _log_entry(row[:11]), row[11], _image(row[12:])
                begins = not slices or slices[-1].entry.revision != entry.revision
                if size > PAGE_BYTES or (begins and len(slices) == limit):
                    return Page(slices, more=True)
                if begins:
                    slices.append(LogSlice(entry, change, []))
                slices[-1].images.append(image)
                size += len(image.before) + len(image.after)
        return Page(slices, more=False)

    async def recorded_request(self, rpc: str, request_id: str) -> RecordedRequest | None:
        sql = "SELECT rpc, request_id, request_hash, response, time FROM requests WHERE rpc = ? AND request_id = ?"
        rows = await self._rows(sql, rpc, request_id)
        if not rows:
            return None
        found_rpc, found_id, request_hash, response, time = rows[0]
        return RecordedRequest(found_rpc, found_id, request_hash, response, parse_time(time))

    # Writing

    async def commit(self, commit: Commit) -> None:
        try:
            await self._writer.execute("BEGIN IMMEDIATE")
            try:
                if commit.entry is not None:
                    await self._write_entry(commit.entry, commit.images)
                    await self._write_records(commit.changes)
                if commit.request is not None:
                    row = (*commit.request[:4], format_time(commit.request.time))
                    await self._writer.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", row)
                await self._expire(commit)
                await self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    await self._writer.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise Unavailable(f"the database cannot be written: {error}") from error

    async def _write_entry(self, entry: LogEntry, images: Sequence[ChangeImage]) -> None:
        head = _position(next(iter(await self._writer.execute_fetchall(_POSITION))))
        if (head.epoch, head.revision + 1, head.hash) != (entry.epoch, entry.revision, entry.previous_hash):
            raise DatabaseError(f"the log in {self.location} moved to {head.token} behind this process's back")
        row = {name: getattr(entry, name) for name in LogEntry.__slots__} | {"time": format_time(entry.time)}
        columns = _LOG_COLUMNS.replace("log.", "")
        values = ", ".join(f":{name}" for name in columns.split(", "))
        await self._writer.execute(f"INSERT INTO log ({columns}) VALUES ({values})", row)
        rows = ((entry.revision, at, *key, before, after) for at, (key, before, after) in enumerate(images))
        await self._writer.executemany("INSERT INTO log_changes VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    async def _write_records(self, changes: Sequence[Change]) -> None:
        """Teams first, since members are counted in them."""
        put: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
        dropped: dict[Kind, list[Key]] = {kind: [] for kind in Kind}
        counts: Counter[str] = Counter()
        for change in changes:
            key = change.key
            if change.after is None:
                dropped[key.kind].append(key)
            else:
                put[key.kind].append(change.after)
            if key.kind is Kind.MEMBER:
                counts[key.team] += (change.before is None) - (change.after is None)
        for kind, table in ((Kind.TEAM, "teams"), (Kind.GROUP, "groups"), (Kind.MODEL, "models")):
            await self._write_bodies(table, put[kind], dropped[kind])
        await self._write_members(put[Kind.MEMBER], dropped[Kind.MEMBER])
        sql = "UPDATE teams SET member_count = member_count + ? WHERE team = ?"
        await self._writer.executemany(sql, [(count, team) for team, count in counts.items() if count])

    async def _write_bodies(self, table: str, records: list[Any], dropped: list[Key]) -> None:
        key, rest = ("team", ", 0") if table == "teams" else ("name", "")
        if dropped:
            keys = [(gone.team or gone.name,) for gone in dropped]
            if table == "teams":
                await self._writer.executemany("DELETE FROM members WHERE team = ?", keys)
            await self._writer.executemany(f"DELETE FROM {table} WHERE {key} = ?", keys)
        if records:
            rows = [(changed.team or changed.name, canonical(to_json(r))) for r in records if (changed := key_of(r))]
            sql = f"INSERT INTO {table} VALUES (?, ?{rest}) ON CONFLICT ({key}) DO UPDATE SET body = excluded.body"
            await self._writer.executemany(sql, rows)

    async def _write_members(self, members: list[Member], dropped: list[Key]) -> None:
        if dropped:
            keys = [(key.team, key.name) for key in dropped]
            await self._writer.executemany('DELETE FROM members WHERE team = ? AND "user" = ?', keys)
        if members:
            bodies = [canonical(policy_to_json(member)) for member in members]
            unique = [(body,) for body in dict.fromkeys(bodies)]
            await self._writer.executemany("INSERT INTO policies (body) VALUES (?) ON CONFLICT DO NOTHING", unique)
            rows = [
                (member.team, member.user, body, member.scope_source.value, canonical(profile_to_json(member)))
                for member, body in zip(members, bodies, strict=True)
            ]
            await self._writer.executemany(_PUT_MEMBER, rows)

    async def _expire(self, commit: Commit) -> None:
        """Drops a bounded number of what is older than asked; of the log it leaves where the kept part begins."""
        if commit.forget_requests_before is not None:
            before = format_time(commit.forget_requests_before)
            sql = """DELETE FROM requests WHERE (rpc, request_id) IN
                (SELECT rpc, request_id FROM requests WHERE time < ? ORDER BY time LIMIT ?)"""
            await self._writer.execute(sql, (before, EXPIRED_AT_ONCE))
        if commit.forget_log_before is not None:
            await self._expire_log(format_time(commit.forget_log_before))

    async def _expire_log(self, before: str) -> None:
        sql = f"""SELECT {_LOG_COLUMNS} FROM log WHERE time < ? AND revision < (SELECT max(revision) FROM log)
            ORDER BY revision LIMIT ?"""
        rows = list(await self._writer.execute_fetchall(sql, (before, EXPIRED_AT_ONCE)))
        if not rows:
            return
        last = _log_entry(rows[-1])
        await self._writer.execute("DELETE FROM log_changes WHERE revision <= ?", (last.revision,))
        await self._writer.execute("DELETE FROM log WHERE revision <= ?", (last.revision,))
        anchor = {"revision": str(last.revision), "hash": last.hash, "digest": last.digest}
        anchor["time"] = format_time(last.time)
        sql = "UPDATE meta SET value = ? WHERE name = ?"
        await self._writer.executemany(sql, [(value, f"anchor_{name}") for name, value in anchor.items()])


_POSITION = """SELECT epoch.value, coalesce(log.revision, CAST(revision.value AS INTEGER)),
        coalesce(log.hash, hash.value), coalesce(log.digest, digest.value)
    FROM meta epoch JOIN meta revision JOIN meta hash JOIN meta digest
        LEFT JOIN log ON log.revision = (SELECT max(revision) FROM log)
    WHERE epoch.name = 'epoch' AND revision.name = 'anchor_revision'
        AND hash.name = 'anchor_hash' AND digest.name = 'anchor_digest'"""
_MEMBER_COLUMNS = (
    'SELECT team, "user", policies.body, profile FROM members JOIN policies ON policies.policy = members.policy'
)
_PUT_MEMBER = """INSERT INTO members VALUES (?, ?, (SELECT policy FROM policies WHERE body = ?), ?, ?)
    ON CONFLICT (team, "user") DO UPDATE SET
        policy = excluded.policy, scope_source = excluded.scope_source, profile = excluded.profile"""
_LOG_COLUMNS = (
    "log.revision, log.epoch, log.time, log.actor, log.peer, log.rpc, log.format, log.digest, log.previous_hash, "
    "log.hash, log.change_count"
)


def _lock(path: Path) -> int:
    """Takes the lock file beside the database, which the kernel releases with the process, and makes the database
    if there is none, readable by its owner alone. Raises DatabaseError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError(f"cannot use the database {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DatabaseError(f"{path} is in use by another Policy Service; stop it, or name another file") from error
    return lock


async def _connect(path: Path) -> aiosqlite.Connection:
    try:
        return await aiosqlite.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    except sqlite3.Error as error:
        raise DatabaseError(f"cannot open the database {path}: {error}") from error


def _position(row: Any) -> Position:
    return Position(*row)


def _team(row: Any) -> Team:
    return team_from_json(json.loads(row[0]), member_count=row[1])


def _member(row: Any) -> Member:
    team, user, policy, profile = row
    return member_from_json({"team": team, "user": user} | json.loads(policy) | json.loads(profile))


def _group(row: Any) -> AccessGroup:
    return group_from_json(json.loads(row[0]))


def _model(row: Any) -> Model:
    return model_from_json(json.loads(row[0]))


def _policy(state: State, fields: dict[str, Any]) -> Policy:
    limits = limits_from_json(fields.get("limits", {}))
    return state.intern(scope_from_json(fields["allowed_models"]), limits, fields.get("blocked", False))


def _log_entry(row: Any) -> LogEntry:
    fields = dict(zip((name.removeprefix("log.") for name in _LOG_COLUMNS.split(", ")), row, strict=True))
    return LogEntry(**fields | {"time": parse_time(fields["time"])})


def _image(row: Any) -> ChangeImage:
    kind, team, name, before, after = row
    return ChangeImage(Key(Kind(kind), team, name), before, after)
