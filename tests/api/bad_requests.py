"""The bounds of the contract as requests: just outside of each, with the field to be named, and just inside."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from policy_service.v1 import access_pb2 as access
from policy_service.v1 import admin_pb2 as admin
from policy_service.v1.resources_pb2 import AccessGroup, MemberLimits, ModelScope, Team
from tests.support.messages import ALL, INHERIT, NONE, check, group, member, model, only, team


@dataclass(frozen=True)
class Bad:
    """A request, the field that has to be named, and words that have to be in its description."""

    rpc: str
    request: Message
    field: str
    words: str = ""
    id: str = ""

    def __str__(self) -> str:
        return f"{self.rpc} {self.field} {self.id}"


LONG, WIDE = "x" * 256, "é" * 128
TOO_LONG = {"long": LONG + "x", "wide": WIDE + "x"}
BAD_TEXT = TOO_LONG | {
    "NUL": "a\0b",
    "newline": "a\nb",
    "delete": "a\x7fb",
    "C1": "a\x85b",
    "zero width": "a\u200bb",
    "right to left": "a\u202eb",
    "soft hyphen": "a\u00adb",
    "byte order mark": "\ufeffa",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "leading space": " a",
    "trailing space": "a ",
    "no-break space": "a\u00a0",
    "ideographic space": "\u3000a",
    "not NFC": "e\u0301",
    "not NFC either": "\u212b",
}
BAD_NAMES = BAD_TEXT | {"empty": ""}
ODD_NAMES = [
    "x",
    LONG,
    WIDE,
    "a b",
    "a/b",
    "a,b",
    "*",
    "?",
    "'; --",
    "日本語",
    "😀",
    "a\u00a0b",
    "..",
    "/",
    "\\",
    "%00",
]
BAD_MODELS = BAD_NAMES | {char: f"a{char}b" for char in ",*\\?#%"}
BAD_MODELS |= {
    "slash first": "/a",
    "slash last": "a/",
    "two slashes": "a//b",
    "dot": "a/./b",
    "dots": "../a",
    "only dots": "..",
}
ODD_MODELS = ["x", LONG, WIDE, "a b", "a/b/c", "...", "a/...", "a..b", ".a/b.", "a:b@c", "日本語/モデル", "é"]
RESERVED = {"all-proxy-models": "ALL", "all-team-models": "INHERIT", "no-default-models": "NONE"}
UNKNOWN_ENUMS = (3, 77, -1, 2**31 - 1)


def questions() -> Iterator[Bad]:
    for what, name in BAD_NAMES.items():
        yield Bad("CheckModelAccess", check(name, "u", "m"), "team", id=what)
    for what, name in BAD_TEXT.items():
        yield Bad("CheckModelAccess", check("t", name, "m"), "user", id=what)
        yield Bad("ListAccessibleModels", access.ListAccessibleModelsRequest(team="t", user=name), "user", id=what)
    for what, name in BAD_MODELS.items():
        yield Bad("CheckModelAccess", check("t", "u", name), "model", id=what)
        asked = access.ExplainModelAccessRequest(team="t", user="u", model=name)
        yield Bad("ExplainModelAccess", asked, "model", id=what)


def identifiers() -> Iterator[Bad]:
    """In every place of AdminService where one is named."""
    for what, name in BAD_NAMES.items():
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=team(name)), "team.id", id=what)
        yield Bad("GetTeam", admin.GetTeamRequest(team=name), "team", id=what)
        yield Bad("UpdateTeam", admin.UpdateTeamRequest(team=Team(id=name, blocked=True)), "team.id", id=what)
        yield Bad("DeleteTeam", admin.DeleteTeamRequest(team=name), "team", id=what)
        yield Bad("AddMember", admin.AddMemberRequest(member=member(name, "u")), "member.team", id=what)
        yield Bad("AddMember", admin.AddMemberRequest(member=member("ml", name)), "member.user", id=what)
        first = [member("", name)]
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z"), members=first), "members[0].user", id=what)
        batch = admin.BatchAddMembersRequest(team="ml", members=[member("", "u"), *first])
        yield Bad("BatchAddMembers", batch, "members[1].user", id=what)
        yield Bad("BatchAddMembers", admin.BatchAddMembersRequest(team=name, members=first), "team", id=what)
        yield Bad("GetMember", admin.GetMemberRequest(team="ml", user=name), "user", id=what)
        yield Bad("UpdateMember", admin.UpdateMemberRequest(member=member("ml", name)), "member.user", id=what)
        yield Bad("RemoveMember", admin.RemoveMemberRequest(team="ml", user=name), "user", id=what)
        yield Bad("ReseedMembers", admin.ReseedMembersRequest(team=name), "team", id=what)
        yield Bad("GetAccessGroup", admin.GetAccessGroupRequest(name=name), "name", id=what)
        yield Bad("DeleteAccessGroup", admin.DeleteAccessGroupRequest(name=name), "name", id=what)
        yield Bad("DeleteModels", admin.DeleteModelsRequest(names=["spare", name]), "names[1]", id=what)
    for what, name in BAD_TEXT.items():
        yield Bad("ListMembers", admin.ListMembersRequest(team=name, user="u"), "team", id=what)
        yield Bad("ListMembers", admin.ListMembersRequest(team="ml", user=name), "user", id=what)
        yield Bad("ListAuditEvents", admin.ListAuditEventsRequest(team=name), "team", id=what)
        yield Bad(
            "CreateTeam", admin.CreateTeamRequest(team=team("z", display_name=name)), "team.display_name", id=what
        )
    yield Bad("ListMembers", admin.ListMembersRequest(), "team", "give one of them")
    mixed = admin.CreateTeamRequest(team=team("z"), members=[member("y", "u")])
    yield Bad("CreateTeam", mixed, "members[0].team", "leave it empty")


def names() -> Iterator[Bad]:
    """Of groups, catalogue models, providers, aliases and their targets: no patterns."""
    for what, name in (BAD_NAMES | {"star": "a*"}).items():
        yield Bad("SetAccessGroup", admin.SetAccessGroupRequest(group=group(name, "m")), "group.name", id=what)
        yield Bad("UpsertModels", admin.UpsertModelsRequest(models=[model(name)]), "models[0].name", id=what)
        provided = [model("m"), model("n", name)]
        yield Bad("UpsertModels", admin.UpsertModelsRequest(models=provided), "models[1].provider", id=what)
        for alias, target in ((name, "m"), ("m", name)):
            aliased = admin.CreateTeamRequest(team=team("z", model_aliases={alias: target}))
            yield Bad("CreateTeam", aliased, f"team.model_aliases[{alias!r}]", id=what)
    yield Bad("SetAccessGroup", admin.SetAccessGroupRequest(group=group("a/b", "m")), "group.name", "'/'")


def entries() -> Iterator[Bad]:
    for what, name in BAD_NAMES.items():
        for field, listed in (("models[1]", only("m", name)), ("excluded_models[0]", only("m", without=[name]))):
            made = admin.CreateTeamRequest(team=team("z", listed))
            yield Bad("CreateTeam", made, f"team.models.{field}", id=what)
            added = admin.AddMemberRequest(member=member("ml", "u", allowed_models=listed))
            yield Bad("AddMember", added, f"member.allowed_models.{field}", id=what)
        yield Bad("SetAccessGroup", admin.SetAccessGroupRequest(group=group("z", name)), "group.models[0]", id=what)
    for name, mode in RESERVED.items():
        made = admin.CreateTeamRequest(team=team("z", only(name)))
        yield Bad("CreateTeam", made, "team.models.models[0]", f"use mode {mode}")
        added = admin.AddMemberRequest(member=member("ml", "u", allowed_models=only("m", without=[name])))
        yield Bad("AddMember", added, "member.allowed_models.excluded_models[0]", f"use mode {mode}")
        listed = admin.SetAccessGroupRequest(group=group("z", "m", name))
        yield Bad("SetAccessGroup", listed, "group.models[1]", f"use mode {mode}")
    plain = [f"m{number}" for number in range(2_001)]
    for count, scope in (
        ("2001 entries", only(*plain)),
        ("2001 entries", only(*plain[:1_000], without=plain[:1_001])),
        ("64 entries with '*'", only(*(f"m{number}*" for number in range(65)))),
        ("64 entries with '*'", only(*(f"{number}*" for number in range(32)), without=[f"{n}*" for n in range(33)])),
    ):
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z", scope)), "team.models", count)
        seeds = Team(id="z", models=ALL, default_team_member_models=scope)
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=seeds), "team.default_team_member_models", count)
        added = admin.AddMemberRequest(member=member("ml", "u", allowed_models=scope))
        yield Bad("AddMember", added, "member.allowed_models", count)
        listed = AccessGroup(name="z", models=scope.models, excluded_models=scope.excluded_models)
        yield Bad("SetAccessGroup", admin.SetAccessGroupRequest(group=listed), "group", count)
    empty = AccessGroup(name="z", excluded_models=["m"])
    yield Bad("SetAccessGroup", admin.SetAccessGroupRequest(group=empty), "group.models", "list at least one")


def modes() -> Iterator[Bad]:
    def scope(mode: int, *models: str) -> ModelScope:
        return ModelScope(mode=mode, models=models)

    never = "never a grant and never a restriction"
    of_team = [
        (ModelScope(), "mode", never),
        (ModelScope(excluded_models=["a"]), "mode", never),
        (INHERIT, "mode", "ALL, NONE, ONLY"),
        (scope(ModelScope.ONLY), "models", "mode NONE"),
        (scope(ModelScope.ALL, "a"), "models", "mode ONLY"),
        (scope(ModelScope.NONE, "a"), "models", "mode ONLY"),
        *((scope(number), "mode", str(number)) for number in (5, *UNKNOWN_ENUMS[1:])),
    ]
    of_member = [
        *of_team[:2],
        (ALL, "mode", "INHERIT, NONE, ONLY"),
        *of_team[3:4],
        *of_team[5:],
        (scope(ModelScope.INHERIT, "a"), "models", "mode ONLY"),
    ]
    for bad, field, words in of_team:
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z", bad)), f"team.models.{field}", words)
        update = admin.UpdateTeamRequest(team=Team(id="ml", models=bad))
        yield Bad("UpdateTeam", update, f"team.models.{field}", words)
    for bad, field, words in of_member:
        seeds = Team(id="z", models=ALL, default_team_member_models=bad)
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=seeds), f"team.default_team_member_models.{field}", words)
        change = Team(id="ml", default_team_member_models=bad)
        yield Bad("UpdateTeam", admin.UpdateTeamRequest(team=change), f"team.default_team_member_models.{field}", words)
        added = admin.AddMemberRequest(member=member("ml", "u", allowed_models=bad))
        yield Bad("AddMember", added, f"member.allowed_models.{field}", words)
        changed = admin.UpdateMemberRequest(member=member("ml", "ann", allowed_models=bad))
        yield Bad("UpdateMember", changed, f"member.allowed_models.{field}", words)
        batch = admin.BatchAddMembersRequest(team="ml", members=[member("", "u", allowed_models=bad)])
        yield Bad("BatchAddMembers", batch, f"members[0].allowed_models.{field}", words)
    yield Bad("CreateTeam", admin.CreateTeamRequest(team=Team(id="z")), "team.models", "required")


def enums() -> Iterator[Bad]:
    for number in UNKNOWN_ENUMS:
        made = admin.CreateTeamRequest(team=team("z", unlisted_users=number))
        yield Bad("CreateTeam", made, "team.unlisted_users", "DENY, TEAM_SCOPE")
        changed = admin.UpdateTeamRequest(team=Team(id="ml", unlisted_users=number))
        yield Bad("UpdateTeam", changed, "team.unlisted_users", "DENY, TEAM_SCOPE")
        added = admin.AddMemberRequest(member=member("ml", "u", role=number))
        yield Bad("AddMember", added, "member.role", "MEMBER, TEAM_ADMIN")
        changed = admin.UpdateMemberRequest(member=member("ml", "ann", role=number))
        yield Bad("UpdateMember", changed, "member.role", "MEMBER, TEAM_ADMIN")
        listed = admin.ListMembersRequest(team="ml", scope_source=number)
        yield Bad("ListMembers", listed, "scope_source", "SEEDED, EXPLICIT")


def limits() -> Iterator[Bad]:
    bad: list[tuple[str, Any]] = [("max_budget_in_team", value) for value in (math.nan, math.inf, -math.inf, -0.01)]
    bad += [(name, value) for name in ("tpm_limit", "rpm_limit") for value in (-1, -(2**63))]
    bad += [("budget_duration", value) for value in BAD_NAMES.values()]
    for name, value in bad:
        given = MemberLimits(**{name: value})
        made = admin.CreateTeamRequest(team=team("z", default_member_limits=given))
        yield Bad("CreateTeam", made, f"team.default_member_limits.{name}", id=repr(value)[:9])
        changed = admin.UpdateTeamRequest(team=Team(id="ml", default_member_limits=given))
        yield Bad("UpdateTeam", changed, f"team.default_member_limits.{name}", id=repr(value)[:9])
        added = admin.AddMemberRequest(member=member("ml", "u", limits=given))
        yield Bad("AddMember", added, f"member.limits.{name}", id=repr(value)[:9])
        changed = admin.UpdateMemberRequest(member=member("ml", "ann", limits=given))
        yield Bad("UpdateMember", changed, f"member.limits.{name}", id=repr(value)[:9])


def maps() -> Iterator[Bad]:
    many = {f"k{number}": "v" for number in range(65)}
    for key, value in [("", "v"), *((text, "v") for text in BAD_TEXT.values()), *(("k", t) for t in BAD_TEXT.values())]:
        labels, field = {key: value}, f"labels[{key!r}]"
        yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z", labels=labels)), f"team.{field}")
        yield Bad("AddMember", admin.AddMemberRequest(member=member("ml", "u", labels=labels)), f"member.{field}")
        labelled = admin.UpsertModelsRequest(models=[model("m", labels=labels)])
        yield Bad("UpsertModels", labelled, f"models[0].{field}")
    yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z", labels=many)), "team.labels", "65")
    yield Bad("UpdateMember", admin.UpdateMemberRequest(member=member("ml", "ann", labels=many)), "member.labels", "64")
    yield Bad("UpsertModels", admin.UpsertModelsRequest(models=[model("m", labels=many)]), "models[0].labels", "64")
    aliases = {f"a{number}": "m" for number in range(257)}
    yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z", model_aliases=aliases)), "team.model_aliases", "256")
    yield Bad(
        "UpdateTeam", admin.UpdateTeamRequest(team=Team(id="ml", model_aliases=aliases)), "team.model_aliases", "257"
    )


def batches() -> Iterator[Bad]:
    users = [member("", f"u{number}") for number in range(501)]
    yield Bad("BatchAddMembers", admin.BatchAddMembersRequest(team="ml"), "members", "0 items; give 1 to 500")
    yield Bad("BatchAddMembers", admin.BatchAddMembersRequest(team="ml", members=users), "members", "501 items")
    yield Bad("CreateTeam", admin.CreateTeamRequest(team=team("z"), members=users), "members", "give 0 to 500")
    models = [model(f"m{number}") for number in range(1_001)]
    yield Bad("UpsertModels", admin.UpsertModelsRequest(), "models", "0 items; give 1 to 1000")
    yield Bad("UpsertModels", admin.UpsertModelsRequest(models=models), "models", "1001 items")
    yield Bad("DeleteModels", admin.DeleteModelsRequest(), "names", "give 1 to 1000")
    names = [each.name for each in models]
    yield Bad("DeleteModels", admin.DeleteModelsRequest(names=names), "names", "1001 items")
    yield Bad("DeleteModels", admin.DeleteModelsRequest(names=["spare", "o1-pro", "spare"]), "names[2]", "name it once")
    twice = [model("m", "a"), model("m", "b")]
    yield Bad("UpsertModels", admin.UpsertModelsRequest(models=twice), "models[1].name", "name it once")
    same = [member("", "u"), member("ml", "u")]
    yield Bad(
        "BatchAddMembers", admin.BatchAddMembersRequest(team="ml", members=same), "members[1].user", "name it once"
    )


def inside() -> Iterator[tuple[str, Any]]:
    """At the bounds, and odd but fine. All as dry runs."""
    for name in ODD_NAMES:
        yield "CreateTeam", admin.CreateTeamRequest(team=team(name, only(name)), members=[member("", name)])
        yield "AddMember", admin.AddMemberRequest(member=member("ml", name, allowed_models=only("m", without=[name])))
        if "*" not in name:
            yield "UpsertModels", admin.UpsertModelsRequest(models=[model(name, name)])
            yield "CreateTeam", admin.CreateTeamRequest(team=team("z", model_aliases={name: name}))
        if "*" not in name and "/" not in name:
            yield "SetAccessGroup", admin.SetAccessGroupRequest(group=group(name, name))
    plain = [f"m{number}" for number in range(2_000)]
    for scope in (
        only(*plain),
        only(*plain[:1_000], without=plain[1_000:]),
        only(*(f"m{number}*" for number in range(64))),
        only("*" * 256, "**", "a" + "*" * 200),
        only("m", "m", "m"),
        ModelScope(mode=ModelScope.NONE, excluded_models=["a"]),
    ):
        yield "CreateTeam", admin.CreateTeamRequest(team=team("z", scope))
        yield "AddMember", admin.AddMemberRequest(member=member("ml", "u", allowed_models=scope))
        if scope.models:
            listed = AccessGroup(name="z", models=scope.models, excluded_models=scope.excluded_models)
            yield "SetAccessGroup", admin.SetAccessGroupRequest(group=listed)
    yield "CreateTeam", admin.CreateTeamRequest(team=team("z", NONE, default_team_member_models=NONE))
    yield "CreateTeam", admin.CreateTeamRequest(team=team("z", display_name=""))
    yield "CreateTeam", admin.CreateTeamRequest(team=team("z", labels={f"k{n}" + "x" * 250: LONG for n in range(64)}))
    yield "CreateTeam", admin.CreateTeamRequest(team=team("z", labels={"empty": ""}))
    yield "CreateTeam", admin.CreateTeamRequest(team=team("z", model_aliases={f"a{n}": "m" for n in range(256)}))
    huge = MemberLimits(max_budget_in_team=1.7e308, budget_duration=LONG, tpm_limit=2**63 - 1, rpm_limit=0)
    yield "AddMember", admin.AddMemberRequest(member=member("ml", "u", limits=huge))
    tiny = MemberLimits(max_budget_in_team=5e-324, tpm_limit=0)
    yield "AddMember", admin.AddMemberRequest(member=member("ml", "u", limits=tiny))
    users = [member("", f"u{number}") for number in range(500)]
    yield "BatchAddMembers", admin.BatchAddMembersRequest(team="ml", members=users)
    yield "CreateTeam", admin.CreateTeamRequest(team=team("z"), members=users)
    yield "UpsertModels", admin.UpsertModelsRequest(models=[model(name) for name in plain[:1_000]])


TABLES = (questions, identifiers, names, entries, modes, enums, limits, maps, batches)
