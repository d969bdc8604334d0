"""The service and the client as a user installs them: without the tools, with the newest versions of what they need.

Run by `make installed`, outside of pytest.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import policy_client
from policy_client import AccessClient, AdminClient
from policy_service.envoy_v3 import external_auth_pb2
from policy_service.envoy_v3.external_auth_pb2_grpc import AuthorizationStub
from policy_service.v1.resources_pb2 import Member, ModelScope, Team

assert "site-packages" in policy_client.__file__, "this is for an installed package"


async def use(target: str) -> None:
    async with AdminClient(target) as admin, AccessClient(target) as access:
        team = Team(id="t", models=ModelScope(models=["a", "b"]), default_team_member_models=ModelScope(models=["a"]))
        await admin.create_team(team, members=[Member(user="ann")])
        assert (await access.check("t", "ann", "a")).allowed
        assert not (await access.check("t", "ann", "b")).allowed
    async with grpc.aio.insecure_channel(target) as channel:
        headers = {"content-type": "application/json", "x-team": "t", "x-user": "ann"}
        for model, status in (("a", 0), ("b", 7)):
            http = external_auth_pb2.AttributeContext.HttpRequest(
                method="POST", path="/v1/embeddings", headers=headers, raw_body=json.dumps({"model": model}).encode()
            )
            request = external_auth_pb2.AttributeContext.Request(http=http)
            attributes = external_auth_pb2.AttributeContext(request=request)
            asked = external_auth_pb2.CheckRequest(attributes=attributes)
            assert (await AuthorizationStub(channel).Check(asked)).status.code == status
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        if hasattr(stub, "List"):
            assert "writer" in (await stub.List(health_pb2.HealthListRequest())).statuses


def main() -> None:
    command = [Path(sys.executable).with_name("policy-service"), "serve", "--in-memory", "--listen", "127.0.0.1:0"]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ext-authz.yaml"
        config.write_text("identity: {headers: {team: x-team, user: x-user}}\n")
        run([*command, "--ext-authz-config", config])
    print("the installed package works")


def run(command: list[str | Path]) -> None:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            first = server.stderr.readline()
            found = re.search(r" serving listen=(\S+)", first)
            assert found, first + server.stderr.read()
            asyncio.run(use(found[1]))
        finally:
            server.terminate()
    assert server.returncode == 0


if __name__ == "__main__":
    main()
