"""Names that exclude each other, and the warnings of what is accepted but probably not meant."""

from __future__ import annotations

import pytest

from policy_service.domain.records import Mode, ModelScope
from policy_service.domain.rules import MAX_WARNINGS
from policy_service.errors import PreconditionFailed
from tests.authority.calls import (
    Admin,
    Call,
    add_member,
    batch_add,
    create_team,
    delete_group,
    delete_models,
    delete_team,
    set_group,
    update_member,
    update_team,
    upsert,
)
from tests.store.support import NONE, all_records, group, member, model, only, seeded, team

ALIASED = team("u", model_aliases={"x": "m"})
TAKEN: dict[str, tuple[list[Call], Call, Call]] = {
    "group, then model": ([set_group(group("x"))], upsert(model("ok"), model("x")), delete_group("x")),
    "group, then alias of a new team": ([set_group(group("x"))], create_team(ALIASED), delete_group("x")),
    "group, then alias": (
        [set_group(group("x")), create_team(team("u"))],
        update_team("u", model_aliases={"ok": "m", "x": "m"}),
        delete_group("x"),
    ),
    "model, then group": ([upsert(model("x"))], set_group(group("x")), delete_models("x")),
    "alias, then group": ([create_team(ALIASED)], set_group(group("x")), update_team("u", model_aliases={})),
    "alias of a team that goes, then group": ([create_team(ALIASED)], set_group(group("x")), delete_team("u")),
}


@pytest.mark.parametrize(("world", "second", "way_out"), TAKEN.values(), ids=TAKEN)
async def test_a_name_is_not_both_a_group_and_a_model_or_an_alias(
    admin: Admin, world: list[Call], second: Call, way_out: Call
) -> None:
    await admin.run_all(*world)
    records, revision = await all_records(admin.store), admin.revision
    for validate_only in (True, False):
        with pytest.raises(PreconditionFailed) as caught:
            await admin.run(second, validate_only=validate_only)
        assert (caught.value.reason, caught.value.subject) == ("NAME_IN_USE", "x")
        assert "choose another name" in caught.value.description
    assert (await all_records(admin.store), admin.revision) == (records, revision)
    await admin.run_all(way_out, second)


async def test_names_that_do_not_exclude_each_other(admin: Admin) -> None:
    await admin.run_all(
        upsert(model("x")),
        create_team(team("t", model_aliases={"x": "y"})),
        create_team(team("u", model_aliases={"x": "z", "y": "x"})),
        create_team(team("x")),
        set_group(group("X", "x")),
        set_group(group("X", "y")),
        upsert(model("x", "q"), model("y")),
    )
    await admin.run(add_member(member("t", "X")))


async def test_a_target_may_be_the_name_of_a_group(admin: Admin) -> None:
    await admin.run(set_group(group("g")))
    answer = await admin.run(create_team(team("t", model_aliases={"fast": "g"})))
    assert answer.warnings == ("team 't': the team may not use 'g', the target of alias 'fast'",)


SCOPE = only("gpt", "group", "alias", "outside", "x*", "gpt-x")
DENIED = ["team 't': the team may not use {!r}, listed in {}".format(entry, "{}") for entry in ("outside", "gpt-x")]
NARROW = team("t", only("gpt", "group", "gpt-*", excluded=("gpt-x",)), model_aliases={"alias": "gpt"})


@pytest.mark.parametrize("rpc", ["CreateTeam", "AddMember", "BatchAddMembers", "UpdateMember"])
async def test_entries_of_a_member_that_the_team_denies(admin: Admin, rpc: str) -> None:
    ann = member("t", "ann", SCOPE)
    await admin.run(set_group(group("group", "m")))
    if rpc == "CreateTeam":
        answer = await admin.run(create_team(NARROW, ann))
    else:
        await admin.run(create_team(NARROW, member("t", "bob")))
        call = {
            "AddMember": add_member(ann),
            "BatchAddMembers": batch_add("t", ann),
            "UpdateMember": update_member("t", "bob", allowed_models=SCOPE),
        }[rpc]
        answer = await admin.run(call)
    user = "bob" if rpc == "UpdateMember" else "ann"
    assert list(answer.warnings) == [words.format(f"allowed_models of {user!r}") for words in DENIED]
    assert (await admin.member("t", user)).allowed_models == SCOPE


async def test_members_with_the_same_scope_are_warned_of_once(admin: Admin) -> None:
    members = [member("t", "ann", only("no")), member("t", "bob", only("no")), member("t", "eve", only("never"))]
    answer = await admin.run(create_team(NARROW, *members))
    assert [words for words in answer.warnings if "'no'" in words or "'never'" in words] == [
        "team 't': the team may not use 'no', listed in allowed_models of 'ann'",
        "team 't': the team may not use 'never', listed in allowed_models of 'eve'",
    ]


@pytest.mark.parametrize("rpc", ["CreateTeam", "UpdateTeam"])
async def test_entries_of_a_default_that_the_team_denies(admin: Admin, rpc: str) -> None:
    await admin.run(set_group(group("group", "m")))
    if rpc == "UpdateTeam":
        await admin.run(create_team(team("t")))
    fields = {"models": NARROW.models, "model_aliases": NARROW.model_aliases, "default_team_member_models": SCOPE}
    models = fields.pop("models")
    call = (
        create_team(team("t", models, **fields)) if rpc == "CreateTeam" else update_team("t", models=models, **fields)
    )  # type: ignore[arg-type]
    answer = await admin.run(call)
    assert list(answer.warnings) == [words.format("default_team_member_models") for words in DENIED]


@pytest.mark.parametrize("rpc", ["CreateTeam", "UpdateTeam"])
async def test_entries_of_a_team_that_nothing_knows(admin: Admin, rpc: str) -> None:
    models = only("known", "group", "alias", "unknown", "Known", "any*", excluded=("excluded",))
    aliases = {"alias": "known"}
    call = create_team(team("t", models, model_aliases=aliases))
    if rpc == "UpdateTeam":
        await admin.run(create_team(team("t")))
        call = update_team("t", models=models, model_aliases=aliases)
    await admin.run(set_group(group("group", "known")))
    assert (await admin.run(call, validate_only=True)).warnings == ()  # the catalogue is empty
    await admin.run(upsert(model("known")))
    assert (await admin.run(call)).warnings == (
        "team 't': 'unknown' in models is no catalogue model, access group or alias",
        "team 't': 'Known' in models is no catalogue model, access group or alias",
    )


@pytest.mark.parametrize("rpc", ["CreateTeam", "UpdateTeam"])
async def test_aliases_whose_target_the_team_denies(admin: Admin, rpc: str) -> None:
    models, aliases = only("gpt", "a*", excluded=("aa",)), {"z": "no", "fast": "gpt", "b": "abc", "c": "aa"}
    call = create_team(team("t", models, model_aliases=aliases))
    if rpc == "UpdateTeam":
        await admin.run(create_team(team("t")))
        call = update_team("t", models=models, model_aliases=aliases)
    assert (await admin.run(call)).warnings == (
        "team 't': the team may not use 'aa', the target of alias 'c'",
        "team 't': the team may not use 'no', the target of alias 'z'",
    )


async def test_a_new_group_whose_name_entries_use(admin: Admin) -> None:
    await admin.run(
        create_team(
            team("t", only("g"), default_team_member_models=ModelScope(Mode.NONE, (), ("g",))),
            member("t", "ann", only("g")),
            seeded("t", "bob"),
        )
    )
    answer = await admin.run(set_group(group("g", "m")))
    assert {words.split(" lists ")[0] for words in answer.warnings} == {
        "team t (models)",
        "team t (default_team_member_models)",
        "member t/ann",
        "member t/bob",
    }
    assert all("'g'" in words for words in answer.warnings)
    assert (await admin.run(set_group(group("g", "n")))).warnings == ()
    assert (await admin.run(set_group(group("h", "n")))).warnings == ()


async def test_nothing_is_warned_of_without_reason(admin: Admin) -> None:
    await admin.run(upsert(model("gpt"), model("mini")))
    the_team = team("t", only("gpt", "mini"), model_aliases={"fast": "mini"}, default_team_member_models=only("gpt"))
    answer = await admin.run(create_team(the_team, seeded("t", "ann"), member("t", "bob", only("fast", "m*"))))
    assert answer.warnings == ()


async def test_the_order_of_provisioning_does_not_matter(admin: Admin) -> None:
    calls = [
        create_team(team("t", only("group", "gpt"), model_aliases={"fast": "claude"})),
        add_member(member("t", "ann", only("claude", "fast"))),
        set_group(group("group", "claude")),
        upsert(model("claude", "anthropic"), model("gpt", "openai")),
    ]
    await admin.run_all(*calls)
    expected = [record for record, _ in await all_records(admin.store)]
    digest = admin.state.digest
    await admin.run_all(delete_team("t", force=True), delete_group("group"), delete_models("claude", "gpt"))
    await admin.run_all(calls[3], calls[2], calls[0], calls[1])
    assert admin.state.digest == digest
    assert [type(record) for record, _ in await all_records(admin.store)] == [type(record) for record in expected]


async def test_many_warnings_are_cut(admin: Admin) -> None:
    scope = only(*(f"model-{number}" for number in range(MAX_WARNINGS + 7)))
    answer = await admin.run(create_team(team("t", NONE), member("t", "ann", scope)))
    assert len(answer.warnings) == MAX_WARNINGS + 1
    assert answer.warnings[-1] == "and 7 more warnings"
