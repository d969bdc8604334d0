"""AdminClient against the service: every call, its options and its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from policy_client import (
    Aborted,
    AdminClient,
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
)
from policy_service.v1.resources_pb2 import (
    EXPLICIT,
    SEEDED,
    AccessGroup,
    Member,
    MemberLimits,
    Model,
    ModelScope,
    Team,
)

if TYPE_CHECKING:
    from tests.conftest import RunningServer

MINI = ModelScope(mode=ModelScope.ONLY, models=["gpt-4o-mini"])
INHERIT = ModelScope(mode=ModelScope.INHERIT)


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator[AdminClient]:
    """A client of an empty server."""
    async with AdminClient(server.target) as client:
        yield client


@pytest.fixture
async def support(admin: AdminClient) -> Team:
    """A team whose default is `gpt-4o-mini` and 60 requests a minute."""
    team = Team(
        id="support",
        models=ModelScope(mode=ModelScope.ALL),
        default_team_member_models=MINI,
        default_member_limits=MemberLimits(rpm_limit=60),
    )
    return (await admin.create_team(team)).team


async def test_teams(admin: AdminClient, support: Team) -> None:
    assert await admin.get_team("support") == support
    created = await admin.create_team(Team(id="sales", models=MINI), [Member(user="ann"), Member(user="bob")])
    assert [member.user for member in created.members] == ["ann", "bob"]
    assert [team.id async for team in admin.list_teams()] == ["sales", "support"]

    updated = await admin.update_team(Team(id="sales", blocked=True, default_member_limits=MemberLimits(tpm_limit=5)))
    assert (updated.team.blocked, updated.team.models) == (True, MINI)
    cleared = await admin.update_team(Team(id="sales"), ["blocked", "default_member_limits.tpm_limit"])
    assert (cleared.team.blocked, cleared.team.default_member_limits) == (False, MemberLimits())

    with pytest.raises(PreconditionFailed) as caught:
        await admin.delete_team("sales")
    assert caught.value.preconditions
    await admin.delete_team("sales", force=True)
    with pytest.raises(NotFound) as missing:
        await admin.get_team("sales")
    assert missing.value.reason == "TEAM_NOT_FOUND"


async def test_members(admin: AdminClient, support: Team) -> None:
    sam = (await admin.add_member(Member(team="support", user="sam"))).member
    assert (sam.allowed_models, sam.scope_source, sam.limits.rpm_limit) == (MINI, SEEDED, 60)
    added = await admin.batch_add_members("support", [Member(user="ann", allowed_models=INHERIT), Member(user="bob")])
    assert [member.scope_source for member in added.members] == [EXPLICIT, SEEDED]
    assert await admin.get_member("support", "sam") == sam

    changed = await admin.update_member(Member(team="support", user="sam", limits=MemberLimits(tpm_limit=9)))
    assert changed.member.limits == MemberLimits(rpm_limit=60, tpm_limit=9)
    cleared = await admin.update_member(Member(team="support", user="sam"), ["limits.rpm_limit"])
    assert cleared.member.limits == MemberLimits(tpm_limit=9)

    assert [member.user async for member in admin.list_members(team="support")] == ["ann", "bob", "sam"]
    assert [m.user async for m in admin.list_members(team="support", scope_source=EXPLICIT)] == ["ann"]
    assert [member.team async for member in admin.list_members(user="sam")] == ["support"]

    await admin.update_team(Team(id="support", default_team_member_models=INHERIT))
    reseeded = await admin.reseed_members("support")
    assert (reseeded.reseeded_count, list(reseeded.users)) == (2, ["bob", "sam"])
    await admin.remove_member("support", "sam")
    with pytest.raises(NotFound):
        await admin.get_member("support", "sam")


async def test_groups(admin: AdminClient) -> None:
    group = (await admin.set_access_group(AccessGroup(name="cheap", models=["gpt-4o-mini"]))).group
    assert await admin.get_access_group("cheap") == group
    assert [found async for found in admin.list_access_groups()] == [group]
    await admin.create_team(Team(id="support", models=ModelScope(models=["cheap"])))
    with pytest.raises(PreconditionFailed):
        await admin.delete_access_group("cheap")
    await admin.delete_access_group("cheap", force=True)
    assert [found async for found in admin.list_access_groups()] == []


async def test_models(admin: AdminClient) -> None:
    model = Model(name="gpt-4o", provider="openai", labels={"family": "gpt-4o"})
    assert list((await admin.upsert_models([model])).models) == [model]
    assert [found async for found in admin.list_models()] == [model]
    await admin.create_team(Team(id="x", models=ModelScope(mode=ModelScope.ALL, excluded_models=["openai/*"])))
    await admin.delete_models(["gpt-4o"], force=True)
    assert [found async for found in admin.list_models()] == []
    with pytest.raises(NotFound):
        await admin.delete_models(["gpt-4o"])


async def test_audit_events(admin: AdminClient, support: Team) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    added = await admin.add_member(Member(team="support", user="sam"))
    await admin.create_team(Team(id="sales", models=MINI))
    events = [event async for event in admin.list_audit_events()]
    assert [event.rpc for event in events] == ["CreateTeam", "AddMember", "CreateTeam"]
    assert (events[1].revision, events[1].actor) == (added.revision, "local")
    assert len([event async for event in admin.list_audit_events(team="support")]) == 2
    assert len([event async for event in admin.list_audit_events(start_time=before)]) == 3
    assert not [event async for event in admin.list_audit_events(end_time=before)]


async def test_a_time_without_a_zone_is_refused(admin: AdminClient) -> None:
    for times in ({"start_time": datetime(2026, 1, 1)}, {"end_time": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(ValueError, match="no time zone"):
            [event async for event in admin.list_audit_events(**times)]


async def test_lists_read_all_pages(admin: AdminClient, support: Team) -> None:
    users = sorted(f"user-{n}" for n in range(2_300))
    for start in range(0, len(users), 500):
        await admin.batch_add_members("support", (Member(user=user) for user in users[start : start + 500]))
    assert [member.user async for member in admin.list_members(team="support")] == users


async def test_errors_have_their_class(admin: AdminClient, support: Team) -> None:
    with pytest.raises(AlreadyExists):
        await admin.create_team(Team(id="support", models=MINI))
    with pytest.raises(Aborted):
        await admin.update_team(Team(id="support", etag="stale", blocked=True))
    with pytest.raises(Aborted):
        await admin.delete_team("support", etag="stale")
    with pytest.raises(InvalidArgument) as caught:
        await admin.create_team(Team(id=" x", models=ModelScope()))
    assert {violation.field for violation in caught.value.violations} == {"team.id", "team.models.mode"}
    with pytest.raises(InvalidArgument):
        [member async for member in admin.list_members()]


async def test_a_repetition_with_the_same_request_id_hears_the_same(admin: AdminClient, support: Team) -> None:
    member = Member(team="support", user="sam")
    first = await admin.add_member(member, request_id="once")
    assert await admin.add_member(member, request_id="once") == first
    with pytest.raises(AlreadyExists):
        await admin.add_member(member)
    with pytest.raises(InvalidArgument) as caught:
        await admin.add_member(Member(team="support", user="sue"), request_id="once")
    assert caught.value.reason == "REQUEST_ID_REUSED"


async def test_validate_only_changes_nothing(admin: AdminClient, support: Team) -> None:
    answer = await admin.add_member(Member(team="support", user="sam"), validate_only=True)
    assert (answer.member.allowed_models, answer.revision) == (MINI, "")
    with pytest.raises(NotFound):
        await admin.get_member("support", "sam")


async def test_warnings_are_there(admin: AdminClient) -> None:
    answer = await admin.create_team(Team(id="x", models=MINI, default_team_member_models=ModelScope(models=["o3"])))
    assert "o3" in answer.warnings[0]
