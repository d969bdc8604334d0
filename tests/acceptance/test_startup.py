"""What the server says when it starts, and what it finds when it starts again."""

from __future__ import annotations

from pathlib import Path

from policy_service.v1.admin_pb2 import CreateTeamRequest, GetTeamRequest
from tests.support.messages import check, member, team
from tests.support.process import launch, serving
from tests.support.rpc import connect


async def test_it_says_where_it_listens_and_where_the_data_is(tmp_path: Path) -> None:
    database = tmp_path / "data here" / "policy.db"
    async with serving(database, "--admin-listen=localhost:0") as server:
        assert server.announced("database") == str(database)
        assert server.announced("tls") == "False"
        assert server.announced("credentials") == "none"
        targets = server.announced("listen"), server.announced("admin_listen")
        assert len(set(targets)) == 2
        async with connect(targets[0]) as reads, connect(targets[1]) as admin:
            await admin.admin.CreateTeam(CreateTeamRequest(team=team("t"), members=[member("", "ann")]))
            assert (await reads.access.CheckModelAccess(check("t", "ann", "m"))).allowed
        assert await server.stop() == 0
    assert database.stat().st_mode & 0o777 == 0o600
    async with serving(database) as server:
        assert (server.announced("teams"), server.announced("members")) == ("1", "1")
        assert server.announced("revision").endswith(".1")
        async with connect(server.target) as rpc:
            assert (await rpc.admin.GetTeam(GetTeamRequest(team="t"))).member_count == 1


async def test_a_second_server_keeps_off_the_database(tmp_path: Path) -> None:
    async with serving(tmp_path / "policy.db") as first:
        second = await launch(tmp_path / "policy.db")
        assert await second.ended() == 2
        assert "in use by another Policy Service" in "".join(second.lines)
        async with connect(first.target) as rpc:
            await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))


async def test_an_address_that_is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path / "policy.db") as first:
        second = await launch(tmp_path / "other.db", listen=first.target)
        assert await second.ended() == 2
        assert f"cannot listen on {first.target}" in "".join(second.lines)
        assert "Traceback" not in "".join(second.lines)


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "policy.db").write_text("not a database at all\n" * 100)
    server = await launch(tmp_path / "policy.db")
    assert await server.ended() == 2
    assert "cannot use the database" in "".join(server.lines)
    assert "Traceback" not in "".join(server.lines)
