"""How far long work is, on standard error: a bar on a terminal, else a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from policy_service.cli.console import ERR, OUT

EVERY = 10_000  # items between two lines
Advance = Callable[[int], None]


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """Yields the function to call with how many more are done. `total` None: not known."""
    if ERR.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # What is printed meanwhile has to go above the bar, and only the bar's own console does that.
        with Progress(*columns, console=OUT if OUT.is_terminal else ERR, transient=True) as bar:
            task = bar.add_task(what, total=total)
            yield lambda count: bar.advance(task, count)
    else:
        yield _Lines(what, total).advance


class _Lines:
    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._done = what, 0
        self._of = "" if total is None else f" of {total:,}"

    def advance(self, count: int) -> None:
        before, self._done = self._done, self._done + count
        if before // EVERY != self._done // EVERY:
            ERR.print(f"{self._what}: {self._done:,}{self._of}")
