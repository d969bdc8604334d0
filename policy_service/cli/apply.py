"""`policy-service apply`: makes a server's policy what a file says. plan.py has the order, manifest.py the file.

Applying twice changes nothing the second time and makes no revision. What the file leaves out of a team or a model has
its default; a member's scope or limit that it leaves out is the team's to seed, see `member_differences`. Nothing is
deleted without `--prune`. Broken off, by Ctrl-C or an error, it goes on from what is there when it is run again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from policy_client import Aborted, AdminClient, AlreadyExists, PolicyClientError
from policy_service.cli.connection import Target, exit_status, on_server
from policy_service.cli.console import OUT, Exit, fail
from policy_service.cli.manifest import Manifest, ManifestError, parse_manifest
from policy_service.cli.mutations import show_changes, show_warnings
from policy_service.cli.output import Output, OutputOption, print_document
from policy_service.cli.plan import make_plan
from policy_service.cli.present import read_present
from policy_service.cli.progress import Advance, progress
from policy_service.cli.steps import Action, Change, Step

MAX_SHOWN = 20  # changes of a step


@on_server
async def apply(
    target: Target,
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="The YAML file; - is standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the difference and change nothing.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what the server has and a section of the file has not.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make the policy what a file says: create and update models, groups, teams and members.

    Broken off, it goes on from what is there when it is run again. Exit status: 0 done, or nothing to do; else not, or
    not all of it.
    """
    manifest = _read(file)
    can_ask = file != "-" and sys.stdin.isatty() and output is Output.TEXT
    if prune and not (dry_run or yes or can_ask):
        fail("--prune asks before it deletes, and nobody can be asked here; add --yes, or look first with --dry-run")
    async with target.admin() as admin:
        try:
            steps = await _plan(admin, manifest, prune=prune)
        except PolicyClientError as error:
            fail(f"{target.explain(error)}\nNothing was changed.", exit_status(error))
        work = _Work(target, admin, steps, output)
        if dry_run:
            work.show()
        elif work.deletions and not yes and not _confirmed(work.deletions):
            fail("nothing was changed")
        else:
            await work.run()


def _read(file: str) -> Manifest:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return parse_manifest(content, "<stdin>" if file == "-" else file)
    except (ManifestError, OSError) as error:
        fail(str(error))


async def _plan(admin: AdminClient, manifest: Manifest, *, prune: bool) -> list[Step]:
    with progress("reading what is there, records") as advance:
        present = await read_present(admin, manifest, advance)
    return make_plan(manifest, present, prune=prune)


def _confirmed(deletions: Sequence[Change]) -> bool:
    show_changes(deletions)
    these = "this" if len(deletions) == 1 else f"these {len(deletions):,}"
    # The event loop would only note a Ctrl-C, and the question would go on waiting.
    noting = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(f"Delete {these} and apply the rest?")
    except typer.Abort:
        fail("interrupted; nothing was changed", Exit.INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, noting)


class _Work:
    """The steps, and how far they are."""

    def __init__(self, target: Target, admin: AdminClient, steps: Sequence[Step], output: Output) -> None:
        self._target, self._admin, self._steps, self._output = target, admin, steps, output
        self._done: list[Change] = []
        self._warnings: list[str] = []
        self._revision = ""

    @property
    def _changes(self) -> list[Change]:
        return [change for step in self._steps for change in step.changes]

    @property
    def deletions(self) -> list[Change]:
        """What will be deleted."""
        return [change for change in self._changes if change.action is Action.DELETE]

    def show(self) -> None:
        """Shows what would be done."""
        changes = self._changes
        if self._output is not Output.TEXT:
            self._print_document(changes, dry_run=True)
        elif changes:
            show_changes(changes)
            OUT.print(f"Dry run: {_count(changes)}. Nothing was changed.")
        else:
            OUT.print("No changes.")

    async def run(self) -> None:
        """Runs the steps. Ends the command when one fails."""
        with progress("applying, changes", len(self._changes)) as advance:
            failure = await self._run_steps(advance)
        if failure is not None:
            fail(*failure)
        if self._output is not Output.TEXT:
            self._print_document(self._done, dry_run=False)
        elif self._done:
            OUT.print(f"Applied: {_count(self._done)}. Revision {self._revision}.")
        else:
            OUT.print("No changes.")

    async def _run_steps(self, advance: Advance) -> tuple[str, Exit] | None:
        """Returns why one failed, and the exit status."""
        for step in self._steps:
            try:
                answer = await step.run(self._admin)
            except PolicyClientError as error:
                return self._broken_off(step, self._target.explain(error), _advice(error)), exit_status(error)
            except asyncio.CancelledError:
                return self._broken_off(step, "interrupted", UNKNOWN), Exit.INTERRUPTED
            self._done += step.changes
            self._warnings += answer.warnings
            self._revision = answer.revision
            if self._output is Output.TEXT:
                show_changes(step.changes, MAX_SHOWN)
                show_warnings(answer.warnings)
            advance(len(step.changes))
        return None

    def _print_document(self, changes: Iterable[Change], *, dry_run: bool) -> None:
        shown: list[dict[str, Any]] = [change._asdict() | {"action": change.action.value} for change in changes]
        document = {"dry_run": dry_run, "revision": self._revision, "changes": shown, "warnings": self._warnings}
        print_document(document, self._output)

    def _broken_off(self, step: Step, why: str, advice: str) -> str:
        rest = len(step.changes) - 1
        what = step.changes[0].what + (f" and {rest:,} more" if rest else "")
        before = f"{_count(self._done)} before that" if self._done else "nothing before that"
        return f"{what}: {why}\nApplied {before}. {advice}; it goes on from what is there."


UNKNOWN = "Whether this step took effect is not known: run apply again"


def _advice(error: PolicyClientError) -> str:
    if isinstance(error, (Aborted, AlreadyExists)):
        return "Somebody changed it since it was read: run apply again"
    return UNKNOWN if error.may_fail_open else "Correct this and run apply again"


def _count(changes: Iterable[Change]) -> str:
    counted = Counter(change.action for change in changes)
    return ", ".join(f"{counted[action]:,} {action.value}" for action in Action if counted[action])
