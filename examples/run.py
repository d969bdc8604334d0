"""`make run`: the service on loopback, its data in data/, with the example organisation applied. Ctrl-C ends it.

POLICY_SERVICE_LISTEN and POLICY_SERVICE_DATABASE name another address and file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

HERE = Path(__file__).parent
COMMAND = str(Path(sys.executable).with_name("policy-service"))
TARGET = os.environ.get("POLICY_SERVICE_LISTEN", "127.0.0.1:50051")
DATABASE = os.environ.get("POLICY_SERVICE_DATABASE", str(HERE.parent / "data" / "policy-service.db"))
STARTUP_TIMEOUT_S = 30
TRY = f"""
The service listens on {TARGET} with the organisation of examples/acme.yaml. Try, in another terminal:

  .venv/bin/policy-service check support sam@acme.example gpt-4o-mini
  .venv/bin/policy-service explain support sam@acme.example gpt-4o
  .venv/bin/grpcurl -plaintext {TARGET} describe policy_service.v1.AdminService

Ctrl-C stops it.
"""


def main() -> int:
    """Returns the server's exit status."""
    if somebody_answers():
        print(f"{TARGET} is taken: stop what listens there, or set POLICY_SERVICE_LISTEN to another", file=sys.stderr)
        return 2
    server = subprocess.Popen([COMMAND, "serve", "--listen", TARGET, "--database", DATABASE])  # noqa: S603 - our own
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        if not serves(server):
            server.terminate()
            return server.wait() or 1
        applied = subprocess.run([COMMAND, "apply", "-f", str(HERE / "acme.yaml"), "--server", TARGET], check=False)  # noqa: S603
        if applied.returncode != 0:
            server.terminate()
            return server.wait() or 1
        print(TRY, flush=True)
        return server.wait()
    except KeyboardInterrupt:  # the server got the same Ctrl-C, and drains
        return server.wait()


def somebody_answers() -> bool:
    """Whether another server is there already, on which the example must not be applied."""
    with grpc.insecure_channel(TARGET) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=STARTUP_TIMEOUT_S)
        except grpc.RpcError as error:
            return bool(error.code() is not grpc.StatusCode.UNAVAILABLE)
    return True


def serves(server: subprocess.Popen[bytes]) -> bool:
    """Waits until our own server answers; False when it ended, or does not in time."""
    with grpc.insecure_channel(TARGET) as channel:
        request = health_pb2.HealthCheckRequest(service="policy_service.v1.AdminService")
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, wait_for_ready=True, timeout=STARTUP_TIMEOUT_S)
        except grpc.RpcError:
            return False
        return server.poll() is None and answer.status == health_pb2.HealthCheckResponse.SERVING


if __name__ == "__main__":
    sys.exit(main())
