"""What becomes of a team and its members, but for their models."""

from __future__ import annotations

from typing import Any

import pytest

from policy_service.domain.records import MemberLimits, Role, UnlistedUsers

from .files import imported, membership, only, team


def test_a_team() -> None:
    entry = imported(team(team_alias="Sales", blocked=True)).team()
    assert (entry.team.display_name, entry.team.blocked) == ("Sales", True)
    assert entry.team.unlisted_users is UnlistedUsers.DENY
    assert entry.members == ()


def test_the_open_door_is_closed_unless_it_is_kept() -> None:
    keys = [{"user_id": None}, {"user_id": "eve"}, {"user_id": "ann"}]
    closed = imported(team(members={"ann": None}, keys=keys))
    assert not closed.allows("", "gpt-4o")
    assert "in the file 2 of the team's 3 keys are" in closed.finding("OPEN_DOOR_CLOSED").here
    kept = imported(team(members={"ann": None}, keys=keys), keep_open_door=True)
    assert kept.team().team.unlisted_users is UnlistedUsers.TEAM_SCOPE
    assert (kept.allows("", "gpt-4o"), kept.allows("", "o3"), kept.findings) == (True, False, [])


def test_roles() -> None:
    roster = [{"user_id": user, "role": role} for user, role in [("a", "admin"), ("b", "user"), ("c", "user")]]
    twice = [{"user_id": "c", "role": "admin"}, {"user_id": "a", "role": "user"}]
    members = imported(team(members_with_roles=roster + twice)).team().members or ()
    assert {entry.member.user: entry.member.role for entry in members} == {
        "a": Role.TEAM_ADMIN,
        "b": Role.MEMBER,
        "c": Role.TEAM_ADMIN,
    }


def test_members_without_a_user_id_are_reported() -> None:
    roster = [{"user_id": None, "user_email": "a@x.example", "role": "user"}, {"user_id": "", "role": "user"}]
    result = imported(team(members_with_roles=roster))
    assert (result.team().members, result.finding("EMAIL_ONLY").members) == ((), 2)
    assert "gets nothing" in result.finding("EMAIL_ONLY").here
    kept = imported(team(members_with_roles=roster), keep_open_door=True)
    assert "gets what the team may use" in kept.finding("EMAIL_ONLY").here


def test_a_membership_without_a_member_is_kept_only_where_it_narrows() -> None:
    rows = [membership("t", "gone", ["o3"]), membership("t", "left", [])]
    closed = imported(team(models=[], team_memberships=rows))
    assert (closed.scopes(), closed.finding("MEMBERSHIP_WITHOUT_MEMBER").members) == ({}, 2)
    kept = imported(team(models=[], team_memberships=rows), keep_open_door=True)
    assert kept.scopes()["gone"] == only("o3")
    assert (kept.allows("gone", "o3"), kept.allows("gone", "gpt-4o"), kept.allows("left", "gpt-4o")) == (1, 0, 1)


@pytest.mark.parametrize("user", [" ann", "a\nb", "x" * 257, "e\u0301", "\ud800"])
def test_a_user_that_cannot_be_asked_for_is_left_out(user: str) -> None:
    result = imported(team(members={user: ["o3"], "sam": None}))
    assert (list(result.scopes()), result.codes) == (["sam"], ["USER_LEFT_OUT"])


@pytest.mark.parametrize("identifier", [" t", "a\tb", "x" * 257])
def test_a_team_that_cannot_be_asked_for_is_left_out(identifier: str) -> None:
    result = imported(team(identifier, members={"ann": None}), team("ok"))
    assert [entry.team.id for entry in result.manifest.teams or ()] == ["ok"]
    assert result.finding("TEAM_LEFT_OUT").members == 1


def test_a_display_name_that_cannot_be_is_left_out() -> None:
    result = imported(team(team_alias="Sales\u202e"))
    assert (result.team().team.display_name, result.codes) == (None, ["DISPLAY_NAME_LEFT_OUT"])
    assert imported(team(team_alias="")).team().team.display_name is None


def test_without_teams_only_models_and_groups_are_written() -> None:
    assert imported().manifest.teams == ()


# What only LiteLLM has: fields of a team, the finding's code and subject.
LEFT_OUT: list[tuple[dict[str, Any], str, str]] = [
    ({"max_budget": 0, "tpm_limit": 5}, "TEAM_LIMITS_LEFT_OUT", "max_budget, tpm_limit of the team"),
    ({"budget_limits": [{"budget_duration": "1d", "max_budget": 1}]}, "TEAM_LIMITS_LEFT_OUT", "budget_limits of"),
    ({"router_settings": {"model_group_alias": {}}}, "TEAM_SETTING_LEFT_OUT", "router_settings of the team"),
    (
        {"keys": [{"models": ["o3"]}, {"models": []}, {"models": ["all-team-models"]}]},
        "KEYS_LEFT_OUT",
        "models of keys",
    ),
    ({"metadata": {"team_member_budget_id": "b"}}, "LIMITS_LEFT_OUT", "team_member_budget_id of the team"),
    ({"access_group_ids": ["g"]}, "DATABASE_GROUPS", "access_group_ids"),
]


@pytest.mark.parametrize(("fields", "code", "subject"), LEFT_OUT)
def test_what_stays_in_litellm_is_reported(fields: dict[str, Any], code: str, subject: str) -> None:
    result = imported(team(**fields))
    assert result.codes == [code]
    assert result.finding(code).subject.startswith(subject)
    assert result.team().team.models == only("gpt-4o")


def test_keys_that_narrow_nothing_are_not_counted() -> None:
    keys = [{"models": ["o3"]}, {"models": ["all-team-models"]}, {"models": []}, {}]
    assert "keys of the team, 1 in the file, to" in imported(team(keys=keys)).finding("KEYS_LEFT_OUT").litellm


def test_nothing_is_reported_of_settings_that_are_empty() -> None:
    empty: dict[str, Any] = {"max_budget": None, "model_max_budget": {}, "router_settings": None, "metadata": None}
    assert imported(team(**empty, access_group_ids=[], budget_limits=[])).codes == []


def test_groups_of_the_database_are_written_out_when_the_file_has_them() -> None:
    fields: dict[str, Any] = {"access_group_ids": ["g"], "access_group_models": ["o3", "gpt-4o"]}
    result = imported(team(models=["gpt-4o"], **fields))
    assert (result.team().team.models, result.codes) == (only("gpt-4o", "o3"), ["DATABASE_GROUPS"])
    # They add to a list that has something in it; one that is empty is everything already.
    assert imported(team(models=["no-default-models"], **fields)).team().team.models == only("o3", "gpt-4o")
    assert imported(team(models=[], **fields)).team().team.models.mode == "ALL"
    assert imported(team(models=["x", "*"], **fields)).codes == []


BIG = 2**63
# (a budget, the limits, how many are changed)
LIMITS: list[tuple[dict[str, Any], MemberLimits, int]] = [
    ({}, MemberLimits(), 0),
    ({"max_budget": 12.5, "budget_duration": "30d"}, MemberLimits(12.5, "30d"), 0),
    ({"tpm_limit": 10, "rpm_limit": 0}, MemberLimits(tpm_limit=10, rpm_limit=0), 0),
    ({"max_budget": 0}, MemberLimits(0.0), 0),
    ({"max_budget": -1}, MemberLimits(0.0), 1),
    ({"max_budget": -0.0}, MemberLimits(0.0), 1),
    ({"max_budget": float("inf")}, MemberLimits(), 1),
    ({"max_budget": float("-inf")}, MemberLimits(), 1),
    ({"max_budget": float("nan")}, MemberLimits(), 1),
    ({"max_budget": 10**400}, MemberLimits(), 1),
    ({"max_budget": 5e-324}, MemberLimits(5e-324), 0),
    ({"tpm_limit": -5}, MemberLimits(tpm_limit=0), 1),
    ({"tpm_limit": BIG}, MemberLimits(tpm_limit=BIG - 1), 1),
    ({"tpm_limit": 10**400}, MemberLimits(tpm_limit=BIG - 1), 1),
    ({"tpm_limit": 100.0}, MemberLimits(tpm_limit=100), 0),
    ({"rpm_limit": 1.5}, MemberLimits(rpm_limit=1), 1),
    ({"rpm_limit": float("inf")}, MemberLimits(rpm_limit=BIG - 1), 1),
    ({"rpm_limit": float("nan")}, MemberLimits(), 1),
    ({"budget_duration": ""}, MemberLimits(), 0),
    ({"budget_duration": " 30d"}, MemberLimits(), 1),
]


@pytest.mark.parametrize(("budget", "limits", "changed"), LIMITS)
def test_limits_of_a_member(budget: dict[str, Any], limits: MemberLimits, changed: int) -> None:
    result = imported(team(members={"ann": budget, "sam": budget}))
    members = result.team().members or ()
    assert [entry.member.limits for entry in members] == [limits, limits]
    assert result.codes == ["LIMIT_CHANGED"] * changed
    assert all(result.finding("LIMIT_CHANGED").members == 2 for _ in range(changed))


def test_limits_that_are_not_kept_are_reported() -> None:
    result = imported(
        team(members={"ann": {"soft_budget": 1, "max_parallel_requests": 0}, "sam": {"model_max_budget": {}}})
    )
    finding = result.finding("LIMITS_LEFT_OUT")
    assert (finding.subject, finding.members) == ("max_parallel_requests, soft_budget of members", 1)


DEFAULT = {"max_budget": 50, "budget_duration": "30d", "tpm_limit": 9, "rpm_limit": None}
# (a member's own budget, which limits of the team's default shall not fill it)
SEEDED: list[tuple[dict[str, Any] | None, set[str]]] = [
    (None, {"tpm_limit"}),  # LiteLLM falls back to the team's budget, and to nothing else of it
    ({"max_budget": None}, {"tpm_limit"}),
    ({"max_budget": 10}, {"budget_duration", "tpm_limit"}),
    ({"max_budget": 10, "budget_duration": "1d", "tpm_limit": 1}, set()),
    ({"max_budget": float("inf")}, {"max_budget_in_team", "budget_duration", "tpm_limit"}),
]


@pytest.mark.parametrize(("budget", "unset"), SEEDED)
def test_what_a_member_has_of_the_teams_limits(budget: dict[str, Any] | None, unset: set[str]) -> None:
    result = imported(team(members={"ann": budget}, team_member_budget_table=DEFAULT))
    assert result.team().team.default_member_limits == MemberLimits(50, "30d", 9)
    (entry,) = result.team().members or ()
    assert entry.unset_limits == unset


def test_a_budget_of_zero_is_none_for_a_team_but_one_for_a_member() -> None:
    table = {"max_budget": 0.0, "rpm_limit": 5}
    result = imported(team(members={"ann": {"max_budget": 0.0}}, team_member_budget_table=table))
    assert result.team().team.default_member_limits == MemberLimits(rpm_limit=5)
    (entry,) = result.team().members or ()
    assert entry.member.limits.max_budget_in_team == 0
    assert imported(team(team_member_budget_table={"max_budget": -1})).codes == []
