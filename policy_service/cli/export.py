"""`policy-service export`: a server's policy as the file that `apply` reads, of one revision.

The lists are read page by page, while others go on changing things. So what changed meanwhile is taken from the audit
log afterwards: it has every record as it was after each change, and put over what was read, in order, these make it
what it was after the last of them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from policy_client import AdminClient
from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import ERR, fail
from policy_service.cli.files import write_text
from policy_service.cli.manifest import Manifest, MemberEntry, TeamEntry
from policy_service.cli.manifest_writer import manifest_text
from policy_service.cli.present import read_all
from policy_service.cli.progress import Advance, progress
from policy_service.cli.revisions import number_of, read_head
from policy_service.cli.steps import Present
from policy_service.domain.encoding import from_json
from policy_service.domain.records import AccessGroup, Kind, Member, Model, ScopeSource, Team
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.v1.admin_pb2 import AuditEvent

WINDOWS = (*(timedelta(minutes=4**power) for power in range(11)), None)  # up to two years
CLOCK_STEP = timedelta(minutes=1)
R = TypeVar("R", Team, Member, AccessGroup, Model)


@on_server
async def export(
    target: Target,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="Where to; - is standard output, the default."),
    ] = None,
) -> None:
    """Write the whole policy as the YAML that apply reads back: the same policy gives the same bytes."""
    async with target.admin() as admin:
        with progress("looking for the last revision, revisions") as advance:
            before = await _last_event(admin, advance)
        with progress("reading, records") as advance:
            present = await read_all(admin, advance)
        head = await read_head(target)
        revision = await _catch_up(admin, present, before, 0 if head is None else head.revision)
    if revision is None:
        fail("the audit log has no longer all that changed meanwhile; export again, or keep the log longer")
    pieces = manifest_text(manifest_of(present))
    try:
        write_text(file, pieces)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{file or 'standard output'} cannot be written: {error.strerror}")
    members = sum(map(len, present.members.values()))
    ERR.print(f"exported revision {revision or 'none'}: {len(present.teams):,} teams, {members:,} members", style="dim")


def manifest_of(present: Present) -> Manifest:
    """The manifest that makes an empty server the same."""
    teams = [
        TeamEntry(team, tuple(_entry(member, team) for member in present.members.get(team.id, {}).values()))
        for team in present.teams.values()
    ]
    return Manifest(tuple(present.models.values()), tuple(present.groups.values()), tuple(teams))


def _entry(member: Member, team: Team) -> MemberEntry:
    seeds_the_same = member.allowed_models == team.default_team_member_models
    seeded = member.scope_source is ScopeSource.SEEDED
    limits = ((name, getattr(team.default_member_limits, name), getattr(member.limits, name)) for name in LIMIT_NAMES)
    unset = frozenset(name for name, default, own in limits if own is None and default is not None)
    return MemberEntry(member, has_scope=not (seeded and seeds_the_same), unset_limits=unset)


async def _last_event(admin: AdminClient, advance: Advance) -> AuditEvent | None:
    """The last entry of the audit log. It is read forwards: first its most recent part, by this machine's clock."""
    for window in WINDOWS:
        last = None
        async for event in admin.list_audit_events(start_time=None if window is None else datetime.now(UTC) - window):
            last = event
            advance(1)
        if last is not None:
            return last
    return None


async def _catch_up(admin: AdminClient, present: Present, before: AuditEvent | None, head: int) -> str | None:
    """Puts over what was read what has changed since that entry, at least up to the head. Returns the revision
    reached, None when the log does not have it all."""
    from_revision = "" if before is None else before.revision
    soon = None if before is None else before.time.ToDatetime(UTC) - CLOCK_STEP
    # When the clock was set back further, later entries have earlier times: then the whole log is read.
    for since in (soon, None):
        revision = await _replay(admin, present, from_revision, since)
        if revision is not None and _count(revision) >= head:
            return revision
    return None


async def _replay(admin: AdminClient, present: Present, revision: str, since: datetime | None) -> str | None:
    """Puts the events after the revision over what was read. Returns the last one, None when some are missing."""
    begun = reached = _count(revision)
    async for event in admin.list_audit_events(start_time=since):
        number = number_of(event.revision)
        if number > reached + 1:
            return None
        if number > begun:
            reached, revision = number, event.revision
            for change in event.changes:
                _put(present, change)
    return revision


def _count(revision: str) -> int:
    return number_of(revision) if revision else 0


def _put(present: Present, change: AuditEvent.Change) -> None:
    after = change.after_json
    record = from_json(Kind(change.kind), json.loads(after or change.before_json))
    gone = not after
    match record:
        case Team():
            _set(present.teams, record.id, record, gone)
            if gone:
                present.members.pop(record.id, None)
        case Member():
            _set(present.members.setdefault(record.team, {}), record.user, record, gone)
        case AccessGroup():
            _set(present.groups, record.name, record, gone)
        case Model():
            _set(present.models, record.name, record, gone)


def _set(records: dict[str, R], name: str, record: R, gone: bool) -> None:
    if gone:
        records.pop(name, None)
    else:
        records[name] = record
