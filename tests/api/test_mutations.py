"""What every mutation has: etag, request_id, validate_only, no-op, and one revision each."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ResourceInfo

from policy_service.v1 import admin_pb2 as admin
from policy_service.v1.resources_pb2 import Team
from tests.support import examples
from tests.support.examples import EXAMPLES
from tests.support.messages import ALL, bare, group, member, model, team
from tests.support.rpc import MUTATIONS, Rpc, connect, number_of, refused

ABORTED = grpc.StatusCode.ABORTED


def example(rpc: str, **fields: Any) -> Any:
    """The example with these fields set."""
    request = type(EXAMPLES[rpc])()
    request.CopyFrom(EXAMPLES[rpc])
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def without_stamps(response: Message) -> Message:
    """The response without its revision, and its resources without what the server stamps on them."""
    copy = type(response)()
    copy.CopyFrom(response)
    copy.ClearField("revision")
    for field, value in response.ListFields():
        if field.message_type is None:
            continue
        if field.is_repeated:
            copy.ClearField(field.name)
            getattr(copy, field.name).extend(bare(item) for item in value)
        else:
            getattr(copy, field.name).CopyFrom(bare(value))
    return copy


async def events(rpc: Rpc) -> int:
    return len((await rpc.admin.ListAuditEvents(admin.ListAuditEventsRequest(page_size=1_000))).events)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_it_makes_one_revision_and_one_audit_event(world: Rpc, name: str) -> None:
    before, audited = await world.head(), await events(world)
    response = await world.call(name, EXAMPLES[name])
    assert response.revision == await world.head()
    assert number_of(response.revision) == number_of(before) + 1
    assert await events(world) == audited + 1


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_dry_run_shows_what_would_be(world: Rpc, name: str) -> None:
    """It does everything but commit: the same answer, no revision; the same refusal."""
    before, audited = await world.head(), await events(world)
    dry = await world.call(name, example(name, validate_only=True, request_id="kept"))
    assert dry.revision == ""
    assert (await world.head(), await events(world)) == (before, audited)
    done = await world.call(name, example(name, request_id="kept"))
    assert done.revision == await world.head() != before
    assert without_stamps(dry) == without_stamps(done)


async def test_a_dry_run_is_refused_as_the_real_thing(world: Rpc) -> None:
    request = admin.DeleteTeamRequest(team="ml", validate_only=True)
    assert (await refused(world.admin.DeleteTeam(request), grpc.StatusCode.FAILED_PRECONDITION)).reason
    create = admin.CreateTeamRequest(team=team("ml"), validate_only=True)
    await refused(world.admin.CreateTeam(create), grpc.StatusCode.ALREADY_EXISTS)
    update = admin.UpdateTeamRequest(team=Team(id="ml", etag="old", blocked=True), validate_only=True)
    await refused(world.admin.UpdateTeam(update), ABORTED)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_retry_hears_the_same_and_does_nothing(world: Rpc, name: str) -> None:
    """Although what it would do is done: the id is looked up before existence and etag."""
    request = example(name, request_id="once")
    first = await world.call(name, request)
    await world.admin.UpsertModels(admin.UpsertModelsRequest(models=[model("between")]))
    head, audited = await world.head(), await events(world)
    again = await world.call(name, request)
    assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)
    assert (await world.head(), await events(world)) == (head, audited)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_an_id_for_another_request_is_refused(world: Rpc, name: str) -> None:
    await world.call(name, example(name, request_id="once"))
    head = await world.head()
    failure = await refused(world.call(name, example(name, request_id="once", validate_only=True)))
    assert failure.reason == "REQUEST_ID_REUSED"
    assert list(failure.violations) == ["request_id"]
    assert await world.head() == head


async def test_an_id_belongs_to_its_rpc(world: Rpc) -> None:
    before = number_of(await world.head())
    for name in MUTATIONS:
        await world.call(name, example(name, request_id="shared"))
    assert number_of(await world.head()) == before + len(MUTATIONS)


async def test_an_id_with_other_fields_is_refused(world: Rpc) -> None:
    add = admin.AddMemberRequest(member=member("ml", "eve"), request_id="id")
    await world.admin.AddMember(add)
    for other in (member("ml", "dan"), member("other", "eve"), member("ml", "eve", blocked=False)):
        changed = admin.AddMemberRequest(member=other, request_id="id")
        assert (await refused(world.admin.AddMember(changed))).reason == "REQUEST_ID_REUSED"


async def test_only_success_is_remembered(world: Rpc) -> None:
    request = admin.AddMemberRequest(member=member("later", "ann"), request_id="id")
    await refused(world.admin.AddMember(request), grpc.StatusCode.NOT_FOUND)
    await world.admin.CreateTeam(admin.CreateTeamRequest(team=team("later")))
    assert (await world.admin.AddMember(request)).member.team == "later"
    dry = admin.AddMemberRequest(member=member("later", "bob"), request_id="dry", validate_only=True)
    await world.admin.AddMember(dry)
    dry.validate_only = False
    assert (await world.admin.AddMember(dry)).revision


async def test_a_noop_is_remembered_too(world: Rpc) -> None:
    request = admin.UpdateTeamRequest(team=Team(id="ml", blocked=False), request_id="id")
    first = await world.admin.UpdateTeam(request)
    await world.admin.UpdateTeam(admin.UpdateTeamRequest(team=Team(id="ml", blocked=True)))
    assert await world.admin.UpdateTeam(request) == first
    assert (await world.admin.GetTeam(admin.GetTeamRequest(team="ml"))).blocked


async def test_many_at_once_with_one_id_are_one(world: Rpc) -> None:
    before = number_of(await world.head())
    request = admin.AddMemberRequest(member=member("ml", "eve"), request_id="id")
    answers = await asyncio.gather(*(world.admin.AddMember(request) for _ in range(50)))
    assert len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1
    assert number_of(await world.head()) == before + 1


async def test_a_retry_after_a_restart(start_server) -> None:
    first = await start_server()
    async with connect(first.target) as rpc:
        await examples.build(rpc)
        request = admin.AddMemberRequest(member=member("ml", "eve"), request_id="id")
        answer = await rpc.admin.AddMember(request)
        head = await rpc.head()
    await first.stop()
    async with connect((await start_server()).target) as rpc:
        assert await rpc.head() == head
        assert await rpc.admin.AddMember(request) == answer
        assert await rpc.head() == head


@pytest.mark.parametrize(
    ("request_id", "fine"),
    [
        ("x", True),
        ("x" * 128, True),
        ("é" * 64, True),
        ("x" * 129, False),
        ("é" * 65, False),
        ("a\nb", False),
        (" a", False),
    ],
)
async def test_the_bounds_of_an_id(world: Rpc, request_id: str, fine: bool) -> None:
    request = example("AddMember", request_id=request_id)
    if fine:
        assert await world.admin.AddMember(request) == await world.admin.AddMember(request)
    else:
        assert list((await refused(world.admin.AddMember(request))).violations) == ["request_id"]


NOOPS = {
    "UpdateTeam": admin.UpdateTeamRequest(team=Team(id="ml", blocked=False, model_aliases={"fast": "gpt-4o-mini"})),
    "UpdateMember": admin.UpdateMemberRequest(member=member("ml", "ann", blocked=False)),
    "SetAccessGroup": admin.SetAccessGroupRequest(group=group("cheap", "gpt-4o-mini")),
    "UpsertModels": admin.UpsertModelsRequest(models=[model("gpt-4"), model("spare")]),
    "ReseedMembers": admin.ReseedMembersRequest(team="other"),
}


@pytest.mark.parametrize("name", NOOPS)
async def test_what_changes_nothing_makes_no_revision(world: Rpc, name: str) -> None:
    head, audited = await world.head(), await events(world)
    response = await world.call(name, NOOPS[name])
    assert response.revision == head == await world.head()
    assert await events(world) == audited


ETAGS = {
    "UpdateTeam": ("GetTeam", lambda etag: admin.UpdateTeamRequest(team=Team(id="empty", blocked=True, etag=etag))),
    "DeleteTeam": ("GetTeam", lambda etag: admin.DeleteTeamRequest(team="empty", etag=etag)),
    "UpdateMember": (
        "GetMember",
        lambda etag: admin.UpdateMemberRequest(member=member("ml", "ann", blocked=True, etag=etag)),
    ),
    "RemoveMember": ("GetMember", lambda etag: admin.RemoveMemberRequest(team="ml", user="ann", etag=etag)),
    "SetAccessGroup": ("GetAccessGroup", lambda etag: admin.SetAccessGroupRequest(group=_unused("gpt-4", etag=etag))),
    "DeleteAccessGroup": ("GetAccessGroup", lambda etag: admin.DeleteAccessGroupRequest(name="unused", etag=etag)),
}
READS = {
    "GetTeam": admin.GetTeamRequest(team="empty"),
    "GetMember": admin.GetMemberRequest(team="ml", user="ann"),
    "GetAccessGroup": admin.GetAccessGroupRequest(name="unused"),
}
TOUCHES = {
    "GetTeam": admin.UpdateTeamRequest(team=Team(id="empty", display_name="moved")),
    "GetMember": admin.UpdateMemberRequest(member=member("ml", "ann", labels={"moved": "on"})),
    "GetAccessGroup": admin.SetAccessGroupRequest(group=group("unused", "moved")),
}
KINDS = {"GetTeam": ("team", "empty"), "GetMember": ("member", "ml/ann"), "GetAccessGroup": ("group", "unused")}


def _unused(*models: str, etag: str):
    listed = group("unused", *models, without=["x"])
    listed.etag = etag
    return listed


@pytest.mark.parametrize("name", ETAGS)
async def test_an_etag_is_a_precondition(world: Rpc, name: str) -> None:
    get, request = ETAGS[name]
    old = (await world.call(get, READS[get])).etag
    touch = TOUCHES[get]
    await world.call(type(touch).DESCRIPTOR.name.removesuffix("Request"), touch)
    head = await world.head()
    for stale in (old, "never", old + "0"):
        failure = await refused(world.call(name, request(stale)), ABORTED)
        assert failure.reason == "ETAG_MISMATCH"
        resource = failure.detail(ResourceInfo)
        assert (resource.resource_type, resource.resource_name) == KINDS[get]
        assert "read it again" in failure.message
    assert await world.head() == head
    current = (await world.call(get, READS[get])).etag
    await world.call(name, request(current))
    assert await world.head() != head


async def test_an_etag_for_a_group_that_is_gone(world: Rpc) -> None:
    """It did exist for the caller: nothing is created behind its back."""
    listed = group("gone", "a")
    listed.etag = "read-once"
    await refused(world.admin.SetAccessGroup(admin.SetAccessGroupRequest(group=listed)), ABORTED)


async def test_members_do_not_move_the_etag_of_their_team(world: Rpc) -> None:
    before = await world.admin.GetTeam(admin.GetTeamRequest(team="ml"))
    await world.admin.AddMember(admin.AddMemberRequest(member=member("ml", "eve")))
    after = await world.admin.GetTeam(admin.GetTeamRequest(team="ml"))
    assert (after.member_count, after.etag) == (before.member_count + 1, before.etag)
    await world.admin.UpdateTeam(admin.UpdateTeamRequest(team=Team(id="ml", etag=before.etag, blocked=True)))


async def test_of_two_writers_with_one_etag_one_wins(world: Rpc) -> None:
    etag = (await world.admin.GetTeam(admin.GetTeamRequest(team="other"))).etag
    teams = [Team(id="other", etag=etag, display_name=f"writer {number}") for number in range(20)]
    calls = (world.admin.UpdateTeam(admin.UpdateTeamRequest(team=each)) for each in teams)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    won = [answer for answer in answers if not isinstance(answer, BaseException)]
    lost = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(won) == 1
    assert [failure.code() for failure in lost] == [ABORTED] * 19
    assert (await world.admin.GetTeam(admin.GetTeamRequest(team="other"))).display_name == won[0].team.display_name


async def test_an_etag_and_a_retry(world: Rpc) -> None:
    etag = (await world.admin.GetTeam(admin.GetTeamRequest(team="other"))).etag
    request = admin.UpdateTeamRequest(team=Team(id="other", etag=etag, blocked=True), request_id="id")
    assert await world.admin.UpdateTeam(request) == await world.admin.UpdateTeam(request)


async def test_mutations_at_once_are_ordered(rpc: Rpc) -> None:
    """Each gets a revision of its own, without a gap."""
    teams = [team(f"t{number:03d}", ALL) for number in range(100)]
    calls = (rpc.admin.CreateTeam(admin.CreateTeamRequest(team=each)) for each in teams)
    answers = await asyncio.gather(*calls)
    assert sorted(number_of(answer.revision) for answer in answers) == list(range(1, 101))
