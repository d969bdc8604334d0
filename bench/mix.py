"""Checks in known shares, and what has to be answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

from bench.report import Table
from bench.world import Check, World
from policy_service.domain.decide import Decision, Reason, decide
from policy_service.domain.state import State
from policy_service.domain.verdict import judge
from policy_service.store.sqlite import SqliteStore

Candidate = TypeVar("Candidate")

EXACT, GROUP, WILDCARD = "allowed by its exact name", "allowed through a group", "allowed through a wildcard or ALL"
TEAM, MEMBER = "denied by the team", "denied by the member"
SHARES = {EXACT: 0.40, GROUP: 0.15, WILDCARD: 0.25, TEAM: 0.10, MEMBER: 0.10}
_DENIED = {Reason.MODEL_NOT_IN_TEAM_SCOPE: TEAM, Reason.MODEL_NOT_IN_MEMBER_SCOPE: MEMBER}
_STEP = 15_485_863  # a prime: scatters the ranks of members over the teams
_ANY_MODEL, _WIDE = 0.15, 0.5  # of what is asked for; the rest is of what the team lists by name
NOTES = """Of {count:,} checks in random order, {different:,} are different. Who asks is distributed as Zipf has it,
with the exponent 1, over all {members:,} members: the one who asks most makes {most:.1%} of the checks. An allowed
model is granted by what the row says in the scope that decides, the member's or the team's."""


def chosen(
    candidates: Iterable[Candidate], shares: Mapping[str, float], count: int, kind: Callable[[Candidate], str | None]
) -> list[Candidate]:
    """Of the candidates those that make the shares, in random order."""
    left: dict[str | None, int] = {name: round(share * count) for name, share in shares.items()}
    found: list[Candidate] = []
    for candidate in candidates:
        name = kind(candidate)
        if left.get(name):
            left[name] -= 1
            found.append(candidate)
            if not any(left.values()):
                break
    Random(0).shuffle(found)
    return found


class Asked(NamedTuple):
    """A check, the answer to it, and which of the SHARES it belongs to."""

    check: Check
    decision: Decision
    kind: str


def mix(world: World, state: State, count: int) -> list[Asked]:
    """Checks of the world, which the state holds, in the SHARES."""

    @cache
    def known(check: Check) -> Asked:
        decision = decide(state, *check)
        return Asked(check, decision, _kind(state, check, decision))

    return chosen(map(known, _candidates(world, state)), SHARES, count, lambda found: found.kind)


def _kind(state: State, check: Check, decision: Decision) -> str:
    team_id, user, model = check
    if not decision.allowed:
        return _DENIED.get(decision.reason, "")
    team = state.teams[team_id]
    member = team.members[user] if decision.reason is Reason.ALLOWED_BY_MEMBER_SCOPE else None
    scope = team.scope if member is None else member.scope
    verdict = judge(state, scope, model, decision.resolved_model, alias_grants=member is not None)
    if verdict.group:
        return GROUP
    return EXACT if verdict.entry and "*" not in verdict.entry else WILDCARD


def _candidates(world: World, state: State) -> Iterator[Check]:
    """Without end."""
    chance, names = Random(5), [model.name for model in world.models]
    wide = {name: list(group.source.models) for name, group in state.groups.items()}
    for model in world.models:
        wide.setdefault(f"{model.provider}/*", []).append(model.name)
    weights = list(accumulate(1 / rank for rank in range(1, world.members + 1)))
    while True:
        for rank in chance.choices(range(world.members), cum_weights=weights, k=10_000):
            team, user = world.member_of(rank * _STEP % world.members)
            listed = world.team_records[int(team[-5:])].models.models
            groups_and_wildcards = [entry for entry in listed if entry in wide]
            how = chance.random()
            if how < _ANY_MODEL or not listed:
                name = chance.choice(names)
            elif how < _ANY_MODEL + _WIDE and groups_and_wildcards:
                name = chance.choice(wide[chance.choice(groups_and_wildcards)])
            else:
                name = chance.choice(listed)
            if name not in wide:
                yield team, user, name


def shares(world: World, asked: list[Asked]) -> Table:
    """What is asked."""
    kinds, members = Counter(found.kind for found in asked), Counter(found.check[:2] for found in asked)
    rows = [(name, f"{kinds[name] / len(asked):.0%}") for name in SHARES]
    notes = NOTES.format(
        count=len(asked),
        different=len({found.check for found in asked}),
        members=world.members,
        most=members.most_common(1)[0][1] / len(asked),
    )
    return Table("What is asked", ("model", "share"), rows, notes)


async def loaded(database: Path) -> State:
    """The state that a server has of a database."""
    store, state = await SqliteStore.open(database), State()
    try:
        await store.load(state)
    finally:
        await store.close()
    return state


def from_records(world: World) -> State:
    """The same without a database; its revision is another."""
    state = State()
    for record in world.records():
        state.load(record)
    return state
