"""The data plane while the policy changes: what that costs a check, and how soon answers have it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from bench.checks_tally import Tally
from bench.load.loops import Open, Spacing
from bench.mix import Asked
from bench.peers.ours import Ours
from bench.report import Cell, Table, percentile
from bench.world import World
from policy_client import AccessClient, AdminClient
from policy_service.v1.resources_pb2 import Member, ModelScope

RATE = 100  # mutations a second
ROUNDS, ROUND_S = 3, 2.5
LOAD = 0.4  # of the most that the data plane answers
LOOK_EVERY_S = 0.005
STALENESS_S = 1.0  # by then every answer has a mutation that was acknowledged
TIMEOUT_S = 10.0
STEP = 7_368_787  # a prime
NOTES = f"""Open loop at {LOAD:.0%} of the most that the data plane answers, {ROUNDS} rounds with {RATE} mutations a
second (`UpdateMember` of another member each, sent to the authority) and {ROUNDS} without, in turn. *CPU*: processor
time for each check, of the data plane's process, and of the authority, which writes each mutation to disk. A real
client asks the data plane every {LOOK_EVERY_S * 1e3:g} ms in all rounds and keeps the revision of each answer.
*Seen*: how long after its acknowledgement the first answer came that had a mutation, which is as exact as the client
asks often. *Too old*: answers that came more than {STALENESS_S:g} s after an acknowledgement and did not have that
mutation, or were marked stale."""


class Seen(NamedTuple):
    """When an answer, or an acknowledgement, came, with which revision."""

    at: float
    revision: int
    stale: bool = False


@dataclass
class Stream:
    """Mutations and what became of them."""

    acknowledged: list[Seen] = field(default_factory=list)
    answers: list[Seen] = field(default_factory=list)

    def delays_ms(self) -> list[float]:
        """Of each mutation, until it was seen."""
        found, answers = [], iter(self.answers)
        answer = next(answers)
        for mutation in sorted(self.acknowledged, key=lambda seen: seen.revision):
            while answer.revision < mutation.revision:
                answer = next(answers)  # there is one: the client goes on asking until every mutation is old
            found.append(max(0.0, answer.at - mutation.at) * 1e3)
        return found

    def too_old(self) -> int:
        """How many answers were."""
        found, due = 0, iter(sorted(self.acknowledged))
        oldest, mutation = 0, next(due, None)
        for answer in self.answers:
            while mutation is not None and answer.at > mutation.at + STALENESS_S:
                oldest, mutation = max(oldest, mutation.revision), next(due, None)
            found += answer.revision < oldest or answer.stale
        return found


class Mutated(NamedTuple):
    """The rounds: loads without and with mutations."""

    without: list[Open]
    with_: list[Open]
    stream: Stream

    @property
    def growth(self) -> float:
        """By how much of itself the data plane's processor time of a check grows."""
        return _plane_us(self.with_) / _plane_us(self.without) - 1

    def table(self) -> Table:
        delays = self.stream.delays_ms()
        looks: list[Cell] = [percentile(delays, 50), percentile(delays, 99), max(delays), self.stream.too_old()]
        rows: list[list[Cell]] = [
            ["without", *_load(self.without), "", "", "", ""],
            ["with", *_load(self.with_), *looks],
        ]
        columns = (
            *("mutations", "checks a second", "data plane CPU µs", "authority CPU µs", "p50 ms", "p99 ms"),
            *("seen p50 ms", "seen p99 ms", "seen at most ms", "too old"),
        )
        return Table(f"{RATE} mutations a second", columns, rows, NOTES)


def _plane_us(rounds: Sequence[Open]) -> float:
    return statistics.median(sum(found.cpu_s[1:]) / found.answers for found in rounds) * 1e6


def _load(rounds: Sequence[Open]) -> list[Cell]:
    authority_us = statistics.median(found.cpu_s[0] / found.answers for found in rounds) * 1e6
    latencies = [statistics.median(percentile(found.latencies_ms, percent) for found in rounds) for percent in (50, 99)]
    return [rounds[-1].rate, _plane_us(rounds), authority_us, *latencies]


async def measure_mutations(ours: Ours, plane: Tally, world: World, asked: Sequence[Asked]) -> Mutated:
    """Changes the policy of members who do not ask."""
    found, members = Mutated([], [], Stream()), _others(world, asked)
    target = f"127.0.0.1:{plane.subject.port}"
    async with (
        AccessClient(target, timeout_s=TIMEOUT_S) as access,
        AdminClient(ours.target, timeout_s=TIMEOUT_S) as admin,
    ):
        looking = asyncio.create_task(_look(access, asked, found.stream))
        for _ in range(ROUNDS):
            for rounds, mutating in ((found.without, False), (found.with_, True)):
                changing = asyncio.create_task(_change(admin, members, found.stream)) if mutating else None
                rounds.append(
                    await plane.load.open(LOAD * plane.rate, ROUND_S, plane.subject.pids(), spacing=Spacing.EVEN)
                )
                if changing is not None:
                    await _cancel(changing)
                    await asyncio.sleep(STALENESS_S)
        await _cancel(looking)
    return found


def _others(world: World, asked: Sequence[Asked]) -> Iterator[tuple[str, str]]:
    taken = {found.check[:2] for found in asked}
    for at in range(world.members):
        member = world.member_of(at * STEP % world.members)
        if member not in taken:
            yield member


async def _change(admin: AdminClient, members: Iterator[tuple[str, str]], stream: Stream) -> None:
    async def change(team: str, user: str) -> None:
        answer = await admin.update_member(
            Member(team=team, user=user, allowed_models=ModelScope(mode=ModelScope.NONE))
        )
        stream.acknowledged.append(Seen(time.perf_counter(), _number(answer.revision)))

    due = time.perf_counter()
    async with asyncio.TaskGroup() as running:
        while True:
            running.create_task(change(*next(members)))
            due += 1 / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


async def _look(access: AccessClient, asked: Sequence[Asked], stream: Stream) -> None:
    for found in asked:
        answer = await access.check(*found.check)
        stream.answers.append(Seen(time.perf_counter(), _number(answer.revision), answer.stale))
        await asyncio.sleep(LOOK_EVERY_S)


def _number(revision: str) -> int:
    return int(revision.rpartition(".")[2])


async def _cancel(task: asyncio.Task[None]) -> None:
    """Raises what it failed with."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
