"""The steps of apply, run against a server: they lead to what the file says, whatever was there, in a safe order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from policy_client import Aborted, AdminClient
from policy_service.cli.manifest import Manifest, MemberEntry, parse_manifest
from policy_service.cli.plan import make_plan
from policy_service.cli.present import read_present
from policy_service.cli.steps import MAX_BATCH_BYTES, Action, Change, Present, Step, batches
from policy_service.domain.records import Member as MemberRecord
from policy_service.domain.records import Team as TeamRecord
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.v1.resources_pb2 import EXPLICIT, SEEDED, AccessGroup, Member, MemberLimits, Model, ModelScope, Team

if TYPE_CHECKING:
    from tests.conftest import StartServer

NAMES = ["a", "b", "c", "d", "e", "f"]
USERS = ["sam", "ann", "bob", "eve"]


@pytest.fixture
async def admin(start_server: StartServer) -> AsyncIterator[AdminClient]:
    server = await start_server(database=None)
    async with AdminClient(server.target) as client:
        yield client


def manifest_of(content: Any) -> Manifest:
    return parse_manifest(yaml.safe_dump(content).encode(), "test.yaml")


async def plan(admin: AdminClient, manifest: Manifest, *, prune: bool = True) -> list[Step]:
    return make_plan(manifest, await read_present(admin, manifest), prune=prune)


async def applied(admin: AdminClient, content: Any, *, prune: bool = True) -> list[str]:
    """Applies; returns the changes, a list for each step."""
    steps = await plan(admin, manifest_of(content), prune=prune)
    for step in steps:
        await step.run(admin)
    return ["; ".join(map(in_words, step.changes)) for step in steps]


def in_words(change: Change) -> str:
    lost = f" ({change.details})" if change.action is Action.DELETE and change.details else ""
    return f"{change.action} {change.what}{lost}"


def random_world(rng: random.Random) -> dict[str, Any]:
    """A manifest in which a name is a model, a group or an alias, as it comes."""
    kinds = {name: rng.choice(("group", "model", "alias", "none")) for name in NAMES}
    groups = [name for name in NAMES if kinds[name] == "group"]
    models = [name for name in NAMES if kinds[name] == "model"]
    aliases = [name for name in NAMES if kinds[name] == "alias"]
    return {
        "models": [{"name": name, "provider": rng.choice("xy")} for name in models],
        "groups": [{"name": name, "models": rng.sample(["m1", "m2", "m*"], 2)} for name in groups],
        "teams": [
            random_team(rng, team, rng.sample(aliases, rng.randint(0, len(aliases))))
            for team in rng.sample(["t1", "t2", "t3"], rng.randint(0, 3))
        ],
    }


def random_team(rng: random.Random, team: str, aliases: list[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"id": team, "models": random_scope(rng, "ALL")}
    for key, value in {
        "display_name": rng.choice(("A", "B")),
        "default_team_member_models": random_scope(rng, "INHERIT"),
        "default_member_limits": {"rpm_limit": rng.randint(0, 2)},
        "model_aliases": {alias: rng.choice(("m1", "m2")) for alias in aliases},
        "blocked": rng.random() < 0.5,
        "unlisted_users": rng.choice(("DENY", "TEAM_SCOPE")),
        "labels": {"k": rng.choice("vw")},
        "members": [random_member(rng, user) for user in rng.sample(USERS, rng.randint(0, len(USERS)))],
    }.items():
        if key in ("model_aliases", "members") or rng.random() < 0.5:
            made[key] = value
    return made


def random_member(rng: random.Random, user: str) -> dict[str, Any]:
    made: dict[str, Any] = {"user": user}
    for key, value in {
        "role": rng.choice(("MEMBER", "TEAM_ADMIN")),
        "allowed_models": random_scope(rng, "INHERIT"),
        "limits": {limit: rng.choice((None, 0, 1)) for limit in rng.sample(("tpm_limit", "rpm_limit"), 2)},
        "blocked": rng.random() < 0.5,
        "labels": {"k": rng.choice("vw")},
    }.items():
        if rng.random() < 0.5:
            made[key] = value
    if "allowed_models" in made and rng.random() < 0.5:
        made["scope_source"] = rng.choice(("SEEDED", "SEEDED", "EXPLICIT"))
    return made


def random_scope(rng: random.Random, widest: str) -> dict[str, Any]:
    mode = rng.choice((widest, "NONE", "ONLY"))
    scope: dict[str, Any] = {"mode": mode, "models": rng.sample(NAMES, 2)} if mode == "ONLY" else {"mode": mode}
    return scope | ({"excluded_models": rng.sample(NAMES, 1)} if rng.random() < 0.3 else {})


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_was_there_becomes_what_the_file_says(admin: AdminClient, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(25):
        content = random_world(rng)
        manifest = manifest_of(content)
        steps = await plan(admin, manifest)
        for step in steps[: rng.randint(0, 2 * len(steps))]:  # now and then it breaks off
            await step.run(admin)
        for step in await plan(admin, manifest):
            await step.run(admin)
        assert await plan(admin, manifest) == []
        present = await read_present(admin, manifest)
        assert present.models.keys() == {model["name"] for model in content["models"]}
        assert present.groups.keys() == {group["name"] for group in content["groups"]}
        assert present.teams.keys() == {team["id"] for team in content["teams"]}
        for team in content["teams"]:
            assert present.members[team["id"]].keys() == {member["user"] for member in team["members"]}
        for entry in manifest.teams or ():
            assert stripped(present.teams[entry.team.id]) == entry.team
            for wanted in entry.members or ():
                assert_is(present.members[entry.team.id][wanted.member.user], wanted)


def stripped(team: TeamRecord) -> TeamRecord:
    """Without what the server stamps on it."""
    return replace(team, etag="", member_count=0)


def assert_is(member: MemberRecord, wanted: MemberEntry) -> None:
    """What the file says of the member is so; what it leaves to the team may be anything that was seeded."""
    assert member.scope_source is wanted.member.scope_source
    if wanted.has_scope:
        assert member.allowed_models == wanted.member.allowed_models
    for name in LIMIT_NAMES:
        given = getattr(wanted.member.limits, name)
        if given is not None or name in wanted.unset_limits:
            assert getattr(member.limits, name) == given
    for name in ("role", "blocked", "labels"):
        assert getattr(member, name) == getattr(wanted.member, name)


@pytest.mark.parametrize("seed", range(2))
async def test_without_prune_too_when_no_name_changes_its_kind(admin: AdminClient, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(25):
        content = random_world(rng) | {"models": [], "groups": []}
        for team in content["teams"]:
            team["model_aliases"] = {}
        await applied(admin, content, prune=False)
        assert await applied(admin, content, prune=False) == []


async def test_members_are_seeded_from_the_team_as_the_file_has_it(admin: AdminClient) -> None:
    team: dict[str, Any] = {"id": "t", "models": {"mode": "ALL"}}
    await applied(admin, {"teams": [team]})
    team |= {"default_team_member_models": {"mode": "NONE"}, "members": [{"user": "sam"}]}
    assert await applied(admin, {"teams": [team]}) == ["updated team t", "created member sam of t"]
    assert (await admin.get_member("t", "sam")).allowed_models.mode == 3


async def test_a_team_opens_after_its_members_are_restricted(admin: AdminClient) -> None:
    team: dict[str, Any] = {"id": "t", "models": {"mode": "ALL"}, "blocked": True, "members": [{"user": "ann"}]}
    await applied(admin, {"teams": [team]})
    restricted = [{"user": "ann", "blocked": True}, {"user": "sam", "allowed_models": {"mode": "NONE"}}]
    team |= {"unlisted_users": "TEAM_SCOPE", "blocked": False, "display_name": "T", "members": restricted}
    assert await applied(admin, {"teams": [team]}) == [
        "updated team t",
        "created member sam of t",
        "updated member ann of t",
        "updated team t",
    ]
    team |= {"blocked": True}
    await applied(admin, {"teams": [team]})
    team |= {"blocked": False}
    assert await applied(admin, {"teams": [team]}) == ["updated team t"]


async def test_a_new_team_with_many_members_opens_when_it_has_them_all(admin: AdminClient) -> None:
    members = [{"user": f"user-{n}", "blocked": True} for n in range(1_100)]
    team = {"id": "t", "models": {"mode": "ALL"}, "unlisted_users": "TEAM_SCOPE", "members": members}
    steps = await applied(admin, {"teams": [team]})
    assert [step.count("created") for step in steps] == [501, 500, 100, 0]
    assert steps[-1] == "updated team t"
    assert await applied(admin, {"teams": [team]}) == []


async def test_members_who_are_seeded_with_a_large_scope_go_in_small_batches(admin: AdminClient) -> None:
    """A server refuses what it could not answer, and it answers with the scope of each."""
    large = {"models": [f"model-{number:04d}-{'x' * 40}" for number in range(1_000)]}
    members = [{"user": f"user-{number:03d}"} for number in range(100)]
    team = {"id": "t", "models": {"mode": "ALL"}, "default_team_member_models": large, "members": members}
    steps = await applied(admin, {"teams": [team]})
    assert len(steps) > 3
    assert sum(step.count("created member") for step in steps) == 100
    assert await applied(admin, {"teams": [team]}) == []


async def test_many_models_go_in_batches(admin: AdminClient) -> None:
    models = [{"name": f"model-{n}", "provider": "p"} for n in range(2_100)]
    assert [step.count("created") for step in await applied(admin, {"models": models})] == [1_000, 1_000, 100]
    assert [step.count("deleted") for step in await applied(admin, {"models": []})] == [1_000, 1_000, 100]


async def test_names_change_their_kind_in_one_go(admin: AdminClient) -> None:
    def world(model: str, group: str, alias: str) -> dict[str, Any]:
        return {
            "models": [{"name": model, "provider": "p"}],
            "groups": [{"name": group, "models": ["m"]}],
            "teams": [{"id": "t", "models": {"mode": "ALL"}, "model_aliases": {alias: "m"}}],
        }

    await applied(admin, world("a", "b", "c"))
    for names in (("b", "c", "a"), ("c", "a", "b"), ("a", "b", "c"), ("b", "a", "c"), ("a", "c", "b")):
        await applied(admin, world(*names))
        assert await applied(admin, world(*names)) == []


async def test_a_name_moves_from_an_alias_to_a_group_without_prune(admin: AdminClient) -> None:
    team: dict[str, Any] = {"id": "t", "models": {"mode": "ALL"}, "model_aliases": {"fast": "m"}}
    await applied(admin, {"teams": [team]})
    del team["model_aliases"]
    content = {"groups": [{"name": "fast", "models": ["m"]}], "teams": [team]}
    assert await applied(admin, content, prune=False) == ["updated team t", "created group fast"]


async def test_what_a_team_leaves_out_has_its_default(admin: AdminClient) -> None:
    bare = {"id": "t", "models": {"mode": "ALL"}}
    full = bare | {
        "display_name": "T",
        "default_team_member_models": {"mode": "NONE"},
        "default_member_limits": {"tpm_limit": 5},
        "model_aliases": {"fast": "m"},
        "blocked": True,
        "unlisted_users": "TEAM_SCOPE",
        "labels": {"k": "v"},
    }
    await applied(admin, {"teams": [full]})
    assert await applied(admin, {"teams": [bare]}) == ["updated team t"]
    never_full = (await admin.create_team(Team(id="u", models=ModelScope(mode=ModelScope.ALL)))).team
    team = await admin.get_team("t")
    for field in ("id", "etag", "create_time", "update_time"):
        team.ClearField(field)
        never_full.ClearField(field)
    assert team == never_full


async def test_a_scope_that_is_left_out_is_seeded_once(admin: AdminClient) -> None:
    given = {"user": "ann", "allowed_models": {"mode": "INHERIT"}}
    team = {"id": "t", "models": {"mode": "ALL"}, "default_team_member_models": {"models": ["a"]}}
    await applied(admin, {"teams": [team | {"members": [{"user": "sam"}, given]}]})
    team["default_team_member_models"] = {"mode": "NONE"}
    content = {"teams": [team | {"members": [{"user": "sam"}, {"user": "ann"}]}]}
    assert await applied(admin, content) == ["updated team t", "updated member ann of t"]
    sam, ann = [await admin.get_member("t", user) for user in ("sam", "ann")]
    # sam was seeded before the default changed, and is left as he is; ann is seeded now.
    assert (sam.scope_source, list(sam.allowed_models.models)) == (SEEDED, ["a"])
    assert (ann.scope_source, ann.allowed_models.mode) == (SEEDED, ModelScope.NONE)


async def test_members_that_were_seeded_before_are_seeded_with_that(admin: AdminClient) -> None:
    """The team seeds with one earlier default after the other, and ends with its own."""
    old, older = {"models": ["old"]}, {"models": ["older"]}
    members = [
        {"user": "ann", "allowed_models": old, "scope_source": "SEEDED"},
        {"user": "bob", "allowed_models": older, "scope_source": "SEEDED", "limits": {"rpm_limit": None}},
        {"user": "cat", "allowed_models": {"models": ["own"]}, "scope_source": "SEEDED"},
        {"user": "dan", "allowed_models": old, "limits": {"rpm_limit": None}},
        {"user": "eve"},
        {"user": "fay", "allowed_models": old, "scope_source": "SEEDED", "limits": {"rpm_limit": 7}},
    ]
    team = {
        "id": "t",
        "models": {"mode": "ALL"},
        "default_team_member_models": {"models": ["own"]},
        "default_member_limits": {"rpm_limit": 60},
        "unlisted_users": "TEAM_SCOPE",
    }
    content = {"teams": [team | {"members": members}]}
    assert await applied(admin, content) == [
        "created team t; created member ann of t; created member fay of t",
        "updated team t",
        "created member bob of t",
        "updated team t",
        "created member dan of t",
        "updated team t",
        "created member cat of t; created member eve of t",
        "updated team t",
    ]
    found = [member async for member in admin.list_members(team="t")]
    told = [(m.user, m.scope_source, list(m.allowed_models.models), m.limits) for m in found]
    assert told == [
        ("ann", SEEDED, ["old"], MemberLimits(rpm_limit=60)),
        ("bob", SEEDED, ["older"], MemberLimits()),
        ("cat", SEEDED, ["own"], MemberLimits(rpm_limit=60)),
        ("dan", EXPLICIT, ["old"], MemberLimits()),
        ("eve", SEEDED, ["own"], MemberLimits(rpm_limit=60)),
        ("fay", SEEDED, ["old"], MemberLimits(rpm_limit=7)),
    ]
    assert await applied(admin, content) == []


async def test_a_member_that_has_its_earlier_scope_needs_no_earlier_default(admin: AdminClient) -> None:
    member: dict[str, Any] = {"user": "ann", "allowed_models": {"models": ["old"]}, "scope_source": "SEEDED"}
    content = {"teams": [{"id": "t", "models": {"mode": "ALL"}, "members": [member]}]}
    await applied(admin, content)
    member |= {"blocked": True, "limits": {"rpm_limit": None}}
    assert await applied(admin, content) == ["updated member ann of t"]
    member["allowed_models"] = {"models": ["older"]}
    assert await applied(admin, content) == ["updated team t", "updated member ann of t", "updated team t"]


async def test_a_null_limit_is_cleared_and_one_that_is_left_out_is_not(admin: AdminClient) -> None:
    team = {"id": "t", "models": {"mode": "ALL"}, "default_member_limits": {"rpm_limit": 60, "tpm_limit": 9}}
    await applied(admin, {"teams": [team | {"members": [{"user": "ann"}]}]})
    content = {"teams": [team | {"members": [{"user": "ann", "limits": {"tpm_limit": None}}]}]}
    (step,) = await plan(admin, manifest_of(content))
    assert step.changes[0].details == "limits.tpm_limit: 9 -> unset"
    await applied(admin, content)
    assert (await admin.get_member("t", "ann")).limits == MemberLimits(rpm_limit=60)


async def test_a_scope_that_is_given_is_explicit_though_it_is_the_seeded_one(admin: AdminClient) -> None:
    team = {"id": "t", "models": {"mode": "ALL"}, "default_team_member_models": {"models": ["a"]}}
    await applied(admin, {"teams": [team | {"members": [{"user": "sam"}]}]})
    content = {"teams": [team | {"members": [{"user": "sam", "allowed_models": {"models": ["a"]}}]}]}
    assert await applied(admin, content) == ["updated member sam of t"]
    assert (await admin.get_member("t", "sam")).scope_source == EXPLICIT
    assert await applied(admin, content) == []


async def test_limits_that_are_left_out_are_left_alone(admin: AdminClient) -> None:
    members = [{"user": "sam", "limits": {"tpm_limit": 9}}]
    team = {"id": "t", "models": {"mode": "ALL"}, "default_member_limits": {"rpm_limit": 60}, "members": members}
    await applied(admin, {"teams": [team]})
    await admin.update_member(Member(team="t", user="sam", limits=MemberLimits(max_budget_in_team=5)))
    team["default_member_limits"] = {"rpm_limit": 1}
    assert await applied(admin, {"teams": [team]}) == ["updated team t"]
    seeded_and_given = MemberLimits(rpm_limit=60, tpm_limit=9, max_budget_in_team=5)
    assert (await admin.get_member("t", "sam")).limits == seeded_and_given


async def test_prune_deletes_what_a_section_has_not_and_nothing_else_does(admin: AdminClient) -> None:
    kept: dict[str, Any] = {
        "models": [{"name": "a", "provider": "p"}],
        "groups": [{"name": "g", "models": ["a"]}],
        "teams": [{"id": "t", "models": {"models": ["g"]}, "members": [{"user": "sam"}]}],
    }
    await applied(admin, kept)
    await admin.create_team(Team(id="old", models=ModelScope(models=["unused"])), [Member(user="eve")])
    await admin.set_access_group(AccessGroup(name="unused", models=["x"]))
    await admin.upsert_models([Model(name="b", provider="p")])
    await admin.add_member(Member(team="t", user="leaver"))
    assert await applied(admin, kept, prune=False) == []
    assert await applied(admin, {"models": [], "groups": [], "teams": []}, prune=False) == []
    assert await applied(admin, kept) == [
        "deleted member leaver of t",
        "deleted team old (with 1 member)",
        "deleted group unused",
        "deleted model b",
    ]


async def test_prune_leaves_alone_what_the_file_says_nothing_of(admin: AdminClient) -> None:
    team = {"id": "t", "models": {"models": ["g"]}}
    content: dict[str, Any] = {
        "models": [{"name": "a", "provider": "p"}],
        "groups": [{"name": "g", "models": ["a"]}],
        "teams": [team | {"members": [{"user": "sam"}]}],
    }
    await applied(admin, content)
    assert await applied(admin, {"teams": [team]}) == []
    for section in content:
        assert await applied(admin, {section: content[section]}) == []


async def test_prune_deletes_where_that_needs_force(admin: AdminClient) -> None:
    scope = {"mode": "ALL", "excluded_models": ["costly", "p/*"]}
    jobs = {"id": "jobs", "models": scope, "unlisted_users": "TEAM_SCOPE"}
    await applied(
        admin,
        {
            "models": [{"name": "a", "provider": "p"}],
            "groups": [{"name": "costly", "models": ["a"]}],
            "teams": [jobs | {"members": [{"user": "runaway", "blocked": True}]}],
        },
    )
    assert await applied(admin, {"models": [], "groups": [], "teams": [jobs | {"members": []}]}) == [
        "deleted member runaway of jobs",
        "deleted group costly",
        "deleted model a",
    ]


async def test_an_order_of_entries_is_part_of_a_scope(admin: AdminClient) -> None:
    group = {"name": "g", "models": ["a", "b"]}
    await applied(admin, {"groups": [group]})
    manifest = manifest_of({"groups": [group | {"models": ["b", "a"]}]})
    (step,) = await plan(admin, manifest)
    assert step.changes[0].details == "models: in another order"


def test_long_differences_are_cut() -> None:
    manifest = manifest_of({"groups": [{"name": "g", "models": [f"m{n}" for n in range(100)]}]})
    old = manifest_of({"groups": [{"name": "g", "models": ["m0"]}]})
    assert old.groups is not None
    (step,) = make_plan(manifest, Present(groups={"g": old.groups[0]}), prune=False)
    assert step.changes[0].details == "models: [+m1, +m2, +m3, +m4, +m5, +m6, +m7, +m8, and 91 more]"


def test_batches_end_before_they_grow_too_large() -> None:
    models = [Model(name=str(n)) for n in range(25)]
    assert [len(batch) for batch in batches(models, 10)] == [10, 10, 5]
    assert batches([], 10) == []
    large = [AccessGroup(name=str(n), models=["x" * (MAX_BATCH_BYTES // 3)]) for n in range(5)]
    assert [len(batch) for batch in batches(large, 10)] == [2, 2, 1]
    huge = [AccessGroup(models=["x" * MAX_BATCH_BYTES])] * 2
    assert [len(batch) for batch in batches(huge, 10)] == [1, 1]


NARROWED = {
    "id": "t",
    "models": {"models": ["a", "b"]},
    "members": [
        {"user": "ann", "allowed_models": {"models": ["a"]}},
        {"user": "bob", "blocked": True},
        {"user": "eve"},
    ],
}


async def test_members_that_are_only_narrowed_come_before_their_team(admin: AdminClient) -> None:
    inherit = ModelScope(mode=ModelScope.INHERIT)
    members = [Member(user=user, allowed_models=inherit) for user in ("ann", "bob")]
    await admin.create_team(Team(id="t", models=ModelScope(models=["a"])), members)
    assert await applied(admin, {"teams": [NARROWED]}) == [
        "updated member ann of t",
        "updated team t",
        "created member eve of t",
        "updated member bob of t",  # blocked, but seeded again: it waits for the team's default
    ]


async def test_what_opens_a_team_is_not_sent_over_somebody_elses_change(admin: AdminClient) -> None:
    await admin.create_team(Team(id="t", models=ModelScope(models=["a"])))
    opening = NARROWED | {"unlisted_users": "TEAM_SCOPE"}
    steps = await plan(admin, manifest_of({"teams": [opening]}))
    for step in steps[:-1]:
        await step.run(admin)
    await admin.update_team(Team(id="t", blocked=True))
    with pytest.raises(Aborted):
        await steps[-1].run(admin)
