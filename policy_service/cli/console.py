"""What the commands print, and their exit statuses. Standard output is for answers, standard error for the rest."""

from __future__ import annotations

from enum import IntEnum
from typing import NoReturn

import typer
from rich.console import Console

# What is printed are names and messages: nothing in them is markup, and a line stays a line for grep.
OUT = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
ERR = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)


class Exit(IntEnum):
    """Exit statuses, for scripts."""

    DONE = 0
    NO = 1  # the answer is no: denied, not fresh, the audit log does not verify
    REFUSED = 2  # the command or the request has to be changed
    NOT_FOUND = 3
    CONFLICT = 4  # it exists already, or was changed meanwhile: look again
    NO_ANSWER = 5  # nobody answered in time: try again later
    INTERRUPTED = 130  # Ctrl-C


def fail(message: str, status: Exit = Exit.REFUSED) -> NoReturn:
    """Ends the command."""
    ERR.print(f"policy-service: {message}", style="red")
    raise typer.Exit(status)
