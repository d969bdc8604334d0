"""Refusals fit what a client takes, 8 KiB of trailers, and still name all that is wrong."""

from __future__ import annotations

import random

import grpc
import pytest
from google.protobuf.message import Message

from policy_service.v1 import admin_pb2 as admin
from policy_service.v1.resources_pb2 import Member, Model, Team
from tests.support.messages import check, member, model, only, team
from tests.support.rpc import Rpc, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


def numbers(field: str) -> set[int]:
    """The indexes that `members[0,3-7].user` names."""
    inside = field.partition("[")[2].partition("]")[0]
    found: set[int] = set()
    for part in inside.split(","):
        low, _, high = part.partition("-")
        found |= set(range(int(low), int(high or low) + 1))
    return found


def wrong_members(kind: str) -> tuple[list[Member], set[int]]:
    """500 members and the indexes of those that are wrong."""
    users = [member("", f"user-{number}") for number in range(500)]
    if kind == "all the same":
        return [member("", "") for _ in users], set(range(500))
    if kind == "every other":
        bad = set(range(0, 500, 2))
    elif kind == "scattered":
        bad = set(random.Random(1).sample(range(500), 250))
    else:
        bad = set(range(500))
    for at in bad:
        if kind == "each of another team":
            users[at].team = f"team-{at}-" + "日本" * 20
        elif kind == "each with a bad entry of its own":
            users[at].allowed_models.CopyFrom(only("m", *["ok"] * (at % 20), f"bad-{at}\n"))
        elif kind == "each with a label of its own":
            users[at].labels[f"label-{at}\n"] = ""
        else:
            users[at].user = ""
    if kind == "twice each":
        users = [member("", f"user-{number % 250}") for number in range(500)]
        bad = set(range(250, 500))
    return users, bad


KINDS = ["all the same", "every other", "scattered", "twice each", "each of another team"]
KINDS += ["each with a bad entry of its own", "each with a label of its own"]


@pytest.mark.parametrize("kind", KINDS)
async def test_500_bad_members_are_all_named(shared: Rpc, kind: str) -> None:
    """In ranges, so that the details fit what a client takes."""
    members, bad = wrong_members(kind)
    request = admin.BatchAddMembersRequest(team="ml", members=members)
    failure = await refused(shared.admin.BatchAddMembers(request))
    named: set[int] = set()
    for field in failure.violations:
        if field.startswith("members["):
            named |= numbers(field)
    assert named == bad


async def test_500_members_that_are_there_are_all_named(shared: Rpc) -> None:
    members = [member("", f"user-{number}") for number in range(500)]
    await shared.admin.CreateTeam(admin.CreateTeamRequest(team=team("full"), members=members[::2]))
    request = admin.BatchAddMembersRequest(team="full", members=members)
    failure = await refused(shared.admin.BatchAddMembers(request), grpc.StatusCode.ALREADY_EXISTS)
    named = set().union(*(numbers(field) for field in failure.violations))
    assert named == set(range(0, 500, 2))


@pytest.mark.parametrize(
    ("rpc", "request_", "field"),
    [
        ("BatchAddMembers", admin.BatchAddMembersRequest(team="ml", members=[member("x", "")] * 501), "members"),
        ("CreateTeam", admin.CreateTeamRequest(team=team("z"), members=[member("x", "")] * 501), "members"),
        ("UpsertModels", admin.UpsertModelsRequest(models=[model("")] * 1_001), "models"),
        ("DeleteModels", admin.DeleteModelsRequest(names=[""] * 1_001), "names"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_items_of_a_batch_that_is_too_big_are_not_looked_at(
    shared: Rpc, rpc: str, request_, field: str
) -> None:
    """4 MiB hold 400,000 of them: to tell what is wrong with each would hold up every check."""
    assert list((await refused(shared.call(rpc, request_))).violations) == [field]


HUGE = "日" * 300_000


@pytest.mark.parametrize(
    ("rpc", "request_"),
    [
        ("GetTeam", admin.GetTeamRequest(team=HUGE)),
        ("CreateTeam", admin.CreateTeamRequest(team=team(HUGE, only(HUGE), labels={HUGE: HUGE}))),
        ("CreateTeam", admin.CreateTeamRequest(team=team("z", model_aliases={HUGE: "m"}))),
        ("AddMember", admin.AddMemberRequest(member=member("ml", HUGE))),
        ("BatchAddMembers", admin.BatchAddMembersRequest(team="ml", members=[member(HUGE, "u"), member("", HUGE)])),
        ("DeleteModels", admin.DeleteModelsRequest(names=[HUGE])),
        ("DeleteModels", admin.DeleteModelsRequest(names=["x" * 9_000])),
        ("DeleteAccessGroup", admin.DeleteAccessGroupRequest(name=HUGE, etag=HUGE)),
        ("UpsertModels", admin.UpsertModelsRequest(models=[Model(name=HUGE, provider=HUGE)])),
        ("UpdateTeam", admin.UpdateTeamRequest(team=Team(id="ml"), update_mask={"paths": [HUGE, "日" * 9_000]})),
        ("ListTeams", admin.ListTeamsRequest(page_token=HUGE)),
        ("CheckModelAccess", check(HUGE, HUGE, HUGE)),
        ("CheckModelAccess", check("ml", "u", "m", HUGE)),
        ("AddMember", admin.AddMemberRequest(member=member("ml", "u"), request_id=HUGE)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_huge_texts_are_refused_in_few_words(shared: Rpc, rpc: str, request_: Message) -> None:
    """The status is shortened: a client that is sent more than 8 KiB of it sees only that it was too much."""
    failure = await refused(shared.call(rpc, request_))
    assert len(failure.message.encode()) <= 1_000


async def test_the_longest_names_fit_a_refusal(shared: Rpc) -> None:
    """Names at their bound, of characters that are written long, in every kind of failure."""
    odd = "\u0378" * 128
    await shared.admin.CreateTeam(admin.CreateTeamRequest(team=team(odd), members=[member("", odd)]))
    stale = member(odd, odd, blocked=True)
    stale.etag = "old"
    for code, call in (
        (grpc.StatusCode.NOT_FOUND, shared.admin.GetMember(admin.GetMemberRequest(team=odd, user="x" + odd[1:]))),
        (grpc.StatusCode.ALREADY_EXISTS, shared.admin.AddMember(admin.AddMemberRequest(member=member(odd, odd)))),
        (grpc.StatusCode.FAILED_PRECONDITION, shared.admin.DeleteTeam(admin.DeleteTeamRequest(team=odd))),
        (grpc.StatusCode.ABORTED, shared.admin.UpdateMember(admin.UpdateMemberRequest(member=stale))),
        (grpc.StatusCode.NOT_FOUND, shared.admin.DeleteModels(admin.DeleteModelsRequest(names=[odd]))),
    ):
        assert (await refused(call, code)).details
