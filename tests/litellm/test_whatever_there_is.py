"""Whatever a proxy has, the import writes a file that apply takes, and nothing of it is lost in writing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from policy_service.cli.manifest import Manifest, TeamEntry, parse_manifest
from policy_service.domain.names import identifier_problem
from policy_service.domain.records import INHERIT

from .files import deployment, imported, membership, team

NAMES = ["a", "b", "c", "a/b", "B", "x,y", "*", "a*", "p/*", "a.b*", "", " a", "a\n", "\ud800", "e\u0301", "z" * 257]
WORDS = [*NAMES, "all-proxy-models", "all-team-models", "no-default-models", "os.environ/X", "g"]
YAML_WORDS = [word for word in WORDS if word and word != "\ud800"]
NUMBERS = [None, 0, -1, 1.5, 7, float("inf"), float("nan"), 2**80]
USERS = ["ann", "sam", "", " eve", "ev\x00", "a@x.example"]


def some(rng: random.Random, items: list[Any], most: int) -> list[Any]:
    return [rng.choice(items) for _ in range(rng.randint(0, most))]


def random_budget(rng: random.Random, *limits: str) -> dict[str, Any]:
    return {"allowed_models": some(rng, WORDS, 3)} | {name: rng.choice(NUMBERS) for name in limits}


def random_team(rng: random.Random, identifier: str) -> dict[str, Any]:
    budgets = {
        user: {"allowed_models": some(rng, WORDS, 3)}
        | {name: rng.choice(NUMBERS) for name in ("max_budget", "tpm_limit")}
        for user in rng.sample(USERS, 4)
        if user
    }
    return team(
        identifier,
        models=some(rng, WORDS, 4),
        aliases={alias: rng.choice(WORDS[:-1]) or "a" for alias in some(rng, WORDS, 3)},
        team_alias=rng.choice([None, "T", "\u202e"]),
        default_team_member_models=some(rng, WORDS, 2),
        team_member_budget_table=rng.choice(
            [None, {"max_budget": rng.choice(NUMBERS), "rpm_limit": rng.choice(NUMBERS)}]
        ),
        access_group_ids=["g"],
        access_group_models=rng.choice([None, some(rng, WORDS, 2)]),
        members_with_roles=[{"user_id": user, "role": "user"} for user in some(rng, USERS, 4)],
        team_memberships=[membership(identifier, user, budget) for user, budget in budgets.items()],
    )


def as_written(manifest: Manifest) -> Manifest:
    """In the order of the file; what a seeded member has is the team's to say."""

    def entry(team_entry: TeamEntry) -> TeamEntry:
        members = [
            each if each.has_scope else each._replace(member=replace(each.member, allowed_models=INHERIT))
            for each in team_entry.members or ()
        ]
        return TeamEntry(team_entry.team, tuple(sorted(members, key=lambda each: each.member.user)))

    return Manifest(
        models=tuple(sorted(manifest.models or (), key=lambda each: each.name)),
        groups=tuple(sorted(manifest.groups or (), key=lambda each: each.name)),
        teams=tuple(sorted(map(entry, manifest.teams or ()), key=lambda each: each.team.id)),
    )


@pytest.mark.parametrize("seed", range(150))
def test_whatever_there_is_apply_takes_it(seed: int) -> None:
    rng = random.Random(seed)
    models = [
        deployment(name, rng.choice(["p/a", "q/b", "a", "os.environ/M"]), *some(rng, YAML_WORDS, 3))
        for name in some(rng, YAML_WORDS, 8)
    ]
    aliases = {alias: rng.choice(["a", "b", "g", "x,y"]) for alias in some(rng, YAML_WORDS, 2)}
    teams = [random_team(rng, identifier) for identifier in rng.sample(["t", "u", " v", "w\n"], 3)]
    result = imported(*teams, models=models, group_aliases=aliases, keep_open_door=rng.random() < 0.5)
    assert parse_manifest(result.text.encode(), "written.yaml") == as_written(result.manifest)
    # Who and what is missing was reported.
    left_out = sum(finding.code == "TEAM_LEFT_OUT" for finding in result.findings)
    assert len(result.manifest.teams or ()) + left_out == len(teams)
    for each in result.manifest.teams or ():
        (given,) = [made for made in teams if made["team_id"] == each.team.id]
        listed = {row["user_id"] for row in given["members_with_roles"]}
        wrong = sum(f.code == "USER_LEFT_OUT" and f.team == each.team.id for f in result.findings)
        kept = {member.member.user for member in each.members or ()}
        assert {user for user in listed if identifier_problem(user) is None} <= kept
        assert wrong >= sum(bool(user) and identifier_problem(user) is not None for user in listed)
