"""What the examples that start the service share."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

HERE = Path(__file__).parent
COMMAND = str(Path(sys.executable).with_name("policy-service"))
STARTUP_TIMEOUT_S = 30.0
ATTEMPT_TIMEOUT_S = 1.0
PAUSE_S = 0.05
END_TIMEOUT_S = 15.0


def unusable(address: str) -> str:
    """Why nothing could listen at HOST:PORT; empty when it could. Binding tells, and connecting does not: Envoy would
    share a port with another Envoy."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except (ValueError, OverflowError):
            return "that is not HOST:PORT"
        except OSError as error:
            return "it is taken" if error.errno == errno.EADDRINUSE else str(error.strerror)
    return ""


def somebody_answers(target: str) -> bool:
    """Whether another server is there already, on which the example must not be applied."""
    with grpc.insecure_channel(target) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=STARTUP_TIMEOUT_S)
        except grpc.RpcError as error:
            return bool(error.code() is not grpc.StatusCode.UNAVAILABLE)
    return True


def serves(server: subprocess.Popen[bytes], target: str, given_up: Callable[[], bool] = lambda: False) -> bool:
    """Waits until our own server answers; False when it ended, does not in time, or nobody wants it any more."""
    request = health_pb2.HealthCheckRequest(service="policy_service.v1.AdminService")

    def answers() -> bool:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=ATTEMPT_TIMEOUT_S)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    with grpc.insecure_channel(target, [("grpc.max_reconnect_backoff_ms", 200)]) as channel:
        return happens(answers, lambda: given_up() or server.poll() is not None) and server.poll() is None


def happens(condition: Callable[[], bool], given_up: Callable[[], bool]) -> bool:
    """Waits for something; False when it is given up, or does not happen in time."""
    deadline = time.monotonic() + STARTUP_TIMEOUT_S
    while not given_up() and time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(PAUSE_S)
    return False


def apply(target: str, environment: Mapping[str, str] | None = None, *, quietly: bool = False) -> bool:
    """Makes examples/acme.yaml the policy. False when that did not work; the command says why."""
    command = [COMMAND, "apply", "-f", str(HERE / "acme.yaml"), "--server", target]
    out = subprocess.DEVNULL if quietly else None
    return subprocess.run(command, env=environment, stdout=out, check=False).returncode == 0  # noqa: S603 - our own


def environment() -> dict[str, str]:
    """For the parts: what configures another service, or another gate, has no say here."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("POLICY_SERVICE_", "POLICY_GATE_"))
    }


def answers(url: str) -> bool:
    """Whether there is an answer to GET."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=1):
            return True
    except OSError:
        return False


class Demo:
    """Parts that run together until somebody stops them. Ctrl-C, SIGTERM and SIGHUP end all of them."""

    def __init__(self) -> None:
        self.stopping = False
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    def run(self, start: Callable[[Demo], bool], words: str) -> int:
        """Starts the parts, says what to try, and waits. The exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        try:
            if not start(self):
                return 0 if self.stopping else self._complain("it did not start")
            print(f"{words}\n\nCtrl-C stops it all.\n", flush=True)
            while not self.given_up():
                time.sleep(PAUSE_S)
            return 0 if self.stopping else self._complain("it goes no further")
        finally:
            self._end()

    def launch(
        self, name: str, command: list[str], more: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Starts a part, with `more` in its environment."""
        surroundings = environment() | dict(more or {})
        part = subprocess.Popen(command, env=surroundings, stdin=subprocess.DEVNULL, **options)  # noqa: S603 - ours
        self._parts[name] = part
        return part

    def given_up(self) -> bool:
        """Whether a part has ended, or nobody wants it any more."""
        return self.stopping or any(part.poll() is not None for part in self._parts.values())

    def _stop(self, *_: object) -> None:
        """Somebody wants it to end. Only noted here, so that no part is started and then forgotten."""
        self.stopping = True

    def _complain(self, words: str) -> int:
        for name, part in self._parts.items():
            if part.poll() is not None:
                words = f"{name} ended with status {part.returncode}"
                break
        print(f"{words}; everything is stopped", file=sys.stderr)
        return 1

    def _end(self) -> None:
        for part in self._parts.values():
            part.terminate()  # those that got the same Ctrl-C are ending anyway
        for part in self._parts.values():
            try:
                part.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()
