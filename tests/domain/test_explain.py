"""The explanation: what `decide` came to, and changes that really would allow what it denies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain.decide import Reason, decide
from policy_service.domain.encoding import scope_from_json
from policy_service.domain.explain import MAX_NEAREST, SENTENCES, Explanation, Layer, Step, Suggestion, explain
from policy_service.domain.records import (
    AccessGroup,
    Member,
    Mode,
    Model,
    ModelScope,
    Record,
    Team,
    UnlistedUsers,
)
from policy_service.domain.rules import updated_member, updated_team
from policy_service.domain.validation import Problems, check_member, check_team
from tests.domain.reference import Reference
from tests.domain.worlds import QUESTIONS, Question, build, many, some, worlds

World = tuple[Record, ...]
questions = st.lists(st.sampled_from(QUESTIONS), min_size=12, max_size=12)

LAST_STEP = {
    "TEAM_NOT_FOUND": (Layer.TEAM, {"DENIED"}),
    "TEAM_BLOCKED": (Layer.TEAM, {"DENIED"}),
    "NOT_A_MEMBER": (Layer.MEMBERSHIP, {"DENIED"}),
    "MEMBER_BLOCKED": (Layer.MEMBERSHIP, {"DENIED"}),
    "MODEL_NOT_IN_TEAM_SCOPE": (Layer.TEAM_SCOPE, {"NOT_GRANTED", "EXCLUDED"}),
    "MODEL_NOT_IN_MEMBER_SCOPE": (Layer.MEMBER_SCOPE, {"NOT_GRANTED", "EXCLUDED"}),
    "ALLOWED_BY_MEMBER_SCOPE": (Layer.MEMBER_SCOPE, {"GRANTED"}),
}


@many
@given(worlds(), questions)
def test_the_steps_end_with_what_decided(records: World, asked: list[Question]) -> None:
    state = build(records)
    for team, user, model in asked:
        decision, steps, suggestions, nearest = explain(state, team, user, model)

        assert decision == decide(state, team, user, model)
        is_member = team in state.teams and user in state.teams[team].members
        inherits = (Layer.MEMBER_SCOPE if is_member else Layer.TEAM_SCOPE, {"GRANTED"})
        layer, outcomes = LAST_STEP.get(decision.reason, inherits)
        assert (steps[-1].layer, steps[-1].outcome in outcomes) == (layer, True)
        assert all(step.outcome in ("PASSED", "GRANTED") for step in steps[:-1])
        assert [step.layer for step in steps] == [layer for layer in Layer if layer in {step.layer for step in steps}]
        assert (Layer.ALIAS in {step.layer for step in steps}) == (decision.resolved_model != model)
        assert all(step.message for step in steps)
        if decision.allowed:
            assert suggestions == nearest == []


@many
@given(worlds(), questions)
def test_a_step_names_the_entry_that_matched(records: World, asked: list[Question]) -> None:
    state, reference = build(records), Reference(records)
    for team, user, model in asked:
        decision, steps, _, _ = explain(state, team, user, model)
        target, alias = decision.resolved_model, model if model != decision.resolved_model else None
        for step in steps:
            if not step.entry:
                continue
            listed = step.group or step.entry
            if step.outcome == "EXCLUDED":
                assert listed in scope_of(records, step, team, user).excluded_models
                assert reference.matches_widely(step.entry, target, alias)
            else:
                assert listed in scope_of(records, step, team, user).models
                assert reference.entry_grants(step.entry, target) or step.entry == step.alias == alias
            assert not step.group or step.entry in reference.group(step.group).models


def scope_of(records: World, step: Step, team: str, user: str) -> ModelScope:
    for record in records:
        if step.layer is Layer.TEAM_SCOPE and isinstance(record, Team) and record.id == team:
            return record.models
        if (
            step.layer is Layer.MEMBER_SCOPE
            and isinstance(record, Member)
            and (record.team, record.user) == (team, user)
        ):
            return record.allowed_models
    raise AssertionError(f"{step} names an entry of no scope")


@some
@given(worlds(), questions)
def test_the_suggested_changes_together_allow_and_none_is_needless(records: World, asked: list[Question]) -> None:
    state = build(records)
    for question in asked:
        decision, _, suggestions, _ = explain(state, *question)
        if decision.allowed or target_of(records, question) in state.groups:
            assert suggestions == []
            continue
        assert decide(build(applied(records, suggestions)), *question).allowed, suggestions
        for needed in suggestions:
            others = [suggestion for suggestion in suggestions if suggestion is not needed]
            assert not decide(build(applied(records, others)), *question).allowed, needed


def target_of(records: Iterable[Record], question: Question) -> str:
    team_id, _, model = question
    aliases = (record.model_aliases for record in records if isinstance(record, Team) and record.id == team_id)
    return next(aliases, {}).get(model, model)


def applied(records: Iterable[Record], suggestions: Iterable[Suggestion]) -> list[Record]:
    """What AdminService would make of the world; every changed record is within the bounds."""
    records = list(records)
    for rpc, description, request_json in suggestions:
        assert description
        body = json.loads(request_json)
        if rpc == "CreateTeam":
            created = Team(id=body["team"]["id"], models=ModelScope(Mode.NONE))
            records.append(updated_team(created, patch_of(body["team"], "id")))
            records.extend(member_of(fields, created.id) for fields in body.get("members", ()))
        elif rpc == "AddMember":
            records.append(member_of(body["member"], body["member"]["team"]))
        else:
            records = [changed(record, rpc, body) for record in records]
    check(records)
    return records


def changed(record: Record, rpc: str, body: dict[str, Any]) -> Record:
    if rpc == "UpdateTeam" and isinstance(record, Team) and record.id == body["team"]["id"]:
        return updated_team(record, patch_of(body["team"], "id"))
    fields = body.get("member", {})
    if isinstance(record, Member) and (record.team, record.user) == (fields.get("team"), fields.get("user")):
        assert rpc == "UpdateMember"
        team = Team(id=record.team, models=ModelScope(Mode.NONE))
        return updated_member(record, team, patch_of(fields, "team", "user"))
    return record


def member_of(fields: dict[str, Any], team: str) -> Member:
    return Member(team=team, user=fields["user"], allowed_models=scope_from_json(fields["allowed_models"]))


def patch_of(fields: dict[str, Any], *identity: str) -> dict[str, Any]:
    patch = {name: value for name, value in fields.items() if name not in identity}
    for name in ("models", "allowed_models"):
        if name in patch:
            patch[name] = scope_from_json(patch[name])
    if "unlisted_users" in patch:
        patch["unlisted_users"] = UnlistedUsers(patch["unlisted_users"])
    return patch


def check(records: Iterable[Record]) -> None:
    problems = Problems()
    for record in records:
        if isinstance(record, Team):
            check_team(problems, "team", record, ())
        elif isinstance(record, Member):
            check_member(problems, "member", record, ())
    problems.raise_any()


@some
@given(worlds(), questions)
def test_the_nearest_models_are_allowed(records: World, asked: list[Question]) -> None:
    state = build(records)
    for team, user, model in asked:
        nearest = explain(state, team, user, model).nearest
        assert all(decide(state, team, user, name).allowed for name in nearest)
        assert len(nearest) == len(set(nearest)) <= MAX_NEAREST


TEAM = Team(
    id="ml",
    models=ModelScope(Mode.ONLY, ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "premium"), ("o1-pro",)),
    model_aliases={"best": "o1-pro", "fast": "gpt-4o-mini"},
)
WORLD: list[Record] = [
    Model(name="gpt-4o", provider="openai"),
    AccessGroup(name="premium", models=("claude-*",)),
    TEAM,
    Member(team="ml", user="ann"),
    Member(team="ml", user="bob", allowed_models=ModelScope(Mode.ONLY, ("gpt-4o", "fast"))),
    Member(team="ml", user="cat", allowed_models=ModelScope(Mode.ONLY, ("best",))),
]


def explained(user: str, model: str, team: str = "ml") -> Explanation:
    return explain(build(WORLD), team, user, model)


def test_a_typing_error_is_told_the_names_it_is_most_like() -> None:
    assert explained("ann", "gpt4o").nearest == ["gpt-4o", "gpt-4o-mini", "gpt-4.1"]
    assert explained("ann", "GPT-4O").nearest[0] == "gpt-4o"
    assert explained("ann", "llama").nearest == []
    assert explained("bob", "gpt-4.1").nearest == ["gpt-4o"]
    assert explained("mallory", "gpt4o").nearest == []


def test_only_the_five_nearest_are_told() -> None:
    names = tuple(f"gpt-{number}" for number in range(9))
    team = Team(id="t", models=ModelScope(Mode.ONLY, names), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    assert explain(build([team]), "t", "", "gpt-x").nearest == list(names[:5])


def test_a_team_deny_suggests_the_scope_with_the_name_added() -> None:
    [suggestion] = explained("ann", "o3").suggestions
    assert suggestion.rpc == "UpdateTeam"
    assert json.loads(suggestion.request_json) == {
        "team": {
            "id": "ml",
            "models": {
                "mode": "ONLY",
                "models": ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "premium", "o3"],
                "excluded_models": ["o1-pro"],
            },
        }
    }


def test_every_record_in_the_way_gets_one_suggestion() -> None:
    suggestions = explained("bob", "best").suggestions
    assert [suggestion.rpc for suggestion in suggestions] == ["UpdateTeam", "UpdateMember"]
    team, member = (json.loads(suggestion.request_json) for suggestion in suggestions)
    assert team["team"]["models"] == {"mode": "ONLY", "models": [*TEAM.models.models, "o1-pro"]}
    assert member["member"]["allowed_models"] == {"mode": "ONLY", "models": ["gpt-4o", "fast", "o1-pro"]}


def test_a_member_who_lists_the_alias_needs_no_change() -> None:
    assert [suggestion.rpc for suggestion in explained("cat", "best").suggestions] == ["UpdateTeam"]


def test_an_outsider_is_suggested_a_membership_and_nobody_an_open_team() -> None:
    [suggestion] = explained("eve", "gpt-4o").suggestions
    expected = {"member": {"team": "ml", "user": "eve", "allowed_models": {"mode": "INHERIT"}}}
    assert (suggestion.rpc, json.loads(suggestion.request_json)) == ("AddMember", expected)
    [suggestion] = explained("", "gpt-4o").suggestions
    expected = {"team": {"id": "ml", "unlisted_users": "TEAM_SCOPE"}}
    assert (suggestion.rpc, json.loads(suggestion.request_json)) == ("UpdateTeam", expected)


def test_all_of_many_exclusions_are_lifted_at_once() -> None:
    excluded = (*(f"p{number}/x" for number in range(300)), "other")
    state = build([Team(id="t", models=ModelScope(Mode.ALL, (), excluded), unlisted_users=UnlistedUsers.TEAM_SCOPE)])
    [suggestion] = explain(state, "t", "", "x").suggestions
    assert json.loads(suggestion.request_json)["team"]["models"] == {"mode": "ALL", "excluded_models": ["other"]}


def test_nothing_is_suggested_for_a_groups_name() -> None:
    assert explained("ann", "premium").suggestions == []
    assert explained("eve", "premium").suggestions == []


@pytest.mark.parametrize(
    ("user", "model", "layer", "entry", "group", "alias"),
    [
        ("ann", "claude-3", Layer.TEAM_SCOPE, "claude-*", "premium", ""),
        ("ann", "best", Layer.TEAM_SCOPE, "o1-pro", "", ""),
        ("ann", "fast", Layer.TEAM_SCOPE, "gpt-4o-mini", "", ""),
        ("bob", "fast", Layer.MEMBER_SCOPE, "fast", "", "fast"),
        ("ann", "fast", Layer.ALIAS, "", "", "fast"),
    ],
)
def test_a_step_says_by_what(user: str, model: str, layer: Layer, entry: str, group: str, alias: str) -> None:
    [step] = [step for step in explained(user, model).steps if step.layer is layer]
    assert (step.entry, step.group, step.alias) == (entry, group, alias)
    assert all(repr(word) in step.message for word in (entry, group) if word)


@pytest.mark.parametrize("reason", Reason)
def test_a_sentence_for_every_reason_names_whom_and_what_it_is_about(reason: Reason) -> None:
    named = SENTENCES[reason]("ml", "ann", "gpt")
    anonymous = SENTENCES[reason]("ml", "", "gpt")
    assert "'ml'" in named
    assert named.endswith(".")
    assert ("'ann'" in named) == (reason in ("NOT_A_MEMBER", "MEMBER_BLOCKED") or "MEMBER_SCOPE" in reason)
    assert ("'gpt'" in named) == ("SCOPE" in reason)
    assert anonymous == named or "a request without a user" in anonymous or reason == "MEMBER_BLOCKED"
