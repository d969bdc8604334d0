"""Fixtures: a data plane that tests share, a folder where no temporary file may be left, certificates."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.dataplane import envoy
from policy_service.server import Server
from tests.security.certificates import Pki
from tests.support.rpc import connect

from .asking import answers, make_team
from .http2 import Http2, connected
from .plane import Plane


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where servers make their temporary folders, in this process and in others. Its name is short, since that of a
    Unix socket has to be."""
    tmp_path_factory.getbasetemp()  # which would be made there
    folder = Path(tempfile.mkdtemp(prefix="dp-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane() -> AsyncIterator[Plane]:
    if problem := envoy.problem():
        pytest.skip(problem)
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), data_plane=Address("127.0.0.1:0")))
    async with connect(server.addresses[0]) as rpc, connect(server.data_plane) as data_plane:
        revision = await make_team(rpc)
        await answers(data_plane, revision)
    yield Plane(server.data_plane, revision)
    await server.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def http2(plane: Plane) -> AsyncIterator[Http2]:
    """A connection that goes on after whatever was sent on it."""
    async with connected(plane.target) as http2:
        yield http2
        assert (await http2.check("t", "ann")).allowed
