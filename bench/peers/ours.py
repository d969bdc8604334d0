"""Policy Service itself, its two fronts: the server of grpcio, and the data plane. One process has both and the same
policy; whichever is not asked does nothing meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import NamedTuple

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.load.call import Call, Where
from bench.peers.subject import Subject, family
from bench.processes import LIMIT_S, Server, serving
from bench.world import Check
from policy_service.answers import CheckAnswers
from policy_service.dataplane.envoy import is_installed, problem
from policy_service.dataplane.supervisor import CHECK as DATA_PLANE_HEALTH
from policy_service.domain.decide import decide
from policy_service.domain.state import State
from policy_service.v1 import access_pb2 as pb

NAMES = DATA_PLANE, GRPCIO = "data plane", "grpcio server"
CHECK_PATH = b"/policy_service.v1.AccessService/CheckModelAccess"
BATCH_PATH = b"/policy_service.v1.AccessService/BatchCheckModelAccess"
_NOTES = "The whole policy is in its memory; the answer has the reason, the resolved model and the limits, too."


class Ours(NamedTuple):
    """Both fronts of one authority. `data_plane` is None where it cannot run."""

    server: Server
    target: str  # of the grpcio server
    grpcio: Subject
    data_plane: Subject | None

    @property
    def fronts(self) -> list[Subject]:
        return [front for front in (self.data_plane, self.grpcio) if front is not None]


def missing() -> str:
    """Why there is no data plane here; empty when there is."""
    if not is_installed():
        return "pyvoy is missing: pip install 'policy-service[dataplane]'"
    return problem() or ""


@asynccontextmanager
async def running(database: Path, state: State, processes: int = 1) -> AsyncIterator[Ours]:
    """An authority with the database, whose policy the state has, too, with so many processes of the data plane."""
    options = [f"--database={database}", "--drain-timeout-s=1"]
    if not missing():
        options += ["--data-plane=127.0.0.1:0", f"--data-plane-processes={processes}"]
    async with serving(*options) as server:
        target = await server.target()
        _, line = await server.said(" serving ")
        found, call = re.search(r" data_plane=\S+:(\d+)", line), partial(check_call, state)
        grpcio = Subject(GRPCIO, int(target.rpartition(":")[2]), lambda: [server.pid], call, _NOTES)
        plane = found and Subject(DATA_PLANE, int(found[1]), lambda: family(server.pid), call, _NOTES)
        if plane:
            await _serves(target)
        try:
            yield Ours(server, target, grpcio, plane)
        finally:
            await server.end(SIGTERM)  # which ends the processes of the data plane, too


async def _serves(target: str) -> None:
    """Returns once every process of the data plane has the policy."""
    request = health_pb2.HealthCheckRequest(service=DATA_PLANE_HEALTH)
    async with grpc.aio.insecure_channel(target) as channel, asyncio.timeout(LIMIT_S):
        stub = health_pb2_grpc.HealthStub(channel)
        while (await stub.Check(request)).status != health_pb2.HealthCheckResponse.SERVING:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def check_call(state: State, check: Check, allowed: bool) -> Call:
    """The answer is known up to the revision."""
    decision = decide(state, *check)
    assert decision.allowed == allowed
    expected = CheckAnswers().encode(decision, *check, "", False)
    return Call(CHECK_PATH, _request(check).SerializeToString(), expected)


def batch_call(state: State, checks: list[Check], revision: str) -> Call:
    """The whole answer is known, when the revision is."""
    answers, response = CheckAnswers(), pb.BatchCheckModelAccessResponse(revision=revision)
    for check in checks:
        encoded = answers.encode(decide(state, *check), *check, revision, False)
        response.results.add().decision.ParseFromString(encoded)
    request = pb.BatchCheckModelAccessRequest(checks=map(_request, checks))
    return Call(BATCH_PATH, request.SerializeToString(), response.SerializeToString(), Where.WHOLE)


def _request(check: Check) -> pb.CheckModelAccessRequest:
    team, user, model = check
    return pb.CheckModelAccessRequest(team=team, user=user, model=model)
