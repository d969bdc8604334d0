"""`policy-service watch`: the changes of an authority, as they come."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from policy_client import AdminClient
from policy_service.addresses import Address
from policy_service.v1.resources_pb2 import AccessGroup, Member, MemberLimits, Model, ModelScope, Team
from tests.support.replicas import following
from tests.support.waiting import until

from .commands import Running, invoke, running

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer


@pytest.fixture
async def admin(server: RunningServer) -> AsyncIterator[AdminClient]:
    async with AdminClient(server.target) as admin:
        yield admin


async def watching(command: Running, target: str, times: int = 1) -> None:
    """Waits until it says so, for the `times`th time."""

    async def said() -> bool:
        assert not command.has_ended, command.err
        return sum(line.startswith(f"watching {target} from revision ") for line in command.err) == times

    await until(said, "it watches")


async def lines(command: Running, count: int) -> list[str]:
    """Waits for so many lines, and no more."""

    async def there() -> bool:
        return len(command.out) >= count

    await until(there, f"{count} lines, after {command.out}")
    assert len(command.out) == count
    return command.out


async def test_it_prints_what_changes(server: RunningServer, admin: AdminClient) -> None:
    """From now on, and each record in its line."""
    await admin.create_team(Team(id="before", models=ModelScope(mode=ModelScope.ALL)))
    async with running("watch", "--server", server.target) as command:
        await watching(command, server.target)
        revisions = [
            (await admin.upsert_models([Model(name="gpt-4o", provider="openai")])).revision,
            (await admin.set_access_group(AccessGroup(name="cheap", models=["gpt-4o"]))).revision,
            (await admin.create_team(Team(id="t", models=ModelScope(models=["cheap"])), [Member(user="ann")])).revision,
            (await admin.update_member(Member(team="t", user="ann", limits=MemberLimits(rpm_limit=9)))).revision,
            (await admin.remove_member("t", "ann")).revision,
            (await admin.delete_team("t", force=True)).revision,
        ]
        shown = await lines(command, 7)
        assert [line.split(" ", 2)[:2] for line in shown] == [
            [revisions[0], "model"],
            [revisions[1], "group"],
            [revisions[2], "team"],
            [revisions[2], "member"],
            [revisions[3], "member"],
            [revisions[4], "member"],
            [revisions[5], "team"],
        ]
        assert '"provider":"openai"' in shown[0]
        assert '"models":["cheap"]' in shown[2]
        assert '"rpm_limit":9' in shown[4]
        assert [line.endswith(": removed") for line in shown] == [False] * 5 + [True] * 2
        command.interrupt()
        assert await command.ended() == 0
        assert "Traceback" not in "".join(command.err)


async def test_json(server: RunningServer, admin: AdminClient) -> None:
    async with running("watch", "--server", server.target, "--output", "json") as command:
        await watching(command, server.target)
        made = await admin.create_team(Team(id="t", models=ModelScope(models=["m"])), [Member(user="zoë")])
        gone = await admin.remove_member("t", "zoë")
        team, member, removed = map(json.loads, await lines(command, 3))
        assert (team["revision"], team["kind"], team["team"]) == (made.revision, "team", "t")
        assert team["value"]["models"]["models"] == ["m"]
        assert (member["kind"], member["team"], member["name"]) == ("member", "t", "zoë")
        assert member["value"]["allowed_models"]["mode"] == "INHERIT"
        assert removed == member | {"revision": gone.revision, "value": None}
        command.interrupt()
        assert await command.ended() == 0


async def test_it_goes_on_where_it_was_when_the_authority_comes_back(
    start_server: StartServer, server: RunningServer, admin: AdminClient
) -> None:
    """With all that happened while it could not see it; and anew, from now on, when the log is another."""
    async with running("watch", "--server", server.target) as command:
        await watching(command, server.target)
        first = await admin.upsert_models([Model(name="one", provider="p")])
        await lines(command, 1)
        await server.stop()

        async def noticed() -> bool:
            return any("trying again" in line for line in command.err)

        await until(noticed, "it tries again")
        elsewhere = await start_server()
        async with AdminClient(elsewhere.target) as other:
            second = await other.upsert_models([Model(name="two", provider="p")])
        await elsewhere.stop()
        back = await start_server(listen=Address(server.target))
        async with AdminClient(back.target) as again:
            third = await again.upsert_models([Model(name="three", provider="p")])
        shown = await lines(command, 3)
        assert [line.split()[0] for line in shown] == [made.revision for made in (first, second, third)]
        await back.stop()

        told = len(command.err)
        new = await start_server(listen=Address(server.target), database=None)

        async def began_anew() -> bool:
            news = command.err[told:]
            return any("going on from now" in line for line in news) and news[-1].startswith("watching")

        await until(began_anew, "it says that the log is another")
        async with AdminClient(new.target) as again:
            fourth = await again.upsert_models([Model(name="four", provider="p")])
        assert (await lines(command, 4))[-1].split()[0] == fourth.revision
        command.interrupt()
        assert await command.ended() == 0
        assert "Traceback" not in "".join(command.err)


async def test_ctrl_c_while_the_authority_is_away(server: RunningServer) -> None:
    async with running("watch", "--server", server.target) as command:
        await watching(command, server.target)
        await server.stop()

        async def noticed() -> bool:
            return any("trying again" in line for line in command.err)

        await until(noticed, "it tries again")
        command.interrupt()
        assert await command.ended() == 0
        assert "Traceback" not in "".join(command.err)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--server", "127.0.0.1:1"), 5, "no answer from 127.0.0.1:1"),
        (("--server", "localhost"), 2, "has no port; give host:port"),
        (("--output", "xml"), 2, "'xml' is not one of 'text', 'json', 'yaml'"),
    ],
)
async def test_what_cannot_be_watched(arguments: tuple[str, ...], status: int, words: str) -> None:
    ended = await invoke("watch", *arguments)
    assert (ended.status, ended.out) == (status, "")
    assert words in ended.err


async def test_a_replica_is_not_watched(start_server: StartServer, server: RunningServer) -> None:
    replica = await start_server(follow=following(server.target))
    ended = await invoke("watch", "--server", replica.target)
    assert (ended.status, ended.out) == (2, "")
    assert f"send it to the authority at {server.target}" in ended.err


async def test_help() -> None:
    ended = await invoke("watch", "--help")
    assert ended.status == 0
    for words in ("until Ctrl-C", "Exit status: 0 ended by Ctrl-C", "--output", "--server", "--token-file"):
        assert words in ended.out
