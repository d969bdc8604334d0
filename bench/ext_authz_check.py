"""What one `Authorization/Check` takes of a processor when nothing else is around it: no gRPC, no event loop, no Envoy.
The messages are those that Envoy sends."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.rpc.code_pb2 import OK

from bench.alone import Still, now
from bench.envoy import gateway
from bench.http_load import Request, connected
from policy_service.domain.state import State
from policy_service.envoy_v3.external_auth_pb2 import CheckRequest, CheckResponse, OkHttpResponse
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import Settings
from policy_service.services.caller import Caller

RECORDED_S = 0.5
TIMES = 5  # every message is checked so often
CALLER = Caller("local", lambda: "ipv4:127.0.0.1:1", lambda: None)


class Stages(NamedTuple):
    """Microseconds, medians."""

    decode: float
    check: float
    encode: float

    @property
    def all(self) -> float:
        return sum(self)


async def recorded(folder: Path, upstream: int, requests: list[Request]) -> list[bytes]:
    """The CheckRequests that Envoy makes of the first requests."""
    async with (
        _recorder() as (target, found),
        gateway(folder, upstream, target) as (_, port),
        connected(port, 1, cycle(requests), guarded=False) as load,
    ):
        await load.run(RECORDED_S)
        return found[: len(requests)]


@asynccontextmanager
async def _recorder() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that allows everything, where it listens, and what it was asked."""
    found: list[bytes] = []

    async def check(encoded: bytes, context: Any) -> bytes:
        found.append(encoded)
        return CheckResponse(ok_response=OkHttpResponse()).SerializeToString()

    handler = grpc.unary_unary_rpc_method_handler(check)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", found
    finally:
        await server.stop(None)


def time_checks(state: State, settings: Settings, messages: list[bytes], requests: list[Request]) -> Stages:
    """The messages are of the first requests, and are answered as these have to be."""
    service = AuthorizationService(Still(state), settings)
    times: list[Stages] = []
    for _ in range(TIMES):
        for encoded, request in zip(messages, requests, strict=False):
            began = time.perf_counter()
            message = CheckRequest.FromString(encoded)
            decoded = time.perf_counter()
            answer = now(service.Check(message, CALLER))
            checked = time.perf_counter()
            answer.SerializeToString()
            times.append(Stages(decoded - began, checked - decoded, time.perf_counter() - checked))
            if (answer.status.code == OK) != request.allowed:
                raise RuntimeError(f"{answer} for {request.head.decode()}")
    service.close()
    return Stages(*(statistics.median(stage) * 1e6 for stage in zip(*times, strict=True)))
