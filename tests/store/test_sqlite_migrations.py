"""Schema versions: an older one is migrated in whole steps with its data, a newer one is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from policy_service.domain.records import MemberLimits
from policy_service.store import migrations
from policy_service.store.migrations import MIGRATIONS
from policy_service.store.protocol import Commit, RecordedRequest
from tests.store.audit import anchor_of, problems, rebuilt, state_of, whole_log
from tests.store.support import (
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
    opened,
    refusal,
    seeded,
    team,
)

HERE = Path(__file__).parent
RECORDS = [
    (team("é", only("gpt-4o", "g"), labels={"k": "v"}), 1),
    (seeded("é", "ann", NONE, limits=MemberLimits(rpm_limit=0), blocked=True, labels={"a": "b"}), 0),
    (group("g", "m", "x/*"), 0),
    (model("gpt-4o", "openai"), 0),
]
RECORDS_2 = [
    (team("t", display_name="T"), 1),
    (team("é", only("gpt-4o", "g"), labels={"k": "v"}), 2),
    (member("t", "ann", only("a")), 0),
    (seeded("é", "ann", NONE, limits=MemberLimits(rpm_limit=0), blocked=True, labels={"a": "b"}), 0),
    (member("é", "bob", only("a")), 0),
    (group("g", "m", "x/*"), 0),
    (model("gpt-4o", "openai"), 0),
]
REQUEST = RecordedRequest("CreateTeam", "1", b"hash", b"answer", START)


def left_by_version(version: int, path: Path) -> Path:
    """Makes the file a database as this version left it."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in (statement for step in MIGRATIONS[:version] for statement in step):
            connection.execute(statement)
        connection.executescript((HERE / f"version_{version}.sql").read_text())
    return path


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    return left_by_version(1, tmp_path / "policy.db")


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    return left_by_version(2, tmp_path / "policy.db")


def content(path: Path) -> list[str]:
    """The whole database as SQL."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def schema_version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0])


async def test_a_new_database_has_the_newest_version(tmp_path: Path) -> None:
    async with opened(tmp_path / "policy.db"):
        pass
    assert schema_version(tmp_path / "policy.db") == str(len(MIGRATIONS)) == "3"


async def test_version_1_is_migrated_with_its_data(version_1: Path) -> None:
    async with opened(version_1) as store:
        assert await all_records(store) == RECORDS
        log = await whole_log(store)
        assert list(problems(await anchor_of(store), log)) == []
        ((entry, records),) = rebuilt(log)
        assert dump(await loaded(store)) == dump(state_of(records.values(), entry.position))
        assert state_of(records.values(), entry.position).digest == entry.digest

        ledger = await Ledger.of(store)
        await ledger.put(seeded("é", "bob"), request=REQUEST)
        assert await store.recorded_request("CreateTeam", "1") == REQUEST
    assert schema_version(version_1) == "3"

    async with opened(version_1) as store:
        assert [count for _, count in await all_records(store)] == [2, 0, 0, 0, 0]
        assert dump(await loaded(store)) == dump(ledger.state)
        assert list(problems(await anchor_of(store), await whole_log(store))) == []


async def test_version_2_is_migrated_with_its_data(version_2: Path) -> None:
    async with opened(version_2) as store:
        assert await all_records(store) == RECORDS_2
        assert await store.recorded_request("CreateTeam", "1") == REQUEST
        assert await store.lineage() == (await store.position(), ())
        log = await whole_log(store)
        assert [entry.revision for entry, _ in log] == [2, 3]
        assert list(problems(await anchor_of(store), log)) == []
        ledger = await Ledger.of(store)
        former = ledger.state.position
        await store.begin_epoch("new")
    assert schema_version(version_2) == "3"

    async with opened(version_2) as store:
        assert await store.lineage() == (former._replace(epoch="new"), (former.epoch,))
        assert await all_records(store) == RECORDS_2


async def test_a_newer_version_is_refused_and_left_as_it_is(version_1: Path) -> None:
    with closing(sqlite3.connect(version_1)) as connection:
        connection.execute("UPDATE meta SET value = '4' WHERE name = 'schema_version'")
        connection.commit()
    before = version_1.read_bytes()
    words = "has schema version 4, this program knows up to 3: it was written by a newer Policy Service"
    said = await refusal(version_1)
    assert words in said
    assert str(version_1) in said
    assert version_1.read_bytes() == before


BROKEN = ("CREATE TABLE later (x TEXT)", "UPDATE teams SET body = 'half'", "CREATE TABLE broken (")


@pytest.mark.parametrize("migrated_before", [False, True])
async def test_a_migration_that_fails_leaves_the_version_before_it(
    version_1: Path, monkeypatch: pytest.MonkeyPatch, migrated_before: bool
) -> None:
    if migrated_before:
        async with opened(version_1) as store:
            await store.commit(Commit(request=REQUEST))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, BROKEN))
        assert "cannot use the database" in await refusal(version_1)
        left = content(version_1)
        assert "cannot use the database" in await refusal(version_1)
        assert content(version_1) == left
    assert schema_version(version_1) == "3"  # the steps before were whole, and stay
    assert "later" not in "".join(left)

    async with opened(version_1) as store:
        assert await all_records(store) == RECORDS
        assert await store.recorded_request("CreateTeam", "1") == (REQUEST if migrated_before else None)


async def test_a_new_database_whose_first_step_fails_is_made_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.db"
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", ((*MIGRATIONS[0], "broken"), *MIGRATIONS[1:]))
        assert "cannot use the database" in await refusal(path)
    async with opened(path) as store:
        assert (await store.position()).revision == 0
