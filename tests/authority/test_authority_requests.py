"""request_id: the same request is done once, and answered the same."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from policy_service.errors import AlreadyExists, EtagMismatch, InvalidArgument, NotFound, RequestIdReused
from tests.authority.calls import (
    Admin,
    Call,
    add_member,
    batch_add,
    create_team,
    delete_group,
    delete_models,
    delete_team,
    remove_member,
    reseed,
    set_group,
    update_member,
    update_team,
    upsert,
)
from tests.store.audit import whole_log
from tests.store.support import NONE, all_records, group, member, model, opened, seeded, team


@pytest.fixture(autouse=True)
async def world(admin: Admin) -> None:
    await admin.run_all(
        create_team(team("t"), seeded("t", "ann"), member("t", "bob")), set_group(group("g")), upsert(model("m"))
    )
    await admin.run(update_team("t", default_team_member_models=NONE))


EVERY_CALL = [
    create_team(team("u"), seeded("u", "ann")),
    update_team("t", blocked=True),
    delete_team("t", force=True),
    add_member(seeded("t", "eve")),
    batch_add("t", seeded("t", "eve"), seeded("t", "zoe")),
    update_member("t", "ann", blocked=True),
    remove_member("t", "ann"),
    reseed("t"),
    set_group(group("g", "z")),
    delete_group("g"),
    upsert(model("m", "q")),
    delete_models("m"),
]


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda call: call.rpc)
async def test_a_repeated_request_is_answered_the_same_whatever_happened_since(admin: Admin, call: Call) -> None:
    answer = await admin.send(call, "1")
    for change in (
        None,
        upsert(model("n")),
        delete_team("t", force=True) if call.rpc != "DeleteTeam" else create_team(team("t")),
        create_team(team("t", NONE)) if call.rpc != "DeleteTeam" else update_team("t", blocked=True),
    ):
        if change is not None:
            await admin.run(change)
        records, log, revision = await all_records(admin.store), await whole_log(admin.store), admin.revision
        assert await admin.send(call, "1") == answer
        assert await all_records(admin.store) == records
        assert await whole_log(admin.store) == log
        assert admin.revision == revision


async def test_a_repeated_request_is_looked_up_before_its_etag(admin: Admin) -> None:
    etag = (await admin.member("t", "ann")).etag
    call = update_member("t", "ann", etag, blocked=True)
    answer = await admin.send(call, "1")
    assert await admin.send(call, "1") == answer
    with pytest.raises(EtagMismatch):
        await admin.send(call, "2")
    await admin.run(remove_member("t", "ann"))
    assert await admin.send(call, "1") == answer
    with pytest.raises(NotFound):
        await admin.send(call, "2")


async def test_the_same_id_with_other_content_is_refused(admin: Admin) -> None:
    await admin.run(add_member(seeded("t", "eve")), "1")
    records, revision = await all_records(admin.store), admin.revision
    for other in (add_member(seeded("t", "zoe")), add_member(seeded("t", "eve", blocked=True))):
        with pytest.raises(RequestIdReused) as caught:
            await admin.run(other, "1")
        assert isinstance(caught.value, InvalidArgument)
        assert [violation.field for violation in caught.value.violations] == ["request_id"]
    assert (await all_records(admin.store), admin.revision) == (records, revision)


async def test_an_id_counts_for_its_own_rpc(admin: Admin) -> None:
    await admin.run(add_member(seeded("t", "eve")), "1")
    await admin.run(remove_member("t", "eve"), "1")
    await admin.run(batch_add("t", seeded("t", "eve")), "1")
    assert admin.revision == 7


async def test_without_an_id_nothing_is_remembered(admin: Admin) -> None:
    await admin.run(add_member(seeded("t", "eve")))
    with pytest.raises(AlreadyExists):
        await admin.run(add_member(seeded("t", "eve")))
    assert await admin.store.recorded_request("AddMember", "") is None


async def test_a_failure_is_not_recorded(admin: Admin) -> None:
    with pytest.raises(NotFound):
        await admin.run(add_member(seeded("u", "ann")), "1")
    await admin.run(create_team(team("u")))
    await admin.run(add_member(seeded("u", "ann")), "1")
    assert (await admin.member("u", "ann")).user == "ann"


async def test_a_success_that_changed_nothing_is_recorded(admin: Admin) -> None:
    call = update_team("t", blocked=False)
    answer = await admin.send(call, "1")
    await admin.run(update_team("t", blocked=True))
    revision = admin.revision
    assert await admin.send(call, "1") == answer
    assert (await admin.team("t")).blocked
    assert admin.revision == revision


async def test_a_request_that_runs_twice_at_once_is_done_once(admin: Admin) -> None:
    revision = admin.revision
    call = add_member(seeded("t", "eve"))
    answers = await asyncio.gather(*(admin.send(call, "1") for _ in range(5)))
    assert len(set(answers)) == 1
    assert admin.revision == revision + 1


@pytest.mark.parametrize("last", ["a change", "no change"])
async def test_a_request_is_forgotten_after_48_hours(admin: Admin, last: str) -> None:
    call = update_team("t", labels={"k": "1"})
    await admin.run(call, "1")
    other = update_team("t", labels={"k": "2"})
    admin.clock.advance(hours=48)
    await admin.run(other)
    assert await admin.store.recorded_request("UpdateTeam", "1") is not None
    assert (await admin.run(call, "1")).revision.endswith(".5")
    assert (await admin.team("t")).labels == {"k": "2"}

    admin.clock.advance(seconds=0.000001)
    await admin.run(upsert(model("m" if last == "no change" else "n")), "2")
    assert await admin.store.recorded_request("UpdateTeam", "1") is None
    await admin.run(call, "1")
    assert (await admin.team("t")).labels == {"k": "1"}


async def test_requests_are_remembered_across_a_restart(tmp_path: Path) -> None:
    call = create_team(team("t"))
    answers = []
    for _ in range(2):
        async with opened(tmp_path / "again.db") as store:
            admin = await Admin.start(store)
            answers.append(await admin.send(call, "1"))
            await admin.stop()
    assert answers[0] == answers[1]
    assert admin.revision == 1
