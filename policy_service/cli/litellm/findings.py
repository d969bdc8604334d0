"""What the administrator has to know of an import: where LiteLLM means something else than this service will."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

MAX_NAMES_SHOWN = 8
MAX_NAME_SHOWN = 100  # characters


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where the meaning needed a decision."""

    code: str  # stable; docs/litellm.md has them all
    team: str  # its id; empty: it is about the whole proxy
    subject: str  # what in the team, or the proxy: `alias 'fast'`
    litellm: str  # what LiteLLM does today
    here: str  # what this service will do
    members: int  # how many members it concerns; 0 also when it concerns those who are none


class Findings:
    """Collects findings; equal ones become one, which concerns the members of all."""

    def __init__(self) -> None:
        self._found: dict[Finding, int] = {}

    def add(self, code: str, subject: str, *, litellm: str, here: str, team: str = "", members: int = 0) -> None:
        """Notes a finding."""
        key = Finding(code, shown(team), subject, litellm, here, 0)
        self._found[key] = self._found.get(key, 0) + members

    def all(self) -> list[Finding]:
        """In the order in which they were first found."""
        return [replace(key, members=members) for key, members in self._found.items()]


def shown(text: str) -> str:
    """A text of a file in a line for people: what does not print is escaped, what is long is cut."""
    printable = text if text.isprintable() else ascii(text)[1:-1]
    return printable if len(printable) <= MAX_NAME_SHOWN else printable[: MAX_NAME_SHOWN - 3] + "..."


def listed(names: Iterable[str]) -> str:
    """The names in byte order, the first of them if there are many."""
    ordered = [shown(name) for name in sorted(set(names))]
    rest = len(ordered) - MAX_NAMES_SHOWN
    return ", ".join(ordered[:MAX_NAMES_SHOWN] + ([f"and {rest} more"] if rest > 0 else []))
