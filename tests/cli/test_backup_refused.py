"""`policy-service backup` and `restore` used wrongly: one line that says so, exit status 2, and nothing is changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.backups import backup, edit, files, restore
from tests.cli.commands import Ended

NOT_OF_ITS_LOG = "the records in {} are not those of its log"


def text(path: Path) -> None:
    path.write_text("teams:\n" * 1_000)


def nothing(path: Path) -> None:
    path.touch()


def folder(path: Path) -> None:
    path.mkdir()


def foreign(path: Path) -> None:
    edit(path, "CREATE TABLE songs (title TEXT)")


def foreign_meta(path: Path) -> None:
    edit(path, "CREATE TABLE meta (name TEXT, value TEXT)")


def changed(*statements: str) -> Callable[[Path], None]:
    """A copy of the backup with something changed."""

    def make(path: Path) -> None:
        shutil.copy(path.with_name("saved.db"), path)
        edit(path, *statements)

    return make


def truncated(path: Path) -> None:
    content = path.with_name("saved.db").read_bytes()
    path.write_bytes(content[: len(content) // 2])


def cut(path: Path) -> None:
    """Within its first page."""
    path.write_bytes(path.with_name("saved.db").read_bytes()[:1_000])


def overwritten(path: Path) -> None:
    content = path.with_name("saved.db").read_bytes()
    path.write_bytes(content[:4_096] + b"x" * (len(content) - 4_096))


NO_DATABASE = [
    (text, "cannot read {}: file is not a database"),
    (nothing, "{} is empty"),
    (folder, "{} is no file"),
    (foreign, "{} is a database of another program"),
    (foreign_meta, "{} has no schema version"),
    (changed("UPDATE meta SET value = '999' WHERE name = 'schema_version'"), "written by a newer Policy Service"),
    (changed("UPDATE policies SET body = replace(body, '\"a\"', '\"b\"')"), NOT_OF_ITS_LOG),
    (changed("DELETE FROM log WHERE revision = 2"), NOT_OF_ITS_LOG),
    (changed("UPDATE teams SET body = 'no JSON'"), NOT_OF_ITS_LOG),
    (changed("DROP TABLE members"), "cannot read {}: no such table: members"),
    (truncated, "{}"),
    (cut, "{}"),
    (overwritten, "{}"),
    (lambda path: None, "{} does not exist"),
]


async def refused(ended: Ended, words: str, tmp_path: Path, before: dict[Path, bytes | str | None]) -> None:
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("policy-service: ")
    assert ended.err.count("\n") == 1
    assert words in ended.err
    assert files(tmp_path) == before


@pytest.mark.parametrize(("make", "words"), NO_DATABASE)
async def test_what_is_no_database_is_not_backed_up(
    saved: Path, tmp_path: Path, make: Callable[[Path], None], words: str
) -> None:
    path = tmp_path / "wrong.db"
    make(path)
    before = files(tmp_path)
    ended = await backup(tmp_path / "new.db", path)
    await refused(ended, words.format(path), tmp_path, before)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(("make", "words"), NO_DATABASE)
async def test_what_is_no_backup_is_not_restored(
    saved: Path, database: Path, tmp_path: Path, make: Callable[[Path], None], words: str, there: bool
) -> None:
    path = tmp_path / "wrong.db"
    make(path)
    before = files(tmp_path)
    ended = await restore(path, database if there else tmp_path / "new" / "policy.db")
    await refused(ended, words.format(path), tmp_path, before)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("data/policy.db", "belongs to the database itself"),
        ("data/../data/policy.db", "belongs to the database itself"),
        ("link.db", "belongs to the database itself"),
        ("data/policy.db-wal", "belongs to the database itself"),
        ("data/policy.db-shm", "belongs to the database itself"),
        ("data/policy.db-journal", "belongs to the database itself"),
        ("data/policy.db.lock", "belongs to the database itself"),
        ("saved.db", "is there already"),
        ("dangling.db", "is there already"),
        ("data", "is there already"),
        ("missing/new.db", "cannot write {}: No such file or directory"),
        ("saved.db/new.db", "cannot write {}: Not a directory"),
        ("/proc/new.db", "cannot write /proc/new.db"),
        (f"{'x' * 300}.db", "cannot write {}: File name too long"),
    ],
)
async def test_where_no_backup_can_be_written(
    saved: Path, database: Path, tmp_path: Path, file: str, words: str
) -> None:
    (tmp_path / "link.db").symlink_to(database)
    (tmp_path / "dangling.db").symlink_to(tmp_path / "nothing")
    before = files(tmp_path)
    ended = await backup(tmp_path / file, database)
    await refused(ended, words.format(tmp_path / file), tmp_path, before)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("saved.db", "belongs to the database itself"),
        ("data", "{} is no file"),
        ("saved.db/policy.db", "cannot use the database {}: File exists"),
        ("/proc/new/policy.db", "cannot use the database /proc/new/policy.db"),
        ("songs.db", "{} is a database of another program"),
    ],
)
async def test_where_nothing_can_be_restored(
    saved: Path, database: Path, tmp_path: Path, place: str, words: str
) -> None:
    foreign(tmp_path / "songs.db")
    before = files(tmp_path)
    ended = await restore(saved, tmp_path / place)
    await refused(ended, words.format(tmp_path / place), tmp_path, before)


async def test_a_backup_is_not_taken_for_one_of_the_files_of_its_database(database: Path, tmp_path: Path) -> None:
    before = files(tmp_path)
    ended = await restore(Path(f"{database}.lock"), database)
    await refused(ended, "belongs to the database itself", tmp_path, before)
