"""Records as JSON and back, byte for byte the same every time."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_service.domain.changes import key_of
from policy_service.domain.encoding import (
    canonical,
    format_time,
    from_json,
    limits_from_json,
    limits_to_json,
    parse_time,
    policy_to_json,
    profile_to_json,
    scope_from_json,
    scope_to_json,
    team_from_json,
    to_json,
)
from policy_service.domain.records import (
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)

many_records = settings(max_examples=200, deadline=None, database=None)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
names = texts.filter(bool)
lists = st.lists(names, max_size=3).map(tuple)
maps = st.dictionaries(names, texts, max_size=3)
scopes = st.builds(ModelScope, st.sampled_from(Mode), lists, lists)
counts = st.none() | st.integers(0, 2**63 - 1)
budgets = st.none() | st.floats(0, allow_infinity=False, allow_nan=False)
limits = st.builds(MemberLimits, budgets, st.none() | names, counts, counts)
stamps = {
    "etag": names,
    "create_time": st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is the strategy's
    "update_time": st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
}
teams = st.builds(
    Team,
    id=names,
    display_name=st.none() | texts,
    models=scopes,
    default_team_member_models=scopes,
    default_member_limits=limits,
    model_aliases=maps,
    blocked=st.booleans(),
    unlisted_users=st.sampled_from(UnlistedUsers),
    labels=maps,
    **stamps,
)
members = st.builds(
    Member,
    team=names,
    user=names,
    role=st.sampled_from(Role),
    allowed_models=scopes,
    scope_source=st.sampled_from(ScopeSource),
    limits=limits,
    blocked=st.booleans(),
    labels=maps,
    **stamps,
)
groups = st.builds(AccessGroup, name=names, models=lists.filter(bool), excluded_models=lists, **stamps)
models = st.builds(Model, name=names, provider=names, labels=maps)
records = st.one_of(teams, members, groups, models)


def values_of(record: Record) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


@many_records
@given(records)
def test_a_record_comes_back_whole(record: Record) -> None:
    text = canonical(to_json(record))
    back = from_json(key_of(record).kind, json.loads(text))
    assert back == record
    assert values_of(back) == values_of(record)
    assert canonical(to_json(back)) == text


@many_records
@given(scopes, limits)
def test_scopes_and_limits_come_back_whole(scope: ModelScope, some_limits: MemberLimits) -> None:
    assert scope_from_json(json.loads(canonical(scope_to_json(scope)))) == scope
    assert limits_from_json(json.loads(canonical(limits_to_json(some_limits)))) == some_limits


@many_records
@given(members)
def test_a_members_policy_and_profile_are_the_member(member: Member) -> None:
    assert to_json(member) == {"team": member.team, "user": member.user} | policy_to_json(member) | profile_to_json(
        member
    )
    assert not set(policy_to_json(member)) & set(profile_to_json(member))


@many_records
@given(maps)
def test_the_order_of_keys_does_not_matter(labels: dict[str, str]) -> None:
    backwards = dict(reversed(labels.items()))
    assert canonical(to_json(Model(name="a", provider="p", labels=labels))) == canonical(
        to_json(Model(name="a", provider="p", labels=backwards))
    )


def test_canonical_is_stable() -> None:
    """These bytes are hashed in databases that exist: they never change."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 60, UTC)
    member = Member(
        team="équipe",
        user="ann",
        allowed_models=ModelScope(Mode.ONLY, ("b", "a"), ("c*",)),
        limits=MemberLimits(max_budget_in_team=1.0, rpm_limit=0),
        labels={"z": "", "a": '"'},
        etag="e",
        create_time=moment,
        update_time=moment,
    )
    assert canonical(to_json(member)) == (
        '{"allowed_models":{"excluded_models":["c*"],"mode":"ONLY","models":["b","a"]},'
        '"create_time":"2026-01-02T03:04:05.000060Z","etag":"e",'
        '"labels":{"a":"\\"","z":""},"limits":{"max_budget_in_team":1.0,"rpm_limit":0},'
        '"role":"MEMBER","scope_source":"EXPLICIT","team":"équipe",'
        '"update_time":"2026-01-02T03:04:05.000060Z","user":"ann"}'
    )


def test_what_is_derived_is_not_kept() -> None:
    team = Team(id="t", models=ModelScope(Mode.ALL), member_count=5, etag="e")
    assert "member_count" not in to_json(team)
    assert team_from_json(to_json(team), member_count=7).member_count == 7


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_canonical_refuses_what_json_has_no_word_for(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"x": value})


def test_times_sort_as_text() -> None:
    zone = timezone(timedelta(hours=5))
    moments = [
        datetime(2026, 1, 1, tzinfo=zone),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 1, UTC),
    ]
    written = [format_time(moment) for moment in moments]
    assert written == sorted(written)
    assert [parse_time(text) for text in written] == moments
