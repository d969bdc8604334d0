"""Manifests written as YAML: the same bytes for the same policy, and read back the same, whatever the names are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from textwrap import dedent
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_service.cli.manifest import Manifest, MemberEntry, TeamEntry, parse_manifest
from policy_service.cli.manifest_writer import manifest_text
from policy_service.domain.records import (
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from tests.support.manifests import AWKWARD, BUDGETS, manifests

T = TypeVar("T")
ALL = ModelScope(Mode.ALL)


def written(manifest: Manifest) -> str:
    return "".join(manifest_text(manifest))


def read(text: str) -> Manifest:
    return parse_manifest(text.encode(), "test.yaml")


def arranged(manifest: Manifest, arrange: Callable[[Iterable[Any], Callable[[Any], str]], Iterable[Any]]) -> Manifest:
    """The manifest with its lists of named things in another order."""

    def members(entry: TeamEntry) -> TeamEntry:
        found = entry.members
        return TeamEntry(entry.team, None if found is None else tuple(arrange(found, lambda each: each.member.user)))

    models, groups, teams = manifest.models, manifest.groups, manifest.teams
    return Manifest(
        None if models is None else tuple(arrange(models, lambda model: model.name)),
        None if groups is None else tuple(arrange(groups, lambda group: group.name)),
        None if teams is None else tuple(map(members, arrange(teams, lambda entry: entry.team.id))),
    )


def in_byte_order(items: Iterable[T], name: Callable[[T], str]) -> list[T]:
    return sorted(items, key=lambda item: name(item).encode())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests, st.integers())
def test_what_is_written_reads_back_the_same_and_writes_the_same_bytes(manifest: Manifest, seed: int) -> None:
    text = written(manifest)
    again = read(text)
    assert again == arranged(manifest, in_byte_order)
    assert written(again) == text
    chance = Random(seed)
    assert written(arranged(manifest, lambda items, _: chance.sample(list(items), len(list(items))))) == text


@pytest.mark.parametrize("name", AWKWARD)
def test_names_that_look_like_something_else(name: str) -> None:
    """Wherever a name can stand, and for a reader that knows nothing of ours, too."""
    scope = ModelScope(Mode.ONLY, (name,), (name,))
    member = Member(team=name, user=name, allowed_models=scope, labels={name: name}, limits=MemberLimits(None, name))
    team = Team(id=name, display_name=name, models=scope, default_team_member_models=scope, labels={name: name})
    manifest = Manifest(None, None, (TeamEntry(team, (MemberEntry(member, has_scope=True),)),))
    text = written(manifest)
    assert read(text) == manifest
    lists = {"models": [name], "excluded_models": [name]}
    assert yaml.load(text, Loader=yaml.SafeLoader) == {
        "teams": [
            {
                "id": name,
                "display_name": name,
                "models": lists,
                "default_team_member_models": lists,
                "labels": {name: name},
                "members": [
                    {"user": name, "allowed_models": lists, "limits": {"budget_duration": name}, "labels": {name: name}}
                ],
            }
        ]
    }


@pytest.mark.parametrize("budget", BUDGETS)
def test_budgets_are_exact_and_in_plain_digits(budget: float) -> None:
    team = Team(id="t", models=ALL, default_member_limits=MemberLimits(max_budget_in_team=budget))
    text = written(Manifest(None, None, (TeamEntry(team, None),)))
    digits = text.partition("max_budget_in_team: ")[2].rstrip("}\n")
    assert set(digits) <= set("0123456789.")
    assert not digits.endswith(".0")
    assert float(digits) == budget
    (entry,) = read(text).teams or ()
    assert entry.team.default_member_limits.max_budget_in_team == budget


def test_lists_of_any_length_stay_on_their_line() -> None:
    names = tuple(f"a-model-with-a-long-name-{number:04d}" for number in range(2_000))
    team = Team(id="t", models=ModelScope(Mode.ONLY, names))
    members = tuple(
        MemberEntry(Member(team="t", user=f"u{n:04d}", scope_source=ScopeSource.SEEDED), has_scope=False)
        for n in range(3_000)
    )
    manifest = Manifest((), (AccessGroup(name="g", models=names),), (TeamEntry(team, members),))
    text = written(manifest)
    assert read(text) == manifest
    assert len(text.splitlines()) == 6 + 3_000 + 1


def test_how_it_looks() -> None:
    """People read it, and compare two of them line by line: what has its default is left out, a member is a line."""
    only = ModelScope(Mode.ONLY, ("cheap", "gpt-4o"), ("*-preview",))
    seeded = ScopeSource.SEEDED
    support = Team(
        id="support",
        display_name="Customer: Support",
        models=only,
        default_team_member_models=ModelScope(Mode.NONE),
        default_member_limits=MemberLimits(12.5, "30d", 0, 60),
        model_aliases={"fast": "gpt-4o", "cheapest": "o3"},
        blocked=True,
        unlisted_users=UnlistedUsers.TEAM_SCOPE,
        labels={"b": "1", "a": ""},
    )
    members = (
        MemberEntry(Member(team="support", user="sam", scope_source=seeded), has_scope=False),
        MemberEntry(Member(team="support", user="ann", role=Role.TEAM_ADMIN, blocked=True), has_scope=True),
        MemberEntry(
            Member(team="support", user="bob", allowed_models=only, scope_source=seeded, limits=MemberLimits(5)),
            has_scope=True,
            unset_limits=frozenset(("tpm_limit", "budget_duration")),
        ),
    )
    manifest = Manifest(
        (Model(name="o3", provider="openai", labels={"family": "o"}), Model(name="gpt-4o", provider="openai")),
        (AccessGroup(name="cheap", models=("o*",), excluded_models=("o1",)),),
        (TeamEntry(support, members), TeamEntry(Team(id="empty", models=ALL), ())),
    )
    assert written(manifest) == dedent(
        """\
        models:
          - {name: gpt-4o, provider: openai}
          - {name: o3, provider: openai, labels: {family: o}}
        groups:
          - {name: cheap, models: [o*], excluded_models: [o1]}
        teams:
          - id: empty
            models: {mode: ALL}
            members: []
          - id: support
            display_name: 'Customer: Support'
            models: {models: [cheap, gpt-4o], excluded_models: ['*-preview']}
            default_team_member_models: {mode: NONE}
            default_member_limits: {max_budget_in_team: 12.5, budget_duration: 30d, tpm_limit: 0, rpm_limit: 60}
            model_aliases: {cheapest: o3, fast: gpt-4o}
            blocked: true
            unlisted_users: TEAM_SCOPE
            labels: {a: '', b: '1'}
            members:
              - {user: ann, role: TEAM_ADMIN, allowed_models: {mode: INHERIT}, blocked: true}
              - {user: bob, allowed_models: {models: [cheap, gpt-4o], excluded_models: ['*-preview']}, """
        """scope_source: SEEDED, limits: {max_budget_in_team: 5, budget_duration: null, tpm_limit: null}}
              - {user: sam}
        """
    )


def test_nothing_is_an_empty_list_and_what_is_left_out_is_left_out() -> None:
    assert written(Manifest((), (), ())) == "models: []\ngroups: []\nteams: []\n"
    assert written(Manifest(None, (), None)) == "groups: []\n"
