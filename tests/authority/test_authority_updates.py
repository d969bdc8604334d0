"""Changing what exists: patches, etags, changes that change nothing, dry runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from policy_service.domain.records import INHERIT, MemberLimits, Mode, ModelScope, Role, ScopeSource, UnlistedUsers
from policy_service.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidArgument,
    NotFound,
    PolicyError,
    PreconditionFailed,
)
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
from tests.store.support import ALL, NONE, START, all_records, dump, group, member, model, only, seeded, team

LIMITS = MemberLimits(max_budget_in_team=1.0, budget_duration="1d", tpm_limit=2, rpm_limit=3)
TEAM = team(
    "t",
    only("a", "b"),
    display_name="T",
    default_team_member_models=only("a"),
    default_member_limits=LIMITS,
    model_aliases={"fast": "a"},
    unlisted_users=UnlistedUsers.DENY,
    labels={"k": "v"},
)
ANN = member("t", "ann", only("b"), role=Role.TEAM_ADMIN, limits=LIMITS, labels={"k": "v"})


@pytest.fixture(autouse=True)
async def world(admin: Admin) -> None:
    await admin.run_all(
        create_team(TEAM, ANN, seeded("t", "bob")), set_group(group("g", "a")), upsert(model("a"), model("b"))
    )
    admin.clock.advance(hours=1)


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"display_name": "U"}, {"display_name": "U"}),
        ({"display_name": None}, {"display_name": None}),
        ({"models": ALL}, {"models": ALL}),
        ({"models": only("b", excluded=("x",))}, {"models": only("b", excluded=("x",))}),
        ({"default_team_member_models": INHERIT}, {"default_team_member_models": INHERIT}),
        ({"default_member_limits.tpm_limit": 9}, {"default_member_limits": replace(LIMITS, tpm_limit=9)}),
        ({"default_member_limits.tpm_limit": None}, {"default_member_limits": replace(LIMITS, tpm_limit=None)}),
        (
            {"default_member_limits.budget_duration": "2d", "default_member_limits.max_budget_in_team": 0.0},
            {"default_member_limits": MemberLimits(0.0, "2d", 2, 3)},
        ),
        ({"model_aliases": {}}, {"model_aliases": {}}),
        ({"model_aliases": {"slow": "b"}}, {"model_aliases": {"slow": "b"}}),
        ({"blocked": True}, {"blocked": True}),
        ({"unlisted_users": UnlistedUsers.TEAM_SCOPE}, {"unlisted_users": UnlistedUsers.TEAM_SCOPE}),
        ({"labels": {"z": ""}}, {"labels": {"z": ""}}),
        ({"blocked": True, "labels": {}}, {"blocked": True, "labels": {}}),
    ],
    ids=str,
)
async def test_a_team_changes_in_the_named_fields_and_no_others(
    admin: Admin, patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    before, members = await admin.team("t"), await admin.members("t")
    answer = await admin.run(update_team("t", **{path.replace(".", "__"): value for path, value in patch.items()}))
    after = await admin.team("t")
    assert after == replace(before, **changed, etag=after.etag, update_time=admin.clock.now)
    assert after.etag != before.etag
    assert after.member_count == before.member_count == 2
    assert await admin.members("t") == members
    assert answer.records == (after,)
    assert answer.member_counts == (2,)


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"role": Role.MEMBER}, {"role": Role.MEMBER}),
        ({"allowed_models": only("a")}, {"allowed_models": only("a")}),
        ({"allowed_models": INHERIT}, {"allowed_models": INHERIT}),
        ({"allowed_models": None}, {"allowed_models": only("a"), "scope_source": ScopeSource.SEEDED}),
        ({"limits.rpm_limit": 0}, {"limits": replace(LIMITS, rpm_limit=0)}),
        ({"limits.rpm_limit": None, "limits.tpm_limit": 7}, {"limits": replace(LIMITS, rpm_limit=None, tpm_limit=7)}),
        ({"blocked": True}, {"blocked": True}),
        ({"labels": {}}, {"labels": {}}),
    ],
    ids=str,
)
async def test_a_member_changes_in_the_named_fields_and_no_others(
    admin: Admin, patch: dict[str, Any], changed: dict[str, Any]
) -> None:
    before, the_team = await admin.member("t", "ann"), await admin.team("t")
    call = update_member("t", "ann", **{path.replace(".", "__"): value for path, value in patch.items()})
    answer = await admin.run(call)
    after = await admin.member("t", "ann")
    assert after == replace(before, **changed, etag=after.etag, update_time=admin.clock.now)
    assert after.etag != before.etag
    assert after.create_time == START
    assert answer.records == (after,)
    assert await admin.team("t") == the_team


async def test_a_given_scope_makes_a_member_explicit_even_when_it_is_the_same(admin: Admin) -> None:
    bob = await admin.member("t", "bob")
    assert bob.scope_source is ScopeSource.SEEDED
    await admin.run(update_member("t", "bob", allowed_models=bob.allowed_models))
    assert (await admin.member("t", "bob")).scope_source is ScopeSource.EXPLICIT


async def test_a_cleared_scope_is_seeded_with_the_default_as_it_is_now(admin: Admin) -> None:
    await admin.run(update_team("t", default_team_member_models=NONE))
    await admin.run(update_member("t", "bob", blocked=True))
    assert (await admin.member("t", "bob")).allowed_models == only("a")
    await admin.run(update_member("t", "ann", allowed_models=None))
    ann = await admin.member("t", "ann")
    assert (ann.allowed_models, ann.scope_source) == (NONE, ScopeSource.SEEDED)


@pytest.mark.parametrize(
    "call",
    [
        update_team("t", models=ModelScope(Mode.INHERIT)),
        update_team("t", models=ModelScope(Mode.ONLY)),
        update_team("t", model_aliases={"*": "a"}),
        update_team("t", default_member_limits__tpm_limit=-1),
        update_member("t", "ann", allowed_models=ALL),
        update_member("t", "ann", allowed_models=ModelScope(Mode.NONE, ("a",))),
        update_member("t", "ann", limits__max_budget_in_team=float("nan")),
        set_group(group("g", "a\n")),
        set_group(group("g/h", "a")),
        upsert(model("c", "p*"), model("ok")),
        upsert(model("c"), model("c")),
        delete_models("a", "a"),
        delete_models("a*"),
        create_team(team("new", model_aliases={"x": "a b "})),
        create_team(team("new", default_team_member_models=ALL)),
        create_team(team("")),
    ],
    ids=lambda call: call.rpc,
)
async def test_what_breaks_a_rule_is_refused_whole(admin: Admin, call: Call) -> None:
    records, revision = await all_records(admin.store), admin.revision
    with pytest.raises(InvalidArgument):
        await admin.run(call)
    assert await all_records(admin.store) == records
    assert admin.revision == revision


async def etag_of(admin: Admin, rpc: str) -> str:
    match rpc:
        case "UpdateTeam" | "DeleteTeam":
            return (await admin.team("t")).etag
        case "UpdateMember" | "RemoveMember":
            return (await admin.member("t", "ann")).etag
    return (await admin.group("g")).etag


def guarded(rpc: str, etag: str) -> Call:
    """A call with a precondition."""
    return {
        "UpdateTeam": update_team("t", etag, blocked=True),
        "DeleteTeam": delete_team("t", etag, force=True),
        "UpdateMember": update_member("t", "ann", etag, blocked=True),
        "RemoveMember": remove_member("t", "ann", etag),
        "SetAccessGroup": set_group(group("g", "z"), etag),
        "DeleteAccessGroup": delete_group("g", etag),
    }[rpc]


TOUCHES = [
    update_team("t", labels={"touched": ""}),
    update_member("t", "ann", labels={"touched": ""}),
    set_group(group("g", "touched")),
]
GUARDED = ("UpdateTeam", "DeleteTeam", "UpdateMember", "RemoveMember", "SetAccessGroup", "DeleteAccessGroup")


@pytest.mark.parametrize("rpc", GUARDED)
async def test_an_etag_that_moved_on_is_refused_and_the_current_one_is_not(admin: Admin, rpc: str) -> None:
    old = await etag_of(admin, rpc)
    await admin.run_all(*TOUCHES)
    records, revision = await all_records(admin.store), admin.revision
    for etag in (old, "other", f"{admin.state.revision}0"):
        with pytest.raises(EtagMismatch) as caught:
            await admin.run(guarded(rpc, etag))
        assert caught.value.reason == "ETAG_MISMATCH"
    assert await all_records(admin.store) == records
    await admin.run(guarded(rpc, await etag_of(admin, rpc)))
    assert admin.revision == revision + 1


@pytest.mark.parametrize("rpc", GUARDED)
async def test_without_an_etag_there_is_no_precondition(admin: Admin, rpc: str) -> None:
    await admin.run_all(*TOUCHES)
    await admin.run(guarded(rpc, ""))


async def test_an_etag_holds_until_its_own_record_changes(admin: Admin) -> None:
    etags = [await etag_of(admin, rpc) for rpc in ("UpdateTeam", "UpdateMember", "SetAccessGroup")]
    await admin.run_all(
        add_member(seeded("t", "eve")),
        remove_member("t", "bob"),
        set_group(group("h", "a")),
        upsert(model("c")),
        create_team(team("u")),
    )
    assert [await etag_of(admin, rpc) for rpc in ("UpdateTeam", "UpdateMember", "SetAccessGroup")] == etags


async def test_an_etag_says_nothing_on_create(admin: Admin) -> None:
    await admin.run(create_team(team("u", etag="other"), member("u", "ann", etag="other")))
    await admin.run(add_member(member("u", "bob", etag="other")))


async def test_an_etag_of_a_group_that_is_gone_is_refused(admin: Admin) -> None:
    etag = (await admin.group("g")).etag
    await admin.run(delete_group("g"))
    with pytest.raises(EtagMismatch):
        await admin.run(set_group(group("g", "z"), etag))


async def test_a_recreated_record_has_another_etag(admin: Admin) -> None:
    before = await etag_of(admin, "UpdateMember"), await etag_of(admin, "UpdateTeam")
    await admin.run_all(delete_team("t", force=True), create_team(TEAM, ANN))
    after = await etag_of(admin, "UpdateMember"), await etag_of(admin, "UpdateTeam")
    assert not set(before) & set(after)


async def test_a_group_is_replaced_whole(admin: Admin) -> None:
    await admin.run(set_group(group("g", "x", excluded=("y",))))
    found = await admin.group("g")
    assert (found.models, found.excluded_models) == (("x",), ("y",))
    assert (found.create_time, found.update_time) == (START, admin.clock.now)
    await admin.run(set_group(group("g", "x")))
    assert (await admin.group("g")).excluded_models == ()


async def test_models_are_replaced_whole_and_only_those_that_differ_are_logged(admin: Admin) -> None:
    await admin.run(upsert(model("a", labels={"k": "v"})))
    answer = await admin.run(upsert(model("b"), model("a", "q"), model("c")))
    assert answer.records == (model("b"), model("a", "q"), model("c"))
    assert (await admin.store.models("", 9)).items == [model("a", "q"), model("b"), model("c")]
    *_, (entry, images) = await whole_log(admin.store)
    assert entry.rpc == "UpsertModels"
    assert [(image.key.name, bool(image.before)) for image in images] == [("a", True), ("c", False)]
    assert admin.state.providers == {"a": "q", "b": "p", "c": "p"}


NOTHING_NEW = [
    update_team("t"),
    update_team("t", models=TEAM.models, blocked=False, labels={"k": "v"}, default_member_limits__rpm_limit=3),
    update_member("t", "ann"),
    update_member("t", "ann", allowed_models=only("b"), limits__rpm_limit=3, role=Role.TEAM_ADMIN),
    update_member("t", "bob", allowed_models=None),
    reseed("t"),
    set_group(group("g", "a")),
    upsert(model("a"), model("b")),
]


@pytest.mark.parametrize("call", NOTHING_NEW, ids=lambda call: call.rpc)
@pytest.mark.parametrize("request_id", ["", "1"])
async def test_what_changes_nothing_makes_no_revision_and_no_entry(admin: Admin, call: Call, request_id: str) -> None:
    records, log = await all_records(admin.store), await whole_log(admin.store)
    position = admin.state.position
    answer = await admin.run(call, request_id)
    assert answer.revision == position.token
    assert all((found, 0) in [(record, 0) for record, _ in records] for found in answer.records)
    assert await all_records(admin.store) == records
    assert await whole_log(admin.store) == log
    assert admin.state.position == await admin.store.position() == position


EVERY_CALL = [
    create_team(team("u", only("zz")), seeded("u", "ann")),
    update_team("t", models=only("zz"), model_aliases={"x": "zz"}),
    delete_team("t", force=True),
    add_member(member("t", "eve", only("zz"))),
    batch_add("t", seeded("t", "eve"), seeded("t", "zoe")),
    update_member("t", "ann", allowed_models=only("zz")),
    remove_member("t", "ann"),
    set_group(group("zz", "a")),
    delete_group("g"),
    upsert(model("c")),
    delete_models("a"),
]


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda call: call.rpc)
async def test_a_dry_run_answers_the_same_and_changes_nothing(admin: Admin, call: Call) -> None:
    records, log, state = await all_records(admin.store), await whole_log(admin.store), dump(admin.state)
    dry = await admin.run(call, "1", validate_only=True)
    assert dry.revision == ""
    assert await all_records(admin.store) == records
    assert await whole_log(admin.store) == log
    assert dump(admin.state) == state
    assert await admin.store.recorded_request(call.rpc, "1") is None
    real = await admin.run(call, "1")
    assert real.revision == admin.state.revision
    assert dry == real._replace(revision="")


async def test_a_dry_run_of_reseeding(admin: Admin) -> None:
    await admin.run(update_team("t", default_team_member_models=NONE))
    dry = await admin.run(reseed("t"), validate_only=True)
    assert dry.users == ["bob"]
    assert (await admin.member("t", "bob")).allowed_models == only("a")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (create_team(team("t")), AlreadyExists),
        (update_team("u"), NotFound),
        (update_team("t", "other"), EtagMismatch),
        (delete_team("t"), PreconditionFailed),
        (add_member(member("t", "")), InvalidArgument),
        (set_group(group("a", "x")), PreconditionFailed),
    ],
    ids=lambda value: getattr(value, "rpc", ""),
)
async def test_a_dry_run_fails_as_the_real_one_would(admin: Admin, call: Call, error: type[PolicyError]) -> None:
    with pytest.raises(error) as dry:
        await admin.run(call, validate_only=True)
    with pytest.raises(error) as real:
        await admin.run(call)
    assert str(dry.value) == str(real.value)


@pytest.mark.parametrize(
    ("call", "kind", "name"),
    [
        (update_team("u"), "team", "u"),
        (delete_team("u"), "team", "u"),
        (add_member(seeded("u", "ann")), "team", "u"),
        (batch_add("u", seeded("u", "ann")), "team", "u"),
        (update_member("u", "ann"), "team", "u"),
        (update_member("t", "zoe"), "member", "t/zoe"),
        (remove_member("u", "ann"), "team", "u"),
        (remove_member("t", "zoe"), "member", "t/zoe"),
        (reseed("u"), "team", "u"),
        (delete_group("h"), "group", "h"),
        (delete_models("a", "zz"), "model", "zz"),
    ],
    ids=lambda value: getattr(value, "rpc", ""),
)
async def test_what_is_not_there(admin: Admin, call: Call, kind: str, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        await admin.run(call)
    assert (caught.value.kind, caught.value.name) == (kind, name)
    assert caught.value.reason == f"{kind.upper()}_NOT_FOUND"
    assert (await admin.store.models("", 9)).items == [model("a"), model("b")]
