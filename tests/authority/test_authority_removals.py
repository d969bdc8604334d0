"""What would widen by removal needs force; what would not does not."""

from __future__ import annotations

import pytest

from policy_service.domain.decide import decide
from policy_service.domain.records import INHERIT, MemberLimits, Mode, ModelScope, Record, Role, UnlistedUsers
from policy_service.errors import PreconditionFailed
from tests.authority.calls import (
    Admin,
    Call,
    add_member,
    create_team,
    delete_group,
    delete_models,
    delete_team,
    remove_member,
    set_group,
    update_member,
    update_team,
    upsert,
)
from tests.store.support import ALL, NONE, all_records, group, member, model, only, seeded, team

OPEN = team("t", unlisted_users=UnlistedUsers.TEAM_SCOPE, default_team_member_models=NONE)


async def refused(admin: Admin, call: Call, reason: str, subject: str) -> str:
    """The words of a refusal that changed nothing."""
    records, revision = await all_records(admin.store), admin.revision
    for validate_only in (True, False):
        with pytest.raises(PreconditionFailed) as caught:
            await admin.run(call, validate_only=validate_only)
        assert (caught.value.reason, caught.value.subject) == (reason, subject)
    assert (await all_records(admin.store), admin.revision) == (records, revision)
    return caught.value.description


RESTRICTED = {
    "blocked": member("t", "ann", blocked=True),
    "scope NONE": member("t", "ann", NONE),
    "scope ONLY": member("t", "ann", only("a")),
    "ONLY everything": member("t", "ann", only("*")),
    "excluding": member("t", "ann", ModelScope(Mode.INHERIT, (), ("a",))),
    "seeded with NONE": seeded("t", "ann"),
}
UNRESTRICTED = {
    "inherits": member("t", "ann"),
    "limited": member("t", "ann", limits=MemberLimits(rpm_limit=0)),
    "with a role": member("t", "ann", role=Role.TEAM_ADMIN, labels={"k": "v"}),
}


@pytest.mark.parametrize("restricted", RESTRICTED.values(), ids=RESTRICTED)
async def test_a_restricted_member_of_an_open_team_is_removed_only_with_force(admin: Admin, restricted: Record) -> None:
    await admin.run(create_team(OPEN, restricted))
    words = await refused(admin, remove_member("t", "ann"), "WOULD_WIDEN", "t/ann")
    assert "'ann'" in words
    assert "'t'" in words
    assert "force" in words
    await admin.run(remove_member("t", "ann", force=True))
    assert await admin.store.member("t", "ann") is None


@pytest.mark.parametrize("unrestricted", UNRESTRICTED.values(), ids=UNRESTRICTED)
async def test_an_unrestricted_member_of_an_open_team_is_removed_without(admin: Admin, unrestricted: Record) -> None:
    await admin.run(create_team(OPEN, unrestricted))
    await admin.run(remove_member("t", "ann"))


@pytest.mark.parametrize("removed", (RESTRICTED | UNRESTRICTED).values(), ids=RESTRICTED | UNRESTRICTED)
async def test_any_member_of_a_team_that_denies_others_is_removed_without(admin: Admin, removed: Record) -> None:
    await admin.run(create_team(team("t", default_team_member_models=NONE), removed))
    await admin.run(remove_member("t", "ann"))


async def test_what_counts_is_the_team_and_the_member_of_now(admin: Admin) -> None:
    await admin.run(create_team(OPEN, member("t", "ann", NONE), member("t", "bob", NONE)))
    await admin.run(update_member("t", "ann", allowed_models=INHERIT))
    await admin.run(remove_member("t", "ann"))
    await admin.run(update_team("t", unlisted_users=UnlistedUsers.DENY))
    await admin.run(remove_member("t", "bob"))


@pytest.mark.parametrize("listing_it", ["g", "x"])
@pytest.mark.parametrize("place", ["models", "excluded", "default", "excluded default", "member", "excluded member"])
async def test_a_group_that_a_scope_lists_is_deleted_only_with_force(admin: Admin, place: str, listing_it: str) -> None:
    excluding = ModelScope(Mode.NONE, (), (listing_it,))
    the_team, ann = team("t"), member("t", "ann")
    match place:
        case "models":
            the_team = team("t", only(listing_it))
        case "excluded":
            the_team = team("t", ModelScope(Mode.ALL, (), (listing_it,)))
        case "default":
            the_team = team("t", default_team_member_models=only(listing_it))
        case "excluded default":
            the_team = team("t", default_team_member_models=excluding)
        case "member":
            ann = member("t", "ann", only(listing_it))
        case "excluded member":
            ann = member("t", "ann", excluding)
    await admin.run_all(set_group(group("g", "x", excluded=("y",))), create_team(the_team, ann))
    if listing_it == "g":
        words = await refused(admin, delete_group("g"), "GROUP_IN_USE", "g")
        assert ("member t/ann" if "member" in place else "team t (") in words
        await admin.run(delete_group("g", force=True))
    else:
        await admin.run(delete_group("g"))
    assert await admin.store.group("g") is None
    assert admin.state.groups == {}


async def test_a_group_whose_last_listing_is_gone_is_deleted_without(admin: Admin) -> None:
    await admin.run_all(set_group(group("g")), create_team(team("t", only("g")), member("t", "ann", only("g"))))
    await admin.run(update_team("t", models=ALL))
    words = await refused(admin, delete_group("g"), "GROUP_IN_USE", "g")
    assert "member t/ann" in words
    await admin.run_all(remove_member("t", "ann"), delete_group("g"))


async def test_a_refusal_names_a_few_scopes_of_many(admin: Admin) -> None:
    await admin.run_all(
        set_group(group("g")), create_team(team("t"), *(member("t", f"{n}", only("g")) for n in range(9)))
    )
    words = await refused(admin, delete_group("g"), "GROUP_IN_USE", "g")
    assert words.count("member t/") == 5


async def test_a_team_with_members_is_deleted_only_with_force(admin: Admin) -> None:
    await admin.run(create_team(team("t"), member("t", "ann"), member("t", "bob")))
    words = await refused(admin, delete_team("t"), "TEAM_HAS_MEMBERS", "t")
    assert "2 members" in words
    await admin.run(delete_team("t", force=True))
    assert await all_records(admin.store) == []
    await admin.run(create_team(team("t"), member("t", "ann")))
    await admin.run_all(remove_member("t", "ann"), delete_team("t"))
    assert await all_records(admin.store) == []


OPENAI = ModelScope(Mode.ALL, (), ("openai/*",))
SLASHED = model("azure/gpt", "openai")  # a name whose own spelling does not say openai
BARE = model("gpt", "openai")
NEEDS_FORCE: dict[str, tuple[list[Call], list[str]]] = {
    "team": ([upsert(SLASHED), create_team(team("t", OPENAI))], ["azure/gpt"]),
    "default": (
        [upsert(SLASHED), create_team(team("t", default_team_member_models=ModelScope(Mode.NONE, (), ("openai/*",))))],
        ["azure/gpt"],
    ),
    "member": (
        [upsert(SLASHED), create_team(team("t"), member("t", "ann", ModelScope(Mode.INHERIT, (), ("openai/*",))))],
        ["azure/gpt"],
    ),
    "the exclusions of a group": (
        [upsert(SLASHED), set_group(group("g", "*", excluded=("openai/*",))), create_team(team("t", only("g")))],
        ["azure/gpt"],
    ),
    "an excluded group": (
        [upsert(SLASHED), set_group(group("g", "openai/*")), create_team(team("t", ModelScope(Mode.ALL, (), ("g",))))],
        ["azure/gpt"],
    ),
    "whatever the case": (
        [upsert(model("Azure/GPT", "OpenAI")), create_team(team("t", OPENAI))],
        ["Azure/GPT"],
    ),
    "an exact exclusion": (
        [upsert(SLASHED), create_team(team("t", ModelScope(Mode.ALL, (), ("openai/azure/gpt",))))],
        ["azure/gpt"],
    ),
    "a wildcard across the slash": (
        [upsert(BARE), create_team(team("t", ModelScope(Mode.ALL, (), ("open*",))))],
        ["gpt"],
    ),
    "a bare name that is an alias too": (
        [upsert(BARE), create_team(team("t", OPENAI, model_aliases={"gpt": "claude"}))],
        ["gpt"],
    ),
    "one of several": (
        [upsert(SLASHED, model("x"), model("y")), create_team(team("t", OPENAI))],
        ["x", "azure/gpt", "y"],
    ),
    "the last of those that differ in case": (
        [upsert(SLASHED, model("Azure/gpt", "openai")), create_team(team("t", OPENAI))],
        ["azure/gpt", "Azure/gpt"],
    ),
}
NEEDS_NONE: dict[str, tuple[list[Call], list[str]]] = {
    "nothing excluded": ([upsert(SLASHED), create_team(team("t"))], ["azure/gpt"]),
    "a bare name, whose provider cannot be ruled out": ([upsert(BARE), create_team(team("t", OPENAI))], ["gpt"]),
    "another provider": ([upsert(model("azure/gpt", "azure")), create_team(team("t", OPENAI))], ["azure/gpt"]),
    "excluded by its own name": (
        [upsert(SLASHED), create_team(team("t", ModelScope(Mode.ALL, (), ("azure/*", "gpt", "azure/gpt"))))],
        ["azure/gpt"],
    ),
    "granted by its provider": ([upsert(SLASHED), create_team(team("t", only("openai/*")))], ["azure/gpt"]),
    "a group that is only granted": (
        [upsert(SLASHED), set_group(group("g", "openai/*")), create_team(team("t", only("g")))],
        ["azure/gpt"],
    ),
    "another name in another case keeps the provider": (
        [upsert(SLASHED, model("Azure/gpt", "openai")), create_team(team("t", OPENAI))],
        ["azure/gpt"],
    ),
    "a scope that is no more": (
        [
            upsert(SLASHED),
            create_team(team("t", OPENAI), member("t", "ann", ModelScope(Mode.NONE, (), ("openai/*",)))),
            update_team("t", models=ALL),
            remove_member("t", "ann"),
        ],
        ["azure/gpt"],
    ),
}


@pytest.mark.parametrize(("world", "names"), NEEDS_FORCE.values(), ids=NEEDS_FORCE)
async def test_a_model_that_an_exclusion_catches_by_its_provider_goes_only_with_force(
    admin: Admin, world: list[Call], names: list[str]
) -> None:
    await admin.run_all(*world)
    with pytest.raises(PreconditionFailed) as caught:
        await admin.run(delete_models(*names))
    words = await refused(admin, delete_models(*names), "WOULD_WIDEN", caught.value.subject)
    assert caught.value.subject in names
    assert "would no longer exclude" in words
    await admin.run(delete_models(*names, force=True))
    assert not set(names) & set(admin.state.providers)


@pytest.mark.parametrize(("world", "names"), NEEDS_NONE.values(), ids=NEEDS_NONE)
async def test_a_model_that_no_exclusion_needs_goes_without(admin: Admin, world: list[Call], names: list[str]) -> None:
    await admin.run_all(*world)
    await admin.run(delete_models(*names))
    assert not set(names) & set(admin.state.providers)


async def test_the_provider_of_a_name_in_another_case_keeps_excluding(admin: Admin) -> None:
    await admin.run_all(*NEEDS_NONE["another name in another case keeps the provider"][0])
    await admin.run_all(update_team("t", unlisted_users=UnlistedUsers.TEAM_SCOPE), delete_models("azure/gpt"))
    assert not decide(admin.state, "t", "", "azure/gpt").allowed


async def test_a_blocked_member_stays_when_the_team_opens(admin: Admin) -> None:
    await admin.run(create_team(team("t"), member("t", "ann", blocked=True)))
    await admin.run(update_team("t", unlisted_users=UnlistedUsers.TEAM_SCOPE))
    await refused(admin, remove_member("t", "ann"), "WOULD_WIDEN", "t/ann")
    await admin.run(add_member(member("t", "bob")))
    await admin.run(remove_member("t", "bob"))
