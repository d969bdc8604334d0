"""What a commit, and a new epoch, write to a SQLite database, inside their transactions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import aiosqlite

from policy_service.domain.changes import Change, ChangeImage, Key, LogEntry, key_of
from policy_service.domain.encoding import canonical, format_time, policy_to_json, profile_to_json, to_json
from policy_service.domain.records import Kind, Member, MemberLimits, ModelScope
from policy_service.errors import DatabaseError
from policy_service.store.protocol import EXPIRED_AT_ONCE, Commit, ancestry
from policy_service.store.sqlite_rows import LOG_COLUMNS, POSITION, log_entry_of, position_of

_PUT_MEMBER = """INSERT INTO members VALUES (?, ?, (SELECT policy FROM policies WHERE body = ?), ?, ?)
    ON CONFLICT (team, "user") DO UPDATE SET
        policy = excluded.policy, scope_source = excluded.scope_source, profile = excluded.profile"""
CHANGES_AT_ONCE = 500  # how many are looked through before the event loop gets a turn

PolicyKey = tuple[ModelScope, MemberLimits, bool]


async def write_epoch(connection: aiosqlite.Connection, epoch: str, ancestors: Iterable[str]) -> None:
    """Gives the database an epoch, and those that it grew out of, the oldest first."""
    rows = [(epoch, "epoch"), (canonical(ancestry(ancestors)), "ancestors")]
    await connection.executemany("UPDATE meta SET value = ? WHERE name = ?", rows)


class CommitWriter:
    """Writes the parts of a commit through one connection that is in a transaction."""

    def __init__(self, connection: aiosqlite.Connection, location: str) -> None:
        self._connection, self._location = connection, location

    async def write(self, commit: Commit) -> None:
        """Raises DatabaseError when the log is not where the entry goes on."""
        if commit.entry is not None:
            await self._write_entry(commit.entry, commit.images)
            await self._write_records(commit.changes)
        if commit.request is not None:
            row = (*commit.request[:4], format_time(commit.request.time))
            await self._connection.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", row)
        await self._expire(commit)

    async def _write_entry(self, entry: LogEntry, images: Sequence[ChangeImage]) -> None:
        head = position_of(next(iter(await self._connection.execute_fetchall(POSITION))))
        if (head.epoch, head.revision + 1, head.hash) != (entry.epoch, entry.revision, entry.previous_hash):
            raise DatabaseError(f"the log in {self._location} moved to {head.token} behind this process's back")
        row = {name: getattr(entry, name) for name in LogEntry.__slots__} | {"time": format_time(entry.time)}
        columns = LOG_COLUMNS.replace("log.", "")
        values = ", ".join(f":{name}" for name in columns.split(", "))
        await self._connection.execute(f"INSERT INTO log ({columns}) VALUES ({values})", row)
        rows = ((entry.revision, at, *key, before, after) for at, (key, before, after) in enumerate(images))
        await self._connection.executemany("INSERT INTO log_changes VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    async def _write_records(self, changes: Sequence[Change]) -> None:
        """Teams first, since members are counted in them. Rows are made by generators, which SQLite's thread runs:
        the many of a large change keep no event loop waiting."""
        put: dict[Kind, list[Any]] = {kind: [] for kind in Kind}
        dropped: dict[Kind, list[Key]] = {kind: [] for kind in Kind}
        counts: Counter[str] = Counter()
        for at, change in enumerate(changes):
            if at % CHANGES_AT_ONCE == CHANGES_AT_ONCE - 1:
                await asyncio.sleep(0)
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
        await self._connection.executemany(sql, [(count, team) for team, count in counts.items() if count])

    async def _write_bodies(self, table: str, records: list[Any], dropped: list[Key]) -> None:
        key, rest = ("team", ", 0") if table == "teams" else ("name", "")
        if dropped:
            keys = [(gone.team or gone.name,) for gone in dropped]
            if table == "teams":
                await self._connection.executemany("DELETE FROM members WHERE team = ?", keys)
            await self._connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", keys)
        if records:
            rows = ((changed.team or changed.name, canonical(to_json(r))) for r in records if (changed := key_of(r)))
            sql = f"INSERT INTO {table} VALUES (?, ?{rest}) ON CONFLICT ({key}) DO UPDATE SET body = excluded.body"
            await self._connection.executemany(sql, rows)

    async def _write_members(self, members: list[Member], dropped: list[Key]) -> None:
        if dropped:
            keys = ((key.team, key.name) for key in dropped)
            await self._connection.executemany('DELETE FROM members WHERE team = ? AND "user" = ?', keys)
        if members:
            bodies: dict[PolicyKey, str] = {}
            sql = "INSERT INTO policies (body) VALUES (?) ON CONFLICT DO NOTHING"
            await self._connection.executemany(sql, _new_bodies(members, bodies))
            await self._connection.executemany(_PUT_MEMBER, _member_rows(members, bodies))

    async def _expire(self, commit: Commit) -> None:
        """Drops a bounded number of what is older than asked; of the log it leaves where the kept part begins."""
        if commit.forget_requests_before is not None:
            before = format_time(commit.forget_requests_before)
            sql = """DELETE FROM requests WHERE (rpc, request_id) IN
                (SELECT rpc, request_id FROM requests WHERE time < ? ORDER BY time LIMIT ?)"""
            await self._connection.execute(sql, (before, EXPIRED_AT_ONCE))
        if commit.forget_log_before is not None:
            await self._expire_log(format_time(commit.forget_log_before))

    async def _expire_log(self, before: str) -> None:
        """The log is dropped from its beginning on: an entry that is too young keeps those after it, too."""
        sql = f"""SELECT {LOG_COLUMNS} FROM log WHERE revision < (SELECT max(revision) FROM log)
            ORDER BY revision LIMIT ?"""
        entries = map(log_entry_of, await self._connection.execute_fetchall(sql, (EXPIRED_AT_ONCE,)))
        expired = list(takewhile(lambda entry: format_time(entry.time) < before, entries))
        if not expired:
            return
        last = expired[-1]
        await self._connection.execute("DELETE FROM log_changes WHERE revision <= ?", (last.revision,))
        await self._connection.execute("DELETE FROM log WHERE revision <= ?", (last.revision,))
        anchor = {"revision": str(last.revision), "hash": last.hash, "digest": last.digest}
        anchor["time"] = format_time(last.time)
        sql = "UPDATE meta SET value = ? WHERE name = ?"
        await self._connection.executemany(sql, [(value, f"anchor_{name}") for name, value in anchor.items()])


def _policy_key(member: Member) -> PolicyKey:
    return member.allowed_models, member.limits, member.blocked


def _new_bodies(members: Iterable[Member], bodies: dict[PolicyKey, str]) -> Iterator[tuple[str]]:
    """The rows of the distinct policies of the members, which `bodies` remembers."""
    for member in members:
        key = _policy_key(member)
        if key not in bodies:
            bodies[key] = canonical(policy_to_json(member))
            yield (bodies[key],)


def _member_rows(members: Iterable[Member], bodies: dict[PolicyKey, str]) -> Iterator[tuple[str, ...]]:
    for member in members:
        body, profile = bodies[_policy_key(member)], canonical(profile_to_json(member))
        yield member.team, member.user, body, member.scope_source.value, profile
