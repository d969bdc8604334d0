"""Over gRPC, from a running server: what arrives, how large it may be, and what no client may cause."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.envoy_v3.external_auth_pb2_grpc import AuthorizationStub
from policy_service.server import Server
from policy_service.v1 import admin_pb2
from policy_service.v1.access_pb2 import BatchCheckModelAccessRequest
from tests.ext_authz.asking import chat, check_request, denied, facts
from tests.support.messages import only, team
from tests.support.process import grpcurl
from tests.support.rpc import Rpc, connect

MEBIBYTE = 1024 * 1024
CONFIGURATION = """
identity: {headers: {team: x-team}}
max_body_bytes: 6291456
"""
ML = ("x-team", "ml")
PATH = "/envoy.service.auth.v3.Authorization/Check"


@pytest.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    config = tmp_path / "ext-authz.yaml"
    config.write_text(CONFIGURATION)
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), ext_authz_config=config))
    try:
        async with connect(server.addresses[0]) as rpc:
            ml = team("ml", only("gpt-4o"), unlisted_users="TEAM_SCOPE")
            await rpc.admin.CreateTeam(admin_pb2.CreateTeamRequest(team=ml))
            yield rpc
    finally:
        await server.stop()


@pytest.fixture
def ask(rpc: Rpc) -> Callable[[pb.CheckRequest], Any]:
    return AuthorizationStub(rpc.channel).Check


async def test_it_decides_from_the_policy_as_it_is_now(rpc: Rpc, ask: Callable[[pb.CheckRequest], Any]) -> None:
    assert (await ask(chat({"model": "gpt-4o"}, ML))).status.code == 0
    narrower = team("ml", only("gpt-5"))
    done = await rpc.admin.UpdateTeam(admin_pb2.UpdateTeamRequest(team=narrower))
    answer = await ask(chat({"model": "gpt-4o"}, ML))
    assert denied(answer)["error"]["code"] == "team_model_access_denied"
    assert facts(answer)["revision"] == done.revision


async def test_bytes_that_are_no_request_are_denied(rpc: Rpc) -> None:
    """An error of the RPC would open a gateway that fails open."""
    path = chat({"model": "gpt-4o"}, ML).SerializeToString().replace(b"/v1/chat", b"/v1/ch\xff\xff")
    for encoded in (path, b"\xff" * 20, b"\x0a\xff"):
        answer = pb.CheckResponse.FromString(await rpc.channel.unary_unary(PATH)(encoded))
        assert denied(answer)["error"]["code"] == "malformed_header"


async def test_how_large_a_body_may_be(ask: Callable[[pb.CheckRequest], Any]) -> None:
    """Beyond grpc's own 4 MiB, which would be an error. Beyond what is configured: a deny; far beyond: an error."""

    def sized(size: int) -> pb.CheckRequest:
        empty = len(json.dumps({"model": "gpt-4o", "input": ""}))
        return chat({"model": "gpt-4o", "input": "x" * (size - empty)}, ML)

    assert (await ask(sized(6 * MEBIBYTE))).status.code == 0
    assert denied(await ask(sized(6 * MEBIBYTE + 1)))["error"]["code"] == "body_too_large"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(sized(7 * MEBIBYTE))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_other_rpcs_keep_their_bound(rpc: Rpc) -> None:
    checks = BatchCheckModelAccessRequest(at_least_revision="x" * (4 * MEBIBYTE))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc.access.BatchCheckModelAccess(checks)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"send at most {4 * MEBIBYTE}" in (caught.value.details() or "")


async def test_with_grpcurl(rpc: Rpc) -> None:
    body = base64.b64encode(b'{"model": "gpt-5"}').decode()
    headers = {"content-type": "application/json", "x-team": "ml"}
    http = {"method": "POST", "path": "/v1/chat/completions", "headers": headers, "raw_body": body}
    asked = json.dumps({"attributes": {"request": {"http": http}}})
    status, out = await grpcurl("-d", asked, rpc.target, PATH[1:])
    assert status == 0
    assert "team_model_access_denied" in json.loads(out)["deniedResponse"]["body"]
    assert "Such as `POST`" in (await grpcurl(rpc.target, "describe", "envoy.service.auth.v3.AttributeContext"))[1]


async def test_headers_as_bytes(ask: Callable[[pb.CheckRequest], Any]) -> None:
    body = b'{"model": "gpt-4o"}'
    json_header = ("Content-Type", "application/json")
    once = check_request(headers=(json_header, ML), body=body, raw=True)
    assert (await ask(once)).status.code == 0
    twice = check_request(headers=(json_header, ML, ML), body=body, raw=True)
    assert denied(await ask(twice))["error"]["code"] == "malformed_identity"
    once.attributes.request.http.headers["x-team"] = "ml"
    assert denied(await ask(once))["error"]["code"] == "malformed_header"
    invalid = check_request(headers=(json_header,), body=body, raw=True)
    invalid.attributes.request.http.header_map.headers.add(key="x-team", raw_value=b"m\xffl")
    assert denied(await ask(invalid))["error"]["code"] == "malformed_identity"


async def test_large_bodies_are_still_read_while_the_server_drains(tmp_path: Path) -> None:
    """A check that is cut off is an error, which opens a gateway that fails open."""
    config = tmp_path / "ext-authz.yaml"
    config.write_text(CONFIGURATION)
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), ext_authz_config=config))
    request = chat({"model": "gpt-4o", "input": [7] * 300_000}, ML)
    async with connect(server.addresses[0]) as rpc:
        checks = [asyncio.ensure_future(AuthorizationStub(rpc.channel).Check(request)) for _ in range(3)]
        await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
        await server.stop()
        answers = await asyncio.gather(*checks)
    assert [facts(answer)["reason"] for answer in answers] == ["TEAM_NOT_FOUND"] * 3
