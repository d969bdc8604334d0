"""The SQLite store in trouble: records edited behind its back, a full disk, another writer, callers that go away."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from policy_service.domain.changes import Change
from policy_service.domain.state import State
from policy_service.errors import DatabaseError, Unavailable
from policy_service.store.protocol import Commit, LogFilter, RecordedRequest
from policy_service.store.sqlite import READERS, SqliteStore
from tests.store.audit import whole_log
from tests.store.support import START, Ledger, all_records, dump, group, loaded, member, model, only, opened, team


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database that is closed, with a few records."""
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        ledger = await Ledger.of(store)
        await ledger.put(
            team("t"), team("u"), member("t", "ann", only("a")), member("u", "ann"), group("g"), model("m")
        )
        await ledger.put(member("t", "bob"))
    return path


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with opened(path) as store:
        yield store


def edit(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(statement).rowcount > 0
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE teams SET body = replace(body, 'ALL', 'NONE')",
        "UPDATE policies SET body = replace(body, '\"a\"', '\"b\"')",
        "UPDATE members SET policy = (SELECT min(policy) FROM policies)",
        "DELETE FROM members WHERE team = 't'",
        "DELETE FROM groups",
        "DELETE FROM models",
        "UPDATE models SET body = replace(body, '\"p\"', '\"q\"')",
        'INSERT INTO models VALUES (\'n\', \'{"name":"n","provider":"p"}\')',
        "INSERT INTO teams SELECT 'v', replace(body, '\"t\"', '\"v\"'), 0 FROM teams WHERE team = 't'",
        "UPDATE log SET digest = '0' WHERE revision = 2",
        "DELETE FROM log WHERE revision = 2",
        "DELETE FROM teams WHERE team = 't'",
        "DELETE FROM policies",
        "UPDATE teams SET body = '{}'",
        "UPDATE groups SET body = 'not JSON'",
    ],
)
async def test_records_that_are_not_those_of_the_log_are_refused(path: Path, statement: str) -> None:
    edit(path, statement)
    words = r"are not those of its log .*: the file was damaged or edited; restore"
    async with opened(path) as store:
        with pytest.raises(DatabaseError, match=words):
            await store.load(State())


async def limit_pages(store: SqliteStore, pages: int) -> None:
    await store._writer.execute_fetchall(f"PRAGMA max_page_count = {pages}")


async def full_disk(store: SqliteStore) -> None:
    """The database may not grow."""
    ((pages,),) = await store._writer.execute_fetchall("PRAGMA page_count")
    await limit_pages(store, pages)


async def test_a_full_disk_does_nothing_by_halves_and_passes(store: SqliteStore) -> None:
    ledger = await Ledger.of(store)
    records, log = await all_records(store), await whole_log(store)
    await full_disk(store)
    large = team("large", labels={"k": "x" * 100_000})
    changes = [Change(None, large), Change(None, member("large", "ann")), Change(await store.team("u"), None)]
    request = RecordedRequest("rpc", "1", b"", b"", START)
    commit, prepared = ledger.prepare(*changes, request=request)
    for _ in range(3):
        with pytest.raises(Unavailable, match="database or disk is full"):
            await store.commit(commit)
        assert await all_records(store) == records
        assert await whole_log(store) == log
        assert await store.recorded_request("rpc", "1") is None
        assert await store.position() == ledger.state.position

    await limit_pages(store, 1_000_000)
    await store.commit(commit)
    assert commit.entry is not None
    ledger.state.apply(prepared, commit.entry.position)
    assert await store.team("large") == large
    assert await store.team("u") is None
    assert await store.recorded_request("rpc", "1") == request
    assert dump(await loaded(store)) == dump(ledger.state)


async def test_a_full_disk_refuses_a_request_without_an_entry(store: SqliteStore) -> None:
    await full_disk(store)
    large = RecordedRequest("rpc", "1", b"", b"x" * 100_000, START)
    with pytest.raises(Unavailable, match="full"):
        await store.commit(Commit(request=large))
    await limit_pages(store, 1_000_000)
    await store.commit(Commit(request=large))
    assert await store.recorded_request("rpc", "1") == large


async def test_another_writer_is_noticed(store: SqliteStore, path: Path) -> None:
    ledger = await Ledger.of(store)
    edit(path, "INSERT INTO log SELECT 3, epoch, time, actor, peer, rpc, format, digest, hash, 'x', 1 FROM log LIMIT 1")
    with pytest.raises(DatabaseError, match=r"moved to .*\.3 behind this process's back"):
        await ledger.put(model("n"))
    assert await store.models_named(["n"]) == {}


async def test_another_epoch_is_refused(store: SqliteStore, path: Path) -> None:
    ledger = await Ledger.of(store)
    edit(path, "UPDATE meta SET value = 'another' WHERE name = 'epoch'")
    with pytest.raises(DatabaseError, match="behind this process's back"):
        await ledger.put(model("n"))


async def test_a_database_locked_by_another_program_is_unavailable_and_then_goes_on(
    store: SqliteStore, path: Path
) -> None:
    ledger = await Ledger.of(store)
    await store._writer.execute_fetchall("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"):
            await ledger.put(model("n"))
        assert await store.position() == ledger.state.position
    await ledger.put(model("n"))
    assert dump(await loaded(store)) == dump(ledger.state)


async def test_readers_that_go_away_leave_no_old_revision_behind(store: SqliteStore) -> None:
    ledger = await Ledger.of(store)
    for turn in range(20):
        reads = [
            asyncio.create_task(read)
            for read in (
                *(store.members("", "", None, ("", ""), 1) for _ in range(READERS)),
                *(store.log(LogFilter(), (0, -1), 1) for _ in range(READERS)),
                *(whole_log(store) for _ in range(READERS)),
            )
        ]
        for _ in range(turn):
            await asyncio.sleep(0)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        await ledger.put(model(f"{turn}"))
        positions = await asyncio.gather(*(store.position() for _ in range(2 * READERS)))
        assert set(positions) == {ledger.state.position}


async def test_reads_while_commits_run_see_whole_revisions(store: SqliteStore) -> None:
    ledger = await Ledger.of(store)
    seen: set[tuple[str, ...]] = set()
    done = False

    async def read() -> None:
        while not done:
            seen.add(tuple(found.name for found in (await store.models("", 9)).items))
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(2 * READERS)]
    for _ in range(20):
        await ledger.put(model("x"), model("y"))
        await ledger.drop(model("x"), model("y"))
    done = True
    await asyncio.gather(*readers)
    assert seen <= {("m",), ("m", "x", "y")}


async def test_a_reader_that_waits_is_not_overtaken_for_ever(store: SqliteStore) -> None:
    async def read() -> None:
        while True:
            await store.models("", 9)

    busy = [asyncio.create_task(read()) for _ in range(READERS)]
    for _ in range(READERS):
        await asyncio.sleep(0)
    try:
        await asyncio.wait_for(store.position(), timeout=10)
    finally:
        for reader in busy:
            reader.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
