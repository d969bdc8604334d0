"""A restore that ends at any point leaves the former database or the new one, whole; the next one then works."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from policy_service.store.backup import backup, restore
from policy_service.store.sqlite_files import COMPANIONS
from tests.store.support import Ledger, dump, loaded, member, only, opened, team

MOST_STEPS = 100
# Ends the process before the step of this number that does something with a file in the folder of the database.
CRASHING = """
import asyncio, os, sys
from pathlib import Path
from policy_service.store.backup import restore

file, database, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def count(event, arguments):
    global steps
    if any(str(database.parent) in str(argument) for argument in arguments):
        if steps == 0:
            os._exit(9)
        steps -= 1

sys.addaudithook(count)
asyncio.run(restore(file, database))
"""


async def content(path: Path) -> dict[str, Any]:
    """What a server that starts on the file has, but for its epoch."""
    async with opened(path) as store:
        found = dump(await loaded(store))
    return found | {"position": found["position"]._replace(epoch=""), "revision": ""}


@pytest.fixture
async def backed_up(tmp_path: Path) -> Path:
    async with opened(tmp_path / "other.db") as store:
        ledger = await Ledger.of(store)
        for at in range(50):
            await ledger.put(team(f"t{at}", only(f"m{at}")), member(f"t{at}", "ann", only(f"m{at}")))
    await backup(tmp_path / "other.db", tmp_path / "backup.db")
    return tmp_path / "backup.db"


@pytest.fixture
async def killed(tmp_path: Path) -> Path:
    """A folder with a database whose last commits are in its -wal file alone."""
    folder = tmp_path / "killed"
    folder.mkdir()
    async with opened(tmp_path / "live" / "policy.db") as store:
        ledger = await Ledger.of(store)
        for at in range(50):
            await ledger.put(team(f"u{at}"), member(f"u{at}", "bob", only(f"n{at}")))
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / "live" / f"policy.db{suffix}", folder / f"policy.db{suffix}")
    return folder


async def test_a_crash_leaves_one_or_the_other(tmp_path: Path, backed_up: Path, killed: Path) -> None:
    shutil.copytree(killed, tmp_path / "former")
    former, new = await content(tmp_path / "former" / "policy.db"), await content(backed_up)
    outcomes = []
    for steps in range(MOST_STEPS):
        folder = tmp_path / f"after-{steps}"
        shutil.copytree(killed, folder)
        database = folder / "policy.db"
        command = [sys.executable, "-c", CRASHING, str(backed_up), str(database), str(steps)]
        status = subprocess.run(command, timeout=60, check=False).returncode
        assert status in (0, 9)
        outcomes.append(await check_one_or_the_other(database, former, new))
        await restore(backed_up, database)
        assert await content(database) == new
        if status == 0:
            break
    assert outcomes == sorted(outcomes), "the former one up to some step, the new one from there on"
    assert len(set(outcomes)) == 2
    assert len(outcomes) > 10


async def check_one_or_the_other(database: Path, former: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether it is the new one. Then the former one must be kept."""
    beside = [*database.parent.glob("policy.db.replaced-*Z"), *database.parent.glob(".policy.db.*.former.tmp")]
    assert [await content(path) for path in beside[:1]] in ([], [former])
    found = await content(database)
    assert found in (former, new)
    assert found == former or beside
    return found == new


async def test_a_crash_before_there_was_a_database_leaves_none_or_the_new_one(tmp_path: Path, backed_up: Path) -> None:
    new = await content(backed_up)
    for steps in range(MOST_STEPS):
        database = tmp_path / f"after-{steps}" / "policy.db"
        command = [sys.executable, "-c", CRASHING, str(backed_up), str(database), str(steps)]
        status = subprocess.run(command, timeout=60, check=False).returncode
        assert not database.exists() or await content(database) == new
        if status == 0:
            break
    assert database.exists()
    assert not any(Path(f"{database}{suffix}").exists() for suffix in COMPANIONS)
