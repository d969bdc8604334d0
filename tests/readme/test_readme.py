"""The README's tour, run as written: every command, against a server with the example organisation, with its output.

Revisions, times and the port differ from run to run and are blanked on both sides.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
README_TARGET = "127.0.0.1:50051"
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
VARYING = (
    (re.compile(r"\b[0-9a-f]{16}\.\d+\b"), "REVISION"),
    (re.compile(r"\b([0-9a-f]{16}|[0-9a-f]{32})\b"), "EPOCH OR DIGEST"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
)


def tour() -> list[tuple[str, str]]:
    """(command, output) of every console block."""
    steps = []
    for block in CONSOLE.findall((ROOT / "README.md").read_text()):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = step.partition("\n")
            steps.append((command, output))
    return steps


def blanked(text: str) -> str:
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run(command: str, target: str) -> str:
    """What the command prints, with the server's address as the README has it."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "POLICY_SERVICE_SERVER": target}
    done = subprocess.run(
        ["bash", "-c", command.replace(README_TARGET, target)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.stdout.replace(target, README_TARGET)


def test_the_tour_prints_what_the_readme_shows(tmp_path: Path) -> None:
    serve = [BIN / "policy-service", "serve", "--listen", "127.0.0.1:0", "--database", tmp_path / "policy.db"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            found = re.search(r"listen=(\S+)", server.stderr.readline())
            assert found
            run("policy-service apply -f examples/acme.yaml", found[1])
            steps = tour()
            assert len(steps) > 10
            for command, output in steps:
                assert blanked(run(command, found[1])) == blanked(output), command
        finally:
            server.terminate()
