"""A database that is put back with cp begins a new epoch, whoever else knows of it or not."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.store.support import Ledger, loaded, opened, team


async def copy_after_a_commit(path: Path) -> None:
    """`old.db` is the database as it was before the last commit."""
    async with opened(path) as store:
        await (await Ledger.of(store)).put(team("a"))
    shutil.copy(path, path.with_name("old.db"))
    async with opened(path) as store:
        await (await Ledger.of(store)).put(team("b"))


async def test_a_database_that_lost_a_revision_begins_an_epoch(tmp_path: Path) -> None:
    path = tmp_path / "policy.db"
    await copy_after_a_commit(path)
    async with opened(path) as store:
        former = await store.position()
    shutil.copy(tmp_path / "old.db", path)
    async with opened(path) as store:
        lineage = await store.lineage()
        assert lineage.position.epoch != former.epoch
        assert lineage.position.revision == former.revision - 1
        assert lineage.ancestors == (former.epoch,)
        assert (await loaded(store)).ancestors == (former.epoch,)
        await (await Ledger.of(store)).put(team("c"))
    async with opened(path) as store:
        assert (await store.position()).epoch == lineage.position.epoch, "once is enough"


async def test_a_database_that_went_on_elsewhere_begins_an_epoch(tmp_path: Path) -> None:
    """It has as many revisions, of another history."""
    path = tmp_path / "policy.db"
    await copy_after_a_commit(path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(tmp_path / "old.db", elsewhere / "policy.db")
    async with opened(elsewhere / "policy.db") as store:
        await (await Ledger.of(store)).put(team("other"))
        await (await Ledger.of(store)).put(team("another"))
        former = await store.position()
    shutil.copy(elsewhere / "policy.db", path)
    async with opened(path) as store:
        assert (await store.lineage()).ancestors == (former.epoch,)


async def test_a_database_that_only_went_on_keeps_its_epoch(tmp_path: Path) -> None:
    """A note that is older, cut off or not there says nothing."""
    path = tmp_path / "policy.db"
    await copy_after_a_commit(path)
    async with opened(path) as store:
        position = await store.position()
    note = Path(f"{path}.lock")
    for content in (b"", b"x", note.read_bytes()[:-1], f"{position.epoch} 1 ".encode(), b"\xff\x00 1 1\n"):
        note.write_bytes(content)
        async with opened(path) as store:
            assert await store.position() == position
