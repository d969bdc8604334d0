"""The decision over random worlds: as the reference decides, and never wider than it may be."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain.decide import Reason, admission, decide
from policy_service.domain.records import AccessGroup, Member, Mode, Model, ModelScope, Record, Team, UnlistedUsers
from tests.domain.reference import Answer, Reference
from tests.domain.worlds import (
    ASKED,
    MEMBERS,
    NAMES,
    PATTERNS,
    PROVIDERS,
    QUESTIONS,
    TEAMS,
    USERS,
    allowed,
    answers,
    build,
    entries,
    exclude,
    inheriting,
    many,
    plain_entries,
    some,
    worlds,
)

World = tuple[Record, ...]


OUTSIDE = (Reason.TEAM_NOT_FOUND, Reason.TEAM_BLOCKED, Reason.NOT_A_MEMBER, Reason.MEMBER_BLOCKED)


@many
@given(worlds())
def test_admission_is_what_a_decision_begins_with(records: World) -> None:
    state = build(records)
    for team, user, model in QUESTIONS:
        reason = decide(state, team, user, model).reason
        assert admission(state, team, user) == (reason if reason in OUTSIDE else None)


@many
@given(worlds())
def test_decides_as_the_reference(records: World) -> None:
    reference = Reference(records)
    for question, decision in answers(build(records)).items():
        answer = Answer(decision.allowed, decision.reason, decision.resolved_model, decision.limits)
        assert answer == reference.decide(*question), question


@some
@given(worlds())
def test_a_member_scope_never_turns_a_deny_into_an_allow(records: World) -> None:
    assert allowed(build(records)) <= allowed(build(inheriting(records)))


@some
@given(worlds(), st.lists(entries, min_size=1, max_size=3))
def test_an_exclusion_in_a_scope_never_adds_an_allow(records: World, added: list[str]) -> None:
    assert allowed(build(exclude(records, *added))) <= allowed(build(records))


@some
@given(worlds(), entries)
def test_an_exclusion_in_a_group_that_grants_never_adds_an_allow(records: World, added: str) -> None:
    """A group that a scope excludes is another matter: its own exclusions hand back."""
    only_granting = [_without_exclusions(record) for record in records]
    fenced = [
        replace(record, excluded_models=(*record.excluded_models, added)) if isinstance(record, AccessGroup) else record
        for record in only_granting
    ]
    assert allowed(build(fenced)) <= allowed(build(only_granting))


def _without_exclusions(record: Record) -> Record:
    match record:
        case Team():
            return replace(record, models=replace(record.models, excluded_models=()))
        case Member():
            return replace(record, allowed_models=replace(record.allowed_models, excluded_models=()))
        case _:
            return record


def spellings_of(name: str, providers: tuple[str, ...] = PROVIDERS) -> set[str]:
    cased = {name, name.upper(), name.lower(), name.swapcase(), name.title()}
    prefixed = {f"{prefix}/{spelling}" for spelling in cased for prefix in ("x", "x/y", "X", *providers)}
    return cased | prefixed


def with_aliases(records: World, aliases: dict[str, str]) -> list[Record]:
    return [replace(record, model_aliases=aliases) if isinstance(record, Team) else record for record in records]


@some
@given(worlds(), plain_entries, st.booleans())
def test_no_spelling_of_an_excluded_name_is_allowed(records: World, name: str, by_group: bool) -> None:
    records = tuple(record for record in records if getattr(record, "name", "") != name)  # no group has the name
    if by_group:
        records = (*records, AccessGroup(name="banned", models=(name,)))
    aliases = {f"alias-{index}": spelling for index, spelling in enumerate(sorted(spellings_of(name)))}
    state = build(exclude(with_aliases(records, aliases), "banned" if by_group else name))
    questions = [(t, user, asked) for t in TEAMS for user in USERS for asked in {*spellings_of(name), *aliases}]
    assert allowed(state, questions) == set()


@some
@given(worlds(), st.sampled_from(PATTERNS))
def test_what_a_pattern_grants_it_excludes_in_any_case(records: World, pattern: str) -> None:
    everyone = UnlistedUsers.TEAM_SCOPE
    catalogue = [record for record in records if isinstance(record, Model)]
    for spelling in (pattern, pattern.upper(), pattern.lower()):
        team = Team(id="t", models=ModelScope(Mode.ONLY, (pattern,), (spelling,)), unlisted_users=everyone)
        assert allowed(build([*catalogue, team]), [("t", "", name) for name in ASKED]) == set()


@some
@given(worlds(), st.sampled_from(PROVIDERS))
def test_no_spelling_of_an_excluded_providers_model_is_allowed(records: World, provider: str) -> None:
    known = [record.name for record in records if isinstance(record, Model) and record.provider == provider]
    asked = {spelling for name in known for spelling in (name, name.upper(), name.lower(), name.swapcase())}
    asked |= {f"{provider}/{name}" for name in NAMES} | {f"x/{provider.upper()}/{name}" for name in NAMES}
    aliases = {f"alias-{index}": spelling for index, spelling in enumerate(sorted(asked))}
    state = build(exclude(with_aliases(records, aliases), f"{provider}/*"))
    questions = [(team, user, name) for team in TEAMS for user in USERS for name in {*asked, *aliases}]
    assert allowed(state, questions) == set()


@some
@given(worlds())
def test_an_empty_user_is_never_a_member(records: World) -> None:
    state = build(records)
    without_members = build([record for record in records if not isinstance(record, Member)])
    for team, _, model in QUESTIONS:
        assert decide(state, team, "", model) == decide(without_members, team, "", model)


@some
@given(worlds(), st.sampled_from(MEMBERS))
def test_a_member_decides_nothing_for_another(records: World, user: str) -> None:
    others = [record for record in records if not isinstance(record, Member) or record.user == user]
    questions = [question for question in QUESTIONS if question[1] == user]
    assert answers(build(records), questions) == answers(build(others), questions)
