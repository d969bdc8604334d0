"""Why a check was decided as it was, and what would change a deny."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from policy_service.domain.accessible import accessible_page
from policy_service.domain.decide import Decision, Reason, decide
from policy_service.domain.encoding import canonical, scope_to_json
from policy_service.domain.names import RESERVED_ENTRIES, fold
from policy_service.domain.records import Mode, ModelScope
from policy_service.domain.state import Scope, State
from policy_service.domain.validation import MAX_ENTRIES
from policy_service.domain.verdict import Outcome, Verdict, judge

MAX_NEAREST = 5
MAX_COMPARED = 2_000
MIN_LIKENESS = 0.3


class Layer(StrEnum):
    """What was looked at."""

    TEAM = "TEAM"
    MEMBERSHIP = "MEMBERSHIP"
    ALIAS = "ALIAS"
    TEAM_SCOPE = "TEAM_SCOPE"
    MEMBER_SCOPE = "MEMBER_SCOPE"


class Step(NamedTuple):
    """A layer and what came of it: PASSED, DENIED, or a scope's Outcome."""

    layer: Layer
    outcome: str
    message: str
    entry: str = ""
    group: str = ""
    alias: str = ""


class Suggestion(NamedTuple):
    """A call of AdminService that takes one obstacle away: the RPC, a sentence, the request's JSON."""

    rpc: str
    description: str
    request_json: str


class Explanation(NamedTuple):
    decision: Decision
    steps: list[Step]
    suggestions: list[Suggestion]
    nearest: list[str]


def explain(state: State, team_id: str, user: str, model: str) -> Explanation:
    """The decision with its steps and, for a deny, the smallest changes that together would allow it."""
    decision = decide(state, team_id, user, model)
    steps = list(_steps(state, team_id, user, model, decision))
    if decision.allowed:
        return Explanation(decision, steps, [], [])
    suggestions = list(_suggestions(state, team_id, user, model))
    return Explanation(decision, steps, suggestions, _nearest(state, team_id, user, model))


def _who(user: str) -> str:
    return f"user {user!r}" if user else "a request without a user"


# The reason in words, of (team, user, model), for the user or a log. It tells an outsider nothing of a scope.
SENTENCES: Mapping[Reason, Callable[[str, str, str], str]] = {
    Reason.TEAM_NOT_FOUND: lambda team, _user, _model: f"There is no team {team!r}.",
    Reason.TEAM_BLOCKED: lambda team, _user, _model: f"Team {team!r} is blocked.",
    Reason.NOT_A_MEMBER: lambda team, user, _: f"In team {team!r} {_who(user)} may use nothing: only members may.",
    Reason.MEMBER_BLOCKED: lambda team, user, _model: f"User {user!r} is blocked in team {team!r}.",
    Reason.MODEL_NOT_IN_TEAM_SCOPE: lambda team, _user, model: f"Team {team!r} may not use model {model!r}.",
    Reason.MODEL_NOT_IN_MEMBER_SCOPE: lambda team, user, model: (
        f"In team {team!r} {_who(user)} may not use model {model!r}."
    ),
    Reason.ALLOWED_BY_TEAM_SCOPE: lambda team, _user, model: f"Team {team!r} may use model {model!r}.",
    Reason.ALLOWED_BY_MEMBER_SCOPE: lambda team, user, model: f"In team {team!r} {_who(user)} may use model {model!r}.",
}


def _steps(state: State, team_id: str, user: str, model: str, decision: Decision) -> Iterator[Step]:
    words = SENTENCES[decision.reason](team_id, user, model)
    if decision.reason in (Reason.TEAM_NOT_FOUND, Reason.TEAM_BLOCKED):
        yield Step(Layer.TEAM, "DENIED", words)
        return
    yield Step(Layer.TEAM, "PASSED", f"Team {team_id!r} is known and not blocked.")
    if decision.reason in (Reason.NOT_A_MEMBER, Reason.MEMBER_BLOCKED):
        yield Step(Layer.MEMBERSHIP, "DENIED", words)
        return
    team = state.teams[team_id]
    member = team.members.get(user)
    if member is None:
        who = f"User {user!r} is no member" if user else "The request names no user"
        yield Step(Layer.MEMBERSHIP, "PASSED", f"{who}; the team lets unlisted users use its models.")
    else:
        yield Step(Layer.MEMBERSHIP, "PASSED", f"User {user!r} is a member and not blocked.")
    target = decision.resolved_model
    alias = model if target != model else ""
    if alias:
        yield Step(Layer.ALIAS, "PASSED", f"{alias!r} is the team's alias of {target!r}.", alias=alias)
    verdict = judge(state, team.scope, model, target, alias_grants=False)
    yield _scope_step(Layer.TEAM_SCOPE, team.scope, verdict, target, alias)
    if verdict.outcome is Outcome.GRANTED and member is not None:
        verdict = judge(state, member.scope, model, target, alias_grants=True)
        yield _scope_step(Layer.MEMBER_SCOPE, member.scope, verdict, target, alias)


def _scope_step(layer: Layer, scope: Scope, verdict: Verdict, target: str, alias: str) -> Step:
    owner = "team's models" if layer is Layer.TEAM_SCOPE else "member's allowed_models"
    through = f" of access group {verdict.group!r}" if verdict.group else ""
    match verdict.outcome:
        case Outcome.EXCLUDED:
            words = f"{verdict.entry!r}{through} among the exclusions of the {owner} takes {target!r} away."
        case Outcome.NOT_GRANTED:
            words = f"Nothing in the {owner} (mode {scope.mode}) grants {target!r}."
        case Outcome.GRANTED if verdict.entry:
            words = f"{verdict.entry!r}{through} in the {owner} grants {target!r}."
        case Outcome.GRANTED:
            words = f"The {owner} have mode {scope.mode}."
    listed_alias = alias if alias and verdict.entry == alias else ""
    return Step(layer, verdict.outcome.value, words, verdict.entry, verdict.group, listed_alias)


def _suggestions(state: State, team_id: str, user: str, model: str) -> Iterator[Suggestion]:
    """One call for each record that stands in the way; all together allow the check."""
    team = state.teams.get(team_id)
    target = model if team is None else team.aliases.get(model, model)
    if target in state.groups or target in RESERVED_ENTRIES:
        return  # no scope may list it
    if team is None:
        yield _create_team(team_id, user, model)
        return
    member = team.members.get(user)
    team_scope = _opened(state, team.scope, model, target, alias_grants=False)
    member_scope = None if member is None else _opened(state, member.scope, model, target, alias_grants=True)
    if any(scope and len(scope.entries) > MAX_ENTRIES for scope in (team_scope, member_scope)):
        return  # the scope is full
    team_patch: dict[str, object] = {"blocked": False} if team.blocked else {}
    if member is None and not user and not team.unlisted_allowed:
        team_patch["unlisted_users"] = "TEAM_SCOPE"
    if team_scope is not None:
        team_patch["models"] = scope_to_json(team_scope)
    if team_patch:
        words = f"in team {team_id!r} set {', '.join(sorted(team_patch))} so that it may use {target!r}"
        yield Suggestion("UpdateTeam", words, canonical({"team": {"id": team_id} | team_patch}))
    key = {"team": team_id, "user": user}
    if member is None:
        if user and not team.unlisted_allowed:
            body = {"member": key | {"allowed_models": {"mode": "INHERIT"}}}
            yield Suggestion("AddMember", f"add user {user!r} to team {team_id!r}", canonical(body))
        return
    patch: dict[str, object] = {"blocked": False} if member.blocked else {}
    if member_scope is not None:
        patch["allowed_models"] = scope_to_json(member_scope)
    if patch:
        words = f"for user {user!r} in team {team_id!r} set {', '.join(sorted(patch))} so that {target!r} is allowed"
        yield Suggestion("UpdateMember", words, canonical({"member": key | patch}))


def _create_team(team_id: str, user: str, model: str) -> Suggestion:
    team: dict[str, object] = {"id": team_id, "models": {"mode": "ONLY", "models": [model]}}
    body: dict[str, object] = {"team": team}
    if user:
        body["members"] = [{"user": user, "allowed_models": {"mode": "INHERIT"}}]
    else:
        team["unlisted_users"] = "TEAM_SCOPE"
    return Suggestion("CreateTeam", f"create team {team_id!r} with model {model!r}", canonical(body))


def _opened(state: State, scope: Scope, name: str, target: str, *, alias_grants: bool) -> ModelScope | None:
    """The scope with the fewest edits that grants the request; None when it does already."""
    source = scope.source
    while True:
        verdict = judge(state, Scope(source), name, target, alias_grants=alias_grants)
        if verdict.outcome is Outcome.GRANTED:
            return None if source is scope.source else source
        if verdict.outcome is Outcome.EXCLUDED:
            kept = tuple(entry for entry in source.excluded_models if not _excludes(state, entry, name, target))
            source = replace(source, excluded_models=kept)
        else:
            source = ModelScope(Mode.ONLY, (*source.models, target), source.excluded_models)


def _excludes(state: State, entry: str, name: str, target: str) -> bool:
    alone = Scope(ModelScope(Mode.ALL, (), (entry,)))
    return judge(state, alone, name, target, alias_grants=False).outcome is Outcome.EXCLUDED


def _nearest(state: State, team_id: str, user: str, model: str) -> list[str]:
    """The allowed names most like the one asked for, by the pairs of characters they share (Dice's coefficient)."""
    asked = _pairs(model)

    def likeness(name: str) -> float:
        pairs = _pairs(name)
        return 2 * len(asked & pairs) / ((len(asked) + len(pairs)) or 1)

    names = accessible_page(state, team_id, user, "", MAX_COMPARED).models
    ranked = sorted(((likeness(name), name) for name in names), key=lambda scored: (-scored[0], scored[1]))
    return [name for score, name in ranked[:MAX_NEAREST] if score >= MIN_LIKENESS]


def _pairs(name: str) -> set[str]:
    folded = fold(name)
    return {folded[at : at + 2] for at in range(len(folded) - 1)}
