"""Manifests: what is read, and what is refused in which line."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from policy_service.cli.manifest import ManifestError, MemberEntry, parse_manifest
from policy_service.domain.records import (
    INHERIT,
    Member,
    MemberLimits,
    Mode,
    ModelScope,
    Role,
    ScopeSource,
    UnlistedUsers,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "acme.yaml"
TEAM = """\
teams:
  - id: support
    models: {mode: ALL}
"""


def problems(content: str | bytes) -> list[str]:
    raw = content if isinstance(content, bytes) else dedent(content).encode()
    with pytest.raises(ManifestError) as caught:
        parse_manifest(raw, "acme.yaml")
    return str(caught.value).splitlines()


def test_the_example_is_read() -> None:
    manifest = parse_manifest(EXAMPLE.read_bytes(), "acme.yaml")
    assert manifest.models is not None
    assert manifest.groups is not None
    assert manifest.teams is not None
    assert len(manifest.models) >= 80
    assert len(manifest.groups) >= 4
    assert len(manifest.teams) >= 6
    assert sum(len(entry.members or ()) for entry in manifest.teams) >= 60


def test_every_field_is_read() -> None:
    manifest = parse_manifest(
        dedent("""\
        models: [{name: gpt-4o, provider: openai, labels: {family: gpt}}]
        groups: [{name: cheap, models: [gpt-4o, "gpt-*"], excluded_models: [gpt-5]}]
        teams:
          - id: support
            display_name: Customer Support
            models: {models: [cheap], excluded_models: ["*-preview"]}
            default_team_member_models: {mode: NONE}
            default_member_limits: {max_budget_in_team: 12.5, budget_duration: 30d, tpm_limit: 0, rpm_limit: 60}
            model_aliases: {fast: gpt-4o}
            blocked: true
            unlisted_users: TEAM_SCOPE
            labels: {cost-center: "4711"}
            members:
              - {user: sam}
              - user: ann
                role: TEAM_ADMIN
                allowed_models: {mode: INHERIT}
                limits: {max_budget_in_team: 5}
                blocked: false
                labels: {since: "2026-01-01"}
              - user: bob
                allowed_models: {models: [o3]}
                scope_source: SEEDED
                limits: {tpm_limit: null, rpm_limit: 9, budget_duration: ~}
                blocked: true
        """).encode(),
        "acme.yaml",
    )
    assert manifest.models is not None
    assert manifest.groups is not None
    assert manifest.teams is not None
    (model,), (group,), ((team, members),) = manifest.models, manifest.groups, manifest.teams
    assert (model.name, model.provider, model.labels) == ("gpt-4o", "openai", {"family": "gpt"})
    assert (group.name, group.models, group.excluded_models) == ("cheap", ("gpt-4o", "gpt-*"), ("gpt-5",))
    assert (team.id, team.display_name, team.blocked) == ("support", "Customer Support", True)
    assert team.models == ModelScope(Mode.ONLY, ("cheap",), ("*-preview",))
    assert team.default_team_member_models == ModelScope(Mode.NONE)
    assert team.default_member_limits == MemberLimits(12.5, "30d", 0, 60)
    assert (team.model_aliases, team.labels) == ({"fast": "gpt-4o"}, {"cost-center": "4711"})
    assert team.unlisted_users is UnlistedUsers.TEAM_SCOPE
    assert members is not None
    sam, ann, bob = members
    assert sam == MemberEntry(Member(team="support", user="sam", scope_source=ScopeSource.SEEDED), has_scope=False)
    assert ann == MemberEntry(
        Member(
            team="support",
            user="ann",
            role=Role.TEAM_ADMIN,
            allowed_models=INHERIT,
            limits=MemberLimits(5),
            labels={"since": "2026-01-01"},
        ),
        has_scope=True,
    )
    assert bob == MemberEntry(
        Member(
            team="support",
            user="bob",
            allowed_models=ModelScope(Mode.ONLY, ("o3",)),
            scope_source=ScopeSource.SEEDED,
            limits=MemberLimits(rpm_limit=9),
            blocked=True,
        ),
        has_scope=True,
        unset_limits=frozenset(("tpm_limit", "budget_duration")),
    )


def test_a_section_that_is_left_out_is_not_an_empty_one() -> None:
    manifest = parse_manifest(TEAM.encode() + b"groups: []\n", "acme.yaml")
    assert (manifest.models, manifest.groups) == (None, ())
    assert manifest.teams is not None
    assert manifest.teams[0].members is None


def test_an_anchor_may_hold_limits_that_are_null() -> None:
    members = "[{user: a, limits: &none {tpm_limit: null, rpm_limit: 1}}, {user: b, limits: *none}]"
    manifest = parse_manifest((TEAM + f"    members: {members}\n").encode(), "acme.yaml")
    assert manifest.teams is not None
    for entry in manifest.teams[0].members or ():
        assert (entry.member.limits, entry.unset_limits) == (MemberLimits(rpm_limit=1), {"tpm_limit"})


def test_a_limit_that_is_null_and_something_else_is_refused() -> None:
    found = problems(TEAM + "    members: [{user: a, limits: {tpm_limit: null, tpm_limit: 5}}]\n")
    assert "acme.yaml:4: teams[0].members[0].limits: 'tpm_limit' is here twice; it is already on line 4" in found


@pytest.mark.parametrize("source", ["", ", scope_source: SEEDED"])
def test_a_member_without_a_scope_is_the_teams_to_seed(source: str) -> None:
    manifest = parse_manifest((TEAM + f"    members: [{{user: sam{source}}}]\n").encode(), "acme.yaml")
    assert manifest.teams is not None
    (entry,) = manifest.teams[0].members or ()
    assert (entry.has_scope, entry.member.scope_source) == (False, ScopeSource.SEEDED)


def test_a_byte_order_mark_and_anchors_are_fine() -> None:
    text = "\ufeffteams:\n  - {id: a, models: &all {mode: ALL}}\n  - {id: b, models: *all}\n"
    manifest = parse_manifest(text.encode(), "acme.yaml")
    assert manifest.teams is not None
    assert [entry.team.models.mode for entry in manifest.teams] == [Mode.ALL, Mode.ALL]


DOCUMENTS = [
    ("", "acme.yaml:1: the document is empty"),
    ("# nothing\n", "acme.yaml:1: the document is empty"),
    ("{}", "acme.yaml:1: there is nothing in it; give at least one of models, groups, teams"),
    ("[]", "acme.yaml:1: is a list; give a mapping (`key: value`)"),
    ("gpt-4o", "acme.yaml:1: is the text 'gpt-4o'; give a mapping (`key: value`)"),
    ("models: []\n---\nmodels: []\n", "acme.yaml:2: this is not YAML: expected a single document in the stream "),
    ("models: []\nmodels: []\n", "acme.yaml:2: 'models' is here twice; it is already on line 1"),
    ("users: []\n", "acme.yaml:1: there is no key 'users'; use models, groups, teams"),
    ("models:\n", "acme.yaml:1: models: is empty; give a list"),
    ("models: {name: x}\n", "acme.yaml:1: models: is a mapping; give a list"),
    ("1: []\n", 'acme.yaml:1: 1 is a number; for a text write "1"'),
    ("? [a]\n: []\n", "acme.yaml:1: is a list; give a text"),
    ("models: [\n", "acme.yaml:2: this is not YAML: "),
    ("models:\n\t- x\n", "acme.yaml:2: this is not YAML: "),
    ("models: *nothing\n", "acme.yaml:1: this is not YAML: "),
    ("a: &a [*a]\n", "acme.yaml:1: there is no key 'a'"),
    ("models: &m [*m]\n", "acme.yaml:1: models[0]: is a list; give a mapping"),
    ("models: []\n\x00", "acme.yaml:2: this is not YAML: "),
    ("models: " + "[" * 100_000, "acme.yaml:1: this nests deeper than 50 levels"),
    (b"models:\n  - \xff\n", "acme.yaml:2: this is not UTF-8; save the file in that encoding"),
]


@pytest.mark.parametrize(("content", "message"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_a_document_that_is_none_is_refused(content: str | bytes, message: str) -> None:
    (line,) = problems(content)
    assert line.startswith(message)


MODELS = [
    ("x", "2: models[0]: is the text 'x'; give a mapping (`key: value`)"),
    ("{provider: openai}", "2: models[0]: 'name' is missing"),
    ("{name: gpt-4o}", "2: models[0]: 'provider' is missing"),
    ("{name: 4, provider: x}", '2: models[0].name: 4 is a number; for a text write "4"'),
    ("{name: 1.5, provider: x}", '2: models[0].name: 1.5 is a number; for a text write "1.5"'),
    ("{name: no, provider: x}", '2: models[0].name: no is true or false; for a text write "no"'),
    ("{name: , provider: x}", "2: models[0].name: is empty; give a text"),
    ("{name: !x y, provider: x}", "2: models[0].name: is tagged '!x'; give a text"),
    ("{name: !!binary eA==, provider: x}", "2: models[0].name: is tagged 'tag:yaml.org,2002:binary'; give a text"),
    ("{name: [a], provider: x}", "2: models[0].name: is a list; give a text"),
    ("{name: '', provider: x}", "2: models[0].name: is empty; give 1 to 256 bytes"),
    ("{name: ' a', provider: x}", "2: models[0].name: has white space at its start or end; remove it"),
    ("{name: 'a*', provider: x}", "2: models[0].name: holds '*'; a name is no pattern"),
    ("{name: a, provider: 'a*'}", "2: models[0].provider: holds '*'; a name is no pattern"),
    ("{name: a, provider: x, price: 1}", "2: models[0]: there is no key 'price'; use name, provider, labels"),
    (
        "{name: a, provider: x, labels: {until: 2026-12-31}}",
        "2: models[0].labels['until']: 2026-12-31 is a date; for a text write \"2026-12-31\"",
    ),
    (
        "{name: a, provider: x, labels: {n: 4711}}",
        "2: models[0].labels['n']: 4711 is a number; for a text write \"4711\"",
    ),
    ("{name: a, provider: x, labels: {1: x}}", '2: models[0].labels: 1 is a number; for a text write "1"'),
    ("{name: a, provider: x, labels: [x]}", "2: models[0].labels: is a list; give a mapping (`key: value`)"),
    (
        "{name: a, provider: x, labels: {k: a, k: b}}",
        "2: models[0].labels: 'k' is here twice; it is already on line 2",
    ),
    (
        "{name: a, provider: x}\n  - {name: b, provider: x}\n  - {name: a, provider: x}",
        "4: models[2].name: model 'a' is here twice; it is already on line 2",
    ),
]


@pytest.mark.parametrize(("item", "message"), MODELS)
def test_a_model_that_is_wrong_is_refused(item: str, message: str) -> None:
    assert problems(f"models:\n  - {item}\n") == [f"acme.yaml:{message}"]


GROUPS = [
    ("{name: a}", "2: groups[0]: 'models' is missing"),
    ("{name: a, models: []}", "2: groups[0].models: is empty; list at least one model, or delete the group"),
    ("{name: a/b, models: [x]}", "2: groups[0].name: holds '/'; a group's name has none"),
    ("{name: a, models: x}", "2: groups[0].models: is the text 'x'; give a list (`[a, b]`, or a line `- a` for each)"),
    ("{name: a, models: [x, 4]}", '2: groups[0].models[1]: 4 is a number; for a text write "4"'),
    (
        "{name: a, models: {mode: ALL}}",
        "2: groups[0].models: is a mapping; give a list (`[a, b]`, or a line `- a` for each)",
    ),
    ("{name: a, models: [x], etag: y}", "2: groups[0]: there is no key 'etag'; use name, models, excluded_models"),
    (
        "{name: a, models: [\n    x,\n    all-proxy-models]}",
        "4: groups[0].models[1]: 'all-proxy-models' is a word of another system, not a model; use mode ALL",
    ),
    (
        "{name: a, models: [x]}\n  - {name: a, models: [y]}",
        "3: groups[1].name: group 'a' is here twice; it is already on line 2",
    ),
]


@pytest.mark.parametrize(("item", "message"), GROUPS)
def test_a_group_that_is_wrong_is_refused(item: str, message: str) -> None:
    assert problems(f"groups:\n  - {item}\n") == [f"acme.yaml:{message}"]


TEAMS = [
    ("colour: red", "4: teams[0]: there is no key 'colour'; use id, display_name, models, "),
    ("id: sales", "4: teams[0]: 'id' is here twice; it is already on line 2"),
    ("member_count: 3", "4: teams[0]: there is no key 'member_count'; use "),
    ("display_name: 4711", '4: teams[0].display_name: 4711 is a number; for a text write "4711"'),
    ("display_name:", "4: teams[0].display_name: is empty; give a text"),
    ("blocked: 'true'", "4: teams[0].blocked: is the text 'true'; give true or false"),
    ("blocked: 1", "4: teams[0].blocked: is 1 (a number); give true or false"),
    ("unlisted_users: deny", "4: teams[0].unlisted_users: there is no 'deny'; use DENY, TEAM_SCOPE"),
    (
        "unlisted_users: UNLISTED_USERS_UNSPECIFIED",
        "4: teams[0].unlisted_users: there is no 'UNLISTED_USERS_UNSPECIFIED'; use DENY, TEAM_SCOPE",
    ),
    ("unlisted_users: 1", '4: teams[0].unlisted_users: 1 is a number; for a text write "1"'),
    (
        "default_team_member_models: []",
        "4: teams[0].default_team_member_models: is a list; give a mapping (`key: value`)",
    ),
    (
        "default_team_member_models: {}",
        "4: teams[0].default_team_member_models.mode: is missing and models is empty; an empty list is never",
    ),
    (
        "default_team_member_models: {mode: ALL}",
        "4: teams[0].default_team_member_models.mode: ALL is not possible here; use INHERIT, NONE, ONLY",
    ),
    (
        "default_team_member_models:\n      mode: NONE\n      models: [x]",
        "6: teams[0].default_team_member_models.models: is not empty with mode NONE; empty it, or use mode ONLY",
    ),
    (
        "default_team_member_models:\n      exclude: [x]",
        "5: teams[0].default_team_member_models: there is no key 'exclude'; use mode, models, excluded_models",
    ),
    (
        "default_team_member_models: {mode: only, models: [x]}",
        "4: teams[0].default_team_member_models.mode: there is no 'only'; use INHERIT, ALL, NONE, ONLY",
    ),
    (
        "default_member_limits: {tpm_limit: -1}",
        "4: teams[0].default_member_limits.tpm_limit: is negative; give 0 or more",
    ),
    (
        "default_member_limits: {tpm_limit: 1.5}",
        "4: teams[0].default_member_limits.tpm_limit: is 1.5 (a number); give a whole number in plain decimal digits",
    ),
    ("default_member_limits: {tpm_limit: 010}", "4: teams[0].default_member_limits.tpm_limit: is 010 (a number); give"),
    (
        "default_member_limits: {tpm_limit: 1:30}",
        "4: teams[0].default_member_limits.tpm_limit: is 1:30 (a number); give",
    ),
    (
        "default_member_limits: {tpm_limit: 0x10}",
        "4: teams[0].default_member_limits.tpm_limit: is 0x10 (a number); give",
    ),
    (
        "default_member_limits: {tpm_limit: 9223372036854775808}",
        "4: teams[0].default_member_limits.tpm_limit: 9223372036854775808 is out of range",
    ),
    (
        "default_member_limits: {rpm_limit: many}",
        "4: teams[0].default_member_limits.rpm_limit: is the text 'many'; give",
    ),
    (
        "default_member_limits: {max_budget_in_team: .inf}",
        "4: teams[0].default_member_limits.max_budget_in_team: is .inf (a number); give a number in plain decimal",
    ),
    (
        "default_member_limits: {max_budget_in_team: -0.5}",
        "4: teams[0].default_member_limits.max_budget_in_team: is not finite or is negative; give 0 or more",
    ),
    (
        "default_member_limits: {budget_duration: 30}",
        '4: teams[0].default_member_limits.budget_duration: 30 is a number; for a text write "30"',
    ),
    ("default_member_limits: {tpm_limit: }", "4: teams[0].default_member_limits.tpm_limit: is empty; give a whole"),
    ("model_aliases: {a: 'b*'}", "4: teams[0].model_aliases['a']: holds '*'; a name is no pattern"),
    ("model_aliases: {a: [b]}", "4: teams[0].model_aliases['a']: is a list; give a text"),
    ("labels: {'': b}", "4: teams[0].labels['']: is empty; give 1 to 256 bytes"),
    ("members: {user: sam}", "4: teams[0].members: is a mapping; give a list"),
    ("members:", "4: teams[0].members: is empty; give a list"),
    ("members: [sam]", "4: teams[0].members[0]: is the text 'sam'; give a mapping (`key: value`)"),
    ("members: [{role: MEMBER}]", "4: teams[0].members[0]: 'user' is missing"),
    (
        "members: [{user: sam, team: support}]",
        "4: teams[0].members[0]: there is no key 'team'; use user, role, allowed_models, scope_source, limits, ",
    ),
    ("members: [{user: sam, role: admin}]", "4: teams[0].members[0].role: there is no 'admin'; use MEMBER, TEAM_ADMIN"),
    (
        "members: [{user: sam, role: MEMBER, allowed_models: }]",
        "4: teams[0].members[0].allowed_models: is empty; give a mapping",
    ),
    (
        "members:\n      - user: sam\n      - user: ann\n        allowed_models: {models: []}",
        "7: teams[0].members[1].allowed_models.mode: is missing and models is empty; an empty list is never",
    ),
    (
        "members:\n      - user: sam\n        allowed_models: {mode: ALL}",
        "6: teams[0].members[0].allowed_models.mode: ALL is not possible here; use INHERIT, NONE, ONLY",
    ),
    (
        "members:\n      - user: sam\n      - user: ann\n      - user: sam",
        "7: teams[0].members[2].user: member of team 'support' 'sam' is here twice; it is already on line 5",
    ),
    (
        "members: [{user: sam, scope_source: EXPLICIT}]",
        "4: teams[0].members[0].scope_source: EXPLICIT needs allowed_models; give them, or leave this out",
    ),
    (
        "members: [{user: sam, scope_source: seeded}]",
        "4: teams[0].members[0].scope_source: there is no 'seeded'; use SEEDED, EXPLICIT",
    ),
    ("members: [{user: sam, limits: }]", "4: teams[0].members[0].limits: is empty; give a mapping"),
    ("members: [{user: sam, limits: {speed: null}}]", "4: teams[0].members[0].limits: there is no key 'speed'; use "),
    (
        "members: [{user: sam, limits: {tpm_limit: 5, tpm_limit: null}}]",
        "4: teams[0].members[0].limits: 'tpm_limit' is here twice; it is already on line 4",
    ),
    ("members: [{user: sam, limits: {[a]: null}}]", "4: teams[0].members[0].limits: is a list; give a text"),
    ("members: [{user: 'sam '}]", "4: teams[0].members[0].user: has white space at its start or end; remove it"),
]


@pytest.mark.parametrize(("line", "message"), TEAMS)
def test_a_team_that_is_wrong_is_refused(line: str, message: str) -> None:
    (found,) = problems(TEAM + f"    {line}\n")
    assert found.startswith(f"acme.yaml:{message}")


def test_a_team_needs_an_identifier_and_models() -> None:
    assert problems("teams:\n  - {}\n") == [
        "acme.yaml:2: teams[0]: 'id' is missing",
        "acme.yaml:2: teams[0]: 'models' is missing",
    ]


def test_a_wrong_identifier_is_told_once_not_for_every_member() -> None:
    text = "teams:\n  - id: ' x'\n    models: {mode: ALL}\n    members:\n      - {user: sam}\n      - {user: ann}\n"
    assert problems(text) == ["acme.yaml:2: teams[0].id: has white space at its start or end; remove it"]


def test_one_name_is_not_two_things() -> None:
    text = """\
        groups: [{name: a, models: [x]}, {name: b, models: [x]}]
        models:
          - {name: a, provider: p}
        teams:
          - id: t
            models: {mode: ALL}
            model_aliases:
              b: x
        """
    assert problems(text) == [
        "acme.yaml:3: models[0].name: 'a' is also the name of a group; choose another",
        "acme.yaml:8: teams[0].model_aliases['b']: 'b' is also the name of a group; choose another",
    ]


def test_one_user_may_be_in_many_teams() -> None:
    team = "{id: %s, models: {mode: ALL}, members: [{user: sam}]}"
    parse_manifest(f"teams: [{team % 'a'}, {team % 'b'}]".encode(), "acme.yaml")


def test_all_that_is_wrong_is_told_in_the_order_of_the_lines() -> None:
    text = """\
        teams:
          - id: 5
            models: {mode: ALL}
            members:
              - {user: sam, colour: red}
        groups:
          - {name: a/b, models: [x]}
        models:
          - {name: a}
        """
    assert [line.split(":")[1] for line in problems(text)] == ["2", "5", "7", "9"]


def test_what_is_wrong_everywhere_is_not_told_a_thousand_times() -> None:
    lines = problems("models:\n" + "  - {name: a, price: 1}\n" * 1_000)
    assert len(lines) == 21
    assert lines[-1] == "and 1980 more problems"
