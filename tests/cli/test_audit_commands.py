"""`policy-service audit list` and `audit verify`, on real servers whose databases somebody has edited."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import yaml

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.domain.changes import LogEntry, changes_hash, entry_hash
from policy_service.errors import DatabaseError
from policy_service.server import Server
from policy_service.store.sqlite_rows import LOG_COLUMNS, image_of, log_entry_of
from policy_service.v1.admin_pb2 import BatchAddMembersRequest, CreateTeamRequest, UpdateTeamRequest
from policy_service.v1.resources_pb2 import Team
from tests.cli.backups import edit
from tests.store.support import opened
from tests.support import examples
from tests.support.audit import read
from tests.support.forwarder import forwarding
from tests.support.messages import member, only, team
from tests.support.mutator import Mutator
from tests.support.rpc import MUTATIONS, Rpc, connect, number_of

from .commands import Ended, invoke

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer


async def change_everything(rpc: Rpc) -> None:
    """Every kind of mutation; the last one changes nothing that decides."""
    await examples.build(rpc)
    for name in MUTATIONS:
        await rpc.call(name, examples.EXAMPLES[name])
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="ml", labels={"last": "one"})))


@pytest.fixture
async def rpc(server: RunningServer) -> Any:
    async with connect(server.target) as rpc:
        await change_everything(rpc)
        yield rpc


async def audit(what: str, target: str, *options: str) -> Ended:
    return await invoke("audit", what, *options, "--server", target)


# Listing


async def test_the_list(rpc: Rpc) -> None:
    """A line each for people; all that there is for programs."""
    events = await read(rpc)
    table = await audit("list", rpc.target)
    assert (table.status, table.err) == (0, "")
    heading, *rows = table.lines
    assert heading.split() == ["TIME", "REVISION", "ACTOR", "RPC", "CHANGED"]
    assert [row.split()[:4] for row in rows] == [
        [event.time.ToJsonString(), event.revision, "local", event.rpc] for event in events
    ]
    created = next(row for row in rows if " CreateTeam " in row and "new" in row)
    assert created.endswith(" [team new, member new/eve, member new/dan]")
    documents = json.loads((await audit("list", rpc.target, "-o", "json")).out)
    assert [document["revision"] for document in documents] == [event.revision for event in events]
    first, event = documents[0], events[0]
    assert first == {
        "revision": event.revision,
        "time": event.time.ToJsonString(),
        "actor": "local",
        "peer": event.peer,
        "rpc": "UpsertModels",
        "changes": [
            {"kind": change.kind, "name": change.name, "before_json": "", "after_json": change.after_json}
            for change in event.changes
        ],
        "change_count": 4,
        "first_change": 0,
        "digest": event.digest,
        "format": 1,
        "previous_hash": event.previous_hash,
        "hash": event.hash,
    }
    assert yaml.safe_load((await audit("list", rpc.target, "--output", "yaml")).out) == documents


async def test_the_list_of_a_team_and_of_a_time(rpc: Rpc) -> None:
    events = await read(rpc)
    of_team = [event.revision for event in await read(rpc, team="new")]
    assert await listed(rpc.target, "--team", "new") == of_team != []
    middle = events[len(events) // 2]
    time = middle.time.ToDatetime(UTC)
    revisions = [event.revision for event in events]
    at = revisions.index(middle.revision)
    elsewhere = time.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    assert await listed(rpc.target, "--since", "1h", "--until", elsewhere) == revisions[:at]
    without_zone = time.replace(tzinfo=None).isoformat(" ")
    assert await listed(rpc.target, "--since", without_zone, "--until", "2999-01-01") == revisions[at:]
    with_zone = middle.time.ToJsonString()
    assert await listed(rpc.target, "--since", with_zone, "--until", "0s") == revisions[at:]
    nothing = await audit("list", rpc.target, "--until", "1w", "-o", "json")
    assert (nothing.status, nothing.out) == (0, "[]\n")


async def listed(target: str, *options: str) -> list[str]:
    ended = await audit("list", target, "-o", "json", *options)
    assert (ended.status, ended.err) == (0, "")
    return [document["revision"] for document in json.loads(ended.out)]


WRONG = ["yesterday", "", "7", "7y", "d", "-7d", "1.5h", "2026-13-01", "2026-11-25T25:00Z", "999999w", "1764000000"]


@pytest.mark.parametrize("option", ["--since", "--until"])
@pytest.mark.parametrize("time", WRONG)
async def test_times_that_are_none(option: str, time: str) -> None:
    """They are refused before anything is asked."""
    ended = await audit("list", "127.0.0.1:1", f"{option}={time}")
    assert (ended.status, ended.out) == (2, "")
    assert "give a time such as 2026-11-25" in ended.err


EXPECTED = ["", "x", "aa.1", "aa.1=", f"aa.1={'0' * 63}", f"aa.1={'G' * 64}", f"aa={'0' * 64}", f"=aa.1={'0' * 64}"]


@pytest.mark.parametrize("known", EXPECTED)
async def test_hashes_that_are_none(known: str) -> None:
    ended = await audit("verify", "127.0.0.1:1", f"--expect={known}")
    assert (ended.status, ended.out) == (2, "")
    assert "give REVISION=HASH, as verify printed them" in ended.err


async def test_two_hashes_of_one_revision() -> None:
    ended = await audit("verify", "127.0.0.1:1", *[f"--expect=aa.1={digit * 64}" for digit in "01"])
    assert (ended.status, ended.out) == (2, "")
    assert "--expect gives revision aa.1 two hashes" in ended.err


# Verifying


async def test_a_log_that_is_whole(rpc: Rpc) -> None:
    events = await read(rpc)
    first, last = events[0], events[-1]
    ended = await audit("verify", rpc.target)
    assert (ended.status, ended.err) == (0, "")
    kept = f"{last.revision}={last.hash}"
    assert ended.lines == [
        f"The audit log is whole: {len(events)} revisions, {first.revision} to {last.revision}.",
        f"Keep for a later --expect: {kept}",
    ]
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="ml", display_name="later")))
    also = f"{events[3].revision}={events[3].hash}"
    ended = await audit("verify", rpc.target, "--expect", kept, "--expect", also, "-o", "json")
    assert (ended.status, ended.err) == (0, "")
    newest = (await read(rpc))[-1]
    assert json.loads(ended.out) == {
        "revisions": len(events) + 1,
        "first_revision": first.revision,
        "previous_hash": "0" * 64,
        "last_revision": newest.revision,
        "last_hash": newest.hash,
        "compared_with_head": True,
    }
    wrong = f"{events[3].revision}={'0' * 64}"
    ended = await audit("verify", rpc.target, "--expect", wrong, "-o", "json")
    assert (ended.status, ended.out) == (1, "")
    assert f"the audit log is broken: revision {events[3].revision}: is not the expected one" in ended.err


async def test_a_log_that_grows_meanwhile(rpc: Rpc) -> None:
    mutator = Mutator(rpc, 0)

    async def mutate(name: str) -> None:
        await mutator.send(5)

    async with forwarding(rpc.target, mutate) as target:
        ended = await audit("verify", target)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("The audit log is whole: ")


async def test_an_empty_log(server: RunningServer) -> None:
    ended = await audit("verify", server.target)
    assert ended == (0, "The audit log is empty.\n", "")


async def test_a_large_event_comes_in_parts(rpc: Rpc) -> None:
    wide = only(*(f"model-{number:04d}-{'x' * 50}" for number in range(100)))
    added = [member("", f"user-{number:03d}", allowed_models=wide) for number in range(500)]
    await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="ml", members=added))
    listed = json.loads((await audit("list", rpc.target, "-o", "json")).out)
    parts = [part for part in listed if part["change_count"] == 500]
    assert len(parts) > 1
    assert [part["first_change"] for part in parts][1] == len(parts[0]["changes"])
    ended = await audit("verify", rpc.target)
    assert (ended.status, ended.err) == (0, "")
    assert f"whole: {number_of(await rpc.head())} revisions" in ended.out


async def test_a_log_that_retention_trims(start_server: StartServer) -> None:
    server = await start_server(log_retention_days=1e-9)
    async with connect(server.target) as rpc:
        await change_everything(rpc)
        first = (await read(rpc))[0]
        ended = await audit("verify", server.target)
        assert (ended.status, ended.err) == (0, "")
        assert number_of(first.revision) > 1
        assert f"What was before has been deleted by log retention; it ended in {first.previous_hash}." in ended.lines
        gone = f"{first.revision.partition('.')[0]}.1"
        ended = await audit("verify", server.target, "--expect", f"{gone}={'0' * 64}")
        assert ended.status == 1
        assert f"revision {gone}: is expected and not in the log, which begins with {first.revision}" in ended.err


@pytest.mark.parametrize("permissions", [["admin"], ["replicate"], ["admin", "replicate"]])
async def test_who_may_verify(start_server: StartServer, tmp_path: Path, permissions: list[str]) -> None:
    token = "token-of-ann"
    entry = {"name": "ann", "token_sha256": hashlib.sha256(token.encode()).hexdigest(), "permissions": permissions}
    credentials, token_file = tmp_path / "credentials.yaml", tmp_path / "token"
    credentials.write_text(yaml.safe_dump({"principals": [entry]}))
    token_file.write_text(token)
    async with opened(tmp_path / "policy.db"):
        pass
    server = await start_server()
    async with connect(server.target) as rpc:
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
    await server.stop()
    server = await start_server(credentials=credentials)
    ended = await audit("verify", server.target, f"--token-file={token_file}")
    assert ended.status == (0 if "admin" in permissions else 2)
    not_compared = "It was not compared with what the server is at: that needs the permission replicate."
    assert (not_compared in ended.lines) is (permissions == ["admin"])
    assert ("admin" in ended.err) is ("admin" not in permissions)


async def test_a_database_that_was_restored(start_server: StartServer, tmp_path: Path) -> None:
    """It begins an epoch; its log is whole. What was kept of what it lost is not in it."""
    database = tmp_path / "policy.db"
    server = await start_server()
    async with connect(server.target) as rpc:
        await change_everything(rpc)
        last = (await read(rpc))[-1]
    await server.stop()
    async with opened(database) as store:
        await store.begin_epoch("f" * 16)
    server = await start_server()
    async with connect(server.target) as rpc:
        ended = await audit("verify", server.target, "--expect", f"{last.revision}={last.hash}")
        assert (ended.status, ended.err) == (0, "")
        assert f"After it the database was restored, or put back: revisions go on as {'f' * 16}." in ended.lines
        await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="ml", display_name="later")))
        ended = await audit("verify", server.target)
        assert (ended.status, len(ended.lines)) == (0, 2)


# Logs that somebody edited


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a server that had every kind of mutation."""
    database = tmp_path_factory.mktemp("stopped") / "policy.db"
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), database=database))
    try:
        async with connect(server.addresses[0]) as rpc:
            await change_everything(rpc)
    finally:
        await server.stop()
    return database


def edited(stopped: Path, folder: Path, *statements: str) -> Path:
    """A copy that was edited. Its witness, which is beside it, does not know of that."""
    database = folder / "edited.db"
    shutil.copy(stopped, database)
    edit(database, *statements)
    return database


SWAP = [
    f"UPDATE {table} SET revision = {new} WHERE revision = {old}"
    for table in ("log", "log_changes")
    for old, new in ((4, 0), (5, 4), (0, 5))
]
EDITS: dict[str, tuple[list[str], int, str]] = {
    "an actor": (["UPDATE log SET actor = 'eve' WHERE revision = 4"], 4, "was changed"),
    "an image": (
        ["UPDATE log_changes SET after_json = replace(after_json, '{', '{ ') WHERE revision = 4"],
        4,
        "was changed, its hash is of something else",
    ),
    "an entry": (
        [f"DELETE FROM {t} WHERE revision = 4" for t in ("log", "log_changes")],
        5,
        "what was between is missing",
    ),
    "the changes of one": (["DELETE FROM log_changes WHERE revision = 4"], 5, "what was between is missing"),
    "a first change": (["DELETE FROM log_changes WHERE revision = 1 AND change = 0"], 1, "changes are missing"),
    "a last change": (["DELETE FROM log_changes WHERE revision = 1 AND change = 3"], 1, "its end is missing"),
    "their order": (SWAP, 4, "does not follow from"),
    "a format": (["UPDATE log SET format = 2 WHERE revision = 4"], 4, "has the newer format 2; use a newer version"),
}


@pytest.mark.parametrize("what", EDITS)
async def test_what_was_edited_is_named(stopped: Path, tmp_path: Path, start_server: StartServer, what: str) -> None:
    statements, number, message = EDITS[what]
    server = await start_server(database=edited(stopped, tmp_path, *statements))
    ended = await audit("verify", server.target)
    assert (ended.status, ended.out) == (1, "")
    assert "policy-service: the audit log is broken: revision " in ended.err
    assert f".{number}: " in ended.err
    assert message in ended.err


def forge(database: Path, number: int) -> None:
    """Changes who did it, and makes every hash from there on anew."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(f"SELECT {LOG_COLUMNS} FROM log ORDER BY revision").fetchall()
        previous = ""
        for row in rows:
            entry = log_entry_of(row)
            if entry.revision < number:
                previous = entry.hash
                continue
            found = connection.execute(
                "SELECT kind, team, name, before_json, after_json FROM log_changes WHERE revision = ? ORDER BY change",
                (entry.revision,),
            )
            fields = {name: getattr(entry, name) for name in LogEntry.__slots__} | {"previous_hash": previous}
            fields |= {"actor": "eve"} if entry.revision == number else {}
            previous = entry_hash(LogEntry(**fields), changes_hash(map(image_of, found)))
            values = (fields["actor"], fields["previous_hash"], previous, entry.revision)
            connection.execute("UPDATE log SET actor = ?, previous_hash = ?, hash = ? WHERE revision = ?", values)
        connection.commit()


async def kept_of(database: Path, *numbers: int) -> list[str]:
    """What an auditor kept of these revisions, as options."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT revision, epoch, hash FROM log").fetchall()
    return [f"--expect={epoch}.{number}={hash_}" for number, epoch, hash_ in rows if number in numbers]


async def test_a_forged_entry_is_found_by_who_kept_a_hash(
    stopped: Path, tmp_path: Path, start_server: StartServer
) -> None:
    kept = await kept_of(stopped, 3, 9)
    database = edited(stopped, tmp_path)
    forge(database, 4)
    server = await start_server(database=database)
    assert (await audit("verify", server.target)).status == 0
    ended = await audit("verify", server.target, *kept)
    assert ended.status == 1
    assert ".9: is not the expected one" in ended.err


LAST = "(SELECT max(revision) FROM log)"
DROP_LAST = [f"DELETE FROM log_changes WHERE revision = {LAST}", f"DELETE FROM log WHERE revision = {LAST}"]


async def test_a_last_entry_that_is_gone_is_found_by_who_kept_its_hash(
    stopped: Path, tmp_path: Path, start_server: StartServer
) -> None:
    database = edited(stopped, tmp_path, *DROP_LAST)
    with closing(sqlite3.connect(stopped)) as connection:
        ((number,),) = connection.execute(f"SELECT {LAST}")
    server = await start_server(database=database)
    assert (await audit("verify", server.target)).status == 0
    ended = await audit("verify", server.target, *await kept_of(stopped, number))
    assert ended.status == 1
    assert f".{number}: is expected and not in the log" in ended.err


async def test_a_server_refuses_what_is_not_the_policy_of_its_log(
    stopped: Path, tmp_path: Path, start_server: StartServer
) -> None:
    """The last entry but one changed what decides: without it, the records are not those of the log."""
    with pytest.raises(DatabaseError, match=r"the records in .* are not those of its log"):
        await start_server(database=edited(stopped, tmp_path, *DROP_LAST, *DROP_LAST))
