"""The verdicts that explain a decision: the same as the decision, by an entry that alone says the same."""

from __future__ import annotations

from hypothesis import given

from policy_service.domain.decide import grants
from policy_service.domain.records import Mode, ModelScope, Record
from policy_service.domain.state import Scope, State
from policy_service.domain.verdict import Outcome, judge
from tests.domain.worlds import QUESTIONS, build, many, worlds


def _holders(state: State, team: str, user: str) -> list[tuple[Scope, bool]]:
    """The scopes that are asked, and whether they grant an alias by listing it."""
    found = state.teams.get(team)
    if found is None:
        return []
    member = found.members.get(user)
    return [(found.scope, False), *([] if member is None else [(member.scope, True)])]


@many
@given(worlds())
def test_a_verdict_grants_what_decide_grants(records: tuple[Record, ...]) -> None:
    state = build(records)
    for team, user, model in QUESTIONS:
        for scope, alias_grants in _holders(state, team, user):
            target = state.teams[team].aliases.get(model, model)
            granted = target not in state.groups and grants(
                state, scope, model, target, model if alias_grants else target
            )
            verdict = judge(state, scope, model, target, alias_grants=alias_grants)
            assert (verdict.outcome is Outcome.GRANTED) == granted, (scope.source, model, target)
            _check_entry(state, scope, model, target, verdict.outcome, verdict.group or verdict.entry)


def _check_entry(state: State, scope: Scope, model: str, target: str, outcome: Outcome, entry: str) -> None:
    if outcome is Outcome.GRANTED and scope.mode is Mode.ONLY:
        assert entry in scope.source.models
        alone = Scope(ModelScope(Mode.ONLY, (entry,)))
        assert grants(state, alone, model, target, model)
    elif outcome is Outcome.EXCLUDED:
        assert entry in scope.source.excluded_models
        assert not grants(state, Scope(ModelScope(Mode.ALL, (), (entry,))), model, target, target)
    else:
        assert not entry
