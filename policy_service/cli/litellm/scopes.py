"""LiteLLM's lists of models as scopes, and its aliases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

from policy_service.cli.litellm.asking import as_member, as_team, granted_by_provider
from policy_service.cli.litellm.catalogue import Catalogue, alias_problem
from policy_service.cli.litellm.findings import Findings, listed, shown
from policy_service.cli.litellm.teams import ALL_TEAM_MODELS
from policy_service.domain.names import RESERVED_ENTRIES, entry_problem
from policy_service.domain.records import Mode, ModelScope
from policy_service.domain.validation import MAX_ALIASES, MAX_ENTRIES, MAX_GROUPS_IN_SCOPE, MAX_PATTERNS

EVERYTHING = frozenset(("*", "all-proxy-models"))
TEAM_FIELD = "models"
_REGULAR = frozenset(".^$+?{}[]\\|()")  # what is no letter to LiteLLM, which reads a wildcard as a regular expression


class Scopes:
    """Translates the lists of one team, the team's own first."""

    def __init__(self, catalogue: Catalogue, team_aliases: Mapping[str, str], findings: Findings, team: str) -> None:
        self._catalogue, self._findings, self._team = catalogue, findings, team
        self._team_aliases = team_aliases
        self.aliases: dict[str, str] = {}  # the team's and the proxy's, to their last target: set by `team_scope`

    def team_scope(self, models: Iterable[str], members: int) -> ModelScope:
        """What the team may use. LiteLLM lets it use its aliases without looking at their targets: those are added."""
        scope = self._scope(models, Mode.ALL, TEAM_FIELD, members)
        self._choose_aliases(scope, members)
        entries = dict.fromkeys(scope.models)
        may_ask = as_team(self._catalogue.state, scope, self.aliases)
        for alias, target in self.aliases.items():
            if not may_ask(alias):
                entries[target] = None
                self._add(
                    "ALIAS_TARGET_ADDED",
                    f"alias {alias!r}",
                    members,
                    litellm=f"allows {alias!r} and serves {target!r}, which the team may not ask for by its own name",
                    here=f"judges what an alias stands for: {target!r} is added to the team's models, by both names",
                )
        return self._bounded(entries, TEAM_FIELD, members) if entries else scope

    def member_scope(self, models: Iterable[str], field: str, members: int) -> ModelScope:
        """What the members whose list this is may use of it. LiteLLM checks the name that was asked for, whatever it is
        an alias of; here an alias has to be listed itself, unless its target is granted."""
        scope = self._scope(models, Mode.INHERIT, field, members)
        entries = dict.fromkeys(scope.models)
        if not entries:
            return scope
        may_ask = as_member(self._catalogue.state, scope)
        may_ask_here = as_member(self._catalogue.state, scope, self.aliases)
        for alias, target in self.aliases.items():
            # LiteLLM tries the name, and what the proxy's own alias makes of it, though the team's takes precedence.
            there = may_ask(alias) or may_ask(self._catalogue.group_aliases.get(alias, alias))
            here = may_ask_here(alias)
            if there and not here:
                entries[alias] = None
            elif here and not there:
                self._add(
                    "ALIAS_FOR_MEMBERS",
                    f"alias {alias!r}",
                    members,
                    litellm=f"denies it to a member whose own list has {target!r}, but not the alias",
                    here=f"allows it to who may use {target!r}",
                )
        return self._bounded(entries, field, members)

    def _scope(self, models: Iterable[str], everything: Mode, field: str, members: int) -> ModelScope:
        """With as many entries as the list has. `everything`: the mode for an unrestricted list, such as the empty."""
        given = tuple(dict.fromkeys(models))
        if not given or not EVERYTHING.isdisjoint(given):
            return ModelScope(everything)
        if ALL_TEAM_MODELS in given and (self._catalogue.names or self._catalogue.wildcards):
            self._add(
                "ALL_TEAM_MODELS",
                f"{ALL_TEAM_MODELS!r} in {field}",
                members,
                litellm="grants every name that the proxy's configuration has by then, and no other",
                here=f"has the mode {everything.value}",
            )
            return ModelScope(everything)
        entries = tuple(dict.fromkeys(self._entries(given, field, members)))
        self._note_patterns(entries, field, members)
        return ModelScope(Mode.ONLY, entries) if entries else ModelScope(Mode.NONE)

    def _entries(self, given: Iterable[str], field: str, members: int) -> Iterable[str]:
        for entry in given:
            if entry in RESERVED_ENTRIES:  # `no-default-models` grants nothing, and takes nothing away
                continue
            stands_for = self._catalogue.inlined.get(entry)
            if stands_for is not None:
                yield from stands_for
                if "*" not in entry and entry not in self._catalogue.names and entry not in self._team_aliases:
                    continue
            problem = entry_problem(entry)
            if problem is not None:
                self._add(
                    "ENTRY_LEFT_OUT",
                    f"{shown(entry)!r} in {field}",
                    members,
                    litellm="grants what is asked for by this name",
                    here=f"does not: the entry {problem}",
                )
                continue
            if "*" not in entry and entry not in self._team_aliases and not self._catalogue.knows(entry):
                self._add(
                    "UNKNOWN_ENTRY",
                    f"{shown(entry)!r} in {field}",
                    members,
                    litellm="grants this name, and if its database has a group of this name the models of that",
                    here="grants this name and no more: the configuration has neither a model nor a group like that",
                )
            yield entry

    def _note_patterns(self, entries: Iterable[str], field: str, members: int) -> None:
        patterns = [entry for entry in entries if "*" in entry]
        for pattern in patterns:
            if not _REGULAR.isdisjoint(pattern):
                self._add(
                    "PATTERN_IS_LITERAL",
                    f"{shown(pattern)!r} in {field}",
                    members,
                    litellm="reads it as a regular expression, in which '*' stands for '.*' and '.' for any character",
                    here="reads all but '*' as it is written",
                )
        by_provider = [pattern for pattern in patterns if self._catalogue.asks_provider(pattern)]
        if by_provider:
            names = listed(granted_by_provider(self._catalogue.state, by_provider)) or "none"
            self._add(
                "PROVIDER_FROM_CATALOGUE",
                f"{listed(by_provider)} in {field}",
                members,
                litellm="also grants by it the bare names that its own list of known models has under that provider",
                here=f"also grants by it the names that the catalogue has under that provider: {names}",
            )

    def _choose_aliases(self, scope: ModelScope, members: int) -> None:
        """The team's own, and those of the proxy of which the team may use one of the two names."""
        chosen: dict[str, str] = {}
        for alias, target in self._team_aliases.items():
            # The proxy resolves a team's alias first, then its own.
            last = self._catalogue.group_aliases.get(target, target)
            problem = alias_problem(self._catalogue.state, alias, last)
            if problem is not None:
                self._leave_out(alias, last, problem, members)
            else:
                chosen[alias] = last
        may_ask = as_team(self._catalogue.state, scope)
        for alias, target in self._catalogue.group_aliases.items():
            if alias not in self._team_aliases and (may_ask(alias) or may_ask(target)):
                chosen[alias] = target
        for alias in list(chosen)[MAX_ALIASES:]:
            self._leave_out(alias, chosen.pop(alias), f"a team has {MAX_ALIASES} at most", members)
        self.aliases = chosen

    def _leave_out(self, alias: str, target: str, problem: str, members: int) -> None:
        self._add(
            "ALIAS_LEFT_OUT",
            f"alias {shown(alias)!r}",
            members,
            litellm=f"takes it for {shown(target)!r}",
            here=f"has no such alias: {problem}",
        )

    def _bounded(self, entries: Collection[str], field: str, members: int) -> ModelScope:
        """As many of the entries as a scope may have."""
        group_names = self._catalogue.state.groups
        patterns = [entry for entry in entries if "*" in entry]
        groups = [entry for entry in entries if entry in group_names]
        over = {*patterns[MAX_PATTERNS:], *groups[MAX_GROUPS_IN_SCOPE:]}
        kept = tuple(islice((entry for entry in entries if entry not in over), MAX_ENTRIES))
        if len(kept) < len(entries):
            self._add(
                "TOO_MANY_ENTRIES",
                field,
                members,
                litellm=f"grants {len(entries)} entries",
                here=f"takes {MAX_ENTRIES} at most, of which {MAX_PATTERNS} with '*' and {MAX_GROUPS_IN_SCOPE} groups; "
                f"without {listed(set(entries) - set(kept))}",
            )
        return ModelScope(Mode.ONLY, kept)

    def _add(self, code: str, subject: str, members: int, *, litellm: str, here: str) -> None:
        self._findings.add(code, subject, team=self._team, members=members, litellm=litellm, here=here)
