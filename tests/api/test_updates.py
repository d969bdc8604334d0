"""Partial updates of teams and members: with a mask, without one, and what a mask may not name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    CreateTeamRequest,
    DeleteTeamRequest,
    GetMemberRequest,
    GetTeamRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.resources_pb2 import Member, MemberLimits, ModelScope, Role, ScopeSource, Team, UnlistedUsers
from tests.support.messages import ALL, INHERIT, bare, member, only, team
from tests.support.rpc import Rpc, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS = [field.name for field in MemberLimits.DESCRIPTOR.fields]
TEAM_LIMITS = [f"default_member_limits.{name}" for name in LIMITS]
MEMBER_LIMITS = [f"limits.{name}" for name in LIMITS]
TEAM_PATHS = [
    "display_name",
    "models",
    "default_team_member_models",
    "default_member_limits",
    "model_aliases",
    "blocked",
]
TEAM_PATHS += ["unlisted_users", "labels", *TEAM_LIMITS]
MEMBER_PATHS = ["role", "allowed_models", "limits", "blocked", "labels", *MEMBER_LIMITS]

SOME = MemberLimits(max_budget_in_team=1.5, budget_duration="30d", tpm_limit=100, rpm_limit=10)
OTHER = MemberLimits(max_budget_in_team=0.0, budget_duration="1h", tpm_limit=0, rpm_limit=2**63 - 1)

TEAM = team(
    "t",
    only("a", "b"),
    display_name="Before",
    default_team_member_models=only("a"),
    default_member_limits=SOME,
    model_aliases={"fast": "a", "slow": "b"},
    blocked=True,
    unlisted_users=UnlistedUsers.TEAM_SCOPE,
    labels={"k": "v", "x": "y"},
)
OTHER_TEAM = team(
    "t",
    ALL,
    display_name="",
    default_team_member_models=only("b", without=["c"]),
    default_member_limits=OTHER,
    model_aliases={"fast": "b"},
    blocked=False,
    unlisted_users=UnlistedUsers.DENY,
    labels={"k": "w"},
)
CLEARED_TEAM = team("t", default_team_member_models=INHERIT, blocked=False, unlisted_users=UnlistedUsers.DENY)

MEMBER = member(
    "t",
    "ann",
    role=Role.TEAM_ADMIN,
    allowed_models=only("b"),
    scope_source=ScopeSource.EXPLICIT,
    limits=SOME,
    blocked=True,
    labels={"k": "v", "x": "y"},
)
OTHER_MEMBER = member(
    "t",
    "ann",
    role=Role.MEMBER,
    allowed_models=INHERIT,
    scope_source=ScopeSource.EXPLICIT,
    limits=OTHER,
    blocked=False,
    labels={"k": "w"},
)
CLEARED_MEMBER = member(
    "t", "ann", role=Role.MEMBER, allowed_models=only("a"), scope_source=ScopeSource.SEEDED, blocked=False
)


@dataclass(frozen=True)
class Resource:
    """A kind of resource to update: as it is, another one that differs in all, and what clearing leaves."""

    before: Any
    other: Any
    cleared: Any
    paths: list[str]

    @property
    def key(self) -> Any:
        if isinstance(self.before, Team):
            return Team(id="t")
        return Member(team="t", user="ann")

    async def update(self, rpc: Rpc, body: Any, *paths: str) -> Any:
        """The resource after the update, as the answer and as a later read have it."""
        mask = FieldMask(paths=paths)
        if isinstance(body, Team):
            told = (await rpc.admin.UpdateTeam(UpdateTeamRequest(team=body, update_mask=mask))).team
            read = await rpc.admin.GetTeam(GetTeamRequest(team="t"))
            told.member_count = read.member_count  # what members come and go is no part of an update
        else:
            told = (await rpc.admin.UpdateMember(UpdateMemberRequest(member=body, update_mask=mask))).member
            read = await rpc.admin.GetMember(GetMemberRequest(team="t", user="ann"))
        assert told == read
        return bare(told)

    def request(self, body: Any, *paths: str) -> Message:
        mask = FieldMask(paths=paths)
        if isinstance(body, Team):
            return UpdateTeamRequest(team=body, update_mask=mask)
        return UpdateMemberRequest(member=body, update_mask=mask)


TEAMS = Resource(TEAM, OTHER_TEAM, CLEARED_TEAM, TEAM_PATHS)
MEMBERS = Resource(MEMBER, OTHER_MEMBER, CLEARED_MEMBER, MEMBER_PATHS)
EACH_PATH = [pytest.param(kind, path, id=path) for kind in (TEAMS, MEMBERS) for path in kind.paths]
BOTH = pytest.mark.parametrize("kind", [TEAMS, MEMBERS], ids=["team", "member"])


def put(target: Any, source: Any, path: str, *, merge: bool = False) -> None:
    """Copies one field, by its path, from one message to another; one that is absent is cleared there."""
    outer, _, inner = path.partition(".")
    if inner:
        put(getattr(target, outer), getattr(source, outer), inner)
        return
    field = source.DESCRIPTOR.fields_by_name[outer]
    if not merge:
        target.ClearField(outer)
    if field.has_presence and not source.HasField(outer):
        return
    if (field.message_type is not None and not field.is_repeated) or field.is_repeated:
        getattr(target, outer).MergeFrom(getattr(source, outer))
    else:
        setattr(target, outer, getattr(source, outer))


def changed(kind: Resource, source: Any, paths: Iterable[str], *, merge: bool = False) -> Any:
    """The resource with these fields as `source` has them."""
    after = type(kind.before)()
    after.CopyFrom(kind.before)
    for path in paths:
        put(after, source, path, merge=merge)
        if path == "allowed_models":
            after.scope_source = source.scope_source
    limits = after.default_member_limits if isinstance(after, Team) else after.limits
    limits.SetInParent()  # always returned, even when none is set
    return after


@pytest_asyncio.fixture(loop_scope="module")
async def made(shared: Rpc) -> AsyncIterator[Rpc]:
    """The team and the member as they are before an update."""
    added = member("t", "ann")
    added.CopyFrom(MEMBER)
    added.ClearField("scope_source")
    await shared.admin.CreateTeam(CreateTeamRequest(team=TEAM))
    await shared.admin.AddMember(AddMemberRequest(member=added))
    yield shared
    await shared.admin.DeleteTeam(DeleteTeamRequest(team="t", force=True))


@pytest.mark.parametrize(("kind", "path"), EACH_PATH)
async def test_every_settable_path(made: Rpc, kind: Resource, path: str) -> None:
    """A mask names one field of a message that has all of them: that one changes. Absent, it is cleared."""
    assert await kind.update(made, kind.other, path) == changed(kind, kind.other, [path])
    if path == "models":
        failure = await refused(made.call("UpdateTeam", kind.request(kind.key, path)))
        assert "required and cannot be cleared" in failure.violations["team.models"]
        return
    assert await kind.update(made, kind.key, path) == changed(kind, kind.cleared, [path])


@pytest.mark.parametrize(("kind", "path"), EACH_PATH)
async def test_without_a_mask_the_fields_that_are_present_change(made: Rpc, kind: Resource, path: str) -> None:
    body = kind.key
    put(body, kind.other, path)
    merge = path in ("limits", "default_member_limits")
    assert await kind.update(made, body) == changed(kind, kind.other, [path], merge=merge)


@BOTH
async def test_everything_at_once(made: Rpc, kind: Resource) -> None:
    assert await kind.update(made, kind.other, *kind.paths) == changed(kind, kind.other, kind.paths)
    assert await kind.update(made, kind.before) == changed(kind, kind.before, [])


@BOTH
async def test_a_mask_names_a_field_twice_and_its_parent(made: Rpc, kind: Resource) -> None:
    limits = "default_member_limits" if kind is TEAMS else "limits"
    paths = [f"{limits}.tpm_limit", limits, "blocked", "blocked"]
    assert await kind.update(made, kind.other, *paths) == changed(kind, kind.other, [limits, "blocked"])


@BOTH
async def test_an_empty_mask_is_none(made: Rpc, kind: Resource) -> None:
    body = kind.key
    body.blocked = False
    assert await kind.update(made, body) == changed(kind, body, ["blocked"])


@BOTH
async def test_nothing_given_changes_nothing(made: Rpc, kind: Resource) -> None:
    before = await made.head()
    assert await kind.update(made, kind.key) == kind.before
    assert await made.head() == before


@BOTH
async def test_get_edit_update(made: Rpc, kind: Resource) -> None:
    """What a Get returned, edited, goes back whole: the fields that only the server sets are ignored."""
    if kind is TEAMS:
        resource = await made.admin.GetTeam(GetTeamRequest(team="t"))
    else:
        resource = await made.admin.GetMember(GetMemberRequest(team="t", user="ann"))
    resource.labels["k"] = "edited"
    resource.create_time.seconds, resource.update_time.seconds = 1, 2
    after = await kind.update(made, resource)
    assert after.labels == {"k": "edited", "x": "y"}
    expected = changed(kind, kind.before, [])
    expected.labels["k"] = "edited"
    assert after == expected


async def test_limits_merge_field_by_field(made: Rpc) -> None:
    after = await MEMBERS.update(made, member("t", "ann", limits=MemberLimits(tpm_limit=0)))
    assert after.limits == MemberLimits(max_budget_in_team=1.5, budget_duration="30d", tpm_limit=0, rpm_limit=10)
    after = await MEMBERS.update(made, member("t", "ann", limits=MemberLimits(tpm_limit=5)), "limits")
    assert after.limits == MemberLimits(tpm_limit=5)


async def test_only_allowed_models_leaves_the_limits(made: Rpc) -> None:
    for paths in ([], ["allowed_models"]):
        after = await MEMBERS.update(made, member("t", "ann", allowed_models=ModelScope(models=["b", "a"])), *paths)
        assert after.allowed_models == only("b", "a")
        assert after.limits == SOME


async def test_a_scope_and_a_map_are_one_value(made: Rpc) -> None:
    after = await TEAMS.update(made, Team(id="t", models=ModelScope(models=["c"]), labels={"new": "1"}))
    assert after.models == only("c")
    assert after.labels == {"new": "1"}


async def test_a_map_is_emptied_by_a_mask_alone(made: Rpc) -> None:
    assert (await TEAMS.update(made, Team(id="t", labels={}))).labels == {"k": "v", "x": "y"}
    assert not (await TEAMS.update(made, Team(id="t"), "labels")).labels


async def test_reseeding_one_member_takes_the_default_of_today(made: Rpc) -> None:
    await TEAMS.update(made, Team(id="t", default_team_member_models=only("c", "d")))
    after = await MEMBERS.update(made, member("t", "ann"), "allowed_models")
    assert (after.allowed_models, after.scope_source) == (only("c", "d"), ScopeSource.SEEDED)
    after = await MEMBERS.update(made, member("t", "ann", allowed_models=only("c", "d")))
    assert (after.allowed_models, after.scope_source) == (only("c", "d"), ScopeSource.EXPLICIT)


@pytest.mark.parametrize("paths", [[], ["allowed_models"]], ids=["no mask", "mask"])
async def test_an_empty_scope_is_no_way_to_clear(made: Rpc, paths: list[str]) -> None:
    request = MEMBERS.request(member("t", "ann", allowed_models=ModelScope()), *paths)
    failure = await refused(made.admin.UpdateMember(request))
    assert "never a grant" in failure.violations["member.allowed_models.mode"]


REFUSED = [
    "*",
    "",
    " ",
    "team",
    "member",
    "nothing",
    "etag",
    "create_time",
    "update_time",
    "labels.k",
    "blocked ",
    "Blocked",
]
REFUSED_TEAM = ["id", "member_count", "displayName", "defaultMemberLimits.tpmLimit", "default_member_limits.tpmLimit"]
REFUSED_TEAM += ["models.mode", "models.models", "default_team_member_models.excluded_models", "model_aliases.fast"]
REFUSED_TEAM += [
    "default_member_limits.",
    "default_member_limits.*",
    "default_member_limits.tpm_limit.x",
    "team.models",
]
REFUSED_MEMBER = [
    "team",
    "user",
    "scope_source",
    "allowedModels",
    "allowed_models.models",
    "limits.tpmLimit",
    "limits.x",
]


@pytest.mark.parametrize(
    ("kind", "path"),
    [pytest.param(TEAMS, path, id=f"team {path!r}") for path in (*REFUSED, *REFUSED_TEAM)]
    + [pytest.param(MEMBERS, path, id=f"member {path!r}") for path in (*REFUSED, *REFUSED_MEMBER)],
)
async def test_paths_that_are_refused(made: Rpc, kind: Resource, path: str) -> None:
    """Alone and after a good one; the answer lists what can be named."""
    before = await made.head()
    rpc = "UpdateTeam" if kind is TEAMS else "UpdateMember"
    for paths in ([path], ["blocked", path]):
        failure = await refused(made.call(rpc, kind.request(kind.other, *paths)))
        words = failure.violations[f"update_mask.paths[{len(paths) - 1}]"]
        assert repr(path) in words
        assert all(settable in words for settable in kind.paths)
    assert await made.head() == before


async def test_a_new_default_touches_no_member(made: Rpc) -> None:
    await TEAMS.update(made, Team(id="t", default_team_member_models=only("z"), default_member_limits=OTHER))
    assert bare(await made.admin.GetMember(GetMemberRequest(team="t", user="ann"))) == MEMBER


async def test_the_update_moves_the_stamps(made: Rpc) -> None:
    before = await made.admin.GetTeam(GetTeamRequest(team="t"))
    after = (await made.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", blocked=False)))).team
    assert after.etag != before.etag
    assert after.create_time == before.create_time
    assert after.update_time.ToNanoseconds() > before.update_time.ToNanoseconds()
