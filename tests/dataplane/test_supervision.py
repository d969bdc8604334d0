"""The processes of a data plane are kept running, whatever becomes of them, and the other listeners notice nothing."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import find_libpython
import grpc
import pytest

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.dataplane import child
from policy_service.errors import StartupError
from policy_service.server import Server
from tests.security.certificates import Pki
from tests.security.principals import EVERYBODY, overwrite, write_credentials
from tests.support.process import launch
from tests.support.replicas import following
from tests.support.rpc import Rpc, connect
from tests.support.waiting import until

from .asking import NOT_SERVING, SERVING, answers, health, make_team, shows
from .http2 import Http2, connected
from .processes import data_planes, runs, server_of

DATA_PLANE: dict[str, Any] = {"data_plane": Address("127.0.0.1:0")}
EARLY_S = 1.0  # to be taken for hanging, in a test; the processes need longer to start


def endings(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What the log says of processes that ended by themselves."""
    return [
        getattr(record, "fields", {})
        for record in caplog.records
        if record.message == "a data-plane process ended by itself"
    ]


async def another(former: list[int]) -> int:
    """Waits for a process that is none of the former ones."""

    async def found() -> int | None:
        return next((process for process in data_planes() if process not in former), None)

    process = await until(found, "a process is started")
    assert process is not None
    return process


async def test_one_that_is_killed_is_started_again(temporary: Path, start_server: Any) -> None:
    server = await start_server(**DATA_PLANE)
    async with connect(server.target) as rpc, connect(server.server.data_plane) as data_plane:
        revision = await make_team(rpc)
        await answers(data_plane, revision)
        [killed] = data_planes()
        os.kill(killed, signal.SIGKILL)
        await shows(rpc, NOT_SERVING)
        assert await health(rpc, "") == SERVING
        await answers(rpc)
        await shows(rpc, SERVING)
        assert await another([killed])
        await answers(data_plane, revision)
        await server.stop()
    assert not data_planes()
    assert not list(temporary.iterdir())


async def test_the_more_often_the_later(start_server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    """Each is killed as soon as it is there; every pause is twice as long as the last, up to the longest."""
    monkeypatch.setattr(child, "FIRST_DELAY_S", 0.05)
    monkeypatch.setattr(child, "MAX_DELAY_S", 0.25)
    server = await start_server(**DATA_PLANE)
    former: list[int] = []
    for _ in range(5):
        former.append(await another(former))
        os.kill(former[-1], signal.SIGKILL)
    await another(former)
    assert [ending["restart_in_s"] for ending in endings(caplog)] == [0.05, 0.1, 0.2, 0.25, 0.25]
    assert {ending["ended"] for ending in endings(caplog)} == {"by signal 9"}
    async with connect(server.target) as rpc, connect(server.server.data_plane) as data_plane:
        await shows(rpc, SERVING)
        await answers(data_plane, await make_team(rpc))


async def test_one_that_ran_long_is_started_again_at_once(
    start_server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(child, "STABLE_S", 0.0)
    await start_server(**DATA_PLANE)
    former: list[int] = []
    for _ in range(3):
        former.append(await another(former))
        os.kill(former[-1], signal.SIGKILL)
    await another(former)
    assert [ending["restart_in_s"] for ending in endings(caplog)] == [child.FIRST_DELAY_S] * 3


async def test_one_that_hangs_is_replaced(start_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = await start_server(**DATA_PLANE)
    async with connect(server.target) as rpc, connect(server.server.data_plane) as data_plane:
        revision = await make_team(rpc)
        [hanging] = data_planes()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child, "HANG_S", EARLY_S)
            os.kill(hanging, signal.SIGSTOP)
            await shows(rpc, NOT_SERVING)
        await answers(rpc)
        await shows(rpc, SERVING)
        assert not runs(hanging)
        await answers(data_plane, revision)
    assert "without a sign of life" in endings(caplog)[0]["ended"]


async def test_a_stop_does_not_wait_for_one_that_hangs(temporary: Path, start_server: Any) -> None:
    server = await start_server(**DATA_PLANE, drain_timeout_s=0.5)
    [hanging] = data_planes()
    os.kill(hanging, signal.SIGSTOP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "END_S", 0.5)
        await server.stop()
    assert not runs(hanging)
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("file", ["credentials.yaml", "key.pem"])
async def test_one_that_cannot_start_is_tried_again(
    temporary: Path, start_server: Any, caplog: pytest.LogCaptureFixture, monkeypatch: Any, tmp_path: Path, file: str
) -> None:
    """A file that it needs is wrong. The server has read the former one, and goes on."""
    monkeypatch.setattr(child, "FIRST_DELAY_S", 0.05)
    pki = Pki(tmp_path)
    credentials = write_credentials(tmp_path / "credentials.yaml", *EVERYBODY)
    server = await start_server(**DATA_PLANE, credentials=credentials, **pki.tls)
    targets = [target.replace("127.0.0.1", "localhost") for target in (server.target, server.server.data_plane)]
    right = (tmp_path / file).read_text()
    overwrite(tmp_path / file, "wrong")

    async def is_tried_again() -> bool:
        return len(endings(caplog)) >= 3

    async with (
        grpc.aio.secure_channel(targets[0], pki.caller()) as grpcio,
        grpc.aio.secure_channel(targets[1], pki.caller()) as data_plane,
    ):
        rpc = Rpc(grpcio, targets[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(child, "HANG_S", EARLY_S)
            os.kill(data_planes()[0], signal.SIGKILL)
            await until(is_tried_again, "it is tried again and again")
            assert await health(rpc) == NOT_SERVING
            assert await health(rpc, "") == SERVING
            overwrite(tmp_path / file, right)
            await another(data_planes())
        await shows(rpc, SERVING)
        assert await health(Rpc(data_plane, targets[1]), "") == SERVING


async def test_a_stop_while_one_cannot_start(temporary: Path, start_server: Any, tmp_path: Path) -> None:
    file = write_credentials(tmp_path / "credentials.yaml", *EVERYBODY)
    server = await start_server(**DATA_PLANE, credentials=file, drain_timeout_s=0.5)
    overwrite(file, "wrong")
    former = data_planes()
    os.kill(former[0], signal.SIGKILL)
    await another(former)
    await server.stop()
    assert not data_planes()
    assert not list(temporary.iterdir())


async def test_two_processes(temporary: Path, start_server: Any) -> None:
    """Both answer, and follow mutations. When one is killed the other goes on, and no new connection is refused."""
    server = await start_server(**DATA_PLANE, data_plane_processes=2)
    target, processes = server.server.data_plane, data_planes()
    assert len(processes) == 2
    async with connect(server.target) as rpc, AsyncExitStack() as stack:
        revision = await make_team(rpc)
        kept: dict[int, Http2] = {}
        while len(kept) < 2:  # the system spreads connections as it likes
            http2 = await stack.enter_async_context(connected(target))
            kept[await server_of(http2.port, processes)] = http2
        for http2 in kept.values():
            assert (await http2.check("t", "ann", revision)).allowed
        killed, other = processes
        os.kill(killed, signal.SIGKILL)
        await shows(rpc, NOT_SERVING)
        await kept[killed].closed.wait()
        revision = await make_team(rpc, "u")
        assert (await kept[other].check("u", "ann", revision)).allowed
        for _ in range(10):
            async with connected(target) as http2:
                assert (await http2.check("u", "ann", revision)).allowed
        await shows(rpc, SERVING)
        await server.stop()
    assert not data_planes()
    assert not list(temporary.iterdir())


async def test_the_cache_of_a_replica_and_of_its_data_plane(temporary: Path, start_server: Any, tmp_path: Path) -> None:
    """Each process has a file of its own, and answers from it when the authority is gone."""
    authority = await start_server()
    cache = tmp_path / "state"
    async with connect(authority.target) as rpc:
        revision = await make_team(rpc)
    follow = following(authority.target, state_cache=cache)
    replica = await start_server(follow=follow, database=None, data_plane_processes=2, **DATA_PLANE)
    async with connect(replica.server.data_plane) as data_plane:
        await answers(data_plane, revision)
        names = {"state", "state.data-plane-0", "state.data-plane-1"}

        async def are_written() -> bool:
            return {file.name for file in tmp_path.glob("state*") if file.stat().st_size} >= names

        await until(are_written, "each has its file")
        await replica.stop()
    await authority.stop()
    replica = await start_server(follow=follow, database=None, **DATA_PLANE)
    async with connect(replica.server.data_plane) as data_plane:
        await answers(data_plane)


@pytest.mark.parametrize("missing", ["libpython", "glibc"])
async def test_a_machine_that_cannot(caplog: pytest.LogCaptureFixture, monkeypatch: Any, missing: str) -> None:
    """The grpcio listener serves as ever, and says that there is no data plane."""
    if missing == "libpython":
        monkeypatch.setattr(find_libpython, "candidate_paths", lambda: iter([]))
    else:
        monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), **DATA_PLANE))
    assert server.data_plane == ""
    assert not data_planes()
    async with connect(server.addresses[0]) as rpc:
        assert await health(rpc) == NOT_SERVING
        assert await health(rpc, "") == SERVING
        await answers(rpc, await make_team(rpc))
    await server.stop()
    [record] = [record for record in caplog.records if record.message == "there is no data plane"]
    assert record.levelno == logging.ERROR
    assert missing in record.__dict__["fields"]["problem"]


async def test_not_installed(start_server: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyvoy", None)
    with pytest.raises(StartupError, match=r"needs pyvoy; install it: pip install 'policy-service\[dataplane\]'"):
        await start_server(**DATA_PLANE)
    await start_server()


async def test_not_installed_as_the_command_says(monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "pyvoy.py").write_text("raise ImportError('hidden by a test')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = await launch(tmp_path / "policy.db", "--data-plane=127.0.0.1:0")
    assert await server.ended() == 2
    assert server.lines[-1].startswith("policy-service: --data-plane needs pyvoy")
    assert "Traceback" not in "".join(server.lines)
    assert "hidden by a test" not in "".join(server.lines)
