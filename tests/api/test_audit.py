"""The audit log: what it tells of each mutation, its chain of hashes, its filters, and events that fill pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    DeleteTeamRequest,
    GetMemberRequest,
    ListAuditEventsRequest,
    ReseedMembersRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.resources_pb2 import Team
from tests.support.audit import hash_of, joined, read, read_slices, verify
from tests.support.examples import EXAMPLES
from tests.support.messages import member, only, team
from tests.support.rpc import MUTATIONS, Rpc, refused

BEFORE = Timestamp(seconds=1)


@pytest.fixture
async def changed(world: Rpc) -> Rpc:
    """The small world after every mutation's example."""
    for name in MUTATIONS:
        await world.call(name, EXAMPLES[name])
    return world


async def test_the_chain_verifies_from_what_the_rpc_tells(changed: Rpc) -> None:
    events = await read(changed)
    verify(events)
    assert events[-1].revision == await changed.head()
    assert {event.format for event in events} == {1}
    for number, event in enumerate(events):
        for tampered in ("actor", "peer", "rpc", "digest"):
            copy = type(event)()
            copy.CopyFrom(event)
            setattr(copy, tampered, "x")
            assert hash_of(copy) != event.hash
        copy = joined([event])[0]
        copy.changes[0].after_json += " "
        assert hash_of(copy) != event.hash, number


async def test_each_mutation_is_told(changed: Rpc) -> None:
    events = (await read(changed))[-len(MUTATIONS) :]
    assert [event.rpc for event in events] == MUTATIONS
    assert {event.actor for event in events} == {"local"}
    assert all(event.peer.startswith("ipv4:127.0.0.1:") for event in events)
    now = datetime.now(UTC)
    times = [event.time.ToDatetime(UTC) for event in events]
    assert times == sorted(times)
    assert all(now - timedelta(minutes=5) < time <= now for time in times)
    told = {event.rpc: [(change.kind, change.name) for change in event.changes] for event in events}
    assert told == {
        "CreateTeam": [("team", "new"), ("member", "new/eve"), ("member", "new/dan")],
        "UpdateTeam": [("team", "ml")],
        "DeleteTeam": [("team", "empty")],
        "AddMember": [("member", "ml/eve")],
        "BatchAddMembers": [("member", "ml/fay"), ("member", "ml/gus")],
        "UpdateMember": [("member", "ml/ann")],
        "RemoveMember": [("member", "ml/bob")],
        "ReseedMembers": [("member", "ml/ann")],
        "SetAccessGroup": [("group", "new-group")],
        "DeleteAccessGroup": [("group", "unused")],
        "UpsertModels": [("model", "new-model"), ("model", "gpt-4")],
        "DeleteModels": [("model", "spare")],
    }
    created = ("CreateTeam", "AddMember", "BatchAddMembers", "SetAccessGroup")
    deleted = ("DeleteTeam", "RemoveMember", "DeleteAccessGroup", "DeleteModels")
    for event in events:
        for change in event.changes:
            is_new = event.rpc in created or change.name == "new-model"
            assert (change.before_json == "") == is_new
            assert (change.after_json == "") == (event.rpc in deleted)


async def test_before_and_after_are_the_record(world: Rpc) -> None:
    """What an administrator read before the change, and reads after it, under the same names."""
    asked = GetMemberRequest(team="ml", user="bob")
    before = await world.admin.GetMember(asked)
    await world.admin.UpdateMember(UpdateMemberRequest(member=member("ml", "bob", allowed_models=only("o1-pro"))))
    after = await world.admin.GetMember(asked)
    (change,) = (await read(world))[-1].changes
    for told, record in ((change.before_json, before), (change.after_json, after)):
        told = json.loads(told)
        shown = MessageToDict(record, preserving_proto_field_name=True)
        for name in ("team", "user", "role", "allowed_models", "scope_source", "etag"):
            assert told[name] == shown[name]
        assert told["limits"] == {"rpm_limit": 10, "tpm_limit": 7}
    assert json.loads(change.before_json)["allowed_models"] != json.loads(change.after_json)["allowed_models"]


async def test_a_deleted_team_is_one_change(world: Rpc) -> None:
    await world.admin.DeleteTeam(DeleteTeamRequest(team="ml", force=True))
    (change,) = (await read(world))[-1].changes
    assert (change.kind, change.name, change.after_json) == ("team", "ml", "")
    assert json.loads(change.before_json)["id"] == "ml"


async def test_of_a_team(changed: Rpc) -> None:
    """Its own events and those of its members, whole; no other."""
    everything = await read(changed)
    for name in ("ml", "other", "new", "empty", "ghost"):
        found = await read(changed, team=name)
        about = [e for e in everything if any(c.name.partition("/")[0] == name for c in e.changes)]
        assert found == about
        assert await read(changed, 1, team=name) == about
    assert len(await read(changed, team="ml")) > 5


async def test_of_a_time(changed: Rpc) -> None:
    """From the start on, up to but without the end."""
    everything = await read(changed)
    times = [event.time for event in everything]
    for at in (0, 3, len(times) - 1):
        instant = times[at].ToNanoseconds()
        later = [event for event in everything if event.time.ToNanoseconds() >= instant]
        earlier = [event for event in everything if event.time.ToNanoseconds() < instant]
        assert await read(changed, start_time=times[at]) == later
        assert await read(changed, end_time=times[at]) == earlier
        assert await read(changed, start_time=times[0], end_time=times[at]) == earlier
        assert await read(changed, 1, start_time=times[at], team="ml") == [
            event for event in later if event in await read(changed, team="ml")
        ]
    assert await read(changed, start_time=times[-1], end_time=times[0]) == []
    assert await read(changed, end_time=BEFORE) == []
    assert await read(changed, start_time=BEFORE, end_time=Timestamp(seconds=253402300799)) == everything
    assert await read(changed, start_time=Timestamp(seconds=-62135596800)) == everything


@pytest.mark.parametrize(
    "time", [(2**62, 0), (-(2**62), 0), (253402300800, 0), (-62135596801, 0), (0, -1), (0, 10**9), (0, 2**31 - 1)]
)
@pytest.mark.parametrize("field", ["start_time", "end_time"])
async def test_times_out_of_range(rpc: Rpc, field: str, time: tuple[int, int]) -> None:
    request = ListAuditEventsRequest(**{field: Timestamp(seconds=time[0], nanos=time[1])})
    assert list((await refused(rpc.admin.ListAuditEvents(request))).violations) == [field]


async def test_what_fails_is_not_in_the_log(world: Rpc) -> None:
    before = await read(world)
    await refused(world.admin.AddMember(AddMemberRequest(member=member("ml", ""))))
    await world.admin.AddMember(AddMemberRequest(member=member("ml", "eve"), validate_only=True))
    await world.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="ml", blocked=False)))
    assert await read(world) == before


async def test_an_event_that_fills_pages(rpc: Rpc) -> None:
    """3,000 changes of one revision: they go on over pages, each change once, and the chain holds."""
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("big", default_team_member_models=only("first"))))
    users = [f"user-{number:04d}" for number in range(3_000)]
    for at in range(0, len(users), 500):
        added = [member("", user) for user in users[at : at + 500]]
        await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="big", members=added))
    newer = Team(id="big", default_team_member_models=only("second", "third"))
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=newer))
    reseeded = await rpc.admin.ReseedMembers(ReseedMembersRequest(team="big"))
    await rpc.admin.AddMember(AddMemberRequest(member=member("big", "last")))
    for size in (0, 1, 3, 1_000):
        for filters in ({}, {"team": "big"}):
            slices = await read_slices(rpc, size, **filters)
            parts = [part for part in slices if part.revision == reseeded.revision]
            assert len(parts) > 1
            assert {part.change_count for part in parts} == {3_000}
            assert parts[1].first_change == len(parts[0].changes)
            events = joined(slices)
            verify(events)
            assert [change.name for change in events[8].changes] == [f"big/{user}" for user in users]
            assert [event.change_count for event in events] == [1, *[500] * 6, 1, 3_000, 1]
    assert await read(rpc, team="other") == []


async def test_a_page_in_the_middle_of_an_event_survives_what_follows(rpc: Rpc) -> None:
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("big", labels={"k": "v"})))
    wide = only(*(f"model-{number:04d}-{'x' * 50}" for number in range(2_000)))
    for at in range(12):
        added = [member("", f"u{at:02d}-{number}", allowed_models=wide) for number in range(2)]
        await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="big", members=added))
    token, slices = "", []
    while True:
        page = await rpc.admin.ListAuditEvents(ListAuditEventsRequest(page_token=token, page_size=1_000))
        slices.extend(page.events)
        token = page.next_page_token
        if not token:
            break
        await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="big", labels={"page": str(len(slices))})))
    assert len(slices) > 13
    events = joined(slices)
    verify(events)
    assert [event.revision for event in events] == [event.revision for event in await read(rpc)]
