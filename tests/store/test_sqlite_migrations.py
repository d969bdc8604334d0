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
    model,
    only,
    opened,
    refusal,
    seeded,
    team,
)

ROWS = (Path(__file__).parent / "version_1.sql").read_text()
RECORDS = [
    (team("é", only("gpt-4o", "g"), labels={"k": "v"}), 1),
    (seeded("é", "ann", NONE, limits=MemberLimits(rpm_limit=0), blocked=True, labels={"a": "b"}), 0),
    (group("g", "m", "x/*"), 0),
    (model("gpt-4o", "openai"), 0),
]
REQUEST = RecordedRequest("CreateTeam", "1", b"hash", b"answer", START)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A database as version 1 left it."""
    path = tmp_path / "policy.db"
    with closing(sqlite3.connect(path)) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.executescript(ROWS)
    return path


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
    assert schema_version(tmp_path / "policy.db") == str(len(MIGRATIONS)) == "2"


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
    assert schema_version(version_1) == "2"

    async with opened(version_1) as store:
        assert [count for _, count in await all_records(store)] == [2, 0, 0, 0, 0]
        assert dump(await loaded(store)) == dump(ledger.state)
        assert list(problems(await anchor_of(store), await whole_log(store))) == []


async def test_a_newer_version_is_refused_and_left_as_it_is(version_1: Path) -> None:
    with closing(sqlite3.connect(version_1)) as connection:
        connection.execute("UPDATE meta SET value = '3' WHERE name = 'schema_version'")
        connection.commit()
    before = version_1.read_bytes()
    words = "has schema version 3, this program knows up to 2: it was written by a newer Policy Service"
    said = await refusal(version_1)
    assert words in said
    assert str(version_1) in said
    assert version_1.read_bytes() == before


BROKEN = ("CREATE TABLE later (x TEXT)", "UPDATE teams SET body = 'half'", "CREATE TABLE broken (")


@pytest.mark.parametrize("old", [1, 2])
async def test_a_migration_that_fails_leaves_the_version_before_it(
    version_1: Path, monkeypatch: pytest.MonkeyPatch, old: int
) -> None:
    if old == 2:
        async with opened(version_1) as store:
            await store.commit(Commit(request=REQUEST))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", (*MIGRATIONS, BROKEN))
        assert "cannot use the database" in await refusal(version_1)
        left = content(version_1)
        assert "cannot use the database" in await refusal(version_1)
        assert content(version_1) == left
    assert schema_version(version_1) == "2"  # the second step was whole, and stays
    assert "later" not in "".join(left)

    async with opened(version_1) as store:
        assert await all_records(store) == RECORDS
        assert await store.recorded_request("CreateTeam", "1") == (REQUEST if old == 2 else None)


async def test_a_new_database_whose_first_step_fails_is_made_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.db"
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", ((*MIGRATIONS[0], "broken"), *MIGRATIONS[1:]))
        assert "cannot use the database" in await refusal(path)
    async with opened(path) as store:
        assert (await store.position()).revision == 0
