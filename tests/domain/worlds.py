"""Random worlds out of few names, so that names, groups, aliases, providers and patterns collide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st

from policy_service.domain.decide import Decision, decide
from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Team,
    UnlistedUsers,
)
from policy_service.domain.state import State

some = settings(max_examples=40, deadline=None, database=None)
many = settings(max_examples=100, deadline=None, database=None)

TEAMS = ("t", "u")
MEMBERS = ("ann", "bob")
USERS = ("", *MEMBERS, "zoe")
GROUPS = ("g", "h", "G")
ALIASES = ("fast", "a", "q/fast", "é")
PROVIDERS = ("p", "q", "P", "q/p")
NAMES = ("a", "A", "ab", "a-b", "b", "p/a", "P/A", "q/a", "q/p/a", "p/ab", "é", "É", "fast", "g", "h")
PATTERNS = ("*", "a*", "*a", "*b*", "a*a", "p/*", "P/*", "*/a", "q/*/*", "q/a*", "fa*", "*/fast", "g*", "É*", "p*/a*b")
ASKED = (*NAMES, "G", "q/fast", "FAST", "B", "Ab", "zz", "x/ab", "x/q/a", "aa")

Question = tuple[str, str, str]
QUESTIONS: tuple[Question, ...] = (
    *((team, user, model) for team in TEAMS for user in USERS for model in ASKED),
    ("ghost", "ann", "a"),
)

entries = st.sampled_from((*NAMES, "q/fast", *GROUPS, *PATTERNS))
plain_entries = st.sampled_from(NAMES)
exclusions = st.one_of(st.just(()), st.lists(entries, max_size=2).map(tuple))
limits = st.sampled_from((MemberLimits(), MemberLimits(rpm_limit=1), MemberLimits(rpm_limit=2, budget_duration="1d")))
blocked = st.sampled_from((False,) * 9 + (True,))


def scopes(*modes: Mode) -> st.SearchStrategy[ModelScope]:
    """Scopes of these modes, each as often as it is named."""

    def with_lists(mode: Mode) -> st.SearchStrategy[ModelScope]:
        models = st.lists(entries, min_size=1, max_size=4).map(tuple) if mode is Mode.ONLY else st.just(())
        return st.builds(ModelScope, st.just(mode), models, exclusions)

    return st.sampled_from(modes).flatmap(with_lists)


team_scopes = scopes(*[Mode.ONLY] * 4, *[Mode.ALL] * 4, Mode.NONE)
member_scopes = scopes(*[Mode.ONLY] * 6, *[Mode.INHERIT] * 2, Mode.NONE)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Record, ...]:
    """The records of a world in an order in which they can be loaded. What is a group is no model and no alias."""
    groups = draw(st.sets(st.sampled_from(GROUPS)))
    free = [name for name in NAMES if name not in groups]
    catalogue = draw(st.dictionaries(st.sampled_from(free), st.sampled_from(PROVIDERS), max_size=6))
    records: list[Record] = [Model(name=name, provider=provider) for name, provider in catalogue.items()]
    for name in sorted(groups):
        models = draw(st.lists(entries, min_size=1, max_size=3).map(tuple))
        records.append(AccessGroup(name=name, models=models, excluded_models=draw(exclusions)))
    aliases = st.dictionaries(st.sampled_from(ALIASES), st.sampled_from((*NAMES, *GROUPS)), max_size=2)
    for team in TEAMS:
        records.append(
            Team(
                id=team,
                models=draw(team_scopes),
                default_team_member_models=draw(member_scopes),
                default_member_limits=draw(limits),
                model_aliases=draw(aliases),
                blocked=draw(blocked),
                unlisted_users=draw(st.sampled_from((UnlistedUsers.TEAM_SCOPE, UnlistedUsers.DENY))),
            )
        )
        for user in draw(st.sampled_from((MEMBERS, MEMBERS, MEMBERS[:1], ()))):
            scope = draw(member_scopes)
            member = Member(team=team, user=user, allowed_models=scope, limits=draw(limits), blocked=draw(blocked))
            records.append(member)
    return tuple(records)


def build(records: Iterable[Record]) -> State:
    """A state with the records."""
    state = State("epoch")
    for record in records:
        state.load(record)
    return state


def answers(state: State, questions: Iterable[Question] = QUESTIONS) -> dict[Question, Decision]:
    """What the engine answers to each question."""
    return {question: decide(state, *question) for question in questions}


def allowed(state: State, questions: Iterable[Question] = QUESTIONS) -> set[Question]:
    """The questions that the engine answers with an allow."""
    return {question for question, decision in answers(state, questions).items() if decision.allowed}


def exclude(records: Sequence[Record], *entries: str) -> list[Record]:
    """The world with these exclusions added to the scope of every team and member."""
    return [_excluding(record, entries) for record in records]


def _excluding(record: Record, entries: tuple[str, ...]) -> Record:
    match record:
        case Team(models=scope):
            return replace(record, models=replace(scope, excluded_models=(*scope.excluded_models, *entries)))
        case Member(allowed_models=scope):
            return replace(record, allowed_models=replace(scope, excluded_models=(*scope.excluded_models, *entries)))
        case _:
            return record


def inheriting(records: Sequence[Record]) -> list[Record]:
    """The world in which every member inherits."""
    return [replace(r, allowed_models=INHERIT) if isinstance(r, Member) else r for r in records]
