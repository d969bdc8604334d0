"""Shows a visitor all that a SQLite database holds."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import aiosqlite

from policy_service.domain.changelog import Lineage, Visitor
from policy_service.domain.state import State
from policy_service.errors import DatabaseError
from policy_service.store.protocol import BODIES_AT_ONCE, MEMBERS_AT_ONCE
from policy_service.store.sqlite_rows import LINEAGE, lineage_of

# Policies that no member has any more stay until the database is opened.
_POLICIES = """SELECT policy, body FROM policies
    WHERE EXISTS (SELECT 1 FROM members WHERE members.policy = policies.policy)"""
_MEMBERS = 'SELECT team, "user", policy FROM members ORDER BY team, "user"'
PROGRESS_S = 2.0  # between two lines in the log

Progress = Callable[[int], None]  # is told, now and then, how many members were shown so far

log = logging.getLogger(__name__)


def silently(_: int) -> None:
    """Tells nobody."""


class LoadingLog:
    """Says in the log how far a loading is, which many members make long enough for somebody to wonder."""

    def __init__(self, of: int) -> None:
        self._of, self._said = of, time.monotonic()

    def __call__(self, members: int) -> None:
        now = time.monotonic()
        if now - self._said >= PROGRESS_S:
            log.info("loading the policy", extra={"fields": {"members": members, "of": self._of}})
            self._said = now


async def show(
    connection: aiosqlite.Connection, visitor: Visitor, location: str, progress: Progress = silently
) -> Lineage:
    """Shows everything as it is at one revision, in slices that leave the event loop free. The connection is for this
    alone. Raises DatabaseError for records that are damaged, sqlite3.OperationalError when they cannot be read now."""
    try:
        return await _show(connection, visitor, progress)
    except sqlite3.OperationalError:
        raise
    except (sqlite3.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(location, repr(error)) from error


async def _show(connection: aiosqlite.Connection, visitor: Visitor, progress: Progress) -> Lineage:
    await connection.execute("BEGIN")
    (row,) = await connection.execute_fetchall(LINEAGE)
    lineage = lineage_of(row)
    policies: dict[int, Any] = {}

    def show_policy(policy: int, body: str) -> None:
        policies[policy] = visitor.policy(json.loads(body))

    def show_model(name: str, body: str) -> None:
        visitor.model(name, json.loads(body)["provider"])

    for sql, show_body in (
        ("SELECT team, body FROM teams", lambda team, body: visitor.team(team, json.loads(body))),
        ("SELECT name, body FROM groups", lambda name, body: visitor.group(name, json.loads(body))),
        ("SELECT name, body FROM models", show_model),
        (_POLICIES, show_policy),
    ):
        await _each(connection, sql, BODIES_AT_ONCE, show_body)
    await _each(
        connection,
        _MEMBERS,
        MEMBERS_AT_ONCE,
        lambda team, user, policy: visitor.member(team, user, policies[policy]),
        progress,
    )
    return lineage


async def _each(
    connection: aiosqlite.Connection,
    sql: str,
    at_once: int,
    show_row: Callable[..., None],
    progress: Progress = silently,
) -> None:
    shown = 0
    async with connection.execute(sql) as cursor:
        while rows := list(await cursor.fetchmany(at_once)):
            for row in rows:
                show_row(*row)
            shown += len(rows)
            progress(shown)


def finish_loading(state: State, lineage: Lineage, location: str) -> None:
    """Moves a state that was built up to where the log stands. Raises DatabaseError when the records do not have the
    digest that the log says."""
    position, state.ancestors = lineage
    if state.digest != position.digest:
        raise _damaged(location, f"digest {state.digest}, the log says {position.digest}")
    state.move_to(position)


def _damaged(location: str, what: str) -> DatabaseError:
    return DatabaseError(
        f"the records in {location} are not those of its log ({what}): the file was damaged or edited; restore a backup"
    )
