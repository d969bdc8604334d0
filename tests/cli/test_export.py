"""`policy-service export`: what it writes makes an empty server the same, byte for byte, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from google.protobuf.field_mask_pb2 import FieldMask

from policy_client import AdminClient
from policy_service.cli.export import manifest_of
from policy_service.cli.manifest import parse_manifest
from policy_service.cli.manifest_writer import manifest_text
from policy_service.cli.plan import make_plan
from policy_service.cli.present import read_all, read_present
from policy_service.v1.admin_pb2 import (
    CreateTeamRequest,
    ListAuditEventsRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.replication_pb2 import GetStatusRequest
from policy_service.v1.resources_pb2 import MemberLimits, Team
from tests.cli.backups import edit
from tests.support.forwarder import forwarding
from tests.support.messages import member, only, team
from tests.support.mutator import Mutator, send_again
from tests.support.rpc import Rpc, connect, number_of

from .commands import COMMAND, Ended, invoke, run

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

EMPTY = "models: []\ngroups: []\nteams: []\n"
RETAIN_NOTHING = 1e-9  # days; the last entry stays


@pytest.fixture
async def rpc(server: RunningServer) -> AsyncIterator[Rpc]:
    async with connect(server.target) as rpc:
        yield rpc


@asynccontextmanager
async def another(start_server: StartServer) -> AsyncIterator[Rpc]:
    """An empty server, in memory."""
    server = await start_server(database=None)
    async with connect(server.target) as rpc:
        yield rpc


async def export(target: str, *options: str, **environment: str) -> Ended:
    ended = await invoke("export", *options, "--server", target, **environment)
    assert (ended.status, ended.err.count("\n")) == (0, 1), ended.err
    return ended


def revision_of(ended: Ended) -> int:
    """The revision that was exported."""
    found = re.fullmatch(r"exported revision (\S+): [0-9,]+ teams, [0-9,]+ members\n", ended.err)
    assert found, ended.err
    return number_of(found[1])


async def apply(target: str, text: str, *options: str) -> Ended:
    ended = await invoke("apply", "-f", "-", *options, "--server", target, text=text)
    assert (ended.status, ended.err) == (0, "")
    return ended


async def digest(rpc: Rpc) -> str:
    return str((await rpc.replication.GetStatus(GetStatusRequest())).digest)


async def test_an_export_makes_an_empty_server_the_same(rpc: Rpc, start_server: StartServer) -> None:
    await Mutator(rpc, 0).send(250)
    exported = await export(rpc.target)
    assert "scope_source: SEEDED" in exported.out
    assert "null" in exported.out
    at = await rpc.head()
    assert revision_of(exported) == number_of(at)
    async with another(start_server) as other:
        assert (await apply(other.target, exported.out)).lines[-1].startswith("Applied: ")
        assert (await export(other.target)).out == exported.out
        assert await digest(other) == await digest(rpc)
        applied_at = await other.head()
        assert (await apply(other.target, exported.out)).out == "No changes.\n"
        assert await other.head() == applied_at
    assert (await apply(rpc.target, exported.out, "--prune", "--yes")).out == "No changes.\n"
    assert await rpc.head() == at


@pytest.mark.parametrize("seed", range(1, 7))
async def test_so_does_an_export_of_any_other_world(rpc: Rpc, start_server: StartServer, seed: int) -> None:
    """Also when the apply breaks off, again and again."""
    await Mutator(rpc, seed).send(250)
    text = await exported_here(rpc)
    manifest = parse_manifest(text.encode(), "export.yaml")
    async with another(start_server) as other, AdminClient(channel=other.channel) as admin:
        while steps := make_plan(manifest, await read_present(admin, manifest), prune=True):
            for step in steps[: 1 + len(steps) // 2]:
                await step.run(admin)
        assert await exported_here(other) == text
        assert await digest(other) == await digest(rpc)


async def exported_here(rpc: Rpc) -> str:
    """What the command writes, without the command."""
    async with AdminClient(channel=rpc.channel) as admin:
        return "".join(manifest_text(manifest_of(await read_all(admin, lambda _: None))))


@pytest.mark.parametrize("seed", range(2))
async def test_it_is_of_one_revision_while_others_change_things(rpc: Rpc, start_server: StartServer, seed: int) -> None:
    """Before and after each page that the command reads, of the lists and of the log, others change a few things.
    Another server gets the same changes up to the revision that the export says it is of."""
    mutator = Mutator(rpc, seed)
    await mutator.send(150)
    before = number_of(await rpc.head())
    asked: list[str] = []

    async def mutate(name: str) -> None:
        asked.append(name)
        await mutator.send(6)

    async with forwarding(rpc.target, mutate) as target:
        exported = await export(target)
    at = revision_of(exported)
    assert {"ListModels", "ListAccessGroups", "ListTeams", "ListMembers", "ListAuditEvents"} <= set(asked)
    assert before < at <= mutator.sent[-1].number
    async with another(start_server) as other:
        await send_again(other, mutator.sent, at)
        alike = await export(other.target)
    assert revision_of(alike) == at
    assert exported.out == alike.out


async def test_it_is_of_one_revision_with_a_writer_that_never_rests(rpc: Rpc, start_server: StartServer) -> None:
    mutator = Mutator(rpc, 5)
    await mutator.send(100)
    for name in ("many", "more"):
        added = [member("", f"user-{number:03d}") for number in range(500)]
        await mutator.mutate(CreateTeamRequest(team=team(name), members=added))
    exporting = asyncio.create_task(export(rpc.target))
    while not exporting.done():
        await mutator.send()
    exported = await exporting
    async with another(start_server) as other:
        await send_again(other, mutator.sent, revision_of(exported))
        assert (await export(other.target)).out == exported.out


async def test_a_member_that_was_seeded_before_the_default_changed(rpc: Rpc) -> None:
    ops = team("ops", default_team_member_models=only("a"), default_member_limits=MemberLimits(rpm_limit=5))
    await rpc.admin.CreateTeam(CreateTeamRequest(team=ops, members=[member("", "ann"), member("", "bob")]))
    newer = Team(id="ops", default_team_member_models=only("b"))
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=newer))
    cleared = UpdateMemberRequest(
        member=member("ops", "bob"), update_mask=FieldMask(paths=["limits", "allowed_models"])
    )
    await rpc.admin.UpdateMember(cleared)
    assert (await export(rpc.target)).lines[-3:] == [
        "    members:",
        "      - {user: ann, allowed_models: {models: [a]}, scope_source: SEEDED, limits: {rpm_limit: 5}}",
        "      - {user: bob, limits: {rpm_limit: null}}",
    ]


async def test_of_an_empty_server(rpc: Rpc) -> None:
    exported = await export(rpc.target)
    assert exported.out == EMPTY
    assert exported.err == "exported revision none: 0 teams, 0 members\n"
    assert (await apply(rpc.target, EMPTY, "--prune", "--yes")).out == "No changes.\n"


async def test_of_a_server_that_gets_its_first_changes_meanwhile(rpc: Rpc, start_server: StartServer) -> None:
    mutator = Mutator(rpc, 6)

    async def mutate(name: str) -> None:
        if name != "ListAuditEvents":
            await mutator.send(6)

    async with forwarding(rpc.target, mutate) as target:
        exported = await export(target)
    async with another(start_server) as other:
        await send_again(other, mutator.sent, revision_of(exported))
        assert (await export(other.target)).out == exported.out != EMPTY


async def test_retention_that_empties_the_log(start_server: StartServer) -> None:
    """The last entry is always there. While nobody changes anything, that will do."""
    server = await start_server(log_retention_days=RETAIN_NOTHING)
    async with connect(server.target) as rpc:
        mutator = Mutator(rpc, 0)
        await mutator.send(200)
        assert len((await rpc.admin.ListAuditEvents(ListAuditEventsRequest())).events) <= 2
        exported = await export(rpc.target)
        async with another(start_server) as other:
            await send_again(other, mutator.sent, revision_of(exported))
            assert (await export(other.target)).out == exported.out

        async def mutate(name: str) -> None:
            await mutator.send(6)

        async with forwarding(rpc.target, mutate) as target:
            ended = await invoke("export", "--server", target)
        assert (ended.status, ended.out) == (2, "")
        assert "the audit log has no longer all that changed meanwhile; export again" in ended.err


async def test_a_clock_that_was_set_back(start_server: StartServer, tmp_path: Path) -> None:
    """The log is in the order of revisions; its times need not be. The newest by its time is not the last one."""
    database = tmp_path / "clock.db"
    server = await start_server(database=database)
    async with connect(server.target) as rpc:
        mutator = Mutator(rpc, 7)
        await mutator.send(100)
    await server.stop()
    edit(database, "UPDATE log SET time = iif(revision < 20, '2999', '2020') || substr(time, 5)")
    server = await start_server(database=database)
    async with connect(server.target) as rpc:
        went_on = Mutator(rpc, 8)

        async def mutate(name: str) -> None:
            if name != "ListAuditEvents":
                await went_on.send(3)

        async with forwarding(rpc.target, mutate) as target:
            exported = await export(target)
    at = revision_of(exported)
    async with another(start_server) as other:
        await send_again(other, [*mutator.sent, *went_on.sent], at)
        assert (await export(other.target)).out == exported.out
    assert at > mutator.sent[-1].number


async def test_a_caller_that_may_not_ask_for_the_head(start_server: StartServer, tmp_path: Path) -> None:
    token, entry = "admin-token", {"name": "ann", "permissions": ["admin"]}
    credentials = tmp_path / "credentials.yaml"
    hashed = hashlib.sha256(token.encode()).hexdigest()
    credentials.write_text(yaml.safe_dump({"principals": [entry | {"token_sha256": hashed}]}))
    (tmp_path / "token").write_text(token)
    server = await start_server(credentials=credentials)
    assert (await export(server.target, f"--token-file={tmp_path / 'token'}")).out == EMPTY


async def test_a_file_has_the_same_bytes_as_standard_output(rpc: Rpc, tmp_path: Path) -> None:
    """Which are UTF-8, whatever the terminal has."""
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("équipe")))
    file = tmp_path / "policy.yaml"
    assert (await export(rpc.target, "-f", str(file))).out == ""
    assert "équipe" in file.read_text(encoding="utf-8")
    for options in ((), ("--file", "-")):
        exported = await run("export", *options, "--server", rpc.target, PYTHONIOENCODING="ascii")
        assert exported.out.encode() == file.read_bytes()
    assert list(tmp_path.glob("*policy.yaml*")) == [file]


async def test_a_file_that_cannot_be_written_stays_as_it_was(rpc: Rpc, tmp_path: Path) -> None:
    added = [member("", f"user-{number:03d}") for number in range(400)]
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t"), members=added))
    folder = tmp_path / "exports"
    folder.mkdir()
    file = folder / "policy.yaml"
    file.write_text("old")
    # The disk is full for it after 4 KiB.
    limited = ("bash", "-c", 'ulimit -f 4; exec "$@"', "bash", str(COMMAND), "export", "--server", rpc.target)
    process = await asyncio.create_subprocess_exec(*limited, "-f", str(file), stderr=asyncio.subprocess.PIPE)
    _, err = await process.communicate()
    assert process.returncode == 2
    assert f"{file} cannot be written: " in err.decode()
    for place in (folder, tmp_path / "nowhere" / "policy.yaml"):
        ended = await invoke("export", "-f", str(place), "--server", rpc.target)
        assert (ended.status, ended.out) == (2, "")
        assert f"{place} cannot be written: " in ended.err
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("policy.yaml", "old")]
    assert "Traceback" not in err.decode()


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    ended = await invoke("export", "-f", str(file), "--server", "127.0.0.1:1")
    assert (ended.status, ended.out) == (5, "")
    assert "no answer from 127.0.0.1:1" in ended.err
    assert not file.exists()
