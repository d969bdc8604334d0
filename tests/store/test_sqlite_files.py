"""The SQLite file: what is refused as one, who may open it, how safely it is written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from policy_service.store.sqlite import SqliteStore
from tests.store.support import Ledger, all_records, dump, loaded, member, opened, refusal, team

OPEN_AND_SAY = """
import asyncio, sys
from pathlib import Path
from policy_service.errors import DatabaseError
from policy_service.store.sqlite import SqliteStore

async def main():
    try:
        store = await SqliteStore.open(Path(sys.argv[1]))
    except DatabaseError as error:
        print(error)
        return
    print("open", flush=True)
    sys.stdin.readline()
    await store.close()

asyncio.run(main())
"""


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def pragma(store: SqliteStore, name: str) -> object:
    rows = list(await store._writer.execute_fetchall(f"PRAGMA {name}"))
    return rows[0][0]


async def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        ledger = await Ledger.of(store)
        await ledger.put(team("t"), member("t", "ann"))
    for _ in range(3):
        async with opened(path) as store:
            assert await all_records(store) == [(team("t"), 1), (member("t", "ann"), 0)]
            assert dump(await loaded(store)) == dump(ledger.state)


async def test_each_database_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    epochs = set()
    for name in "abc":
        async with opened(tmp_path / name) as store:
            epochs.add((await store.position()).epoch)
    assert len(epochs) == 3


async def test_missing_directories_are_made_for_the_owner_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "new" / "policy.db"):
        pass
    assert mode_of(tmp_path / "new") == 0o700


async def test_every_file_is_its_owners_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        async with opened(tmp_path / "policy.db") as store:
            await (await Ledger.of(store)).put(team("t"))
            modes = {path.name: mode_of(path) for path in tmp_path.iterdir()}
    finally:
        os.umask(mask)
    assert modes == dict.fromkeys(("policy.db", "policy.db-wal", "policy.db-shm", "policy.db.lock"), 0o600)


async def test_the_writer_is_durable(tmp_path: Path) -> None:
    async with opened(tmp_path / "policy.db") as store:
        assert await pragma(store, "journal_mode") == "wal"
        assert await pragma(store, "synchronous") == 2  # FULL


async def test_the_location_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(Path("policy.db")) as store:
        assert store.location == str(tmp_path / "policy.db")


async def test_a_file_that_is_open_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as first:
        for _ in range(2):
            assert "in use by another Policy Service" in await refusal(path)
        await (await Ledger.of(first)).put(team("t"))
    async with opened(path) as second:
        assert await second.team("t") == team("t")


async def test_a_link_to_a_file_that_is_open_is_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "policy.db", tmp_path / "link.db"
    link.symlink_to(path)
    async with opened(path):
        assert "in use by another Policy Service" in await refusal(link)
    async with opened(link):
        assert "in use by another Policy Service" in await refusal(path)


async def test_another_process_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    command = [sys.executable, "-c", OPEN_AND_SAY, str(path)]
    async with opened(path):
        refused = subprocess.run(command, input="\n", capture_output=True, text=True, timeout=30, check=True)
        assert "in use by another Policy Service" in refused.stdout

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        assert "in use by another Policy Service" in await refusal(path)
        other.kill()
    async with opened(path):
        pass


def write(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def another_program(path: Path) -> None:
    write(path, "CREATE TABLE songs (title TEXT)", "INSERT INTO songs VALUES ('one')")


def another_programs_meta(path: Path) -> None:
    write(path, "CREATE TABLE meta (name TEXT, value TEXT)")


def another_programs_version(path: Path) -> None:
    write(path, "CREATE TABLE meta (name TEXT, value TEXT)", "INSERT INTO meta VALUES ('schema_version', 'final')")


def another_programs_columns(path: Path) -> None:
    write(path, "CREATE TABLE meta (id INTEGER)")


def text_file(path: Path) -> None:
    path.write_text("teams:\n" * 1_000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (another_program, "is a database of another program; name another file with --database"),
        (another_programs_meta, "has no schema version; name another file with --database"),
        (another_programs_version, "has no schema version"),
        (another_programs_columns, "cannot use the database"),
        (text_file, "file is not a database"),
    ],
)
async def test_what_is_not_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "policy.db"
    make(path)
    before = path.read_bytes()
    for _ in range(2):
        said = await refusal(path)
        assert words in said
        assert str(path) in said
    assert path.read_bytes() == before


async def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    path.touch()
    async with opened(path) as store:
        assert (await store.position()).revision == 0


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    open_files = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert "Is a directory" in await refusal(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == open_files


@pytest.mark.parametrize("place", ["file/policy.db", "file/new/policy.db", "/proc/policy.db", "/proc/new/policy.db"])
async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / place
    said = await refusal(path)
    assert "cannot use the database" in said
    assert str(path) in said


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
async def test_a_directory_without_the_right_to_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "Permission denied" in await refusal(tmp_path / "policy.db")
    finally:
        tmp_path.chmod(0o700)


async def test_policies_that_no_member_has_go_when_the_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    async with opened(path) as store:
        ledger = await Ledger.of(store)
        await ledger.put(team("t"), member("t", "ann"), member("t", "bob", blocked=True))
        await ledger.drop(member("t", "bob"))
    async with opened(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM policies").fetchone() == (1,)
