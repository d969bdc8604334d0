"""`policy-service backup` and `restore`: what is in the files, with real databases and real servers."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
import yaml

from policy_service.domain.state import State
from policy_service.store.migrations import MIGRATIONS
from policy_service.v1.admin_pb2 import BatchAddMembersRequest, CreateTeamRequest, GetTeamRequest
from tests.cli.backups import backup, edit, epochs_of, files, fill, restore
from tests.cli.commands import run
from tests.store.audit import rebuilt, state_of, whole_log
from tests.store.support import Ledger, dump, loaded, opened, team
from tests.support import messages
from tests.support.process import serving
from tests.support.rpc import Rpc, connect

# What it is for


async def test_a_backup_holds_what_the_database_does(database: Path, tmp_path: Path) -> None:
    file, before = tmp_path / "saved.db", files(tmp_path)
    ended = await backup(file, database)
    assert (ended.status, ended.err) == (0, "")
    assert ended.lines == [f"{file}: revision second.2, 2 teams, 3 members"]
    assert files(tmp_path).keys() - before.keys() == {file}
    async with opened(database) as original, opened(file) as copy:
        assert await copy.lineage() == await original.lineage()
        assert dump(await loaded(copy)) == dump(await loaded(original))
        assert await whole_log(copy) == await whole_log(original)


async def test_a_restored_database_is_of_a_new_epoch(saved: Path, tmp_path: Path) -> None:
    database = tmp_path / "new" / "folder" / "policy.db"
    ended = await restore(saved, database)
    assert (ended.status, ended.err) == (0, "")
    first, second, third, new = await epochs_of(database)
    assert (second, third) == ("first", "second")
    assert new not in (first, second, third)
    assert ended.lines == [
        f"{database}: revision {new}.2, 2 teams, 3 members",
        f"epoch {new} replaces second: replicas start over",
    ]
    async with opened(saved) as original, opened(database) as store:
        former, now = await loaded(original), await loaded(store)
        assert now.position == former.position._replace(epoch=new)
        assert dump(now) == dump(former) | {"position": now.position, "revision": now.revision}
        assert await whole_log(store) == await whole_log(original)
    assert {path.name for path in database.parent.iterdir()} == {"policy.db", "policy.db.lock"}


async def test_programs_get_documents(saved: Path, database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    document = json.loads((await run("backup", str(copy), "--database", str(database), "-o", "json")).out)
    assert document == {"file": str(copy), "revision": "second.2", "teams": 2, "members": 3}
    ended = await run("restore", str(saved), "--database", str(database), "-o", "yaml")
    document = yaml.safe_load(ended.out)
    former = document.pop("former_database")
    assert Path(former).exists()
    epoch = (await epochs_of(database))[-1]
    expected = {"file": str(database), "revision": f"{epoch}.2", "teams": 2, "members": 3}
    assert document == expected | {"replaced_epoch": "second"}


async def test_restored_again_it_is_of_yet_another_epoch(saved: Path, database: Path) -> None:
    lineage = await epochs_of(database)
    for _ in range(3):
        assert (await restore(saved, database)).status == 0
        now = await epochs_of(database)
        assert now[:-1] == lineage, "those of the backup, then those of the database that it replaced; each once"
        lineage = now
    assert len(set(lineage)) == 6


async def test_the_epochs_of_a_database_that_had_nothing_to_do_with_it(saved: Path, tmp_path: Path) -> None:
    await fill(tmp_path / "other.db", "x")
    random, _ = await epochs_of(tmp_path / "other.db")
    assert (await restore(saved, tmp_path / "other.db")).status == 0
    *ancestors, new = await epochs_of(tmp_path / "other.db")
    assert ancestors == [*await epochs_of(saved), random, "x"]
    assert len(new) == 16


async def test_the_replaced_database_is_kept_and_can_be_restored(saved: Path, database: Path) -> None:
    async with opened(database) as store:
        ledger = await Ledger.of(store)
        await ledger.put(team("later"))
        former = dump(ledger.state)
    ended = await restore(saved, database)
    (kept,) = database.parent.glob("policy.db.replaced-*")
    assert ended.lines[2:] == [f"the former database is kept as {kept}"]
    async with opened(kept) as store:
        assert dump(await loaded(store)) == former
    async with opened(database) as store:
        assert await store.team("later") is None
    assert (await restore(kept, database)).status == 0
    async with opened(database) as store:
        assert await store.team("later") is not None
    assert len(list(database.parent.glob("policy.db.replaced-*Z"))) == 2


async def test_both_files_are_their_owners_alone(database: Path, tmp_path: Path) -> None:
    database.chmod(0o644)
    mask = os.umask(0)
    try:
        assert (await backup(tmp_path / "saved.db", database)).status == 0
        assert (await restore(tmp_path / "saved.db", database)).status == 0
    finally:
        os.umask(mask)
    assert (tmp_path / "saved.db").stat().st_mode & 0o777 == 0o600
    assert database.stat().st_mode & 0o777 == 0o600


async def test_the_environment_names_the_database(database: Path, tmp_path: Path) -> None:
    ended = await run("backup", str(tmp_path / "saved.db"), POLICY_SERVICE_DATABASE=str(database))
    assert ended.status == 0, ended.err
    ended = await run("restore", str(tmp_path / "saved.db"), POLICY_SERVICE_DATABASE=str(tmp_path / "new.db"))
    assert ended.status == 0, ended.err
    assert (tmp_path / "new.db").exists()


async def test_a_link_to_the_database_stays_one(saved: Path, database: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(database)
    assert (await backup(tmp_path / "again.db", link)).status == 0
    former = await epochs_of(database)
    assert (await restore(saved, link)).status == 0
    assert link.readlink() == database
    assert (await epochs_of(database))[:-1] == former


@pytest.mark.parametrize("version", [1, 2])
async def test_an_older_version_stays_one_in_a_backup_and_is_migrated_when_restored(
    tmp_path: Path, version: int
) -> None:
    old = tmp_path / "old.db"
    rows = (Path(__file__).parent.parent / "store" / f"version_{version}.sql").read_text()
    edit(old, *(statement for step in MIGRATIONS[:version] for statement in step))
    with closing(sqlite3.connect(old)) as connection:
        connection.executescript(rows)
    assert (await backup(tmp_path / "saved.db", old)).status == 0
    for path in (old, tmp_path / "saved.db"):
        assert schema_version(path) == str(version)
    assert (await restore(tmp_path / "saved.db", tmp_path / "new.db")).status == 0
    assert schema_version(tmp_path / "new.db") == str(len(MIGRATIONS))
    assert schema_version(tmp_path / "saved.db") == str(version)
    async with opened(tmp_path / "new.db") as store:
        await (await Ledger.of(store)).put(team("later"))


def schema_version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()[0])


# While a server runs


async def write(rpc: Rpc, acknowledged: asyncio.Queue[int]) -> None:
    """Mutation after mutation, until cancelled."""
    await rpc.admin.CreateTeam(CreateTeamRequest(team=messages.team("busy")))
    for number in count():
        members = [messages.member("", f"{number}-{at}") for at in range(20)]
        await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="busy", members=members))
        acknowledged.put_nowait(number)


async def go_on(acknowledged: asyncio.Queue[int]) -> None:
    """Until a mutation that begins from now on was acknowledged."""
    for _ in range(acknowledged.qsize() + 2):
        await acknowledged.get()


async def test_a_backup_under_writes_is_of_one_revision_and_works(tmp_path: Path) -> None:
    database, saved = tmp_path / "policy.db", [tmp_path / f"saved-{at}.db" for at in range(3)]
    async with serving(database) as server, connect(server.target) as rpc:
        acknowledged: asyncio.Queue[int] = asyncio.Queue()
        writing = asyncio.create_task(write(rpc, acknowledged))
        for file in saved:
            await go_on(acknowledged)
            ended = await backup(file, database)
            assert (ended.status, ended.err) == (0, "")
        await go_on(acknowledged)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        assert await server.stop() == 0
    states = [await state_in(file) for file in saved]
    async with opened(database) as store:
        log = {entry.revision: (entry, records) for entry, records in rebuilt(await whole_log(store))}
    revisions = [state.position.revision for state in states]
    assert revisions == sorted(set(revisions))
    assert revisions[-1] < max(log), "the writes went on"
    for state in states:
        entry, records = log[state.position.revision]
        assert dump(state) == dump(state_of(records.values(), entry.position))

    assert (await restore(saved[-1], tmp_path / "new.db")).status == 0
    async with serving(tmp_path / "new.db") as server, connect(server.target) as rpc:
        epoch, number = (await rpc.head()).split(".")
        assert (epoch != state.position.epoch, int(number)) == (True, revisions[-1])
        members = (await rpc.admin.GetTeam(GetTeamRequest(team="busy"))).member_count
        assert members == len(state.teams["busy"].members)
        await rpc.admin.CreateTeam(CreateTeamRequest(team=messages.team("later")))
        assert await rpc.head() == f"{epoch}.{int(number) + 1}"


async def state_in(path: Path) -> State:
    async with opened(path) as store:
        return await loaded(store)


async def test_nothing_is_restored_under_a_server_that_runs(saved: Path, database: Path) -> None:
    async with serving(database) as server, connect(server.target) as rpc:
        await rpc.admin.CreateTeam(CreateTeamRequest(team=messages.team("later")))
        head, before = await rpc.head(), names(database)
        ended = await restore(saved, database)
        assert (ended.status, ended.out) == (2, "")
        assert f"{database} is in use by another Policy Service; stop it" in ended.err
        assert names(database) == before
        assert await rpc.head() == head
        await rpc.admin.CreateTeam(CreateTeamRequest(team=messages.team("later still")))
        assert await server.stop() == 0
    assert (await restore(saved, database)).status == 0
    async with serving(database) as server, connect(server.target) as rpc:
        assert server.announced("revision").endswith(".2")


def names(database: Path) -> set[str]:
    return {path.name for path in database.parent.iterdir()}


async def test_what_a_killed_server_left_is_replaced_and_kept_whole(saved: Path, database: Path) -> None:
    """Its last commits are in the -wal file alone."""
    async with serving(database) as server, connect(server.target) as rpc:
        await rpc.admin.CreateTeam(CreateTeamRequest(team=messages.team("later")))
        await server.kill()
    assert Path(f"{database}-wal").stat().st_size > 0
    assert (await backup(saved.with_name("later.db"), database)).lines[0].endswith("3 teams, 3 members")
    assert (await restore(saved, database)).status == 0
    assert not any(Path(f"{database}{suffix}").exists() for suffix in ("-wal", "-shm", "-journal"))
    async with opened(database) as store:
        assert await store.team("later") is None
        await (await Ledger.of(store)).put(team("after"))
    (kept,) = database.parent.glob("policy.db.replaced-*Z")
    async with opened(kept) as store:
        assert await store.team("later") is not None


async def test_a_damaged_database_is_replaced_and_kept(saved: Path, database: Path) -> None:
    damaged = b"damaged" + database.read_bytes()[7:]
    database.write_bytes(damaged)
    assert (await restore(saved, database)).status == 0
    (kept,) = database.parent.glob("policy.db.replaced-*Z")
    assert kept.read_bytes() == damaged
    *ancestors, _ = await epochs_of(database)
    assert ancestors == list(await epochs_of(saved))


async def test_what_a_removed_database_left_does_not_get_into_the_new_one(saved: Path, database: Path) -> None:
    async with opened(database) as store:
        await (await Ledger.of(store)).put(team("later"))
        log = Path(f"{database}-wal").read_bytes()
    database.unlink()
    Path(f"{database}-wal").write_bytes(log)
    assert (await restore(saved, database)).status == 0
    async with opened(database) as store, opened(saved) as original:
        now, before = dump(await loaded(store)), dump(await loaded(original))
        assert now == before | {"position": now["position"], "revision": now["revision"]}
    (kept,) = database.parent.glob("policy.db.replaced-*Z-wal")
    assert kept.read_bytes() == log


async def test_a_database_of_a_newer_version_is_replaced_by_an_older_backup(saved: Path, database: Path) -> None:
    await fill(database.with_name("newer.db"), "newer")
    edit(database.with_name("newer.db"), "UPDATE meta SET value = '999' WHERE name = 'schema_version'")
    assert (await restore(saved, database.with_name("newer.db"))).status == 0
    assert "newer" in await epochs_of(database.with_name("newer.db"))


async def test_a_database_that_is_being_read_is_not_replaced(saved: Path, database: Path) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM meta").fetchone()
        edit(database, "CREATE TABLE later (x TEXT)")
        ended = await restore(saved, database)
        assert (ended.status, ended.out) == (2, "")
        assert "is being read by another program" in ended.err
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    assert (await restore(saved, database)).status == 0
