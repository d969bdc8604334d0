"""Entries against names: what grants, and what excludes. Linear for any input; no regular expressions.

A grant is byte-exact. An exclusion is wider: it ignores case and is tried on every spelling of a name. Which
wildcard-free entries name a group is looked up at decision time, so that a change of a group recompiles no scope.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from typing import NamedTuple
from weakref import WeakValueDictionary

from policy_service.domain.names import fold


class Pattern:
    """An entry with `*`: any run of characters; all else is literal, anchored at both ends."""

    __slots__ = ("_least", "middle", "prefix", "suffix", "text")

    def __init__(self, text: str, shown_as: str | None = None) -> None:
        self.text = shown_as or text
        self.prefix, *middle, self.suffix = text.split("*")
        self.middle = tuple(part for part in middle if part)
        self._least = len(self.prefix) + len(self.suffix)

    def matches(self, name: str) -> bool:
        if len(name) < self._least or not name.startswith(self.prefix) or not name.endswith(self.suffix):
            return False
        at, end = len(self.prefix), len(name) - len(self.suffix)
        for part in self.middle:
            found = name.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


class Patterns:
    """Entries with `*`, tried together. Most of them have one `*`, at the end or at the start: those take one call."""

    __slots__ = ("__weakref__", "_all", "_others", "_prefixes", "_rest", "_suffixes")

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._all = tuple(patterns)
        self._prefixes = tuple(pattern.prefix for pattern in self._all if not (pattern.middle or pattern.suffix))
        self._rest = tuple(pattern for pattern in self._all if pattern.middle or pattern.suffix)
        self._suffixes = tuple(pattern.suffix for pattern in self._rest if not (pattern.middle or pattern.prefix))
        self._others = tuple(pattern for pattern in self._rest if pattern.middle or pattern.prefix)

    def match(self, name: str, other_name: str | None = None) -> bool:
        """Whether one of them matches the name, or the other name (None: there is no other)."""
        prefixes = self._prefixes
        if name.startswith(prefixes) or (other_name is not None and other_name.startswith(prefixes)):
            return True
        return bool(self._rest) and (
            self._rest_match(name) or (other_name is not None and self._rest_match(other_name))
        )

    def _rest_match(self, name: str) -> bool:
        return name.endswith(self._suffixes) or any(pattern.matches(name) for pattern in self._others)

    @property
    def texts(self) -> list[str]:
        """The entries."""
        return [pattern.text for pattern in self._all]

    def first(self, name: str, other_name: str | None = None) -> str | None:
        """The first entry that matches the name, or the other name."""
        for pattern in self._all:
            if pattern.matches(name) or (other_name is not None and pattern.matches(other_name)):
                return pattern.text
        return None


def names_of(entries: Iterable[str]) -> frozenset[str]:
    """The entries without `*`: names, of models and of groups. Equal ones of all scopes are one object, which is near
    when it is compared."""
    return frozenset(sys.intern(entry) for entry in entries if "*" not in entry)


def patterns_of(entries: Iterable[str]) -> Patterns | None:
    """The entries with `*`. None when there are none: most names are then looked up, and nothing else."""
    texts = tuple(entry for entry in entries if "*" in entry)
    if not texts:
        return None
    shared = _SHARED_PATTERNS.get(texts)
    if shared is None:
        shared = _SHARED_PATTERNS[texts] = Patterns(map(Pattern, texts))
    return shared


# Equal ones that are in use are one object: what many scopes have is near when it is needed.
_SHARED_PATTERNS: WeakValueDictionary[tuple[str, ...], Patterns] = WeakValueDictionary()


class Spelling(NamedTuple):
    """A name as exclusions see it, case folded."""

    name: str  # as it was written
    candidates: tuple[str, ...]  # the name, what follows each of its slashes, provider/name
    bare: str | None  # the name, when it has no slash and no provider is known: any provider may be meant


_new = tuple.__new__  # makes a named tuple in a third of the time


def spell(name: str, folded: str, provider_names: tuple[str, ...], any_provider: bool) -> Spelling:
    """All that an exclusion is tried on.

    `provider_names`: `provider/name`, folded, of the catalogue names that differ from this at most in case.
    `any_provider`: the catalogue gives it none, so that none can be ruled out.
    """
    if "/" not in folded:
        return _new(Spelling, (name, (folded, *provider_names), folded if any_provider else None))
    candidates = [folded]
    at = folded.find("/")
    while at >= 0:
        candidates.append(folded[at + 1 :])
        at = folded.find("/", at + 1)
    return _new(Spelling, (name, (*candidates, *provider_names), None))


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
        self._patterns = Patterns(patterns) if patterns else None
        self._bare_patterns = Patterns(bare_patterns) if bare_patterns else None

    def match(self, spelling: Spelling, group_names: Collection[str] = ()) -> str | None:
        """The first entry that excludes the name; one that names a group means the group, and is passed over."""
        for candidate in spelling.candidates:
            for entry in self._names.get(candidate, ()):
                if entry not in group_names:
                    return entry
            if self._patterns is not None and self._patterns.match(candidate):
                return self._patterns.first(candidate)
        if spelling.bare is not None:
            for entry in self._bare_names.get(spelling.bare, ()):
                return entry
            if self._bare_patterns is not None and self._bare_patterns.match(spelling.bare):
                return self._bare_patterns.first(spelling.bare)
        return None


def exclusions_of(entries: tuple[str, ...]) -> Exclusions | None:
    """None when there are none: most scopes exclude nothing, and their checks then spell nothing out."""
    return Exclusions(entries) if entries else None
