"""What a scope says of a model, and by which entry: what `decide` only says yes or no to, for those who explain."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from policy_service.domain.decide import excluded_by, takes_back
from policy_service.domain.records import Mode
from policy_service.domain.state import Group, Scope, State


class Outcome(StrEnum):
    """What a scope says of a model."""

    GRANTED = "GRANTED"
    NOT_GRANTED = "NOT_GRANTED"
    EXCLUDED = "EXCLUDED"


class Verdict(NamedTuple):
    """What a scope says of a model, by which entry, through which group (empty: directly)."""

    outcome: Outcome
    entry: str = ""
    group: str = ""


def judge(state: State, scope: Scope, name: str, target: str, *, alias_grants: bool) -> Verdict:
    """What the scope says of a request for `name`, which the team resolves to `target` (the same without an alias).

    `alias_grants`: an entry may grant an alias by listing it verbatim. It is GRANTED where `decide` grants.
    """
    if scope.mode is Mode.NONE or target in state.groups:
        return Verdict(Outcome.NOT_GRANTED)
    exclusion = excluded_by(state, scope, name, target)
    if exclusion is not None:
        return Verdict(Outcome.EXCLUDED, *exclusion)
    if scope.grants_all:
        return Verdict(Outcome.GRANTED)
    listed = name if alias_grants else target
    entry = _granting_entry(state, scope, target, listed)
    if entry is not None:
        return Verdict(Outcome.GRANTED, entry)
    for group_name in sorted(scope.names & state.groups.keys()):
        group = state.groups[group_name]
        entry = _granting_entry(state, group, target, listed)
        if entry is not None and not takes_back(state, group, name, target):
            return Verdict(Outcome.GRANTED, entry, group_name)
    return Verdict(Outcome.NOT_GRANTED)


def _granting_entry(state: State, holder: Scope | Group, target: str, listed: str) -> str | None:
    for name in (target, listed):
        if name in holder.names:
            return name
    return None if holder.patterns is None else holder.patterns.first(target, state.provider_names.get(target))
