"""The state: one result whatever the order it was built in, and a digest that follows every change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain.changes import NO_HASH, Change, Key, Position, key_of
from policy_service.domain.records import (
    AccessGroup,
    Kind,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.state import Prepared, State
from tests.domain.worlds import answers, build, some, worlds

World = tuple[Record, ...]


def content(state: State) -> dict[str, Any]:
    """All that a state holds, as plain values."""
    return {
        "teams": {
            team_id: (team.scope.source, team.aliases, team.blocked, team.unlisted_allowed, team.limits, team.digest)
            for team_id, team in state.teams.items()
        },
        "members": {
            (team_id, user): (policy.scope.source, policy.limits, policy.blocked, policy.fingerprint)
            for team_id, team in state.teams.items()
            for user, policy in team.members.items()
        },
        "groups": {name: (g.source.models, g.source.excluded_models, g.digest) for name, g in state.groups.items()},
        "provider_names": state.provider_names,
        "providers": state.providers,
        "spellings": state.spellings,
        "folded_provider_names": state.folded_provider_names,
        "digest": state.digest,
    }


def members_last(records: Iterable[Record]) -> list[Record]:
    """A member is loaded after its team; all else in any order."""
    return sorted(records, key=lambda record: isinstance(record, Member))


def changes_between(old: World, new: World) -> Iterator[Change]:
    """What a log would hold: a team's tombstone takes its members along, unnamed."""
    before, after = ({key_of(record): record for record in records} for records in (old, new))
    teams = {record.id for record in new if isinstance(record, Team)}
    for key, record in before.items():
        taken_along = isinstance(record, Member) and record.team not in teams
        if key not in after and not taken_along:
            yield Change(record, None)
    for record in members_last(new):
        old_record = before.get(key_of(record))
        if old_record != record:
            yield Change(old_record, record)


@some
@given(worlds(), st.data())
def test_the_order_in_which_a_world_is_built_does_not_matter(records: World, data: st.DataObject) -> None:
    shuffled = build(members_last(data.draw(st.permutations(records))))
    assert content(shuffled) == content(build(records))
    assert answers(shuffled) == answers(build(records))


@some
@given(worlds(), worlds(), st.sampled_from(("t", "u", None)), st.integers(1, 5), st.data())
def test_changes_lead_to_the_state_that_a_fresh_build_gives(
    old: World, new: World, gone: str | None, size: int, data: st.DataObject
) -> None:
    new = tuple(record for record in new if gone not in (getattr(record, "id", None), getattr(record, "team", None)))
    state = build(old)
    changes = list(changes_between(old, new))
    if data.draw(st.booleans()):
        changes = sorted(data.draw(st.permutations(changes)), key=lambda change: isinstance(change.after, Member))
    for start in range(0, len(changes), size):
        before = content(state)
        prepared = Prepared(state)
        for change in changes[start : start + size]:
            prepared.add(change)
        assert content(state) == before
        state.apply(prepared, Position("epoch", start + 1, NO_HASH, prepared.digest))
        assert state.digest == prepared.digest

    assert content(state) == content(build(new))
    assert answers(state) == answers(build(new))


@some
@given(worlds())
def test_undoing_everything_leads_to_the_empty_state(records: World) -> None:
    state = build(records)
    prepared = Prepared(state)
    for change in changes_between(records, ()):
        prepared.add(change)
    state.apply(prepared, Position("epoch", 1, NO_HASH, prepared.digest))
    assert content(state) == content(State("epoch"))


TEAM = Team(id="t", models=ModelScope(Mode.ONLY, ("a",)))
MEMBER = Member(team="t", user="ann", allowed_models=ModelScope(Mode.ONLY, ("a",)))
GROUP = AccessGroup(name="g", models=("a",))
MODEL = Model(name="a", provider="p")
BASE: tuple[Record, ...] = (TEAM, MEMBER, GROUP, MODEL)


@pytest.mark.parametrize(
    "changed",
    [
        replace(TEAM, models=ModelScope(Mode.ALL)),
        replace(TEAM, models=ModelScope(Mode.ONLY, ("a",), ("b",))),
        replace(TEAM, default_member_limits=MemberLimits(rpm_limit=1)),
        replace(TEAM, model_aliases={"x": "a"}),
        replace(TEAM, blocked=True),
        replace(TEAM, unlisted_users=UnlistedUsers.TEAM_SCOPE),
        replace(MEMBER, allowed_models=ModelScope(Mode.NONE)),
        replace(MEMBER, limits=MemberLimits(tpm_limit=0)),
        replace(MEMBER, blocked=True),
        replace(GROUP, models=("a", "b")),
        replace(GROUP, excluded_models=("a",)),
        replace(MODEL, provider="q"),
        Member(team="t", user="bob"),
        Model(name="A", provider="p"),
    ],
)
def test_the_digest_covers_what_decides(changed: Record) -> None:
    assert build(replaced(BASE, changed)).digest != build(BASE).digest


@pytest.mark.parametrize(
    "changed",
    [
        replace(TEAM, display_name="T"),
        replace(TEAM, default_team_member_models=ModelScope(Mode.NONE)),
        replace(TEAM, labels={"k": "v"}, etag="2", member_count=7),
        replace(MEMBER, labels={"k": "v"}, etag="2", scope_source=ScopeSource.SEEDED),
        replace(MODEL, labels={"k": "v"}),
    ],
)
def test_the_digest_covers_nothing_else(changed: Record) -> None:
    assert build(replaced(BASE, changed)).digest == build(BASE).digest


def replaced(records: Sequence[Record], changed: Record) -> list[Record]:
    return members_last([record for record in records if key_of(record) != key_of(changed)] + [changed])


def test_equal_policies_are_one_object_and_go_with_their_last_member() -> None:
    team = Team(id="t", models=ModelScope(Mode.ALL))
    members = [Member(team="t", user=user, allowed_models=ModelScope(Mode.ONLY, ("a",))) for user in ("ann", "bob")]
    state = build([team, *members, Member(team="t", user="eve")])
    policies = state.teams["t"].members
    assert policies["ann"] is policies["bob"]
    assert policies["ann"] is not policies["eve"]
    assert len(state._policies) == 2

    prepared = Prepared(state)
    for member in members:
        prepared.add(Change(member, None))
    state.apply(prepared, Position("epoch", 1, NO_HASH, prepared.digest))
    del prepared, policies
    assert len(state._policies) == 1


def test_a_changed_team_keeps_its_members() -> None:
    state = build(BASE)
    prepared = Prepared(state)
    prepared.add(Change(TEAM, replace(TEAM, blocked=True)))
    state.apply(prepared, Position("epoch", 1, NO_HASH, prepared.digest))
    assert set(state.teams["t"].members) == {"ann"}


def test_a_member_loads_from_an_interned_policy_as_from_a_record() -> None:
    state = build([TEAM])
    state.put(Key(Kind.MEMBER, "t", "ann"), state.intern(MEMBER.allowed_models, MEMBER.limits, MEMBER.blocked))
    assert content(state) == content(build([TEAM, MEMBER]))


def test_the_revision_is_the_token_of_the_position() -> None:
    state = State("epoch")
    assert (state.revision, state.position.digest, state.digest) == ("epoch.0", "0" * 32, "0" * 32)
    state.move_to(Position("other", 7, NO_HASH, state.digest))
    assert state.revision == "other.7"


def test_names_that_differ_in_case_share_their_providers() -> None:
    state = build([Model(name="Mixtral", provider="Mistral"), Model(name="mixtral", provider="together")])
    assert state.folded_provider_names == {"mixtral": ("mistral/mixtral", "together/mixtral")}
