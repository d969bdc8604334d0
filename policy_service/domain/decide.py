"""The decision: one pure function for Check, Batch, List, Explain and every front. The order is the contract's."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from policy_service.domain.matching import Entries, Exclusions, Spelling, spell
from policy_service.domain.records import MemberLimits, Mode
from policy_service.domain.state import Group, Scope, State


class Reason(StrEnum):
    """Why a check was allowed or denied."""

    TEAM_NOT_FOUND = "TEAM_NOT_FOUND"
    TEAM_BLOCKED = "TEAM_BLOCKED"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    MEMBER_BLOCKED = "MEMBER_BLOCKED"
    MODEL_NOT_IN_TEAM_SCOPE = "MODEL_NOT_IN_TEAM_SCOPE"
    MODEL_NOT_IN_MEMBER_SCOPE = "MODEL_NOT_IN_MEMBER_SCOPE"
    ALLOWED_BY_TEAM_SCOPE = "ALLOWED_BY_TEAM_SCOPE"
    ALLOWED_BY_MEMBER_SCOPE = "ALLOWED_BY_MEMBER_SCOPE"


class Outcome(StrEnum):
    """What a scope says of a model."""

    GRANTED = "GRANTED"
    NOT_GRANTED = "NOT_GRANTED"
    EXCLUDED = "EXCLUDED"


class Decision(NamedTuple):
    """The answer. `limits` is None on a deny."""

    allowed: bool
    reason: Reason
    resolved_model: str
    limits: MemberLimits | None


class Verdict(NamedTuple):
    """What a scope says of a model, by which entry, through which group (empty: directly)."""

    outcome: Outcome
    entry: str = ""
    group: str = ""


class Evidence:
    """Filled by `decide` for whoever wants to know what the scopes said."""

    def __init__(self) -> None:
        self.team: Verdict | None = None
        self.member: Verdict | None = None


_GRANTED = Verdict(Outcome.GRANTED)
_NOT_GRANTED = Verdict(Outcome.NOT_GRANTED)


def decide(state: State, team_id: str, user: str, model: str, evidence: Evidence | None = None) -> Decision:
    """May `user` (empty: unknown) of the team use `model`? The names are valid (see names.py).

    `evidence`, when given, receives the verdicts of the scopes that were asked.
    """
    team = state.teams.get(team_id)
    if team is None:
        return Decision(False, Reason.TEAM_NOT_FOUND, model, None)
    if team.blocked:
        return Decision(False, Reason.TEAM_BLOCKED, model, None)
    member = team.members.get(user)
    if member is None:
        if not team.unlisted_allowed:
            return Decision(False, Reason.NOT_A_MEMBER, model, None)
    elif member.blocked:
        return Decision(False, Reason.MEMBER_BLOCKED, model, None)

    target = team.aliases.get(model, model)
    verdict = judge(state, team.scope, model, target, alias_grants=False)
    if evidence is not None:
        evidence.team = verdict
    if verdict.outcome is not Outcome.GRANTED:
        return Decision(False, Reason.MODEL_NOT_IN_TEAM_SCOPE, target, None)
    if member is None:
        return Decision(True, Reason.ALLOWED_BY_TEAM_SCOPE, target, team.limits)

    verdict = judge(state, member.scope, model, target, alias_grants=True)
    if evidence is not None:
        evidence.member = verdict
    if verdict.outcome is not Outcome.GRANTED:
        return Decision(False, Reason.MODEL_NOT_IN_MEMBER_SCOPE, target, None)
    inherits = member.scope.mode is Mode.INHERIT
    reason = Reason.ALLOWED_BY_TEAM_SCOPE if inherits else Reason.ALLOWED_BY_MEMBER_SCOPE
    return Decision(True, reason, target, member.limits)


def judge(state: State, scope: Scope, name: str, target: str, *, alias_grants: bool) -> Verdict:
    """What the scope says of a request for `name`, which the team resolves to `target` (the same without an alias).

    `alias_grants`: an entry may grant an alias by listing it verbatim. A group's name is no model: nothing grants it.
    """
    mode = scope.mode
    if mode is Mode.NONE or target in state.group_names:
        return _NOT_GRANTED
    if scope.exclusions is not None:
        verdict = _excluded_by_scope(state, scope.exclusions, spellings(state, name, target))
        if verdict is not None:
            return verdict
    if mode is not Mode.ONLY:
        return _GRANTED
    entries = scope.entries
    entry = _granting_entry(state, entries, name, target, alias_grants)
    if entry is not None:
        return Verdict(Outcome.GRANTED, entry)
    if not entries.names.isdisjoint(state.group_names):
        for group_name in sorted(entries.names & state.group_names):
            entry = _granted_by_group(state, state.groups[group_name], name, target, alias_grants)
            if entry is not None:
                return Verdict(Outcome.GRANTED, entry, group_name)
    return _NOT_GRANTED


def _granting_entry(state: State, entries: Entries, name: str, target: str, alias_grants: bool) -> str | None:
    if target in entries.names:
        return target
    if alias_grants and name in entries.names:
        return name
    if entries.patterns:
        return entries.pattern_for(target, _provider_name(state, target))
    return None


def _granted_by_group(state: State, group: Group, name: str, target: str, alias_grants: bool) -> str | None:
    entry = _granting_entry(state, group.entries, name, target, alias_grants)
    if entry is None or group.exclusions is None:
        return entry
    excluded = any(group.exclusions.match(spelling) for spelling in spellings(state, name, target))
    return None if excluded else entry


def _provider_name(state: State, name: str) -> str | None:
    """`provider/name`, when the catalogue gives the name a provider and it does not already begin with it."""
    provider = state.providers.get(name)
    return None if provider is None or name.startswith(provider + "/") else f"{provider}/{name}"


def spellings(state: State, name: str, target: str) -> Iterator[Spelling]:
    """What exclusions are tried on: the target, and the alias by which it was asked for.

    An alias has no provider of its own, known or unknown: its target's counts.
    """
    yield _spell(state, target, any_provider=target not in state.providers)
    if name != target:
        yield _spell(state, name, any_provider=False)


def _spell(state: State, name: str, any_provider: bool) -> Spelling:
    return spell(name, state.providers_ignoring_case(name), any_provider)


def _excluded_by_scope(state: State, exclusions: Exclusions, asked: Iterator[Spelling]) -> Verdict | None:
    group_names = state.group_names
    groups = sorted(exclusions.plain & group_names)
    for spelling in asked:
        entry = exclusions.match(spelling, group_names)
        if entry is not None:
            return Verdict(Outcome.EXCLUDED, entry)
        for group_name in groups:
            entry = group_excludes(state.groups[group_name], spelling)
            if entry is not None:
                return Verdict(Outcome.EXCLUDED, entry, group_name)
    return None


def group_excludes(group: Group, spelling: Spelling) -> str | None:
    """The entry by which an excluded group excludes the name; its own exclusions hand back the names they equal."""
    if spelling.name in group.source.excluded_models:
        return None
    return group.wide_entries.match(spelling)
