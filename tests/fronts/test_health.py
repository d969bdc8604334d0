"""grpc.health.v1 of a data plane on its own port, its name on the grpcio listener, and grpcurl, which it cannot tell
what it serves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from policy_service.reads import HEALTH, READ_SERVICES
from tests.support.fronts import DATA_PLANE, Fleet, Served
from tests.support.process import grpcurl
from tests.support.rpc import DEADLINE_S, Rpc, outcome, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVING = HealthCheckResponse.SERVING
NAMES = ("", *READ_SERVICES, "follower")


@pytest_asyncio.fixture(loop_scope="module")
async def plane(fleet: Fleet) -> Rpc:
    served = fleet[DATA_PLANE]
    assert isinstance(served, Served)
    return served.rpc


@pytest.mark.parametrize("name", NAMES)
async def test_it_serves(plane: Rpc, name: str) -> None:
    assert (await plane.health.Check(HealthCheckRequest(service=name))).status == SERVING


async def test_all_names(fleet: Fleet, plane: Rpc) -> None:
    """Where the protocol has it: its library's version decides, for all listeners alike."""
    is_there = "List" in HEALTH.methods_by_name
    for rpc in (plane, fleet.authority):
        answer = await outcome(rpc.channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=DEADLINE_S))
        if is_there:
            assert all(name.encode() in answer for name in NAMES if name != "follower" or rpc is plane)
        else:
            assert answer.code is grpc.StatusCode.UNIMPLEMENTED


async def test_it_has_a_name_on_the_listener(fleet: Fleet) -> None:
    assert (await fleet.authority.health.Check(HealthCheckRequest(service="data_plane"))).status == SERVING


@pytest.mark.parametrize("name", ["nothing", "data_plane", "é", "x" * 1_000])
async def test_an_unknown_name(fleet: Fleet, plane: Rpc, name: str) -> None:
    failure = await refused(plane.health.Check(HealthCheckRequest(service=name)), grpc.StatusCode.NOT_FOUND)
    if name != "data_plane":
        other = fleet.authority.health.Check(HealthCheckRequest(service=name))
        assert await refused(other, grpc.StatusCode.NOT_FOUND) == failure


async def test_it_has_no_streams(plane: Rpc) -> None:
    path = "/grpc.health.v1.Health/Watch"
    call = plane.channel.unary_stream(path)(b"", timeout=DEADLINE_S)
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "unary" in await call.details()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def protoset(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """As docs/dataplane.md has it made, from the other listener."""
    file = tmp_path_factory.mktemp("grpcurl") / "policy.protoset"
    service = "policy_service.v1.AccessService"
    status, _ = await grpcurl("-protoset-out", str(file), fleet.authority.target, "describe", service)
    assert status == 0
    yield file


async def test_with_grpcurl(fleet: Fleet, plane: Rpc, protoset: Path) -> None:
    """The same output from both, for an answer and for a refusal with its details."""
    rpc = "policy_service.v1.AccessService/CheckModelAccess"
    for asked, wanted in (({"team": "ml", "user": "ann", "model": "gpt-4o-mini"}, 0), ({"team": ""}, 64 + 3)):
        options = ("-protoset", str(protoset), "-format-error", "-d", json.dumps(asked))
        here, there = await asyncio.gather(
            grpcurl(*options, fleet.authority.target, rpc), grpcurl(*options, plane.target, rpc)
        )
        assert here == there
        assert there[0] == wanted, there


async def test_grpcurl_without_a_protoset_says_what_is_missing(plane: Rpc) -> None:
    status, out = await grpcurl(plane.target, "list")
    assert status != 0
    assert "reflection" in out
