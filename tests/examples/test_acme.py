"""The example organisation: big enough to show everything, and applied by `make run` without a warning."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.support.rpc import connect

if TYPE_CHECKING:
    from tests.conftest import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_it_is_an_organisation_worth_looking_at() -> None:
    acme = yaml.safe_load((EXAMPLES / "acme.yaml").read_text())
    names = [model["name"] for model in acme["models"]]
    assert len(set(names)) == len(names) >= 80
    assert len({model["provider"] for model in acme["models"]}) >= 6
    assert len(acme["groups"]) >= 4
    assert len(acme["teams"]) >= 6
    assert sum(len(team.get("members", [])) for team in acme["teams"]) >= 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_make_run_applies_it_and_prints_three_commands_that_work(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    bin_folder = Path(sys.executable).parent
    places = {"POLICY_SERVICE_LISTEN": target, "POLICY_SERVICE_DATABASE": str(tmp_path / "policy.db")}
    environment = os.environ | places | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    printed = []
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "run.py"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            assert run.stdout is not None
            for line in run.stdout:
                printed.append(line)
                if "Ctrl-C" in line:
                    break
            commands = [line.strip().replace(".venv/bin/", "") for line in printed if line.startswith("  .venv/bin/")]
            client = environment | {"POLICY_SERVICE_SERVER": target}
            statuses = [
                subprocess.run(command.split(), env=client, capture_output=True).returncode for command in commands
            ]
            assert statuses == [0, 1, 0]
        finally:
            os.killpg(run.pid, signal.SIGINT)
        assert run.wait(timeout=30) == 0
    assert not any("warning" in line.lower() for line in printed)


async def test_make_run_leaves_a_server_that_is_there_alone(server: RunningServer, tmp_path: Path) -> None:
    places = {"POLICY_SERVICE_LISTEN": server.target, "POLICY_SERVICE_DATABASE": str(tmp_path / "policy.db")}
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, EXAMPLES / "run.py"), env=os.environ | places, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(run.communicate(), 60)
    assert run.returncode == 2
    assert f"{server.target} is taken" in err.decode()
    async with connect(server.target) as rpc:
        assert (await rpc.head()).endswith(".0")
