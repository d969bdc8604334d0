"""Which names a user of a team may use: `decide` asked for every name that is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from policy_service.domain.decide import Reason, admission, decide
from policy_service.domain.names import requested_model_problem
from policy_service.domain.records import Mode
from policy_service.domain.state import Group, Scope, State

MAX_NAMES_TRIED = 10_000  # a page; bounds how long one page keeps the thread


class AccessiblePage(NamedTuple):
    """A page of names, sorted bytewise. `last_tried` is where the next page goes on, None after the last name."""

    models: list[str]
    last_tried: str | None


class Overview(NamedTuple):
    """Which scope decides for a user (or why nothing is allowed), and the patterns of the two scopes."""

    reason: Reason
    team_patterns: list[str]
    member_patterns: list[str]


def overview(state: State, team_id: str, user: str) -> Overview:
    """Outsiders and blocked members see no pattern."""
    outside = admission(state, team_id, user)
    if outside is not None:
        return Overview(outside, [], [])
    team = state.teams[team_id]
    member = team.members.get(user)
    team_patterns = _patterns(state, team.scope)
    if member is None or member.scope.mode is Mode.INHERIT:
        denied = team.scope.mode is Mode.NONE
        return Overview(Reason.MODEL_NOT_IN_TEAM_SCOPE if denied else Reason.ALLOWED_BY_TEAM_SCOPE, team_patterns, [])
    if team.scope.mode is Mode.NONE:
        reason = Reason.MODEL_NOT_IN_TEAM_SCOPE
    elif member.scope.mode is Mode.NONE:
        reason = Reason.MODEL_NOT_IN_MEMBER_SCOPE
    else:
        reason = Reason.ALLOWED_BY_MEMBER_SCOPE
    return Overview(reason, team_patterns, _patterns(state, member.scope))


def accessible_page(state: State, team_id: str, user: str, after: str, limit: int) -> AccessiblePage:
    """At most `limit` names beyond `after` that `decide` allows. A page may be short, even empty, before the last."""
    names = sorted({name for name in _candidates(state, team_id, user) if name > after})
    allowed = []
    for name in names[:MAX_NAMES_TRIED]:
        if requested_model_problem(name) is None and decide(state, team_id, user, name).allowed:
            allowed.append(name)
            if len(allowed) == limit:
                return AccessiblePage(allowed, name if name != names[-1] else None)
    last = names[MAX_NAMES_TRIED - 1] if len(names) > MAX_NAMES_TRIED else None
    return AccessiblePage(allowed, last)


def _candidates(state: State, team_id: str, user: str) -> Iterator[str]:
    team = state.teams.get(team_id)
    if team is None:
        return
    yield from state.providers
    yield from team.aliases
    member = team.members.get(user)
    for scope in (team.scope, *(() if member is None else (member.scope,))):
        yield from scope.names
        for group_name in scope.names & state.groups.keys():
            yield from state.groups[group_name].names


def _patterns(state: State, scope: Scope) -> list[str]:
    if scope.mode is Mode.ALL:
        return ["*"]
    groups = [state.groups[name] for name in scope.names & state.groups.keys()]
    holders: list[Scope | Group] = [scope, *groups]
    return sorted({text for holder in holders if holder.patterns is not None for text in holder.patterns.texts})
