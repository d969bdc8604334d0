"""What commands that change the policy have in common: `--dry-run`, and how they report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from policy_client.admin import MutationOptions
from policy_service.cli.console import OUT
from policy_service.cli.output import Output, OutputOption, plain, print_document
from policy_service.cli.steps import Action, Change

EtagOption = Annotated[str, typer.Option("--etag", help="Only if its etag is still this.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Even if somebody may then use more, or members go too.")]
ClearOption = Annotated[
    list[str] | None,
    typer.Option("--clear", metavar="FIELD", help="Set this field back, such as limits.tpm_limit; repeat it."),
]


SIGNS = {Action.CREATE: ("+", "green"), Action.UPDATE: ("~", "yellow"), Action.DELETE: ("-", "red")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """The options of a command that changes something."""

    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False
    output: OutputOption = Output.TEXT

    @property
    def options(self) -> MutationOptions:
        """For the client."""
        return {"validate_only": self.dry_run}

    def report(self, answer: Message, changes: Sequence[Change]) -> None:
        """Prints what was changed: the changes in words, or the whole answer."""
        if self.output is not Output.TEXT:
            print_document(plain(answer), self.output)
            return
        mutated: Any = answer
        show_changes(changes)
        show_warnings(mutated.warnings)
        if not changes:
            OUT.print("No changes.")
        elif self.dry_run:
            OUT.print("Dry run. Nothing was changed.")
        else:
            OUT.print(f"Revision {mutated.revision}.")


def show_changes(changes: Sequence[Change], most: int | None = None) -> None:
    """Prints a line for each, at most so many."""
    shown = changes if most is None else changes[:most]
    for change in shown:
        sign, colour = SIGNS[change.action]
        OUT.print(f"{sign} {change.what}" + (f": {change.details}" if change.details else ""), style=colour)
    if len(changes) > len(shown):
        OUT.print(f"  and {len(changes) - len(shown):,} more", style="dim")


def show_warnings(warnings: Iterable[str]) -> None:
    """Prints the warnings of a mutation."""
    for warning in warnings:
        OUT.print(f"  warning: {warning}", style="yellow")
