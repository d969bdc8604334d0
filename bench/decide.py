"""What one decision costs in this process, side by side with two bare dictionary look-ups on the same keys."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from bench.mix import chosen, from_records, loaded
from bench.report import Cell, Table, percentile
from bench.world import Check, World
from policy_service.domain.decide import Decision, Reason, decide
from policy_service.domain.state import State
from policy_service.replication.loading import collector_paused

TITLE = "decide"
LARGE = World(members=1_000_000, teams=10_000)
SMALL = World(members=10, teams=4)
ROUNDS = 100
KEYS = 1_000  # timed at once, right after they were built, as a request is decoded right before it is decided
ALLOWED = "allowed"
CHOSEN: dict[str, float] = {ALLOWED: 0.8, Reason.MODEL_NOT_IN_TEAM_SCOPE: 0.1, Reason.MODEL_NOT_IN_MEMBER_SCOPE: 0.1}
LOOP, REFERENCE, IN_STATE, DECIDE = WAYS = "the loop alone", "two look-ups", "two look-ups in the state", "decide"
NOTES = f"""Targets for `decide`: at most 2 µs and 2.5 times two look-ups at {LARGE.members:,} members, at most 1 µs at
{SMALL.members}. Processor time of the thread, without the loop, which is shown: medians of {ROUNDS} rounds of
{KEYS:,} keys, and in *best tenth* of the rounds that a busy machine disturbed least. Members are uniformly random, the
texts of a key are built anew right before they are timed and used once, so nobody has their hash yet. Every way gets
every key; they take turns, and no two have the same key in a round. *Two look-ups*, the reference, is
`members[team][user]` in plain dictionaries beside the state, which no change of the state makes faster or slower;
*in the state* is `state.teams[team].members[user]`."""

Way = Callable[[list[Check]], None]


class Subject(NamedTuple):
    """A world and a mix of checks of it."""

    members: int
    mix: str
    checks: list[Check]
    ways: dict[str, Way]
    reasons: Counter[Reason]


async def measure(folder: Path) -> list[Table]:
    with collector_paused(owns_process=True):  # as in a server
        subjects = [
            *_subjects(LARGE, await loaded(await LARGE.database(folder))),
            *_subjects(SMALL, from_records(SMALL)),
        ]
    times: dict[tuple[int, str], list[float]] = {}
    for number in range(ROUNDS):
        for at, subject in enumerate(subjects):
            for name, us in _round(subject, number):
                times.setdefault((at, name), []).append(us)
    rows = [
        row for at, subject in enumerate(subjects) for row in _rows(subject, {name: times[at, name] for name in WAYS})
    ]
    columns = ("members", "mix", "way", "µs", "of two look-ups", "best tenth µs", "of two look-ups")
    return [
        Table("A decision", columns, rows, NOTES),
        Table("What is asked", ("members", "mix", *Reason), [_shares(subject) for subject in subjects]),
    ]


def _subjects(world: World, state: State) -> Iterator[Subject]:
    ways = _ways(state)
    natural = world.checks(ROUNDS * KEYS, seed=0)
    mostly_allowed = chosen(_natural(world), CHOSEN, ROUNDS * KEYS, lambda check: _kind(decide(state, *check)))
    for mix, checks in (("natural", natural), ("80 % allowed", mostly_allowed)):
        yield Subject(world.members, mix, checks, ways, Counter(decide(state, *check).reason for check in checks))


def _natural(world: World) -> Iterator[Check]:
    """Without end."""
    for seed in count(1):
        yield from world.checks(ROUNDS * KEYS, seed)


def _kind(decision: Decision) -> str:
    return ALLOWED if decision.allowed else decision.reason


def _ways(state: State) -> dict[str, Way]:
    members = {team_id: dict(team.members) for team_id, team in state.teams.items()}
    teams = state.teams

    def loop(checks: list[Check]) -> None:
        for _team, _user, _model in checks:
            pass

    def look_up(checks: list[Check]) -> None:
        for team, user, _model in checks:
            _ = members[team][user]

    def look_up_in_state(checks: list[Check]) -> None:
        for team, user, _model in checks:
            _ = teams[team].members[user]

    def decide_all(checks: list[Check]) -> None:
        for team, user, model in checks:
            decide(state, team, user, model)

    return dict(zip(WAYS, (loop, look_up, look_up_in_state, decide_all), strict=True))


def _round(subject: Subject, number: int) -> Iterator[tuple[str, float]]:
    """Each way, on other keys than the others, with the microseconds that each key took."""
    for at in range(len(WAYS)):
        name = WAYS[(number + at) % len(WAYS)]  # each comes first in turn
        begin = (number + WAYS.index(name) * ROUNDS // len(WAYS)) % ROUNDS * KEYS
        checks = [(_fresh(t), _fresh(u), _fresh(m)) for t, u, m in subject.checks[begin : begin + KEYS]]
        began = time.thread_time()
        subject.ways[name](checks)
        yield name, (time.thread_time() - began) / KEYS * 1e6


def _fresh(text: str) -> str:
    """An equal text that is a new object, whose hash is not known."""
    return f"{text} "[:-1]


def _rows(subject: Subject, times: dict[str, list[float]]) -> Iterator[list[Cell]]:
    typical = {name: statistics.median(found) for name, found in times.items()}
    best = {name: percentile(found, 10) for name, found in times.items()}
    yield [f"{subject.members:,}", subject.mix, LOOP, typical[LOOP], "", best[LOOP], ""]
    for name in (REFERENCE, IN_STATE, DECIDE):
        row: list[Cell] = [f"{subject.members:,}", subject.mix, name]
        for found in (typical, best):
            net, reference = found[name] - found[LOOP], found[REFERENCE] - found[LOOP]
            row += [net, net / reference]
        yield row


def _shares(subject: Subject) -> list[Cell]:
    shares = (subject.reasons[reason] / len(subject.checks) for reason in Reason)
    return [f"{subject.members:,}", subject.mix, *(f"{share:.1%}" for share in shares)]
