"""What each recipe does, leaves alone, and refuses."""

from __future__ import annotations

import json
import re
import shutil
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from policy_service.v1 import admin_pb2 as pb
from policy_service.v1.resources_pb2 import Member, MemberLimits, Team
from tests.support.messages import INHERIT, bare, member, only, team
from tests.support.rpc import Rpc

from .recipes import FOLDER, RECIPES, Admin, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

ODD = """it's "odd" $(id) `id` \\n ${HOME} ünïcode = a:=b"""
CHAT = ("POST", "/v1/chat/completions")


async def created(rpc: Rpc, name: str, *members: Member, **fields: Any) -> None:
    await rpc.admin.CreateTeam(pb.CreateTeamRequest(team=team(name, **fields), members=members))


async def team_of(rpc: Rpc, name: str) -> Team:
    return await rpc.admin.GetTeam(pb.GetTeamRequest(team=name))


async def members_of(rpc: Rpc, name: str) -> dict[str, Member]:
    found = await rpc.admin.ListMembers(pb.ListMembersRequest(team=name))
    return {each.user: each for each in found.members}


async def test_onboarding_does_all_that_its_options_say(admin: Admin, rpc: Rpc) -> None:
    models = ("--model", "gpt-4o", "--model", "o1*", "--exclude", "o1-pro", "--default", "gpt-4o")
    users = ("--admin", "ann", "--member", "bob", "--member", "carl")
    out = await admin.done("onboard-team.sh", *models, "--rpm", "7", *users, "--yes", "onboarded")
    found = await team_of(rpc, "onboarded")
    assert found.models == only("gpt-4o", "o1*", without=["o1-pro"])
    assert found.default_team_member_models == only("gpt-4o")
    members = await members_of(rpc, "onboarded")
    assert {user: each.role for user, each in members.items()} == {"ann": 2, "bob": 1, "carl": 1}
    assert (members["bob"].allowed_models, members["bob"].limits) == (only("gpt-4o"), MemberLimits(rpm_limit=7))
    assert out.endswith(f"Created, in revision {found.etag}.\n")
    exists = await admin.failed(70, "onboard-team.sh", "--model", "gpt-4o", "--yes", "onboarded")
    assert "exists already" in exists


async def test_onboarding_with_a_model_only(admin: Admin, rpc: Rpc) -> None:
    await admin.done("onboard-team.sh", "--model", "gpt-4o", "--yes", "plain")
    assert bare(await team_of(rpc, "plain")).default_team_member_models == INHERIT


async def test_names_are_taken_as_they_are(admin: Admin, rpc: Rpc) -> None:
    users = ("--admin", ODD, "--member", "-", "--member", "--yes")
    await admin.done("onboard-team.sh", "--model", ODD, "--default", ODD, *users, "--yes", ODD)
    assert (await team_of(rpc, ODD)).models == only(ODD)
    assert (await members_of(rpc, ODD)).keys() == {ODD, "-", "--yes"}
    out = await admin.done("rotate-default.sh", "--exclude", ODD, "--yes", ODD, "a", ODD)
    assert out.endswith(f"Reseeded: 3, in revision {(await members_of(rpc, ODD))[ODD].etag}.\n")
    assert (await members_of(rpc, ODD))["-"].allowed_models == only("a", ODD, without=[ODD])
    await admin.done("suspend-member.sh", "--yes", "--team", ODD, "--", "--yes")
    await admin.done("suspend-member.sh", "--yes", ODD)
    assert {user for user, each in (await members_of(rpc, ODD)).items() if each.blocked} == {ODD, "--yes"}
    why = await admin.done("why-denied.sh", ODD, ODD, "gpt-4o")
    assert json.loads(why.partition("\nRequests")[0])["decision"]["reason"] == "MEMBER_BLOCKED"
    assert f"  team {ODD}\n" in await admin.done("audit-week.sh", "--team", ODD)
    who = ("--header", "x-policy-client: support/sam")
    asked = await admin.done("check-http.sh", *who, "--header", f"x-odd: {ODD}", "GET", f"/{ODD}")
    assert "malformed_path" in asked


async def test_nothing_is_changed_that_nobody_wants(admin: Admin, rpc: Rpc) -> None:
    await created(rpc, "asked", member("", "asked-ann"))
    head = await rpc.head()
    rotate = ("rotate-default.sh", "asked", "gpt-4o")
    onboard = ("onboard-team.sh", "--model", "gpt-4o", "asked-new")
    for recipe in (rotate, onboard, ("suspend-member.sh", "asked-ann")):
        assert "nothing was changed" in await admin.failed(2, *recipe)
    status, screen = await admin.on_terminal(*rotate, typed="n")
    assert (status, "nothing was changed" in screen) == (2, True)
    assert await rpc.head() == head
    status, screen = await admin.on_terminal(*rotate, typed="y")
    assert (status, await rpc.head() in screen, await rpc.head() == head) == (0, True, False), screen


async def test_a_default_is_rotated_for_those_who_have_the_old_one(admin: Admin, rpc: Rpc) -> None:
    fields = {"default_team_member_models": only("a", "b", without=["c"]), "labels": {"desk": "4"}}
    await created(rpc, "rotated", member("", "ann"), member("", "bob", allowed_models=only("b")), **fields)
    rotate = ("rotate-default.sh", "--exclude", "e", "--yes", "rotated", "b", "d")
    out = await admin.done(*rotate)
    assert 'is  {"mode": "ONLY", "models": ["a", "b"], "excludedModels": ["c"]}\n' in out
    assert 'becomes     {"mode": "ONLY", "models": ["b", "d"], "excludedModels": ["e"]}\n' in out
    assert re.search(r"shown\):\nann\nThe default .*\nReseeded: 1, in revision", out)
    expected, found = only("b", "d", without=["e"]), await team_of(rpc, "rotated")
    assert (found.default_team_member_models, dict(found.labels)) == (expected, {"desk": "4"})
    scopes = {user: each.allowed_models for user, each in (await members_of(rpc, "rotated")).items()}
    assert scopes == {"ann": expected, "bob": only("b")}
    head = await rpc.head()
    assert "Reseeded: 0, in revision" in await admin.done(*rotate)
    assert await rpc.head() == head


async def test_a_team_that_somebody_changes_meanwhile_is_not_overwritten(admin: Admin, rpc: Rpc) -> None:
    await created(rpc, "raced", member("", "ann"), default_team_member_models=only("a"))
    theirs = pb.UpdateTeamRequest(team=Team(id="raced", default_team_member_models=only("theirs")))
    change = partial(rpc.admin.UpdateTeam, theirs)
    status, screen = await admin.on_terminal("rotate-default.sh", "raced", "b", typed="y", before=change)
    assert (status, "Code: Aborted" in screen) == (74, True), screen
    assert (await team_of(rpc, "raced")).default_team_member_models == only("theirs")


async def test_a_member_is_suspended_everywhere_and_keeps_what_it_had(
    admin: Admin, rpc: Rpc, pages_of_two: Path
) -> None:
    sam = member("", "sam", allowed_models=only("a"), labels={"desk": "4"}, limits=MemberLimits(rpm_limit=3))
    teams = ["suspends-1", "suspends-2", "suspends-3"]
    for name in teams:
        await created(rpc, name, sam, member("", "ann"))
    before = bare((await members_of(rpc, teams[0]))["sam"])
    await admin.done(pages_of_two / "suspend-member.sh", "--yes", "sam")
    for name in teams:
        members = await members_of(rpc, name)
        assert (members["sam"].blocked, members["ann"].blocked) == (True, False)
    await admin.done("suspend-member.sh", "--lift", "--yes", "--team", teams[0], "sam")
    found = [(await members_of(rpc, name))["sam"] for name in teams]
    assert [each.blocked for each in found] == [False, True, True]
    assert bare(found[0]) == before


async def test_a_team_that_fails_does_not_spare_the_others(admin: Admin, rpc: Rpc) -> None:
    for name in ("left-1", "left-2"):
        await created(rpc, name, member("", "lea"))
    leave = pb.RemoveMemberRequest(team="left-1", user="lea")
    removed = partial(rpc.admin.RemoveMember, leave)
    status, screen = await admin.on_terminal("suspend-member.sh", "lea", typed="y", before=removed)
    assert (status, "Code: NotFound" in screen) == (69, True), screen
    assert (await members_of(rpc, "left-2"))["lea"].blocked


@pytest.fixture
def pages_of_two(tmp_path: Path) -> Path:
    """The recipes, with lists that have few items a page."""
    copy = tmp_path / "recipes"
    shutil.copytree(FOLDER, copy)
    for recipe in copy.glob("*.sh"):
        recipe.write_text(recipe.read_text().replace('"page_size": 1000, "page_token"', '"page_size": 2, "page_token"'))
    return copy


async def test_a_reason_and_what_would_change_it(admin: Admin, rpc: Rpc) -> None:
    await created(rpc, "why", member("", "sam", allowed_models=only("mini")), models=only("mini", "large"))
    denied, _, changes = (await admin.done("why-denied.sh", "why", "sam", "huge")).partition("\nRequests")
    explained = json.loads(denied)
    assert explained["decision"]["reason"] == "MODEL_NOT_IN_TEAM_SCOPE"
    requests = changes.splitlines()[1:]
    assert requests == [change["requestJson"] for change in explained["suggestedChanges"]]
    allowed = json.loads(await admin.done("why-denied.sh", "why", "sam", "mini"))
    assert allowed["decision"]["allowed"] is True
    assert "NOT_A_MEMBER" in await admin.done("why-denied.sh", "why", "", "mini")


async def test_the_audit_has_every_change_from_what_to_what(admin: Admin, rpc: Rpc) -> None:
    await created(rpc, "audited", member("", "sam", allowed_models=only("mini")))
    await rpc.admin.UpdateTeam(pb.UpdateTeamRequest(team=Team(id="audited", blocked=True)))
    await rpc.admin.RemoveMember(pb.RemoveMemberRequest(team="audited", user="sam"))
    out = await admin.done("audit-week.sh", "--team", "audited")
    assert [re.sub(r"^\S+Z \S+\.\d+ ", "", line) for line in out.splitlines()] == [
        "local CreateTeam",
        "  team audited",
        '    default_team_member_models: null -> {"mode": "INHERIT"}',
        '    models: null -> {"mode": "ALL"}',
        '    unlisted_users: null -> "DENY"',
        "  member audited/sam",
        '    allowed_models: null -> {"mode": "ONLY", "models": ["mini"]}',
        '    role: null -> "MEMBER"',
        '    scope_source: null -> "EXPLICIT"',
        "local UpdateTeam",
        "  team audited",
        "    blocked: null -> true",
        "local RemoveMember",
        "  member audited/sam",
        '    allowed_models: {"mode": "ONLY", "models": ["mini"]} -> null',
        '    role: "MEMBER" -> null',
        '    scope_source: "EXPLICIT" -> null',
    ]


async def test_the_audit_is_of_a_time_and_reads_every_page(admin: Admin, rpc: Rpc, pages_of_two: Path) -> None:
    await created(rpc, "paged")
    for blocked in (True, False, True, False):
        await rpc.admin.UpdateTeam(pb.UpdateTeamRequest(team=Team(id="paged", blocked=blocked)))
    now = datetime.now(UTC)
    tomorrow, yesterday = (f"{now + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}" for days in (1, -1))
    everything = await admin.done("audit-week.sh", "--team", "paged")
    assert len(re.findall(r"^\S+Z \S+ local (?:Create|Update)Team$", everything, re.MULTILINE)) == 5
    assert await admin.done(pages_of_two / "audit-week.sh", "--team", "paged") == everything
    between = ("audit-week.sh", "--team", "paged", "--since", yesterday, "--until", tomorrow)
    assert await admin.done(*between) == everything
    assert await admin.done("audit-week.sh", "--since", tomorrow) == ""
    assert await admin.done("audit-week.sh", "--until", yesterday) == ""
    assert "Timestamp" in await admin.failed(1, "audit-week.sh", "--since", "soon")


@pytest.mark.parametrize(
    ("options", "body", "reason"),
    [
        ((), b'{"model": "mini"}', "ALLOWED_BY_MEMBER_SCOPE"),
        ((), b'{"model": "large"}', "MODEL_NOT_IN_MEMBER_SCOPE"),
        ((), b"\xff\x00\n\n", "body_malformed"),
        ((), b'{"model": "mini"}'.ljust(2_000_001) + b"x", "body_malformed"),
        (("--header", "Content-Type: text/plain"), b'{"model": "mini"}', "wrong_content_type"),
        (("--header", "content-length: 99"), b'{"model": "mini"}', "body_truncated"),
    ],
)
async def test_it_is_asked_as_envoy_asks(
    admin: Admin, rpc: Rpc, tmp_path: Path, options: tuple[str, ...], body: bytes, reason: str
) -> None:
    name = f"http-{tmp_path.name}"
    await created(rpc, name, member("", "sam", allowed_models=only("mini")))
    who = ("--header", f"X-Policy-Client: {name}/sam", *options)
    out = await admin.done("check-http.sh", *who, "--body", "-", *CHAT, text=body)
    answer, end = json.JSONDecoder().raw_decode(out)
    assert answer["dynamicMetadata"]["reason"] == reason
    denied = answer.get("deniedResponse", {}).get("body")
    assert out[end:].strip() == (denied or "")


async def test_a_body_may_be_in_a_file(admin: Admin, tmp_path: Path) -> None:
    (tmp_path / "a body").write_bytes(b'{"model": "mini"} more')
    asked = ("check-http.sh", "--header", "x-policy-client: a/sam", "--body", str(tmp_path / "a body"), *CHAT)
    assert '"reason": "body_malformed"' in await admin.done(*asked)
    assert "/none: No such file" in await admin.failed(1, "check-http.sh", "--body", "/none", *CHAT)


async def test_it_is_asked_for_who_has_a_certificate(tmp_path: Path) -> None:
    (tmp_path / "ext-authz.yaml").write_text('identity: {mtls: {pattern: "spiffe://acme.example/{team}/{user}"}}')
    async with serving(ext_authz_config=tmp_path / "ext-authz.yaml") as server:
        asked = ("check-http.sh", "--principal", "spiffe://acme.example/a/sam", "GET", "/v1/models")
        out = await Admin(server.addresses[0]).done(*asked)
    known = json.JSONDecoder().raw_decode(out)[0]["dynamicMetadata"]
    assert (known["team"], known["user"]) == ("a", "sam")


REFUSED = [
    (("onboard-team.sh", "x"), "at least one --model"),
    (("onboard-team.sh", "--model", "m"), "then one team"),
    (("onboard-team.sh", "--model", "m", "x", "y"), "then one team"),
    (("onboard-team.sh", "--model", "m", "x", "--yes"), "then one team"),
    (("onboard-team.sh", "--model"), "--model is no option, or lacks its value"),
    (("onboard-team.sh", "--model", b"\xff", "x"), "not UTF-8"),
    (("rotate-default.sh", "x"), "what its new members get"),
    (("rotate-default.sh", "--exclude"), "lacks its value"),
    (("suspend-member.sh",), "one user"),
    (("suspend-member.sh", "--team", "", "sam"), "--team lacks its value"),
    (("suspend-member.sh", "--team"), "--team lacks its value"),
    (("suspend-member.sh", "nobody"), "'nobody' is in no such team"),
    (("why-denied.sh", "x", "y"), "give a team, a user and a model"),
    (("audit-week.sh", "--team"), "lacks its value"),
    (("check-http.sh", "POST"), "a method and a path"),
    (("check-http.sh", "--header", "nothing", *CHAT), "'nothing' is no header"),
    (("check-http.sh", "--header", "A: b", "--header", "a: c", *CHAT), '"a" is there twice'),
    *(((recipe, "--nothing", "x"), "--nothing") for recipe in RECIPES if recipe != "why-denied.sh"),
]


async def test_what_makes_no_sense_is_refused(admin: Admin, rpc: Rpc) -> None:
    head = await rpc.head()
    for command, words in REFUSED:
        recipe, *arguments = command
        complaint = await admin.failed(2, str(recipe), *arguments)
        assert complaint.startswith(f"{recipe}: "), complaint
        assert words in complaint
    assert await rpc.head() == head


async def test_grpcurl_says_what_the_service_refuses(admin: Admin) -> None:
    onboard = ("onboard-team.sh", "--model", "m", "--yes")
    assert "there is no team 'none'" in await admin.failed(69, "rotate-default.sh", "none", "m")
    assert "team.id: " in await admin.failed(67, *onboard, " ")
    assert "rpm_limit" in await admin.failed(67, *onboard, "--rpm", "-1", "x")
    assert 'parsing "ten"' in await admin.failed(1, *onboard, "--rpm", "ten", "x")
    assert "not UTF-8" in await admin.failed(1, "why-denied.sh", "x", b"\xff", "m")


@pytest.mark.parametrize("recipe", RECIPES)
async def test_help(admin: Admin, recipe: str) -> None:
    helped = await admin.done(recipe, "--help")
    assert f"  {recipe} " in helped
    assert "set -euo" not in helped
