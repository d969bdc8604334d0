"""Adding members: seeding, all or nothing, reseeding."""

from __future__ import annotations

from typing import Any

import pytest

from policy_service.domain.records import MemberLimits, Mode, ModelScope, ScopeSource
from policy_service.domain.validation import MAX_BATCH_MEMBERS
from policy_service.errors import AlreadyExists, InvalidArgument, NotFound
from tests.authority.calls import Admin, Call, add_member, batch_add, create_team, reseed, update_member, update_team
from tests.store.audit import whole_log
from tests.store.support import NONE, START, all_records, member, only, seeded, team

DEFAULT = only("gpt-4o", excluded=("gpt-4o-mini",))
LIMITS = MemberLimits(max_budget_in_team=10.0, budget_duration="30d", tpm_limit=1000, rpm_limit=0)
TEAM = team("t", default_team_member_models=DEFAULT, default_member_limits=LIMITS)
ADDING = ("AddMember", "BatchAddMembers", "CreateTeam")


def adding(rpc: str, *members: Any) -> list[Call]:
    """The calls by which the members come into the team."""
    match rpc:
        case "CreateTeam":
            return [create_team(TEAM, *members)]
        case "BatchAddMembers":
            return [create_team(TEAM), batch_add("t", *members)]
    return [create_team(TEAM), *(add_member(each) for each in members)]


@pytest.mark.parametrize("rpc", ADDING)
async def test_a_member_without_a_scope_gets_the_default_of_the_team(admin: Admin, rpc: str) -> None:
    await admin.run_all(*adding(rpc, seeded("t", "ann"), seeded("t", "bob", NONE)))
    for user in ("ann", "bob"):
        added = await admin.member("t", user)
        assert (added.allowed_models, added.scope_source) == (DEFAULT, ScopeSource.SEEDED)
        assert added.limits == LIMITS
        assert (added.create_time, added.update_time) == (START, START)
        assert added.etag


@pytest.mark.parametrize("rpc", ADDING)
async def test_a_member_with_a_scope_keeps_it_and_gets_the_limits_it_does_not_bring(admin: Admin, rpc: str) -> None:
    own = MemberLimits(max_budget_in_team=0.0, rpm_limit=7)
    await admin.run_all(*adding(rpc, member("t", "ann", only("x"), limits=own)))
    added = await admin.member("t", "ann")
    assert (added.allowed_models, added.scope_source) == (only("x"), ScopeSource.EXPLICIT)
    assert added.limits == MemberLimits(0.0, "30d", 1000, 7)


async def test_the_answer_is_what_was_stored(admin: Admin) -> None:
    answer = await admin.run(create_team(TEAM, seeded("", "ann"), member("t", "bob")))
    created = await admin.team("t")
    assert answer.records == (created, *await admin.members("t"))
    assert answer.member_counts == (2, 0, 0)
    assert created.member_count == 2
    assert answer.revision == admin.state.revision == f"{admin.state.position.epoch}.1"
    assert admin.revision == 1
    answer = await admin.run(add_member(seeded("t", "eve")))
    assert answer.records == (await admin.member("t", "eve"),)
    answer = await admin.run(batch_add("t", seeded("", "zoe"), seeded("t", "abe")))
    assert answer.users == ["zoe", "abe"]
    assert answer.revision == f"{admin.state.position.epoch}.3"


async def test_what_output_only_fields_say_is_ignored(admin: Admin) -> None:
    await admin.run(create_team(team("t", etag="mine", member_count=7), member("t", "ann", etag="mine")))
    created, added = await admin.team("t"), await admin.member("t", "ann")
    assert created.member_count == 1
    assert "mine" not in (created.etag, added.etag)


async def test_a_later_default_touches_no_member(admin: Admin) -> None:
    await admin.run(create_team(TEAM, seeded("t", "ann"), member("t", "bob", only("x"))))
    before = await admin.members("t")
    await admin.run(update_team("t", default_team_member_models=NONE, default_member_limits__rpm_limit=9))
    assert await admin.members("t") == before
    await admin.run(add_member(seeded("t", "eve")))
    added = await admin.member("t", "eve")
    assert (added.allowed_models, added.limits.rpm_limit) == (NONE, 9)


async def test_a_team_without_a_default_lets_its_members_inherit(admin: Admin) -> None:
    await admin.run(create_team(team("t"), seeded("t", "ann")))
    added = await admin.member("t", "ann")
    assert added.allowed_models == ModelScope(Mode.INHERIT)
    assert added.limits == MemberLimits()


async def test_a_batch_names_every_bad_item_and_adds_none(admin: Admin) -> None:
    await admin.run(create_team(TEAM, seeded("t", "ann")))
    records, revision = await all_records(admin.store), admin.revision
    bad = [
        seeded("t", "new"),
        seeded("t", ""),
        seeded("u", "other"),
        member("t", "scoped", ModelScope(Mode.ALL)),
        seeded("t", "new"),
        seeded("t", "rich", limits=MemberLimits(max_budget_in_team=-1.0)),
        seeded("t", "ann"),
    ]
    with pytest.raises(InvalidArgument) as caught:
        await admin.run(batch_add("t", *bad))
    assert [violation.field for violation in caught.value.violations] == [
        "members[1].user",
        "members[2].team",
        "members[3].allowed_models.mode",
        "members[5].limits.max_budget_in_team",
        "members[4].user",
        "members[6].user",
    ]
    with pytest.raises(InvalidArgument) as caught:
        await admin.run(create_team(team("u"), *bad[1:4]))
    assert {violation.field for violation in caught.value.violations} == {
        "members[0].user",
        "members[0].team",
        "members[2].team",
        "members[2].allowed_models.mode",
    }
    assert await all_records(admin.store) == records
    assert admin.revision == revision


async def test_a_batch_with_members_that_are_there_names_them_all(admin: Admin) -> None:
    await admin.run(create_team(TEAM, seeded("t", "ann"), seeded("t", "bob")))
    with pytest.raises(AlreadyExists) as caught:
        await admin.run(batch_add("t", *(seeded("t", user) for user in ("eve", "bob", "zoe", "ann"))))
    assert (caught.value.kind, caught.value.names) == ("member", ("bob", "ann"))
    assert caught.value.fields == ("members[1].user", "members[3].user")
    assert caught.value.reason == "MEMBER_EXISTS"
    assert [found.user for found in await admin.members("t")] == ["ann", "bob"]
    with pytest.raises(AlreadyExists) as caught:
        await admin.run(add_member(member("t", "ann")))
    assert caught.value.fields == ("member.user",)


async def test_the_largest_batch_is_one_revision(admin: Admin) -> None:
    members = [seeded("t", f"user-{number}") for number in range(MAX_BATCH_MEMBERS)]
    await admin.run(create_team(TEAM, *members))
    await admin.run(batch_add("t", *(seeded("t", f"more-{number}") for number in range(MAX_BATCH_MEMBERS))))
    assert (await admin.team("t")).member_count == 2 * MAX_BATCH_MEMBERS
    assert [len(images) for _, images in await whole_log(admin.store)] == [1 + MAX_BATCH_MEMBERS, MAX_BATCH_MEMBERS]


async def test_nothing_creates_a_membership_but_adding(admin: Admin) -> None:
    for call in (add_member(seeded("t", "ann")), batch_add("t", seeded("t", "ann")), reseed("t")):
        with pytest.raises(NotFound, match="there is no team 't'"):
            await admin.run(call)
    with pytest.raises(NotFound, match="there is no team 't'"):
        await admin.run(update_member("t", "ann", blocked=True))
    await admin.run(create_team(team("t")))
    with pytest.raises(NotFound, match="there is no member 't/ann'"):
        await admin.run(update_member("t", "ann", blocked=True))
    assert await all_records(admin.store) == [(await admin.team("t"), 0)]


async def test_a_team_exists_once(admin: Admin) -> None:
    await admin.run(create_team(TEAM, seeded("t", "ann")))
    with pytest.raises(AlreadyExists) as caught:
        await admin.run(create_team(team("t", NONE)))
    assert (caught.value.kind, caught.value.names) == ("team", ("t",))
    assert (await admin.team("t")).models == TEAM.models


async def test_reseeding_copies_the_default_scope_to_those_still_seeded(admin: Admin) -> None:
    admin.clock.advance(hours=1)
    created = admin.clock.now
    users = [seeded("t", "ann"), member("t", "bob", DEFAULT), member("t", "eve", only("x")), seeded("t", "zoe")]
    await admin.run(create_team(TEAM, *users))
    await admin.run(update_member("t", "zoe", allowed_models=DEFAULT))  # the same scope, given: EXPLICIT
    await admin.run(create_team(team("u", default_team_member_models=DEFAULT), seeded("u", "ann")))
    await admin.run(update_team("t", default_team_member_models=NONE, default_member_limits__rpm_limit=99))
    others = {user: await admin.member("t", user) for user in ("bob", "eve", "zoe")}
    before = await admin.member("t", "ann")
    admin.clock.advance(hours=1)
    answer = await admin.run(reseed("t"))

    after = await admin.member("t", "ann")
    assert answer.records == (after,)
    assert (after.allowed_models, after.scope_source) == (NONE, ScopeSource.SEEDED)
    assert after.limits == before.limits == LIMITS
    assert (after.create_time, after.update_time) == (created, admin.clock.now)
    assert after.etag != before.etag
    assert {user: await admin.member("t", user) for user in others} == others
    assert (await admin.member("u", "ann")).allowed_models == DEFAULT

    revision = admin.revision
    assert (await admin.run(reseed("t"))).records == ()
    assert admin.revision == revision


async def test_reseeding_a_large_team_is_one_revision(admin: Admin) -> None:
    members = [seeded("t", f"{number:04}") for number in range(MAX_BATCH_MEMBERS)]
    await admin.run(create_team(TEAM, *members))
    for start in (1, 2):
        batch = [seeded("t", f"{start * MAX_BATCH_MEMBERS + number:04}") for number in range(MAX_BATCH_MEMBERS)]
        await admin.run(batch_add("t", *batch))
    await admin.run(update_team("t", default_team_member_models=NONE))
    answer = await admin.run(reseed("t"))
    assert answer.users == [f"{number:04}" for number in range(3 * MAX_BATCH_MEMBERS)]
    assert admin.revision == 5
    assert {policy.scope.source for policy in admin.state.teams["t"].members.values()} == {NONE}
