"""How a data plane ends: what runs is answered, clients are told to go, nothing is left, whoever ended what."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from hyperframe.frame import RstStreamFrame

from policy_service.addresses import Address
from tests.support.messages import check
from tests.support.process import PROGRAM, Serving, serving
from tests.support.replicas import following
from tests.support.rpc import Rpc, connect
from tests.support.waiting import until

from .asking import after, answers, make_team
from .http2 import CANCEL, LIMIT_S, connected, framed, request_headers
from .processes import data_planes, id_of, runs

DATA_PLANE: dict[str, Any] = {"data_plane": Address("127.0.0.1:0")}
FOREGROUND = Path(__file__).parents[1] / "cli" / "foreground.py"


async def is_refused(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return True
    writer.close()
    return False


async def test_what_runs_is_answered_first(temporary: Path, start_server: Any) -> None:
    """A call waits for a revision while its server stops. The data plane listens no more and says GOAWAY, the other
    listener goes on meanwhile; the revision comes, the call is answered, and then everything ends."""
    authority = await start_server()
    follow = following(authority.target)
    replica = await start_server(follow=follow, database=None, drain_timeout_s=60.0, **DATA_PLANE)
    target = replica.server.data_plane
    async with connect(authority.target) as rpc, connect(replica.target) as grpcio, connected(target) as http2:
        revision = await make_team(rpc)
        assert (await http2.check("t", "ann", revision)).allowed
        waiting = http2.open(request_headers())
        await http2.write(waiting, framed(check("late", "ann", "m", after(revision)).SerializeToString()))
        assert (await http2.check("t", "ann")).allowed  # came later, so that the other has come, too
        stopping = asyncio.create_task(replica.stop())
        await until(lambda: is_refused(target), "the data plane does not listen")
        assert (await http2.check("t", "ann")).allowed  # on its way before the client knew
        await http2.told.wait()
        await answers(grpcio)
        assert not stopping.done()
        assert await make_team(rpc, "late") == after(revision)
        answer = await http2.answer(waiting)
        assert answer.code is grpc.StatusCode.OK
        await stopping
        await http2.closed.wait()
        assert http2.goaways[-1] >= waiting, "what it had taken"
    assert not data_planes()
    assert not list(temporary.iterdir())


async def test_what_never_ends_is_not_waited_for(temporary: Path, start_server: Any) -> None:
    authority = await start_server()
    follow = following(authority.target)
    replica = await start_server(follow=follow, database=None, drain_timeout_s=0.5, **DATA_PLANE)
    async with connect(authority.target) as rpc, connected(replica.server.data_plane) as http2:
        revision = await make_team(rpc)
        number = http2.open(request_headers())
        await http2.write(number, framed(check("t", "ann", "m", after(revision)).SerializeToString()))
        assert (await http2.check("t", "ann", revision)).allowed
        await replica.stop()
        assert not (await http2.answer(number)).data
    assert not data_planes()
    assert not list(temporary.iterdir())


async def test_clients_that_went_are_not_waited_for(temporary: Path, start_server: Any) -> None:
    """However they went: what ran for them is over soon, long before the drain timeout."""
    server = await start_server(drain_timeout_s=600.0, **DATA_PLANE)
    target = server.server.data_plane
    async with connect(server.target) as rpc:
        revision = await make_team(rpc)
    whole = framed(check("t", "ann", "m", after(revision)).SerializeToString())
    for body, end in ((b"", False), (whole[:9], False), (whole, True)):
        async with connected(target) as reset, connected(target) as closed:
            for http2 in (reset, closed):
                number = http2.open(request_headers())
                await http2.write(number, body, end=end)
                assert (await http2.check("t", "ann", revision)).allowed
                if http2 is reset:
                    http2.send(RstStreamFrame(number, error_code=CANCEL))
            assert (await reset.check("t", "ann")).allowed
    async with asyncio.timeout(LIMIT_S):
        await server.stop()
    assert not data_planes()


class Caller:
    """Checks as fast as it is answered, until the data plane is gone. `done` are the answers."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.done = 0
        self.failed: Counter[grpc.StatusCode] = Counter()
        self.going = asyncio.Event()

    async def run(self) -> None:
        while self.failed.total() < 5:
            try:
                await answers(self._rpc)
            except grpc.aio.AioRpcError as error:
                self.failed[error.code()] += 1
            else:
                assert not self.failed, "once it is gone, it is gone"
                self.done += 1
                self.going.set()


async def test_sigterm_under_load(temporary: Path, tmp_path: Path) -> None:
    """Real clients see answers, and after that UNAVAILABLE and nothing else."""
    async with serving(tmp_path / "policy.db", "--data-plane=127.0.0.1:0") as server, AsyncExitStack() as stack:
        rpc = await stack.enter_async_context(connect(server.target))
        target, revision = server.announced("data_plane"), await make_team(rpc)
        channels = [await stack.enter_async_context(connect(target, use_local_subchannel_pool=1)) for _ in range(4)]
        await answers(channels[0], revision)
        callers = [Caller(channel) for channel in channels]
        tasks = [asyncio.create_task(caller.run()) for caller in callers]
        await asyncio.gather(*(caller.going.wait() for caller in callers))
        processes = data_planes(id_of(server))
        server.terminate()
        await asyncio.gather(*tasks)
        assert await server.ended() == 0
    assert {code for caller in callers for code in caller.failed} == {grpc.StatusCode.UNAVAILABLE}
    assert not any(map(runs, processes))
    assert not list(temporary.iterdir())
    lines = "".join(server.lines)
    assert "Traceback" not in lines
    assert "ended by itself" not in lines


async def test_when_serve_is_killed(temporary: Path, tmp_path: Path) -> None:
    """SIGKILL: nobody ends its processes, so that they do."""
    options = ("--data-plane=127.0.0.1:0", "--data-plane-processes=2")
    async with serving(tmp_path / "policy.db", *options) as server:
        processes = data_planes(id_of(server))
        assert len(processes) == 2
        await server.kill()

    async def are_gone() -> bool:
        return not any(map(runs, processes))

    await until(are_gone, "they end by themselves")
    assert await is_refused(server.announced("data_plane"))


async def test_ctrl_c(temporary: Path, tmp_path: Path) -> None:
    """SIGINT goes to the whole process group of the terminal: `serve` drains its processes as ever."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, FOREGROUND, PROGRAM, "serve", "--listen=127.0.0.1:0", "--data-plane=127.0.0.1:0"),
        f"--database={tmp_path / 'policy.db'}",
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    server = await Serving(process).started()
    processes = data_planes(id_of(server))
    assert len(processes) == 1
    async with connect(server.target) as rpc, connect(server.announced("data_plane")) as data_plane:
        await answers(data_plane, await make_team(rpc))
        os.killpg(id_of(server), signal.SIGINT)
        assert await server.ended() == 0
    assert not any(map(runs, processes))
    assert not list(temporary.iterdir())
    assert "ended by itself" not in "".join(server.lines)
    assert server.lines[-1].rstrip().endswith("stopped")


async def test_sigterm_while_it_starts(temporary: Path, tmp_path: Path) -> None:
    """Before anything is announced: it ends in order all the same."""
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "serve", "--listen=127.0.0.1:0", "--in-memory", "--data-plane=127.0.0.1:0"),
        stderr=asyncio.subprocess.PIPE,
    )
    server = Serving(process)

    async def is_starting() -> bool:
        return bool(data_planes(process.pid))

    await until(is_starting, "its process runs")
    processes = data_planes(process.pid)
    process.send_signal(signal.SIGTERM)
    assert await server.ended() == 0
    assert not any(map(runs, processes))
    assert not list(temporary.iterdir())


async def test_a_folder_that_is_gone(temporary: Path, tmp_path: Path) -> None:
    """Something cleans up temporary files, after days: the data plane ends as ever."""
    async with serving(tmp_path / "policy.db", "--data-plane=127.0.0.1:0") as server:
        processes = data_planes(id_of(server))
        for folder in temporary.iterdir():
            shutil.rmtree(folder)
        server.terminate()
        status = await server.ended()
        for process in filter(runs, processes):
            os.kill(process, signal.SIGKILL)
    assert status == 0
    assert "Traceback" not in "".join(server.lines)
