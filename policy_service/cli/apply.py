"""`policy-service apply`: makes a server's policy what a file says. plan.py has the order, manifest.py the file.

Applying twice changes nothing the second time and makes no revision. What the file leaves out of a team or a model has
its default; a member's scope or limit that it leaves out is the team's to seed, see `member_differences`. Nothing is
deleted without `--prune`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from policy_client import Aborted, AdminClient, AlreadyExists, PolicyClientError
from policy_service.cli.connection import (
    DEFAULT_SERVER,
    OUT,
    ServerOption,
    Target,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TokenFileOption,
    fail,
)
from policy_service.cli.manifest import Manifest, ManifestError, parse_manifest
from policy_service.cli.plan import make_plan
from policy_service.cli.present import read_present
from policy_service.cli.steps import Action, Change, Step

SIGNS = {Action.CREATE: ("+", "green"), Action.UPDATE: ("~", "yellow"), Action.DELETE: ("-", "red")}


def apply(
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="The YAML file; - is standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference and change nothing.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what the server has and a section of the file has not.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
) -> None:
    """Make the policy what a file says: create and update models, groups, teams and members.

    Exit status: 0 done, or nothing to do; 2 not, or not all of it.
    """
    target = Target(server, token_file, tls_ca, tls_cert, tls_key)
    try:
        manifest = parse_manifest(_content(file), "<stdin>" if file == "-" else file)
    except (ManifestError, OSError) as error:
        fail(str(error))
    can_ask = file != "-" and sys.stdin.isatty()
    if prune and not (dry_run or yes or can_ask):
        fail("--prune asks before it deletes, and nobody can be asked here; add --yes, or look first with --dry-run")
    asyncio.run(_apply(target, manifest, dry_run=dry_run, prune=prune, ask=not yes))


def _content(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()


async def _apply(target: Target, manifest: Manifest, *, dry_run: bool, prune: bool, ask: bool) -> None:
    async with target.admin() as admin:
        try:
            steps = make_plan(manifest, await read_present(admin, manifest), prune=prune)
        except PolicyClientError as error:
            fail(f"{target.explain(error)}\nNothing was changed.")
        changes = [change for step in steps for change in step.changes]
        deletions = [change for change in changes if change.action is Action.DELETE]
        if not steps:
            OUT.print("No changes.")
        elif dry_run:
            _show(changes)
            OUT.print(f"Dry run: {_count(changes)}. Nothing was changed.")
        elif deletions and ask and not _confirmed(deletions):
            fail("nothing was changed")
        else:
            await _run(target, admin, steps)


def _confirmed(deletions: Sequence[Change]) -> bool:
    _show(deletions)
    return typer.confirm(f"Delete {'this' if len(deletions) == 1 else f'these {len(deletions)}'} and apply the rest?")


async def _run(target: Target, admin: AdminClient, steps: Iterable[Step]) -> None:
    done: list[Change] = []
    revision = ""
    for step in steps:
        try:
            answer = await step.run(admin)
        except PolicyClientError as error:
            fail(_broken_off(target, error, step, done))
        _show(step.changes)
        for warning in answer.warnings:
            OUT.print(f"  warning: {warning}", style="yellow")
        done += step.changes
        revision = answer.revision
    OUT.print(f"Applied: {_count(done)}. Revision {revision}.")


def _broken_off(target: Target, error: PolicyClientError, step: Step, done: Sequence[Change]) -> str:
    rest = len(step.changes) - 1
    what = step.changes[0].what + (f" and {rest} more" if rest else "")
    if isinstance(error, (Aborted, AlreadyExists)):
        advice = "Somebody changed it since it was read: run apply again"
    elif error.may_fail_open:
        advice = "Whether this step took effect is not known: run apply again"
    else:
        advice = "Correct this and run apply again"
    before = f"{_count(done)} before that" if done else "nothing before that"
    return f"{what}: {target.explain(error)}\nApplied {before}. {advice}; it goes on from what is there."


def _show(changes: Iterable[Change]) -> None:
    for change in changes:
        sign, colour = SIGNS[change.action]
        OUT.print(f"{sign} {change.what}" + (f": {change.details}" if change.details else ""), style=colour)


def _count(changes: Iterable[Change]) -> str:
    counted = Counter(change.action for change in changes)
    return ", ".join(f"{counted[action]} {action.value}" for action in Action if counted[action])
