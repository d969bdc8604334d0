"""Where peers that are no part of .venv are, and `python -m bench.peers.installing` (make bench-peers), which puts them
there.

npm and go fetch and build them, in the versions given here. One that cannot be had does not keep the others away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.world import ROOT

FOLDER = ROOT / "build" / "peers"
HOW = "make bench-peers"


class Peer(NamedTuple):
    """A program, and the package that has it."""

    name: str
    package: str
    version: str
    program: Path
    install: Callable[[Peer], None]

    def missing(self) -> str:
        """What to do to have it; empty when it is there."""
        return "" if self.program.exists() else f"{self.name} is not in {FOLDER.relative_to(ROOT)}: {HOW}"


def _npm(peer: Peer) -> None:
    options = ["--no-audit", "--no-fund", "--ignore-scripts"]
    _run("npm", "install", "--prefix", str(FOLDER / "npm"), *options, f"{peer.package}@{peer.version}")


def _go(peer: Peer) -> None:
    _run("go", "install", f"{peer.package}@v{peer.version}", GOBIN=str(FOLDER), CGO_ENABLED="0")


def _run(*command: str, **environment: str) -> None:
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"there is no {command[0]} to install it with")
    done = subprocess.run(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-1_000:]}")


CERBOS = Peer(
    "Cerbos",
    "@cerbos/cerbos-linux-x64",
    "0.55.0",
    FOLDER / "npm" / "node_modules" / "@cerbos" / "cerbos-linux-x64" / "cerbos-linux-x64",
    _npm,
)
OPENFGA = Peer("OpenFGA", "github.com/openfga/openfga/cmd/openfga", "1.22.1", FOLDER / "openfga", _go)
SPICEDB = Peer("SpiceDB", "github.com/authzed/spicedb/cmd/spicedb", "1.56.2", FOLDER / "spicedb", _go)
OPA = Peer(
    "OPA with its Envoy plugin",
    "github.com/open-policy-agent/opa-envoy-plugin/cmd/opa-envoy-plugin",
    "1.19.1-envoy",
    FOLDER / "opa-envoy-plugin",
    _go,
)


def main() -> int:
    """Returns the exit status: how many could not be installed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = 0
    for peer in (CERBOS, OPENFGA, SPICEDB, OPA):
        print(f"{peer.name} {peer.version}:", end=" ", flush=True)
        try:
            if peer.missing():
                peer.install(peer)
            print("is there", flush=True)
        except RuntimeError as error:
            failed += 1
            print(f"cannot be installed: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
