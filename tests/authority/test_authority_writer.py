"""The writer task: callers that go away, the end of the service, commits whose outcome is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from policy_service import slices
from policy_service.authority import authority
from policy_service.authority.authority import MAX_WAITING
from policy_service.authority.mutations import Plan, World
from policy_service.domain.changes import Position
from policy_service.errors import AlreadyExists, InvalidArgument, Unavailable
from policy_service.store.memory import MemoryStore
from policy_service.store.protocol import Commit
from policy_service.store.sqlite import SqliteStore
from tests.authority.calls import Admin, Call, add_member, batch_add, create_team, decode, update_team, upsert
from tests.store.audit import anchor_of, problems, whole_log
from tests.store.support import START, all_records, dump, loaded, member, model, only, seeded, team


class Gate:
    """Holds a mutation at its plan until it is opened."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    def before(self, call: Call) -> Callable[[World], object]:
        async def plan(world: World) -> Plan:
            self.reached.set()
            await self.opened.wait()
            return await call.planned()(world)

        return plan


def sending(admin: Admin, call: Call, gate: Gate | None = None) -> asyncio.Task[bytes]:
    plan = gate.before(call) if gate else None
    return asyncio.create_task(admin.send(call, plan=plan))


async def test_a_mutation_that_has_begun_is_completed_for_a_caller_that_went_away(admin: Admin) -> None:
    gate = Gate()
    gone = sending(admin, create_team(team("t"), seeded("t", "ann")), gate)
    await gate.reached.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    gate.opened.set()
    await admin.run(add_member(seeded("t", "bob")))
    assert (await admin.team("t")).member_count == 2
    assert admin.revision == 2


async def test_a_mutation_that_has_not_begun_is_dropped_for_a_caller_that_went_away(admin: Admin) -> None:
    gate = Gate()
    first = sending(admin, create_team(team("t")), gate)
    await gate.reached.wait()
    gone = [sending(admin, create_team(team(name))) for name in ("u", "v")]
    last = sending(admin, create_team(team("w")))
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    gate.opened.set()
    await asyncio.gather(first, last)
    assert [found.id for found in (await admin.store.teams("", 9)).items] == ["t", "w"]
    assert admin.revision == 2


async def test_a_failure_for_a_caller_that_went_away_harms_nobody(admin: Admin) -> None:
    await admin.run(create_team(team("t")))
    gate = Gate()
    gone = sending(admin, create_team(team("t")), gate)
    await gate.reached.wait()
    gone.cancel()
    gate.opened.set()
    await asyncio.wait([gone])
    await admin.run(update_team("t", blocked=True))


async def test_mutations_run_one_at_a_time_in_the_order_they_came(admin: Admin) -> None:
    await admin.run(create_team(team("t")))
    calls = [update_team("t", labels={"k": f"{number}"}) for number in range(50)]
    answers = await asyncio.gather(*(admin.run(call) for call in calls))
    assert [int(answer.revision.partition(".")[2]) for answer in answers] == list(range(2, 52))
    assert (await admin.team("t")).labels == {"k": "49"}
    log = await whole_log(admin.store)
    assert [images[0].before for _, images in log[1:]] == [images[0].after for _, images in log[:-1]]


async def test_a_mutation_sees_what_the_one_before_it_did(admin: Admin) -> None:
    results = await asyncio.gather(*(admin.run(create_team(team("t"))) for _ in range(5)), return_exceptions=True)
    assert [type(result) for result in results[1:]] == [AlreadyExists] * 4
    assert admin.revision == 1


async def test_readers_see_a_large_mutation_whole(admin: Admin) -> None:
    await admin.run(create_team(team("t")))
    seen = set()
    members = [seeded("t", f"user-{number}") for number in range(500)]
    task = sending(admin, batch_add("t", *members))
    while not task.done():
        seen.add((admin.revision, len(admin.state.teams["t"].members)))
        await asyncio.sleep(0)
    seen.add((admin.revision, len(admin.state.teams["t"].members)))
    assert seen == {(1, 0), (2, 500)}


async def test_a_mutation_is_durable_and_applied_before_it_is_acknowledged(admin: Admin) -> None:
    task = sending(admin, create_team(team("t")))
    acknowledged: list[tuple[bool, bool]] = []
    task.add_done_callback(lambda _: acknowledged.append(("t" in admin.state.teams, admin.revision == 1)))
    await task
    await asyncio.sleep(0)
    assert acknowledged == [(True, True)]
    assert await admin.store.position() == admin.state.position


async def test_an_entry_says_who_did_what_and_when(admin: Admin) -> None:
    admin.clock.advance(hours=1)
    await admin.run(create_team(team("t")))
    ((entry, _),) = await whole_log(admin.store)
    assert (entry.actor, entry.peer, entry.rpc) == ("ann", "ipv4:127.0.0.1:1", "CreateTeam")
    assert entry.time == START + timedelta(hours=1)
    assert entry.position == admin.state.position


async def test_a_fault_in_a_plan_is_told_and_the_writer_goes_on(admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    async def plan(_: World) -> Plan:
        raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError, match="broken"):
        await admin.send(create_team(team("t")), plan=plan)
    assert "mutation failed" in caplog.text
    await admin.run(create_team(team("t")))


async def test_a_record_too_big_to_be_read_back_is_refused(admin: Admin) -> None:
    scope = only(*(f"{number:04}" + '"' * 252 for number in range(2_000)))  # twice as long as JSON
    await admin.run(create_team(team("t", scope)))
    records, revision = await all_records(admin.store), admin.revision
    for validate_only in (True, False):
        with pytest.raises(InvalidArgument, match="is larger than 1900000 bytes") as caught:
            await admin.run(update_team("t", default_team_member_models=scope), "1", validate_only)
        assert [violation.field for violation in caught.value.violations] == ["team"]
    assert (await all_records(admin.store), admin.revision) == (records, revision)


async def test_an_answer_too_big_for_a_client_is_refused(admin: Admin) -> None:
    await admin.run(create_team(team("t")))
    scope = only(*(f"{number:04}" + "é" * 126 for number in range(100)))
    members = [member("t", f"{number}", scope) for number in range(200)]
    for validate_only in (True, False):
        with pytest.raises(InvalidArgument, match="send fewer items at once"):
            await admin.run(batch_add("t", *members), "1", validate_only)
    assert admin.revision == 1
    assert await admin.members("t") == []
    await admin.run(batch_add("t", *members[:100]), "1")
    assert (await admin.team("t")).member_count == 100


async def test_the_end_runs_what_waits_and_refuses_what_comes(admin: Admin) -> None:
    gate = Gate()
    tasks = [sending(admin, create_team(team("a")), gate)]
    await gate.reached.wait()
    tasks += [sending(admin, create_team(team(name))) for name in "bcd"]
    await asyncio.sleep(0)
    finishing = asyncio.create_task(admin.authority.finish())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="shutting down"):
        await admin.run(create_team(team("e")))
    gate.opened.set()
    await finishing
    await admin.writer
    assert [decode(await task).record.id for task in tasks] == ["a", "b", "c", "d"]
    assert len(admin.state.teams) == 4


async def test_too_many_waiting_mutations_are_refused_at_once(admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    tasks = [sending(admin, upsert(model("m")), gate)]
    await gate.reached.wait()
    tasks += [sending(admin, upsert(model("m"))) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match=f"{MAX_WAITING} mutations are waiting"):
        await admin.run(upsert(model("m")))
    finishing = asyncio.create_task(admin.authority.finish())  # waits for room
    gate.opened.set()
    await asyncio.gather(finishing, *tasks)


async def test_retention_follows_the_clock(admin: Admin) -> None:
    short = await Admin.start(admin.store, admin.clock, log_retention=timedelta(days=1))
    for number in range(5):
        await short.run(upsert(model(f"{number}")))
        short.clock.advance(hours=13)
    await short.stop()
    assert [entry.revision for entry, _ in await whole_log(admin.store)] == [4, 5]
    assert list(problems(await anchor_of(admin.store), await whole_log(admin.store))) == []
    assert short.state.position == await admin.store.position()
    admin.state = short.state


async def test_without_retention_the_log_is_kept_for_ever(admin: Admin) -> None:
    for number in range(3):
        await admin.run(upsert(model(f"{number}")))
        admin.clock.advance(days=10_000)
    assert len(await whole_log(admin.store)) == 3


# Commits whose outcome is in doubt


class Fault(Exception):
    """What a broken database raises."""


class FaultyStore(SqliteStore):
    """Fails where it is told to; otherwise the real store."""

    before_commit = after_commit = at_position = False

    async def commit(self, commit: Commit) -> None:
        if self.before_commit:
            raise Fault
        await super().commit(commit)
        if self.after_commit:
            raise Fault

    async def position(self) -> Position:
        if self.at_position:
            raise Fault
        return await super().position()


@pytest.fixture
async def faulty(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    store = await FaultyStore.open(tmp_path / "faulty.db")
    assert isinstance(store, FaultyStore)
    try:
        yield store
    finally:
        await store.close()


async def test_a_commit_that_landed_all_the_same_is_acknowledged(faulty: FaultyStore) -> None:
    admin = await Admin.start(faulty)
    faulty.after_commit = True
    call = create_team(team("t"), seeded("t", "ann"))
    answer = await admin.send(call, "1")
    assert decode(answer).revision == admin.state.revision
    assert admin.revision == 1
    assert dump(admin.state) == dump(await loaded(faulty))
    faulty.after_commit = False
    assert await admin.send(call, "1") == answer
    await admin.run(add_member(seeded("t", "bob")))
    assert dump(admin.state) == dump(await loaded(faulty))
    await admin.stop()


async def test_a_commit_that_did_not_land_changes_nothing(faulty: FaultyStore) -> None:
    admin = await Admin.start(faulty)
    await admin.run(create_team(team("t")))
    records, before = await all_records(faulty), dump(admin.state)
    faulty.before_commit = True
    for call in (add_member(seeded("t", "ann")), update_team("t", blocked=False)):
        with pytest.raises(Fault):
            await admin.run(call, "1")
    assert await all_records(faulty) == records
    assert dump(admin.state) == before == dump(await loaded(faulty))
    faulty.before_commit = False
    await admin.run(add_member(seeded("t", "ann")), "1")
    assert dump(admin.state) == dump(await loaded(faulty))
    await admin.stop()


async def test_a_request_that_changed_nothing_and_landed_all_the_same_is_replayed(faulty: FaultyStore) -> None:
    admin = await Admin.start(faulty)
    await admin.run(create_team(team("t")))
    faulty.after_commit = True
    call = update_team("t", blocked=False)
    with pytest.raises(Fault):
        await admin.run(call, "1")
    faulty.after_commit = False
    assert (await admin.run(call, "1")).revision == admin.state.revision
    assert admin.revision == 1
    await admin.stop()


async def stops_for_doubt(admin: Admin) -> None:
    """A mutation fails, those that wait and those that come are refused, the writer stops."""
    gate = Gate()
    first = sending(admin, create_team(team("u")), gate)
    await gate.reached.wait()
    waiting = [sending(admin, create_team(team(name))) for name in "vw"]
    await asyncio.sleep(0)
    gate.opened.set()
    with pytest.raises(Unavailable, match="unknown"):
        await first
    for task in waiting:
        with pytest.raises(Unavailable, match="shutting down"):
            await asyncio.wait_for(task, timeout=10)
    with pytest.raises(authority._OutcomeUnknown):
        await admin.writer
    with pytest.raises(Unavailable, match="shutting down"):
        await admin.run(create_team(team("x")))


@pytest.mark.parametrize("landed", [True, False])
async def test_when_nobody_knows_whether_it_landed_the_writer_stops(faulty: FaultyStore, landed: bool) -> None:
    admin = await Admin.start(faulty)
    await admin.run(create_team(team("t")))
    faulty.at_position = True
    faulty.after_commit, faulty.before_commit = landed, not landed
    await stops_for_doubt(admin)
    faulty.at_position = faulty.after_commit = faulty.before_commit = False
    assert set((await loaded(faulty)).teams) == ({"t", "u"} if landed else {"t"})


async def test_when_another_process_wrote_the_writer_stops(faulty: FaultyStore) -> None:
    admin, other = await Admin.start(faulty), await Admin.start(faulty)
    await other.run(create_team(team("t")))
    await stops_for_doubt(admin)
    assert set((await loaded(faulty)).teams) == {"t"}
    await other.stop()


async def test_a_full_disk_is_unavailable_and_passes(faulty: FaultyStore) -> None:
    admin = await Admin.start(faulty)
    await admin.run(create_team(team("t")))
    ((pages,),) = await faulty._writer.execute_fetchall("PRAGMA page_count")
    await faulty._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")
    large = batch_add("t", *(seeded("t", f"user-{number}", labels={"k": "x" * 200}) for number in range(500)))
    records, before = await all_records(faulty), dump(admin.state)
    for _ in range(3):
        with pytest.raises(Unavailable, match="full"):
            await admin.run(large, "1")
        assert await all_records(faulty) == records
        assert dump(admin.state) == before == dump(await loaded(faulty))
    await faulty._writer.execute_fetchall("PRAGMA max_page_count = 1000000")
    await admin.run(large, "1")
    assert (await admin.team("t")).member_count == 500
    assert dump(admin.state) == dump(await loaded(faulty))
    await admin.stop()


async def test_the_event_loop_has_turns_while_a_large_change_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_S", -1.0)
    admin = await Admin.start(MemoryStore())
    mutation = sending(admin, create_team(team("t"), *(seeded("t", f"{number}") for number in range(300))))
    turns = 0
    while not mutation.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 300
    await admin.stop()
