"""What the benchmark of checks measures: a server that answers a question like ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.load.call import Call
from bench.world import Check


class Subject(NamedTuple):
    """A server that runs. `call` makes the equivalent of a check, whose answer is known; None: it cannot be asked."""

    name: str
    port: int  # on 127.0.0.1: gRPC over plaintext HTTP/2
    pids: Callable[[], list[int]]  # all its processes
    call: Callable[[Check, bool], Call | None]
    notes: str  # a sentence: what is equivalent in it, and what is not
    token: str = ""  # that callers have to show, as `authorization: Bearer TOKEN`


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found
