"""The console blocks of a document, run as written against a real server with the example organisation, and compared
with the output that the document shows.

Revisions, times and the port differ from run to run and are blanked on both sides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TARGET = "127.0.0.1:50051"  # of the documents
LIMIT_S = 60
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
# A command goes on in the next line after a backslash.
STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n?", re.MULTILINE)
VARYING = (
    (re.compile(r"\b[0-9a-f]{16}\.\d+\b"), "REVISION"),
    (re.compile(r"\b([0-9a-f]{16}|[0-9a-f]{32})\b"), "EPOCH OR DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
)


def steps(document: Path) -> list[tuple[str, str]]:
    """(command, output) of every console block."""
    found = []
    for block in CONSOLE.findall(document.read_text()):
        _, *parts = STEP.split(block)
        found += zip(parts[::2], parts[1::2], strict=True)
    return found


def blanked(text: str) -> str:
    """Without what varies."""
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run(command: str, target: str) -> str:
    """What the command prints, with the server's address as the documents have it."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "POLICY_SERVICE_SERVER": target}
    done = subprocess.run(
        ["bash", "-c", command.replace(TARGET, target)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    return done.stdout.replace(target, TARGET)


@contextmanager
def serving_acme(folder: Path, *options: str | Path) -> Iterator[str]:
    """The address of a server with the example organisation applied."""
    serve = [BIN / "policy-service", "serve", "--listen", "127.0.0.1:0", "--database", folder / "policy.db", *options]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            found = re.search(r"listen=(\S+)", line)
            assert found, line
            run("policy-service apply -f examples/acme.yaml", found[1])
            yield found[1]
        finally:
            server.terminate()


def assert_as_written(document: Path, target: str, at_least: int) -> None:
    """Runs what the document shows, in its order."""
    written = steps(document)
    assert len(written) >= at_least
    for command, output in written:
        assert blanked(run(command, target)) == blanked(output), command
