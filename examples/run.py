"""`make run`: the service on loopback, its data in data/, with the example organisation applied. Ctrl-C ends it.

POLICY_SERVICE_LISTEN and POLICY_SERVICE_DATABASE name another address and file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from parts import COMMAND, HERE, apply, serves, somebody_answers

TARGET = os.environ.get("POLICY_SERVICE_LISTEN", "127.0.0.1:50051")
DATABASE = os.environ.get("POLICY_SERVICE_DATABASE", str(HERE.parent / "data" / "policy-service.db"))
EXT_AUTHZ = HERE.parent / "clients" / "envoy" / "ext-authz.yaml"  # so that clients/envoy/envoy.yaml can ask it
TRY = f"""
The service listens on {TARGET} with the organisation of examples/acme.yaml. Try, in another terminal:

  .venv/bin/policy-service check support sam@acme.example gpt-4o-mini
  .venv/bin/policy-service explain support sam@acme.example gpt-4o
  .venv/bin/grpcurl -plaintext {TARGET} describe policy_service.v1.AdminService

Ctrl-C stops it.
"""


def main() -> int:
    """Returns the server's exit status."""
    if somebody_answers(TARGET):
        print(f"{TARGET} is taken: stop what listens there, or set POLICY_SERVICE_LISTEN to another", file=sys.stderr)
        return 2
    options = ["--listen", TARGET, "--database", DATABASE, "--ext-authz-config", str(EXT_AUTHZ)]
    server = subprocess.Popen([COMMAND, "serve", *options])  # noqa: S603 - our own
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        if not serves(server, TARGET) or not apply(TARGET):
            server.terminate()
            return server.wait() or 1
        print(TRY, flush=True)
        return server.wait()
    except KeyboardInterrupt:  # the server got the same Ctrl-C, and drains
        return server.wait()


if __name__ == "__main__":
    sys.exit(main())
