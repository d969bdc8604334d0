"""The schema, as the steps that lead to it. A step is never edited once released; a change is a new step."""

from __future__ import annotations

import aiosqlite

from policy_service.domain.changes import NO_HASH
from policy_service.domain.state import State
from policy_service.errors import DatabaseError
from policy_service.store.protocol import new_epoch

# A step is a list of statements. `policies` keeps each distinct (scope, limits, blocked) of members once, as JSON; a
# policy that no member has any more is dropped when the database is opened. Times are RFC 3339 texts in UTC.
RECORDS_AND_LOG = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE teams (team TEXT PRIMARY KEY, body TEXT NOT NULL, member_count INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE policies (policy INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE)",
    """CREATE TABLE members (team TEXT NOT NULL, "user" TEXT NOT NULL, policy INTEGER NOT NULL,
        scope_source TEXT NOT NULL, profile TEXT NOT NULL, PRIMARY KEY (team, "user")) WITHOUT ROWID""",
    'CREATE INDEX members_by_user ON members ("user", team)',
    "CREATE INDEX members_by_policy ON members (policy)",
    "CREATE TABLE groups (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE models (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE log (revision INTEGER PRIMARY KEY, epoch TEXT NOT NULL, time TEXT NOT NULL, actor TEXT NOT NULL,
        peer TEXT NOT NULL, rpc TEXT NOT NULL, format INTEGER NOT NULL, digest TEXT NOT NULL,
        previous_hash TEXT NOT NULL, hash TEXT NOT NULL, change_count INTEGER NOT NULL)""",
    "CREATE INDEX log_by_time ON log (time)",
    """CREATE TABLE log_changes (revision INTEGER NOT NULL, change INTEGER NOT NULL, kind TEXT NOT NULL,
        team TEXT NOT NULL, name TEXT NOT NULL, before_json TEXT NOT NULL, after_json TEXT NOT NULL,
        PRIMARY KEY (revision, change)) WITHOUT ROWID""",
    "CREATE INDEX log_changes_by_team ON log_changes (team, revision) WHERE team <> ''",
)
RECORDED_REQUESTS = (
    """CREATE TABLE requests (rpc TEXT NOT NULL, request_id TEXT NOT NULL, request_hash BLOB NOT NULL,
        response BLOB NOT NULL, time TEXT NOT NULL, PRIMARY KEY (rpc, request_id)) WITHOUT ROWID""",
    "CREATE INDEX requests_by_time ON requests (time)",
)
# The epochs that the database's own grew out of: a JSON list, the oldest first.
ANCESTORS = ("INSERT INTO meta VALUES ('ancestors', '[]')",)
MIGRATIONS = (RECORDS_AND_LOG, RECORDED_REQUESTS, ANCESTORS)


async def migrate(connection: aiosqlite.Connection, version: int) -> None:
    """Brings a database of this version to the newest schema, each step in a transaction of its own."""
    for step in range(version, len(MIGRATIONS)):
        await connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[step]:
                await connection.execute(statement)
            if step == 0:
                await _write_first_position(connection)
            await connection.execute(
                "INSERT INTO meta VALUES ('schema_version', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(step + 1),),
            )
            await connection.execute("COMMIT")
        except BaseException:
            await connection.execute("ROLLBACK")
            raise


async def schema_version(connection: aiosqlite.Connection, location: str) -> int:
    """The version of the database, 0 for an empty one. Writes nothing.

    Raises DatabaseError for a version newer than this program knows and for a database that is not ours.
    """
    version = await any_schema_version(connection, location)
    if version > len(MIGRATIONS):
        raise DatabaseError(
            f"{location} has schema version {version}, this program knows up to {len(MIGRATIONS)}: "
            "it was written by a newer Policy Service; start that one, or restore an older backup"
        )
    return version


async def any_schema_version(connection: aiosqlite.Connection, location: str) -> int:
    """The version of the database, which may be newer than this program knows. Raises DatabaseError for a database
    that is not ours."""
    tables = {row[0] for row in await connection.execute_fetchall("SELECT name FROM sqlite_master WHERE type='table'")}
    if not tables:
        return 0
    if "meta" not in tables:
        raise DatabaseError(f"{location} is a database of another program; name another file with --database")
    rows = list(await connection.execute_fetchall("SELECT value FROM meta WHERE name = 'schema_version'"))
    if not rows or not str(rows[0][0]).isdecimal():
        raise DatabaseError(f"{location} has no schema version; name another file with --database")
    return int(rows[0][0])


async def _write_first_position(connection: aiosqlite.Connection) -> None:
    """The anchor: where the kept part of the log begins. At first that is before the first revision."""
    anchor = {"anchor_revision": "0", "anchor_hash": NO_HASH, "anchor_digest": State().digest, "anchor_time": ""}
    rows = (anchor | {"epoch": new_epoch()}).items()
    await connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
