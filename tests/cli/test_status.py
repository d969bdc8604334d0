"""`policy-service status`: what it prints of an authority and of a replica, and its exit statuses."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from policy_service.addresses import Address
from tests.security.principals import with_token, write_credentials
from tests.support import examples
from tests.support.replicas import STALE, equal, following, in_state, status
from tests.support.rpc import Rpc, connect

from .commands import Ended, invoke, run

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

HEX = "[0-9a-f]{16}"


class Pair(NamedTuple):
    """An authority with the small world, a replica of it that turns stale soon, and how to call them."""

    server: RunningServer
    authority: Rpc
    replica: Rpc


@pytest.fixture
async def pair(start_server: StartServer) -> AsyncIterator[Pair]:
    server = await start_server()
    running = await start_server(follow=following(server.target, max_staleness_s=1.0))
    async with connect(server.target) as authority, connect(running.target) as replica:
        await examples.build(authority)
        await equal(replica, authority)
        yield Pair(server, authority, replica)


async def asked(rpc: Rpc, *arguments: str) -> Ended:
    return await invoke("status", "--server", rpc.target, *arguments)


def fields(ended: Ended) -> dict[str, str]:
    """The lines by their name; of several with one name the last."""
    return {line[:15].rstrip(): line[16:] for line in ended.lines}


async def test_an_authority(pair: Pair) -> None:
    ended = await run("status", "--server", pair.authority.target)
    assert (ended.status, ended.err) == (0, "")
    shown, found = fields(ended), await status(pair.authority)
    epoch, _, revision = found.revision.partition(".")
    assert shown | {"running since": ""} == {
        "role": "authority",
        "state": "FRESH",
        "epoch": epoch,
        "revision": revision,
        "head": revision,
        "digest": found.digest,
        "feed": "none",
        "watchers": "1",
        "running since": "",
        "last error": "none",
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", shown["running since"])


async def test_a_replica(pair: Pair) -> None:
    ended = await asked(pair.replica)
    assert (ended.status, ended.err) == (0, "")
    shown, found = fields(ended), await status(pair.authority)
    epoch, _, revision = found.revision.partition(".")
    assert (shown["role"], shown["state"]) == ("replica", "FRESH")
    assert (shown["epoch"], shown["revision"], shown["head"]) == (epoch, revision, revision)
    assert shown["digest"] == found.digest
    assert shown["feed"] == f"grpc://{pair.authority.target}"
    assert re.fullmatch(r"\d\.\d{3} s", shown["staleness"])
    assert shown["last error"] == "none"
    assert "snapshots_loaded 1" in ended.out
    assert "watchers" not in shown


async def test_json(pair: Pair) -> None:
    for rpc, role in ((pair.authority, "AUTHORITY"), (pair.replica, "REPLICA")):
        ended = await asked(rpc, "--output", "json")
        assert (ended.status, ended.err) == (0, "")
        shown, found = json.loads(ended.out), await status(rpc)
        assert (shown["role"], shown["state"]) == (role, "FRESH")
        assert (shown["revision"], shown["digest"]) == (found.revision, found.digest)
        assert shown["watchers"] == found.watchers
        assert shown["last_error"] == ""
        assert ("staleness" in shown) == (role == "REPLICA")
        always = {"role", "state", "revision", "digest", "head_revision", "ancestors", "feed", "watchers", "last_error"}
        assert always | {"counters", "start_time"} <= shown.keys()


async def test_a_stale_one_is_1(pair: Pair) -> None:
    before = await status(pair.replica)
    await pair.server.stop()
    await in_state(pair.replica, STALE)
    ended = await asked(pair.replica)
    assert (ended.status, ended.err) == (1, "")
    shown = fields(ended)
    assert (shown["state"], shown["digest"]) == ("STALE", before.digest)
    assert re.fullmatch(rf"grpc://{pair.server.target}.* \(\d{{4}}-.*Z\)", shown["last error"])
    assert json.loads((await asked(pair.replica, "-o", "json")).out)["state"] == "STALE"


async def test_one_without_a_policy_is_1(start_server: StartServer) -> None:
    running = await start_server(follow=following("127.0.0.1:1"))
    ended = await invoke("status", "--server", running.target)
    assert (ended.status, ended.err) == (1, "")
    shown = fields(ended)
    assert shown["state"] == "SYNCING"
    assert {shown[name] for name in ("epoch", "revision", "digest")} == {"none yet"}
    assert (shown["head"], shown["staleness"]) == ("not heard of", "not known")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--server", "127.0.0.1:1"), 5, "no answer from 127.0.0.1:1"),
        (("--server", "localhost"), 2, "has no port; give host:port"),
        (("--output", "xml"), 2, "'xml' is not one of 'text', 'json', 'yaml'"),
        (("--token-file", "/nowhere/token"), 2, "/nowhere/token"),
        (("extra",), 2, "unexpected extra argument"),
    ],
)
async def test_what_cannot_be_asked(arguments: tuple[str, ...], status: int, words: str) -> None:
    ended = await invoke("status", *arguments)
    assert (ended.status, ended.out) == (status, "")
    assert words in ended.err


async def test_where_it_is_not_offered(start_server: StartServer) -> None:
    server = await start_server(admin_listen=Address("localhost:0"))
    ended = await invoke("status", "--server", server.target)
    assert (ended.status, ended.out) == (2, "")
    assert f"{server.target} does not offer GetStatus; give the address it is served at with --server" in ended.err
    assert (await invoke("status", "--server", server.admin_target)).status == 0


async def test_it_takes_the_permission_replicate(start_server: StartServer, tmp_path: Path) -> None:
    entries = [with_token(name, f"ps_{name}", name) for name in ("check", "replicate", "admin")]
    server = await start_server(credentials=write_credentials(tmp_path / "credentials.yaml", *entries))
    for name, expected in (("replicate", 0), ("admin", 2)):
        (tmp_path / name).write_text(f"ps_{name}")
        ended = await invoke("status", "--server", server.target, "--token-file", f"{tmp_path}/{name}")
        assert ended.status == expected
        assert ("needs the permission replicate" in ended.err) == (expected == 2)
    nobody = await invoke("status", "--server", server.target)
    assert (nobody.status, "--token-file" in nobody.err) == (2, True)


async def test_help() -> None:
    ended = await invoke("status", "--help")
    assert ended.status == 0
    for words in ("Exit status: 0 its policy is fresh, 1", "--output", "--server", "--token-file", "--tls-ca"):
        assert words in ended.out
