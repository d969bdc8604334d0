"""Entries against names: what grants, and what excludes. Linear for any input; no regular expressions.

A grant is byte-exact. An exclusion is wider: it ignores case and is tried on every spelling of a name. Which
wildcard-free entries name a group is looked up at decision time, so that a change of a group recompiles no scope.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from policy_service.domain.names import fold


class Pattern:
    """An entry with `*`: any run of characters; all else is literal, anchored at both ends."""

    __slots__ = ("_least", "_middle", "_prefix", "_suffix", "text")

    def __init__(self, text: str, shown_as: str | None = None) -> None:
        self.text = shown_as or text
        self._prefix, *middle, self._suffix = text.split("*")
        self._middle = tuple(part for part in middle if part)
        self._least = len(self._prefix) + len(self._suffix)

    def matches(self, name: str) -> bool:
        if len(name) < self._least or not name.startswith(self._prefix) or not name.endswith(self._suffix):
            return False
        at, end = len(self._prefix), len(name) - len(self._suffix)
        for part in self._middle:
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


class Entries:
    """The entries of a scope or group that grant: plain names (and group names), and patterns."""

    __slots__ = ("names", "patterns")

    def __init__(self, entries: Iterable[str]) -> None:
        entries = tuple(entries)
        self.names = frozenset(entry for entry in entries if "*" not in entry)
        self.patterns = tuple(Pattern(entry) for entry in entries if "*" in entry)

    def pattern_for(self, name: str, provider_name: str | None) -> str | None:
        """The first pattern that grants the name, as itself or as `provider/name`."""
        for pattern in self.patterns:
            if pattern.matches(name) or (provider_name is not None and pattern.matches(provider_name)):
                return pattern.text
        return None


class Spelling(NamedTuple):
    """A name as exclusions see it, case folded."""

    name: str  # as it was written
    candidates: tuple[str, ...]  # the name, what follows each of its slashes, provider/name
    bare: str | None  # the name, when it has no slash and no provider is known: any provider may be meant


def spell(name: str, folded_providers: Iterable[str], any_provider: bool) -> Spelling:
    """All that an exclusion is tried on.

    `folded_providers`: of the catalogue names that differ from this at most in case. `any_provider`: the catalogue
    gives it none, so that none can be ruled out.
    """
    folded = fold(name)
    candidates = [folded]
    at = folded.find("/")
    while at >= 0:
        candidates.append(folded[at + 1 :])
        at = folded.find("/", at + 1)
    candidates.extend(f"{provider}/{folded}" for provider in folded_providers)
    return Spelling(name, tuple(candidates), folded if any_provider and "/" not in folded else None)


class Exclusions:
    """Entries that exclude, or a group's entries read in that wide way."""

    __slots__ = ("_bare_names", "_bare_patterns", "_names", "_patterns", "plain")

    def __init__(self, entries: Iterable[str]) -> None:
        self._names: dict[str, list[str]] = {}
        self._bare_names: dict[str, list[str]] = {}
        patterns, bare_patterns, plain = [], [], []
        for entry in entries:
            folded = fold(entry)
            slash, tail = "/" in folded, folded.rpartition("/")[2]
            if "*" in entry:
                patterns.append(Pattern(folded, entry))
            else:
                plain.append(entry)
                self._names.setdefault(folded, []).append(entry)
            if slash and "*" in tail:
                bare_patterns.append(Pattern(tail, entry))
            elif slash:
                self._bare_names.setdefault(tail, []).append(entry)
        self.plain = frozenset(plain)
        self._patterns, self._bare_patterns = tuple(patterns), tuple(bare_patterns)

    def match(self, spelling: Spelling, group_names: Collection[str] = ()) -> str | None:
        """The first entry that excludes the name; one that names a group means the group, and is passed over."""
        for candidate in spelling.candidates:
            for entry in self._names.get(candidate, ()):
                if entry not in group_names:
                    return entry
            for pattern in self._patterns:
                if pattern.matches(candidate):
                    return pattern.text
        if spelling.bare is not None:
            for entry in self._bare_names.get(spelling.bare, ()):
                return entry
            for pattern in self._bare_patterns:
                if pattern.matches(spelling.bare):
                    return pattern.text
        return None


def exclusions_of(entries: tuple[str, ...]) -> Exclusions | None:
    """None when there are none: most scopes exclude nothing, and their checks then spell nothing out."""
    return Exclusions(entries) if entries else None
