"""A replica that follows a feed with every fault there is: what it serves the authority had, it never goes back, it is
never fresh when it is old, and it gets there by itself once the faults have ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from policy_service import slices
from policy_service.domain import state as state_module
from policy_service.domain import transfer
from policy_service.domain.changes import Position
from policy_service.domain.records import Record
from policy_service.replication import log_feed
from policy_service.replication.freshness import DRIFT
from policy_service.replication.log_feed import HEAD_KEPT_S
from policy_service.replication.replica import Condition
from policy_service.store.protocol import new_epoch
from tests.replication.feeds import CHUNK_FAULTS, PART_FAULTS, Chronicle, Content, FaultyFeed, TimelessLoop, replica_of
from tests.store.support import dump, group, member, model, only, team

EXAMPLES, STEPS = 50, 40  # 1_500 and 80 take seven minutes
PHASES = (Phase.generate, Phase.shrink)
MAX_STALENESS_S = 10.0
TEAMS = ("t", "é")

names = st.sampled_from(("ann", "bob", "eve", "zoe", "😀", 'a"b'))
team_names = st.sampled_from(TEAMS)
scopes = st.sampled_from((only("a"), only("a", "g"), only("*", excluded=("b",))))
durations = st.sampled_from((0.0, 0.1, 0.6, 3.0, 12.0, 30.0))
members_of = st.lists(st.tuples(names, scopes), min_size=1, max_size=6, unique_by=lambda found: found[0])


class Machine(RuleBasedStateMachine):
    """One authority, one feed, one replica, in time that passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = TimelessLoop()
        self.runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.served: Position | None = None  # the last that was seen
        self.replays = False
        self.contents: list[Content] = []

    def run(self, steps: Any) -> Any:
        return self.runner.run(steps)

    @initialize(authoritative=st.booleans(), confirms=st.booleans())
    def begin(self, authoritative: bool, confirms: bool) -> None:
        self.confirms = confirms
        self.run(self._begin(authoritative))
        self.loop.probe = self.check

    async def _begin(self, authoritative: bool) -> None:
        self.origin = await Chronicle.start(team("t"), member("t", "ann"))
        self.foreign = await Chronicle.start(team("t"), member("t", "mallory"))
        self.contents.append(self.origin.copied())
        self.feed = FaultyFeed(self.origin, authoritative)

        async def confirm() -> str:
            return self.origin.position.epoch

        self.replica = replica_of(self.feed, MAX_STALENESS_S, confirm=confirm if self.confirms else None)
        self.task = asyncio.create_task(self.replica.run())

    # What must always be

    def check(self) -> None:
        """After every turn of the event loop."""
        assert not self.task.done(), "the replica's task ended by itself"
        state = self.replica.state
        if state is None:
            assert self.replica.condition is Condition.SYNCING
            assert self.served is None, "there was a policy"
            return
        position, before = state.position, self.served
        assert dump(state) == self.origin.states.get(position), "the authority never had this"
        if before is not None and before.epoch == position.epoch and before.revision > position.revision:
            assert self.feed.authoritative
            assert self.origin.went_back, "it goes back, and the authority did not"
        self.served = position
        if self.replica.condition is Condition.FRESH:
            assert self.origin.age_of(position) <= MAX_STALENESS_S + self.unnoticed_s(), "it is not fresh"

    def unnoticed_s(self) -> float:
        """For how long a head may be held back before its publisher's clock tells."""
        return HEAD_KEPT_S + 0.01 + DRIFT * (self.loop.time() - 1_000) if self.replays else 0.01

    @invariant()
    def a_moment_passes(self) -> None:
        self.run(_turns(50))

    # What happens at the authority

    def put(self, *records: Record, **fields: Any) -> None:
        self.run(self.origin.put(*records, **fields))

    @rule(name=team_names, scope=scopes, blocked=st.booleans())
    def set_team(self, name: str, scope: Any, blocked: bool) -> None:
        self.put(team(name, scope, blocked=blocked))

    @rule(name=team_names, found=members_of)
    def set_members(self, name: str, found: list[Any]) -> None:
        """As many as are prepared in slices."""
        if name not in self.origin.state.teams:
            self.put(team(name))
        self.put(*(member(name, user, scope) for user, scope in found))

    @rule(name=team_names, user=names)
    def drop_member(self, name: str, user: str) -> None:
        if name in self.origin.state.teams and user in self.origin.state.teams[name].members:
            self.run(self.origin.drop(member(name, user)))

    @rule(name=team_names)
    def drop_team(self, name: str) -> None:
        if name in self.origin.state.teams:
            self.run(self.origin.drop(team(name)))

    @rule(at=st.integers(0, 9), count=st.integers(1, 8))
    def set_models(self, at: int, count: int) -> None:
        """Several revisions."""
        for more in range(count):
            self.put(model("m", f"p{at}{more}"), group("g", f"{at}"))

    @rule()
    def trim_the_log(self) -> None:
        self.run(self.origin.forget_log(model("trimmed", self.origin.state.revision)))

    @rule(how=st.sampled_from(("remember", "restore", "put back", "other")), at=st.integers(0, 99))
    def change_the_database(self, how: str, at: int) -> None:
        """It is dumped; or restored as it should be; or an old dump is put back by hand: who follows Redis sees another
        epoch then, that names the one before, which has to be the replica's, while the authority's own followers see
        it go back; or another database takes its place."""
        content = self.contents[at % len(self.contents)]
        any_epoch = self.feed.authoritative or self.confirms
        if how == "remember":
            self.contents.append(self.run(_copied(self.origin)))
        elif how == "restore":
            self.run(self.origin.begin_epoch())
        elif how == "put back" and (any_epoch or content.lineage.position.epoch == self.origin.position.epoch):
            self.run(self.origin.go_back_to(content))
            if not self.feed.authoritative:
                self.run(self.origin.begin_epoch())
        elif how == "other" and any_epoch:
            self.run(self.origin.go_back_to(content, epoch=new_epoch()))

    # What happens to the feed

    @rule(
        faults=st.lists(st.sampled_from(PART_FAULTS), min_size=1, max_size=3),
        name=team_names,
        found=members_of,
        seconds=durations,
    )
    def spoil_parts(self, faults: list[str], name: str, found: list[Any], seconds: float) -> None:
        self.feed.faults.extend(faults)
        self.set_members(name, found)
        self.wait(seconds)

    @rule(faults=st.lists(st.sampled_from(CHUNK_FAULTS), min_size=1, max_size=3))
    def spoil_chunks(self, faults: list[str]) -> None:
        self.feed.chunk_faults.extend(faults)
        self.feed.faults.append("drop")
        self.trim_the_log()

    @rule(how=st.sampled_from(("down", "paused", "slow", "slower", "lies", "newer format")), seconds=durations)
    def begin_trouble(self, how: str, seconds: float) -> None:
        match how:
            case "down":
                self.feed.is_down = True
            case "paused":
                self.feed.pause()
            case "slow":
                self.feed.latency_s = 1.0
            case "slower":
                self.feed.latency_s = 30.0
            case "lies":
                self.feed.lies = True
            case "newer format":
                self.feed.format += 1
        self.wait(seconds)

    @precondition(lambda self: not self.feed.authoritative)
    @rule(
        how=st.sampled_from(("old", "old, hides its age", "foreign", "frozen")),
        at=st.integers(0, 99),
        seconds=durations,
    )
    def show_something_else(self, how: str, at: int, seconds: float) -> None:
        """Its age can be hidden from whoever does not know the clock of its publisher only."""
        content = self.contents[at % len(self.contents)]
        if how == "foreign" and self.replica.state is not None:
            content = self.run(_copied(self.foreign))
        elif how == "frozen":
            content = self.run(_copied(self.origin))
        self.feed.hides_age = "hides" in how and content.head.publisher in self.feed.heard
        self.replays = self.replays or self.feed.hides_age
        self.feed.show(content)
        self.wait(seconds)

    @rule()
    def heal(self) -> None:
        self.feed.heal()

    # Time

    @rule(seconds=durations)
    def wait(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from((1.0, 11.0, 100.0)))
    def stop_the_process(self, seconds: float) -> None:
        self.loop.pass_unnoticed(seconds)
        self.check()

    @rule()
    def converge(self) -> None:
        """Once the faults have ended it gets there by itself."""
        self.feed.heal()
        self.run(self._converge())

    async def _converge(self) -> None:
        end = self.loop.time() + 60
        while not self._is_there():
            assert self.loop.time() < end, f"it never gets there: {self.replica.failure}"
            await asyncio.sleep(0.2)
        assert self.replica.state is not None
        assert self.replica.state.digest == self.origin.position.digest
        assert not self.replica.state.discarded

    def _is_there(self) -> bool:
        state, replica = self.replica.state, self.replica
        at_head = state is not None and state.position == self.origin.position
        return at_head and replica.condition is Condition.FRESH and replica.failure is None

    def teardown(self) -> None:
        try:
            if hasattr(self, "feed"):
                self.converge()
        finally:
            self.loop.probe = None
            if hasattr(self, "task"):
                self.task.cancel()
                self.run(_turns(10))
            self.runner.close()


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _copied(origin: Chronicle) -> Content:
    return origin.copied()


def test_a_replica_behind_a_faulty_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets come in many parts, many are large, and everything that has slices has many."""
    monkeypatch.setattr(state_module, "LARGE", 2)
    monkeypatch.setattr(state_module, "SLICE", 2)
    monkeypatch.setattr(transfer, "SLICE", 2)
    monkeypatch.setattr(slices, "SLICE_S", -1.0)
    monkeypatch.setattr(log_feed, "PART_BYTES", 150)
    monkeypatch.setattr(log_feed, "CHUNK_BYTES", 150)
    monkeypatch.setattr(log_feed, "MAX_BEHIND", 10)
    monkeypatch.setattr(log_feed, "SNAPSHOT_BEHIND", 5)
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=chosen)
