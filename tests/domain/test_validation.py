"""Every bound on a record, at its edge: the field's path, and words that say what to change."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from policy_service.domain.records import AccessGroup, Member, MemberLimits, Mode, Model, ModelScope, Team
from policy_service.domain.validation import (
    MEMBER_MODES,
    TEAM_MODES,
    Problems,
    check_asked,
    check_group,
    check_limits,
    check_member,
    check_model,
    check_scope,
    check_team,
)
from policy_service.errors import InvalidArgument, Violation

TEAM = Team(id="t", models=ModelScope(Mode.ALL))
MEMBER = Member(team="t", user="ann")
GROUP = AccessGroup(name="g", models=("a",))
MODEL = Model(name="a", provider="p")
LONG = "a" * 257


def names(count: int, form: str = "m{}") -> tuple[str, ...]:
    return tuple(form.format(number) for number in range(count))


def of_scope(scope: ModelScope, modes: tuple[Mode, ...] = TEAM_MODES, groups: tuple[str, ...] = ()) -> list[Violation]:
    problems = Problems()
    check_scope(problems, "team.models", scope, modes, groups)
    return problems.violations


def of_record(record: Team | Member | AccessGroup | Model) -> list[Violation]:
    problems = Problems()
    match record:
        case Team():
            check_team(problems, "team", record, ())
        case Member():
            check_member(problems, "member", record, ())
        case AccessGroup():
            check_group(problems, "group", record)
        case Model():
            check_model(problems, "models[3]", record)
    return problems.violations


def only(violations: list[Violation], field: str, *words: str) -> None:
    assert [violation.field for violation in violations] == [field]
    for word in words:
        assert word in violations[0].description


def of_limits(limits: MemberLimits) -> list[Violation]:
    problems = Problems()
    check_limits(problems, "member.limits", limits)
    return problems.violations


# Scopes


@pytest.mark.parametrize(("modes", "refused"), [(TEAM_MODES, Mode.INHERIT), (MEMBER_MODES, Mode.ALL)])
def test_a_mode_has_its_place(modes: tuple[Mode, ...], refused: Mode) -> None:
    for mode in modes:
        assert of_scope(ModelScope(mode, ("a",) if mode is Mode.ONLY else (), ("b",)), modes) == []
    only(of_scope(ModelScope(refused), modes), "team.models.mode", "not possible here", *modes)


def test_an_empty_list_is_no_grant_and_no_restriction() -> None:
    only(of_scope(ModelScope(Mode.ONLY)), "team.models.models", "list at least one model", "NONE")
    only(of_scope(ModelScope(Mode.ONLY, (), ("a",))), "team.models.models", "list at least one model")
    for mode in (Mode.ALL, Mode.NONE):
        only(of_scope(ModelScope(mode, ("a",))), "team.models.models", "use mode ONLY")


def test_an_entry_is_named_by_its_index() -> None:
    violations = of_scope(ModelScope(Mode.ONLY, ("a", LONG, "all-team-models"), ("b", "")))
    assert [violation.field for violation in violations] == [
        "team.models.models[1]",
        "team.models.models[2]",
        "team.models.excluded_models[1]",
    ]
    assert "use mode INHERIT" in violations[1].description


def test_a_scope_has_2000_entries() -> None:
    assert of_scope(ModelScope(Mode.ONLY, names(2_000))) == []
    assert of_scope(ModelScope(Mode.ONLY, names(1_000), names(1_000))) == []
    only(of_scope(ModelScope(Mode.ONLY, names(2_001))), "team.models", "2001 entries", "at most 2000")
    only(of_scope(ModelScope(Mode.ONLY, names(1_001), names(1_000))), "team.models", "both lists together")
    only(of_scope(ModelScope(Mode.ALL, (), names(2_001))), "team.models", "at most 2000")


def test_a_scope_has_64_patterns() -> None:
    assert of_scope(ModelScope(Mode.ONLY, names(64, "{}*"))) == []
    assert of_scope(ModelScope(Mode.ONLY, names(32, "{}*"), names(32, "*{}*"))) == []
    only(of_scope(ModelScope(Mode.ONLY, names(65, "{}*"))), "team.models", "more than 64 entries with '*'")
    only(of_scope(ModelScope(Mode.ONLY, names(33, "{}*"), names(32, "*{}"))), "team.models", "more than 64")


def test_a_scope_lists_64_groups() -> None:
    groups = names(100, "g{}")
    assert of_scope(ModelScope(Mode.ONLY, (*groups[:64], "m"), groups[:64]), groups=groups) == []
    only(of_scope(ModelScope(Mode.ONLY, groups[:65]), groups=groups), "team.models", "more than 64 access groups")
    only(of_scope(ModelScope(Mode.ONLY, groups[:33], groups[33:65]), groups=groups), "team.models", "64 access groups")
    assert of_scope(ModelScope(Mode.ONLY, groups), groups=groups[:64]) == []


# Limits


@pytest.mark.parametrize("value", [0.0, 0.01, 1e308])
def test_a_budget_is_finite(value: float) -> None:
    assert of_limits(MemberLimits(max_budget_in_team=value)) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.01, -0.0])
def test_a_budget_is_neither_infinite_nor_negative(value: float) -> None:
    only(of_limits(MemberLimits(max_budget_in_team=value)), "member.limits.max_budget_in_team", "give 0 or more")


@pytest.mark.parametrize("name", ["tpm_limit", "rpm_limit"])
def test_a_rate_is_not_negative(name: str) -> None:
    for value in (0, 1, 2**63 - 1):
        assert of_limits(MemberLimits(**{name: value})) == []
    for value in (-1, -(2**63)):
        only(of_limits(MemberLimits(**{name: value})), f"member.limits.{name}", "give 0 or more")


def test_a_budget_duration_is_a_short_text() -> None:
    assert of_limits(MemberLimits(budget_duration="30d")) == []
    for value in ("", LONG, "30d "):
        only(of_limits(MemberLimits(budget_duration=value)), "member.limits.budget_duration", ";")


def test_all_limits_are_reported_together() -> None:
    assert len(of_limits(MemberLimits(math.nan, "", -1, -1))) == 4


# Records


def test_good_records() -> None:
    for record in (TEAM, MEMBER, GROUP, MODEL):
        assert of_record(record) == []


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (replace(TEAM, id=""), "team.id"),
        (replace(TEAM, id=LONG), "team.id"),
        (replace(TEAM, display_name=LONG), "team.display_name"),
        (replace(TEAM, display_name="a\nb"), "team.display_name"),
        (replace(TEAM, models=ModelScope(Mode.INHERIT)), "team.models.mode"),
        (replace(TEAM, models=ModelScope(Mode.ONLY, ("",))), "team.models.models[0]"),
        (replace(TEAM, default_team_member_models=ModelScope(Mode.ALL)), "team.default_team_member_models.mode"),
        (replace(TEAM, default_member_limits=MemberLimits(rpm_limit=-1)), "team.default_member_limits.rpm_limit"),
        (replace(TEAM, labels={"": "v"}), "team.labels['']"),
        (replace(TEAM, model_aliases={"a*": "b"}), "team.model_aliases['a*']"),
        (replace(TEAM, model_aliases={"a": "b*"}), "team.model_aliases['a']"),
        (replace(TEAM, model_aliases={"a": ""}), "team.model_aliases['a']"),
        (replace(MEMBER, team=""), "member.team"),
        (replace(MEMBER, user=""), "member.user"),
        (replace(MEMBER, user="ann "), "member.user"),
        (replace(MEMBER, allowed_models=ModelScope(Mode.ALL)), "member.allowed_models.mode"),
        (replace(MEMBER, limits=MemberLimits(tpm_limit=-1)), "member.limits.tpm_limit"),
        (replace(MEMBER, labels={"k": LONG}), "member.labels['k']"),
        (replace(GROUP, name="a/b"), "group.name"),
        (replace(GROUP, name="a*"), "group.name"),
        (replace(GROUP, models=()), "group.models"),
        (replace(GROUP, models=("a", "")), "group.models[1]"),
        (replace(GROUP, excluded_models=("no-default-models",)), "group.excluded_models[0]"),
        (replace(MODEL, name="a*"), "models[3].name"),
        (replace(MODEL, provider="p*"), "models[3].provider"),
        (replace(MODEL, provider=""), "models[3].provider"),
        (replace(MODEL, labels={"k": "v "}), "models[3].labels['k']"),
    ],
)
def test_a_bad_field_is_named(record: Team | Member | AccessGroup | Model, field: str) -> None:
    only(of_record(record), field)


def test_a_group_has_2000_entries_of_which_64_patterns() -> None:
    assert of_record(replace(GROUP, models=names(1_999), excluded_models=("x",))) == []
    only(of_record(replace(GROUP, models=names(2_000), excluded_models=("x",))), "group", "at most 2000")
    assert of_record(replace(GROUP, models=names(63, "{}*"), excluded_models=("x*",))) == []
    only(of_record(replace(GROUP, models=names(64, "{}*"), excluded_models=("x*",))), "group", "more than 64")


def test_a_team_has_256_aliases() -> None:
    assert of_record(replace(TEAM, model_aliases=dict.fromkeys(names(256), "a"))) == []
    only(of_record(replace(TEAM, model_aliases=dict.fromkeys(names(257), "a"))), "team.model_aliases", "at most 256")


def test_a_record_has_64_labels_of_256_bytes() -> None:
    for record in (TEAM, MEMBER, MODEL):
        assert of_record(replace(record, labels=dict.fromkeys(names(64), ""))) == []
        assert of_record(replace(record, labels={"k" * 256: "é" * 128})) == []
        [violation] = of_record(replace(record, labels=dict.fromkeys(names(65), "")))
        assert violation.field.endswith(".labels")
        assert "65 labels; at most 64" in violation.description


# Questions


@pytest.mark.parametrize(
    ("team", "user", "model", "field"),
    [
        ("", "ann", "a", "team"),
        ("t" * 257, "ann", "a", "team"),
        ("t", "ann ", "a", "user"),
        ("t", "a\u200bnn", "a", "user"),
        ("t", "ann", "", "model"),
        ("t", "ann", "gpt-*", "model"),
        ("t", "ann", "a/../b", "model"),
    ],
)
def test_a_question_is_bounded(team: str, user: str, model: str, field: str) -> None:
    problems = Problems()
    check_asked(problems, team, user, model)
    only(problems.violations, field, ";")


def test_a_question_needs_no_user() -> None:
    problems = Problems()
    check_asked(problems, "t", "", "a")
    problems.raise_any()


def test_all_that_is_wrong_is_raised_together() -> None:
    problems = Problems()
    check_asked(problems, "", " ", "*")
    with pytest.raises(InvalidArgument) as caught:
        problems.raise_any()
    assert [violation.field for violation in caught.value.violations] == ["team", "user", "model"]
    assert all(violation.description in str(caught.value) for violation in caught.value.violations)
