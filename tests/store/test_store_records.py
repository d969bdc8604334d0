"""Every store: what was committed is there, whole, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from policy_service.domain.changes import NO_HASH, Change, LogEntry
from policy_service.domain.records import MemberLimits, Record, Role, Team, UnlistedUsers
from policy_service.domain.state import State
from policy_service.errors import DatabaseError
from policy_service.store.protocol import Commit, Page, Store
from tests.store.audit import whole_log
from tests.store.support import (
    NAMES,
    NONE,
    START,
    Ledger,
    all_records,
    dump,
    group,
    loaded,
    member,
    model,
    only,
    seeded,
    team,
)

LIMITS = MemberLimits(max_budget_in_team=0.1, budget_duration="30d", tpm_limit=2**63 - 1, rpm_limit=0)
LABELS = {"": "", "ключ": '"\\ %', "z": "😀"}
FULL_TEAM = team(
    "tеam",
    only("b", "a", "b", excluded=("c/*",)),
    display_name="",
    default_team_member_models=NONE,
    default_member_limits=LIMITS,
    model_aliases={"fast": "a", "alias": "b"},
    blocked=True,
    unlisted_users=UnlistedUsers.TEAM_SCOPE,
    labels=LABELS,
    update_time=START + timedelta(microseconds=1),
)
FULL_MEMBER = seeded(
    FULL_TEAM.id, "123", only('"', "\\"), role=Role.TEAM_ADMIN, limits=LIMITS, blocked=True, labels=LABELS
)
FULL_GROUP = group("g😀", "b", "a", "*", excluded=("é",))
FULL_MODEL = model("p/é", "p/q", labels=LABELS)
FULL: tuple[Record, ...] = (FULL_TEAM, FULL_MEMBER, FULL_GROUP, FULL_MODEL)
PLAIN: tuple[Record, ...] = (team("t"), member("t", "ann"), group("g"), model("m"))
KINDS = ("team", "member", "group", "model")


async def count(store: Store, name: str) -> int:
    found = await store.team(name)
    assert found is not None
    return found.member_count


async def test_an_empty_store_has_nothing(store: Store) -> None:
    position = await store.position()
    assert position.epoch
    assert position[1:] == (0, NO_HASH, State().digest)
    assert await store.team("t") is None
    assert await store.member("t", "ann") is None
    assert await store.group("g") is None
    assert await store.models_named(["m"]) == {}
    assert await store.users_in("t", ["ann"]) == set()
    assert await store.teams("", 1) == Page([], more=False)
    assert await store.members("t", "", None, ("", ""), 1) == Page([], more=False)
    assert await store.members("", "ann", None, ("", ""), 1) == Page([], more=False)
    assert await store.groups("", 1) == Page([], more=False)
    assert await store.models("", 1) == Page([], more=False)
    assert await store.scopes_listing("m", 1) == []
    assert await store.excluded_entries() == set()
    assert await whole_log(store) == []
    assert await store.recorded_request("rpc", "id") is None
    assert dump(await loaded(store)) == dump(state_at(position.epoch))


def state_at(epoch: str) -> State:
    return State(epoch)


async def test_a_store_may_be_closed_twice(store: Store) -> None:
    await store.close()
    await store.close()


@pytest.mark.parametrize("records", [FULL, PLAIN], ids=["every field", "few fields"])
async def test_records_come_back_as_they_were(store: Store, ledger: Ledger, records: tuple[Record, ...]) -> None:
    await ledger.put(*records)
    for record in records:
        assert await ledger.stored(record) == record
        assert type(await ledger.stored(record)) is type(record)
    assert [record for record, _ in await all_records(store)] == list(records)


async def test_order_of_entries_and_repeated_entries_are_kept(store: Store, ledger: Ledger) -> None:
    await ledger.put(FULL_TEAM)
    stored = await store.team(FULL_TEAM.id)
    assert stored is not None
    assert stored.models.models == ("b", "a", "b")


@pytest.mark.parametrize("kind", KINDS)
async def test_records_are_replaced_whole(store: Store, ledger: Ledger, kind: str) -> None:
    await ledger.put(team(FULL_TEAM.id))
    at = KINDS.index(kind)
    plain: Record = [
        team(FULL_TEAM.id),
        member(FULL_TEAM.id, "123"),
        group(FULL_GROUP.name),
        model(FULL_MODEL.name),
    ][at]
    await ledger.put(FULL[at])
    await ledger.put(plain)
    assert await ledger.stored(plain) == plain
    assert dump(await loaded(store)) == dump(ledger.state)


@pytest.mark.parametrize("kind", KINDS)
async def test_deleted_records_are_gone(store: Store, ledger: Ledger, kind: str) -> None:
    await ledger.put(*PLAIN)
    record = PLAIN[KINDS.index(kind)]
    await ledger.drop(record)
    assert await ledger.stored(record) is None
    left = [kept for kept in PLAIN if kept != record and not (kind == "team" and kept == PLAIN[1])]
    assert [kept for kept, _ in await all_records(store)] == left


async def test_names_are_exact(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("Team"), member("Team", "Ann"), group("Group"), model("Model"))
    for name in ("team", "TEAM", "Team ", "Tea", "%", "T_am", "Team\0"):
        assert await store.team(name) is None
    assert await store.member("Team", "ann") is None
    assert await store.member("Ann", "Team") is None
    assert await store.group("group") is None
    assert await store.models_named(["model", "%", ""]) == {}
    assert await store.users_in("Team", ["ann", "ANN", ""]) == set()


async def test_models_named_gives_those_that_are_there(store: Store, ledger: Ledger) -> None:
    models = {name: model(name, f"p{name}") for name in NAMES}
    await ledger.put(*models.values())
    assert await store.models_named([]) == {}
    assert await store.models_named([*NAMES, "other"]) == models
    assert await store.models_named(["😀", "nobody", "😀"]) == {"😀": models["😀"]}


async def test_users_in_gives_those_of_the_team(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t"), team("u"), *(member("t", user) for user in NAMES), member("u", "eve"))
    assert await store.users_in("t", [*NAMES, "eve", "1"]) == set(NAMES)
    assert await store.users_in("t", []) == set()
    assert await store.users_in("nobody", list(NAMES)) == set()


async def test_a_team_takes_its_members_with_it_and_no_others(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t"), team("u"), member("t", "ann"), member("t", "bob"), member("u", "ann"))
    await ledger.drop(team("t"))
    assert await all_records(store) == [(team("u"), 1), (member("u", "ann"), 0)]
    await ledger.put(team("t"))
    assert await count(store, "t") == 0
    assert dump(await loaded(store)) == dump(ledger.state)


async def test_member_count_follows_every_change(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t"), member("t", "ann"), member("t", "bob"))
    assert await count(store, "t") == 2
    await ledger.put(member("t", "ann", NONE))
    assert await count(store, "t") == 2
    await ledger.commit(
        Change(await store.member("t", "ann"), None),
        Change(None, member("t", "eve")),
        Change(None, member("t", "zoe")),
    )
    assert await count(store, "t") == 3
    await ledger.put(team("t", NONE, member_count=77))
    assert await count(store, "t") == 3
    assert [found.member_count for found in (await store.teams("", 9)).items] == [3]
    await ledger.drop(*[member("t", user) for user in ("bob", "eve", "zoe")])
    assert await count(store, "t") == 0


async def test_a_commit_without_an_entry_moves_nothing(store: Store, ledger: Ledger) -> None:
    await ledger.put(*PLAIN)
    position, records, log = await store.position(), await all_records(store), await whole_log(store)
    await store.commit(Commit())
    assert (await store.position(), await all_records(store), await whole_log(store)) == (position, records, log)


async def test_the_position_is_that_of_the_last_entry(store: Store, ledger: Ledger) -> None:
    first = await ledger.put(team("t"))
    assert await store.position() == first.position
    second = await ledger.drop(team("t"))
    assert await store.position() == second.position
    assert second.position.revision == 2
    assert second.digest == State().digest


@pytest.mark.parametrize(
    "wrong",
    [
        {"previous_hash": "1" * 64},
        {"previous_hash": NO_HASH},
        {"revision": 1},
        {"revision": 3},
        {"revision": 0},
    ],
    ids=str,
)
async def test_an_entry_that_does_not_follow_is_refused_whole(
    store: Store, ledger: Ledger, wrong: dict[str, str | int]
) -> None:
    await ledger.put(*PLAIN)
    commit, _ = ledger.prepare(Change(None, team("u")))
    assert isinstance(commit.entry, LogEntry)
    with pytest.raises(DatabaseError, match="behind this process's back"):
        await store.commit(replace(commit, entry=replace(commit.entry, **wrong)))  # type: ignore[arg-type]
    assert await store.team("u") is None
    assert dump(await loaded(store)) == dump(ledger.state)
    assert len(await whole_log(store)) == 1
    await store.commit(commit)
    assert await store.team("u") == team("u")


async def test_loading_gives_the_state_that_the_commits_led_to(store: Store, ledger: Ledger) -> None:
    await ledger.put(*FULL, *PLAIN)
    assert dump(await loaded(store)) == dump(ledger.state)
    await ledger.put(replace(FULL_TEAM, models=NONE), member("t", "ann", only("x")), group("g", "y"), model("m", "q"))
    assert dump(await loaded(store)) == dump(ledger.state)
    await ledger.drop(*[record for record in FULL if not isinstance(record, Team)])
    await ledger.drop(FULL_TEAM)
    assert dump(await loaded(store)) == dump(ledger.state)


async def test_members_with_an_equal_policy_share_it_when_loaded(store: Store, ledger: Ledger) -> None:
    await ledger.put(team("t"), *(member("t", user, only("a"), labels={"k": user}) for user in ("ann", "bob")))
    members = (await loaded(store)).teams["t"].members
    assert members["ann"] is members["bob"]
