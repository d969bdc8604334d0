"""The service and the client as a user installs them: without the tools, with the newest versions of what they need.

Run by `make installed`, outside of pytest.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

import policy_client
from policy_client import AccessClient, AdminClient
from policy_service.v1.resources_pb2 import Member, ModelScope, Team

assert "site-packages" in policy_client.__file__, "this is for an installed package"


async def use(target: str) -> None:
    async with AdminClient(target) as admin, AccessClient(target) as access:
        team = Team(id="t", models=ModelScope(models=["a", "b"]), default_team_member_models=ModelScope(models=["a"]))
        await admin.create_team(team, members=[Member(user="ann")])
        assert (await access.check("t", "ann", "a")).allowed
        assert not (await access.check("t", "ann", "b")).allowed
    async with grpc.aio.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        if hasattr(stub, "List"):
            assert "writer" in (await stub.List(health_pb2.HealthListRequest())).statuses


def main() -> None:
    command = [Path(sys.executable).with_name("policy-service"), "serve", "--in-memory", "--listen", "127.0.0.1:0"]
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
    print("the installed package works")


if __name__ == "__main__":
    main()
