"""What the tests of `backup` and `restore` share: databases, and the commands run on them."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.cli.commands import Ended, run
from tests.store.support import Ledger, group, member, model, only, opened, team


async def fill(path: Path, *epochs: str) -> Ledger:
    """Makes a database with two teams and three members, after these epochs."""
    async with opened(path) as store:
        for epoch in epochs:
            await store.begin_epoch(epoch)
        ledger = await Ledger.of(store)
        await ledger.put(team("t"), team("u"), member("t", "ann", only("a")), group("g"), model("m"))
        await ledger.put(member("t", "bob"), member("u", "ann"))
    return ledger


async def backup(file: Path, database: Path) -> Ended:
    return await run("backup", str(file), f"--database={database}")


async def restore(file: Path, database: Path) -> Ended:
    return await run("restore", str(file), f"--database={database}")


def files(folder: Path) -> dict[Path, bytes | str | None]:
    """All that is there, with content; but locks, which are made once for each name and stay."""
    return {
        path: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.suffix != ".lock"
    }


def edit(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def epochs_of(path: Path) -> tuple[str, ...]:
    """The ancestors, then the epoch itself."""
    async with opened(path) as store:
        position, ancestors = await store.lineage()
    return (*ancestors, position.epoch)
