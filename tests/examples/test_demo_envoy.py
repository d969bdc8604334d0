"""`make demo-envoy`: what it prints works, and nothing of it stays behind, however it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.demos import EXAMPLES, LIMIT_S, answer_to, demo, free_addresses, gone, printed

VARIABLES = ("ENVOY_LISTEN", "POLICY_SERVICE_LISTEN", "UPSTREAM_LISTEN")
SCRIPT = "demo_envoy.py"


def test_what_it_prints_works_and_ctrl_c_ends_it_all(tmp_path: Path) -> None:
    with demo(tmp_path, SCRIPT, VARIABLES) as process:
        whole, streamed, of_team, of_member, other = (
            answer_to(line.strip()) for line in printed(process) if line.startswith("  curl ")
        )
        assert whole[0] == streamed[0] == other[0] == 200
        told = json.loads(whole[1])
        revision = told["policy"].pop("x-policy-revision")
        assert re.fullmatch(r"[0-9a-f]{16}\.\d+", revision)
        assert told["policy"] == {
            "x-policy-team": "support",
            "x-policy-user": "sam@acme.example",
            "x-policy-model": "gpt-4o-mini",
        }
        assert told["choices"][0]["message"]["content"] == "Hello sam@acme.example of support, this is gpt-4o-mini."
        events = streamed[1].strip().split("\n\n")
        assert events[-1] == "data: [DONE]"
        chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert text.strip() == told["choices"][0]["message"]["content"]
        assert (of_team[0], json.loads(of_team[1])["error"]["code"]) == (403, "team_model_access_denied")
        assert (of_member[0], json.loads(of_member[1])["error"]["code"]) == (403, "member_model_access_denied")
        assert json.loads(other[1])["policy"]["x-policy-user"] == "beatriz.costa@acme.example"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LIMIT_S) == 0
        assert gone(process.pid)
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_sigterm_ends_it_all_also_while_it_starts(tmp_path: Path) -> None:
    with demo(tmp_path, SCRIPT, VARIABLES) as process:
        while "serving" not in (tmp_path / "err").read_text():
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(LIMIT_S) == 0
        assert gone(process.pid)
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("part", ["policy-service", "stub_upstream.py", "envoy/_bin/envoy"])
def test_when_a_part_dies_everything_ends(tmp_path: Path, part: str) -> None:
    with demo(tmp_path, SCRIPT, VARIABLES) as process:
        printed(process)
        (found,) = (pid for pid, command in children(process.pid) if part in command)
        os.kill(found, signal.SIGKILL)
        assert process.wait(LIMIT_S) == 1
        assert gone(process.pid)
    name = {"policy-service": "the service", "stub_upstream.py": "the stub upstream"}.get(part, "Envoy")
    assert f"{name} ended with status -9; everything is stopped" in (tmp_path / "err").read_text()


def children(group: int) -> list[tuple[int, str]]:
    """The other processes of a process group, with their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with contextlib.suppress(OSError):
            if pid != group and os.getpgid(pid) == group:
                found.append((pid, (folder / "cmdline").read_text()))
    return found


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_port_that_is_taken_is_said_before_anything_starts(variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        refused = subprocess.run(
            [sys.executable, EXAMPLES / SCRIPT],
            env=os.environ | free_addresses(VARIABLES) | {variable: address},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith(f"cannot listen on {address}: it is taken; {variable} names another\n")
    assert len(refused.stderr.splitlines()) == 1
