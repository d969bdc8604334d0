"""A demo of examples/ as a user starts it: what it prints, what its lines get, and whether anything stays behind."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT_S = 60


def free_addresses(variables: Sequence[str]) -> dict[str, str]:
    """An address for each part."""
    with contextlib.ExitStack() as probes:
        held = [probes.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in variables]
        ports = [probe.getsockname()[1] for probe in held]
    return {variable: f"127.0.0.1:{port}" for variable, port in zip(variables, ports, strict=True)}


@contextmanager
def demo(folder: Path, script: str, variables: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """The demo, each part at a free address, as a process group of its own, as a shell starts it; its standard error
    goes to a file."""
    surroundings = os.environ | free_addresses(variables) | {"POLICY_SERVICE_CREDENTIALS": "of another service"}
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / script],
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            if not gone(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def gone(group: int) -> bool:
    """Whether no process of the group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def printed(process: subprocess.Popen[str]) -> list[str]:
    """What it prints until it is ready."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if "Ctrl-C" in line:
            return lines
    raise AssertionError(lines)


def answer_to(line: str) -> tuple[int, str]:
    """The status and the body that a line of curl gets, with curl if there is one."""
    if shutil.which("curl"):
        out = subprocess.run(
            ["bash", "-c", line], env=os.environ | {"no_proxy": "*"}, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S
        ).stdout
        body, _, status = out.rstrip("\n").rpartition("\nHTTP ")
        return int(status), body
    words = iter(shlex.split(line)[1:])
    url, headers, data = "", {}, b""
    for word in words:
        if word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            data = next(words).encode()
        elif word == "-w":
            next(words)
        elif not word.startswith("-"):
            url = word
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(urllib.request.Request(url, data, headers), timeout=LIMIT_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
