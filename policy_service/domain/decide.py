"""The decision: one pure function for Check, Batch, List, Explain and every front. The order is the contract's.

This is what every request waits for, so it says yes or no and nothing else: which entry it was, verdict.py finds
out for those who want to know.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from policy_service.domain.matching import Spelling, spell
from policy_service.domain.names import fold
from policy_service.domain.records import MemberLimits
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


# A name of an enumeration is looked up slowly, one of a module is not.
_TEAM_NOT_FOUND = Reason.TEAM_NOT_FOUND
_TEAM_BLOCKED = Reason.TEAM_BLOCKED
_NOT_A_MEMBER = Reason.NOT_A_MEMBER
_MEMBER_BLOCKED = Reason.MEMBER_BLOCKED
_MODEL_NOT_IN_TEAM_SCOPE = Reason.MODEL_NOT_IN_TEAM_SCOPE
_MODEL_NOT_IN_MEMBER_SCOPE = Reason.MODEL_NOT_IN_MEMBER_SCOPE
_ALLOWED_BY_TEAM_SCOPE = Reason.ALLOWED_BY_TEAM_SCOPE
_ALLOWED_BY_MEMBER_SCOPE = Reason.ALLOWED_BY_MEMBER_SCOPE


class Decision(NamedTuple):
    """The answer. `limits` is None on a deny."""

    allowed: bool
    reason: Reason
    resolved_model: str
    limits: MemberLimits | None


_new = tuple.__new__  # makes a named tuple in a third of the time


def decide(state: State, team_id: str, user: str, model: str) -> Decision:
    """May `user` (empty: unknown) of the team use `model`? The names are valid (see names.py)."""
    team = state.teams.get(team_id)
    if team is None:
        return _new(Decision, (False, _TEAM_NOT_FOUND, model, None))
    if team.blocked:
        return _new(Decision, (False, _TEAM_BLOCKED, model, None))
    member = team.members.get(user)
    if member is None:
        if not team.unlisted_allowed:
            return _new(Decision, (False, _NOT_A_MEMBER, model, None))
    elif member.blocked:
        return _new(Decision, (False, _MEMBER_BLOCKED, model, None))

    target = team.aliases.get(model, model)
    # A group's name is no model: nothing grants it. A team's scope does not grant an alias by listing it.
    if target in state.groups or not (
        team.is_open or target in team.open_names or grants(state, team.scope, model, target, target)
    ):
        return _new(Decision, (False, _MODEL_NOT_IN_TEAM_SCOPE, target, None))
    if member is None:
        return _new(Decision, (True, _ALLOWED_BY_TEAM_SCOPE, target, team.limits))
    if not (member.is_open or target in member.open_names or grants(state, member.scope, model, target, model)):
        return _new(Decision, (False, _MODEL_NOT_IN_MEMBER_SCOPE, target, None))
    reason = _ALLOWED_BY_TEAM_SCOPE if member.inherits else _ALLOWED_BY_MEMBER_SCOPE
    return _new(Decision, (True, reason, target, member.limits))


def admission(state: State, team_id: str, user: str) -> Reason | None:
    """Why the team lets `user` use nothing, whatever is asked for; None when the models decide."""
    team = state.teams.get(team_id)
    if team is None:
        return _TEAM_NOT_FOUND
    if team.blocked:
        return _TEAM_BLOCKED
    member = team.members.get(user)
    if member is None:
        return None if team.unlisted_allowed else _NOT_A_MEMBER
    return _MEMBER_BLOCKED if member.blocked else None


def grants(state: State, scope: Scope, name: str, target: str, listed: str) -> bool:
    """Whether the scope grants a request for `name`, which the team resolves to `target`, no group's name.

    `listed`: the name that grants when an entry lists it verbatim, besides the target: the alias, or the target again.
    """
    if scope.exclusions is not None and excluded_by(state, scope, name, target) is not None:
        return False
    if scope.grants_all:
        return True
    names, patterns = scope.names, scope.patterns
    if target in names or (listed is not target and listed in names):
        return True
    if patterns is not None and patterns.match(target, state.provider_names.get(target)):
        return True
    if scope.linked_at is not state.groups_mark:
        scope.link(state)
    for group in scope.granting_groups:
        names, patterns = group.names, group.patterns
        if (
            target in names
            or (listed is not target and listed in names)
            or (patterns is not None and patterns.match(target, state.provider_names.get(target)))
        ) and not takes_back(state, group, name, target):
            return True
    return False


def takes_back(state: State, group: Group, name: str, target: str) -> bool:
    """Whether the group's own exclusions take the model out of what it grants."""
    exclusions = group.exclusions
    return exclusions is not None and any(exclusions.match(spelling) for spelling in spellings(state, name, target))


class Exclusion(NamedTuple):
    """The entry that excludes, and the group through which (empty: directly)."""

    entry: str
    group: str = ""


def excluded_by(state: State, scope: Scope, name: str, target: str) -> Exclusion | None:
    """What in the scope excludes the request."""
    exclusions = scope.exclusions
    if exclusions is None:
        return None
    if scope.linked_at is not state.groups_mark:
        scope.link(state)
    for spelling in spellings(state, name, target):
        entry = exclusions.match(spelling, state.groups)
        if entry is not None:
            return Exclusion(entry)
        for group in scope.excluding_groups:
            entry = group_excludes(group, spelling)
            if entry is not None:
                return Exclusion(entry, group.source.name)
    return None


def group_excludes(group: Group, spelling: Spelling) -> str | None:
    """The entry by which an excluded group excludes the name; its own exclusions hand back the names they equal."""
    if spelling.name in group.source.excluded_models:
        return None
    return group.wide_entries.match(spelling)


def spellings(state: State, name: str, target: str) -> tuple[Spelling, ...]:
    """What exclusions are tried on: the target, and the alias by which it was asked for.

    An alias has no provider of its own, known or unknown: its target's counts.
    """
    asked = _spell(state, target, target not in state.providers)
    return (asked,) if name is target or name == target else (asked, _spell(state, name, False))


def _spell(state: State, name: str, any_provider: bool) -> Spelling:
    folded = fold(name)
    return spell(name, folded, state.folded_provider_names.get(folded, ()), any_provider)
