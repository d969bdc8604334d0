"""What a mutation makes of the records: seeding, partial update, refusals and warnings."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.rules import (
    MAX_WARNINGS,
    exclusions_lifted,
    is_restricted,
    member_warnings,
    refuse_group_name,
    refuse_names_of_groups,
    seed,
    shortened,
    team_warnings,
    updated_member,
    updated_team,
)
from policy_service.errors import PreconditionFailed
from tests.domain.worlds import USERS, allowed, build, many

ONLY_A = ModelScope(Mode.ONLY, ("a",))
ONLY_B = ModelScope(Mode.ONLY, ("b",), ("c",))
TEAM = Team(
    id="t",
    models=ONLY_A,
    default_team_member_models=ONLY_B,
    default_member_limits=MemberLimits(1.0, "30d", 100, 10),
)
SEEDED = Member(team="", user="ann", scope_source=ScopeSource.SEEDED)
EXPLICIT = Member(team="t", user="bob", allowed_models=ONLY_A, limits=MemberLimits(tpm_limit=5))


# Seeding


def test_a_seeded_member_gets_the_default_scope_and_limits() -> None:
    member = seed(SEEDED, TEAM)
    assert member == replace(SEEDED, team="t", allowed_models=ONLY_B, limits=TEAM.default_member_limits)


def test_an_explicit_member_keeps_its_scope() -> None:
    for scope in (ONLY_A, INHERIT, ModelScope(Mode.NONE)):
        member = seed(replace(EXPLICIT, allowed_models=scope), TEAM)
        assert (member.allowed_models, member.scope_source) == (scope, ScopeSource.EXPLICIT)


@pytest.mark.parametrize("given_field", [field.name for field in fields(MemberLimits)])
def test_limits_are_seeded_field_by_field(given_field: str) -> None:
    own = {given_field: "1h" if given_field == "budget_duration" else 0}
    for member in (SEEDED, EXPLICIT):
        limits = seed(replace(member, limits=MemberLimits(**own)), TEAM).limits
        assert limits == replace(TEAM.default_member_limits, **own)


def test_without_a_default_nothing_is_seeded() -> None:
    plain = Team(id="t", models=ONLY_A)
    assert seed(SEEDED, plain) == replace(SEEDED, team="t")
    assert seed(EXPLICIT, plain) == EXPLICIT


def test_seeding_touches_nothing_else() -> None:
    member = replace(SEEDED, role=Role.TEAM_ADMIN, blocked=True, labels={"k": "v"})
    seeded = seed(member, TEAM)
    assert (seeded.role, seeded.blocked, seeded.labels) == (Role.TEAM_ADMIN, True, {"k": "v"})
    assert seeded.scope_source is ScopeSource.SEEDED


# Updates


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, TEAM),
        ({"blocked": True}, replace(TEAM, blocked=True)),
        ({"models": ONLY_B}, replace(TEAM, models=ONLY_B)),
        ({"model_aliases": {"x": "a"}}, replace(TEAM, model_aliases={"x": "a"})),
        ({"display_name": None}, replace(TEAM, display_name=None)),
        (
            {"default_member_limits.tpm_limit": 7, "default_member_limits.rpm_limit": None},
            replace(TEAM, default_member_limits=MemberLimits(1.0, "30d", 7, None)),
        ),
        ({"default_member_limits": MemberLimits()}, replace(TEAM, default_member_limits=MemberLimits())),
    ],
)
def test_a_team_changes_in_what_the_patch_names(patch: dict[str, Any], expected: Team) -> None:
    assert updated_team(TEAM, patch) == expected


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({}, EXPLICIT),
        ({"role": Role.TEAM_ADMIN, "blocked": True}, replace(EXPLICIT, role=Role.TEAM_ADMIN, blocked=True)),
        ({"limits.tpm_limit": None}, replace(EXPLICIT, limits=MemberLimits())),
        ({"limits.rpm_limit": 0}, replace(EXPLICIT, limits=MemberLimits(tpm_limit=5, rpm_limit=0))),
        ({"limits": MemberLimits(rpm_limit=1)}, replace(EXPLICIT, limits=MemberLimits(rpm_limit=1))),
        ({"allowed_models": None}, replace(EXPLICIT, allowed_models=ONLY_B, scope_source=ScopeSource.SEEDED)),
        ({"allowed_models": INHERIT}, replace(EXPLICIT, allowed_models=INHERIT)),
    ],
)
def test_a_member_changes_in_what_the_patch_names(patch: dict[str, Any], expected: Member) -> None:
    assert updated_member(EXPLICIT, TEAM, patch) == expected


def test_a_scope_that_is_given_makes_a_seeded_member_explicit() -> None:
    seeded = seed(SEEDED, TEAM)
    assert updated_member(seeded, TEAM, {"blocked": True}).scope_source is ScopeSource.SEEDED
    updated = updated_member(seeded, TEAM, {"allowed_models": seeded.allowed_models})
    assert updated == replace(seeded, scope_source=ScopeSource.EXPLICIT)


@pytest.mark.parametrize(
    ("member", "restricted"),
    [
        (Member(team="t", user="u"), False),
        (Member(team="t", user="u", limits=MemberLimits(rpm_limit=1), role=Role.TEAM_ADMIN), False),
        (Member(team="t", user="u", blocked=True), True),
        (Member(team="t", user="u", allowed_models=ONLY_A), True),
        (Member(team="t", user="u", allowed_models=ModelScope(Mode.NONE)), True),
        (Member(team="t", user="u", allowed_models=ModelScope(Mode.INHERIT, (), ("a",))), True),
    ],
)
def test_a_restricted_member_may_do_less_than_a_stranger(member: Member, restricted: bool) -> None:
    assert is_restricted(member) == restricted


# Names

NAMED: list[Record] = [
    Model(name="gpt", provider="openai"),
    AccessGroup(name="premium", models=("gpt",)),
    Team(id="t", models=ModelScope(Mode.ALL), model_aliases={"fast": "gpt"}),
]


@pytest.mark.parametrize(("name", "holder"), [("gpt", "catalogue"), ("fast", "team 't' has an alias")])
def test_a_group_takes_no_name_of_a_model_or_alias(name: str, holder: str) -> None:
    with pytest.raises(PreconditionFailed, match=holder) as caught:
        refuse_group_name(build(NAMED), name)
    assert (caught.value.reason, caught.value.subject) == ("NAME_IN_USE", name)
    assert "choose another name" in caught.value.description


@pytest.mark.parametrize("what", ["model", "alias"])
def test_a_model_or_alias_takes_no_name_of_a_group(what: str) -> None:
    with pytest.raises(PreconditionFailed, match=f"choose another name for the {what}") as caught:
        refuse_names_of_groups(build(NAMED), ["new", "premium"], what)
    assert caught.value.subject == "premium"


def test_free_names_may_be_taken() -> None:
    state = build(NAMED)
    for name in ("new", "GPT", "premium", "Fast"):
        refuse_group_name(state, name)
    refuse_names_of_groups(state, ["gpt", "fast", "Premium"], "model")


# Deleting a model must not lift an exclusion unnoticed


@pytest.mark.parametrize(
    ("exclusion", "lifted"),
    [
        ("openai/gpt-*", []),  # an unknown provider cannot be ruled out
        ("openai*", [("gpt-4", "openai*")]),
        ("*ai/*4", []),
        ("gpt-4", []),
        ("x/*", []),
        ("o*4", [("gpt-4", "o*4")]),
    ],
)
def test_an_exclusion_that_matches_by_provider_only_is_lifted(exclusion: str, lifted: list[tuple[str, str]]) -> None:
    team = Team(id="t", models=ModelScope(Mode.ALL, (), (exclusion,)))
    state = build([Model(name="gpt-4", provider="OpenAI"), Model(name="other", provider="x"), team])
    assert list(exclusions_lifted(state, ["gpt-4"], [exclusion])) == lifted


@pytest.mark.parametrize("excluded", [["g"], ["h"]])
def test_exclusions_of_and_by_groups_are_seen(excluded: list[str]) -> None:
    state = build(
        [
            Model(name="gpt-4", provider="openai"),
            AccessGroup(name="g", models=("openai*",)),
            AccessGroup(name="h", models=("x",), excluded_models=("open*",)),
        ]
    )
    entries = {entry for _, entry in exclusions_lifted(state, ["gpt-4"], excluded)}
    assert entries == ({"openai*", "open*"} if excluded == ["g"] else {"open*"})


def test_a_name_with_a_slash_is_not_caught_by_an_unknown_provider() -> None:
    state = build([Model(name="eu/gpt", provider="openai")])
    assert list(exclusions_lifted(state, ["eu/gpt"], ["openai/*", "eu/*"])) == [("eu/gpt", "openai/*")]


few_names = st.sampled_from(("a", "A", "b", "q/a"))
few_exclusions = st.sampled_from(("p/*", "P/a", "p*", "q/*", "*/b", "p/q/*", "g", "A"))


@many
@given(
    st.dictionaries(few_names, st.sampled_from(("p", "q")), min_size=1),
    st.dictionaries(st.sampled_from(("a", "A", "B", "fast")), few_names, max_size=2),
    st.lists(few_exclusions, min_size=1, max_size=2).map(tuple),
    st.lists(few_exclusions.filter("g".__ne__), min_size=1, max_size=2).map(tuple),
    st.data(),
)
def test_when_nothing_is_lifted_a_deleted_model_widens_nothing(
    catalogue: dict[str, str],
    aliases: dict[str, str],
    excluded: tuple[str, ...],
    in_group: tuple[str, ...],
    data: st.DataObject,
) -> None:
    gone = data.draw(st.sets(st.sampled_from(sorted(catalogue)), min_size=1))
    kept: list[Record] = [
        AccessGroup(name="g", models=in_group, excluded_models=data.draw(st.sampled_from(((), ("a",))))),
        Team(
            id="t",
            models=ModelScope(Mode.ALL, (), excluded),
            model_aliases=aliases,
            unlisted_users=UnlistedUsers.TEAM_SCOPE,
        ),
    ]
    before = build([*kept, *(Model(name=name, provider=provider) for name, provider in catalogue.items())])
    after = build([*kept, *(Model(name=n, provider=p) for n, p in catalogue.items() if n not in gone)])
    if not list(exclusions_lifted(before, gone, excluded)):
        asked = [("t", user, name) for user in USERS[:1] for name in ("a", "A", "b", "B", "q/a", "Q/A", "fast")]
        assert allowed(after, asked) <= allowed(before, asked)


@pytest.mark.parametrize(
    ("catalogue", "aliases", "gone", "asked"),
    [
        ({"m": "p", "M": "q"}, {}, "m", "M"),
        ({"m": "p", "o1": "q"}, {"m": "o1"}, "m", "m"),
        ({"M": "p", "o1": "q"}, {"m": "o1"}, "M", "m"),
    ],
    ids=["another spelling", "an alias of the name", "an alias in another case"],
)
def test_other_uses_of_the_name_are_seen(
    catalogue: dict[str, str], aliases: dict[str, str], gone: str, asked: str
) -> None:
    scope = ModelScope(Mode.ALL, (), ("p/*",))
    team = Team(id="t", models=scope, model_aliases=aliases, unlisted_users=UnlistedUsers.TEAM_SCOPE)
    models = [Model(name=name, provider=provider) for name, provider in catalogue.items()]
    assert allowed(build([*models, team]), [("t", "", asked)]) == set()
    assert list(exclusions_lifted(build([*models, team]), [gone], ["p/*"])) == [(gone, "p/*")]


# Warnings

KNOWN: list[Record] = [
    Model(name="gpt", provider="openai"),
    Model(name="grok", provider="xai"),
    AccessGroup(name="premium", models=("gpt",)),
]


def team_of(models: ModelScope, **values: Any) -> Team:
    return Team(id="t", models=models, **values)


@pytest.mark.parametrize(
    ("team", "words"),
    [
        (team_of(ModelScope(Mode.ALL)), []),
        (team_of(ModelScope(Mode.ONLY, ("gpt", "premium", "x*"))), []),
        (team_of(ModelScope(Mode.ONLY, ("gpt", "gtp"))), ["'gtp' in models"]),
        (team_of(ModelScope(Mode.ONLY, ("fast", "gpt")), model_aliases={"fast": "gpt"}), []),
        (
            team_of(ModelScope(Mode.ONLY, ("gpt",)), model_aliases={"fast": "grok"}),
            ["'grok', the target of alias 'fast'"],
        ),
        (team_of(ModelScope(Mode.ALL), model_aliases={"fast": "premium"}), ["'premium', the target of alias 'fast'"]),
        (
            team_of(ModelScope(Mode.ONLY, ("gpt",)), default_team_member_models=ModelScope(Mode.ONLY, ("gpt", "grok"))),
            ["'grok', listed in default_team_member_models"],
        ),
        (
            team_of(
                ModelScope(Mode.ONLY, ("gpt",)), default_team_member_models=ModelScope(Mode.ONLY, ("x*", "premium"))
            ),
            [],
        ),
        (
            team_of(
                ModelScope(Mode.ALL, (), ("gpt",)),
                model_aliases={"fast": "grok"},
                default_team_member_models=ModelScope(Mode.ONLY, ("openai/gpt", "fast")),
            ),
            ["'openai/gpt', listed in default_team_member_models"],
        ),
    ],
)
def test_a_team_is_warned_of(team: Team, words: list[str]) -> None:
    warnings = list(team_warnings(build(KNOWN), team))
    assert len(warnings) == len(words)
    for warning, word in zip(warnings, words, strict=True):
        assert warning.startswith("team 't': ")
        assert word in warning


def test_an_empty_catalogue_warns_of_no_unknown_name() -> None:
    assert list(team_warnings(build([]), team_of(ModelScope(Mode.ONLY, ("anything",))))) == []


def test_a_member_is_warned_of_what_the_team_denies() -> None:
    team = team_of(ModelScope(Mode.ONLY, ("gpt",)), model_aliases={"fast": "gpt", "odd": "grok"})
    state = build([*KNOWN, team])
    member = Member(
        team="t",
        user="ann",
        allowed_models=ModelScope(Mode.ONLY, ("gpt", "fast", "odd", "grok", "premium", "x*"), ("z",)),
    )
    warnings = list(member_warnings(state, state.teams["t"], member))
    assert warnings == [
        "team 't': the team may not use 'odd', listed in allowed_models of 'ann'",
        "team 't': the team may not use 'grok', listed in allowed_models of 'ann'",
    ]


def test_warnings_are_few() -> None:
    warnings = [f"w{number}" for number in range(MAX_WARNINGS)]
    assert shortened(warnings + warnings) == warnings
    assert shortened([*warnings, "x", "y"]) == [*warnings, "and 2 more warnings"]
    assert shortened([]) == []
