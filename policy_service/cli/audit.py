"""`policy-service audit`: who changed what, and whether the log of it is whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from policy_service.cli.audit_chain import BrokenChain, Chain
from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import ERR, OUT, Exit, fail
from policy_service.cli.output import Output, OutputOption, print_document, print_list
from policy_service.cli.progress import progress
from policy_service.cli.revisions import number_of, read_head
from policy_service.cli.words import listed
from policy_service.domain.changes import NO_HASH
from policy_service.v1.admin_pb2 import AuditEvent
from policy_service.v1.replication_pb2 import Head

app = typer.Typer(help="The audit log: who changed what, and whether it is whole.", no_args_is_help=True)
_KNOWN = re.compile(r"[^=\s]+\.\d{1,19}=[0-9a-f]{64}", re.ASCII)
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
COLUMNS: dict[str, Callable[[AuditEvent], str]] = {
    "TIME": lambda event: event.time.ToJsonString(),
    "REVISION": lambda event: event.revision,
    "ACTOR": lambda event: event.actor,
    "RPC": lambda event: event.rpc,
    "CHANGED": lambda event: listed(f"{change.kind} {change.name}" for change in event.changes),
}


def _time(text: str) -> datetime:
    """`2026-11-25`, `2026-11-25T08:00:00Z` (UTC when no zone is given), or `7d`: so long ago."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter("give a time such as 2026-11-25, 2026-11-25T08:00:00Z, or 7d for a week ago") from None


def _known(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        if not _KNOWN.fullmatch(text):
            fail(f"--expect {text!r} is no revision with its hash; give REVISION=HASH, as verify printed them")
        revision, known = text.split("=")
        if found.setdefault(revision, known) != known:
            fail(f"--expect gives revision {revision} two hashes; give it one")
    return found


@app.command("list")
@on_server
async def list_events(
    target: Target,
    team: Annotated[str, typer.Option(metavar="TEAM", help="Only what changed in this team.")] = "",
    since: Annotated[
        datetime | None, typer.Option(parser=_time, metavar="TIME", help="From then on; 7d is a week ago.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(parser=_time, metavar="TIME", help="Until before then.")] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """List the changes of the policy, the oldest first. JSON and YAML have each record before and after."""
    async with target.admin() as admin:
        await print_list(admin.list_audit_events(team=team, start_time=since, end_time=until), COLUMNS, output)


@app.command("verify")
@on_server
async def verify(
    target: Target,
    expect: Annotated[
        list[str] | None,
        typer.Option(metavar="REVISION=HASH", help="A hash that you kept from an earlier verify; repeat it."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Verify the audit log: each entry's hash covers it and the entry before it, up to what the server is at.

    Keep the last hash elsewhere: with --expect, not even whoever can write the database can rewrite what was before.
    Exit status: 0 it is whole, 1 it is not, else it could not be read.
    """
    expected = _known(expect or [])
    head = await read_head(target)
    chain = Chain(expected, None if head is None else (head.revision, head.hash))
    try:
        async with target.admin() as admin:
            with progress("verifying, revisions") as advance:
                async for part in admin.list_audit_events():
                    chain.take(part)
                    advance(1 if part.first_change == 0 else 0)
        chain.finish()
    except BrokenChain as error:
        ERR.print(f"policy-service: the audit log is broken: {error}", style="red")
        raise typer.Exit(Exit.NO) from None
    _report(chain, output, head)


def _report(chain: Chain, output: Output, head: Head | None) -> None:
    first, last = chain.first, chain.last
    document: dict[str, Any] = {
        "revisions": chain.count,
        "first_revision": first.revision if first else "",
        "previous_hash": first.previous_hash if first else "",
        "last_revision": last.revision if last else "",
        "last_hash": last.hash if last else "",
        "compared_with_head": head is not None,
    }
    if output is not Output.TEXT:
        print_document(document, output)
    elif first is None or last is None:
        OUT.print("The audit log is empty.")
    else:
        OUT.print(f"The audit log is whole: {chain.count:,} revisions, {first.revision} to {last.revision}.")
        if first.previous_hash != NO_HASH:
            OUT.print(f"What was before has been deleted by log retention; it ended in {first.previous_hash}.")
        if head is None:
            OUT.print("It was not compared with what the server is at: that needs the permission replicate.")
        elif head.revision == number_of(last.revision) and head.epoch != last.revision.rpartition(".")[0]:
            OUT.print(f"After it the database was restored, or put back: revisions go on as {head.epoch}.")
        OUT.print(f"Keep for a later --expect: {last.revision}={last.hash}")
