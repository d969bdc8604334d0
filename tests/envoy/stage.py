"""A gateway with all that belongs to it: a real Envoy, the real service with the example organisation, an upstream."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.envoy import (
    CLIENTS,
    LIMIT_S,
    POLICY_SERVICE,
    ROOT,
    UPSTREAM,
    Answer,
    Envoy,
    running_envoy,
    shipped,
)
from tests.support.upstream import Received, Upstream, serving_upstream

PROGRAM = Path(sys.executable).with_name("policy-service")
CHAT = "/v1/chat/completions"
JSON = ("content-type", "application/json")
SAM = ("authorization", "Bearer example-key-of-sam")
# May sam use it? No: the team may not, or the team may and sam may not.
ALLOWED, NOT_MEMBER, NOT_TEAM = "gpt-4o-mini", "gpt-4o", "o1-pro"
MEMBER_CODE, TEAM_CODE = "member_model_access_denied", "team_model_access_denied"


class Service:
    """A running `policy-service serve`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        self.target = self._announced()

    def _announced(self) -> str:
        deadline = time.monotonic() + LIMIT_S
        while not (found := re.search(r" serving .*?\blisten=(\S+)", self._log.read_text())):
            assert self.process.poll() is None, f"it did not start: {self._log.read_text()}"
            assert time.monotonic() < deadline, f"never started: {self._log.read_text()}"
            time.sleep(0.02)
        return found[1]

    def freeze(self) -> None:
        """It keeps its connections and does nothing more."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def running_service(*options: str) -> Iterator[Service]:
    """The service on a free port; its environment configures nothing."""
    folder = Path(tempfile.mkdtemp(prefix="policy-"))
    log = folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}
    with log.open("wb") as errors:
        command = [PROGRAM, "serve", "--listen=127.0.0.1:0", *options]
        process = subprocess.Popen(command, stderr=errors, env=environment)
    try:
        yield Service(process, log)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def command_line(*arguments: str) -> None:
    """Runs `policy-service`, which has to succeed."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr


@contextmanager
def acme(
    settings: Path | str = "ext-authz.yaml", organisation: Path = ROOT / "examples" / "acme.yaml"
) -> Iterator[Service]:
    """The service with the example organisation and these settings, a file of clients/envoy/ or another."""
    with running_service("--in-memory", f"--ext-authz-config={CLIENTS / settings}") as service:
        command_line("apply", "-f", str(organisation), "--server", service.target)
        yield service


@dataclass
class Gateway:
    """What a test needs of it."""

    envoy: Envoy
    upstream: Upstream

    def chat(self, model: str, *headers: tuple[str, str], key: tuple[str, str] | None = SAM) -> Answer:
        """Asks for a completion."""
        given = [JSON, *headers] if key is None else [key, JSON, *headers]
        return self.envoy.request("POST", CHAT, given, chat_body(model))

    def passed(self) -> Received:
        """The one request that reached the upstream since the last time."""
        (received,) = self.upstream.take()
        return received

    def nothing_passed(self) -> bool:
        return not self.upstream.take()


@contextmanager
def gateway(
    name: str,
    service: str,
    edit: Callable[[Any], None] = lambda configuration: None,
    *,
    version: str = "1.39",
    folder: Path = ROOT,
    waits: bool = True,
) -> Iterator[Gateway]:
    """Envoy with a configuration of clients/envoy/, changed by `edit`, in front of an upstream of its own.

    `service`: where the policy service is. `folder`: where relative names of files start. `waits`: for every decision,
    however long it takes on a busy machine; otherwise as long as the configuration says.
    """
    configuration = shipped(name)
    if waits:
        wait(configuration)
    edit(configuration)
    with serving_upstream() as upstream:
        addresses = {POLICY_SERVICE: service, UPSTREAM: upstream.target}
        with running_envoy(configuration, addresses, version, folder) as envoy:
            yield Gateway(envoy, upstream)


def manager(configuration: Any) -> Any:
    """The HTTP connection manager of a configuration."""
    (listener,) = configuration["static_resources"]["listeners"]
    return listener["filter_chains"][0]["filters"][0]["typed_config"]


def filter_of(configuration: Any, name: str) -> Any:
    """The configuration of an HTTP filter."""
    return next(entry["typed_config"] for entry in manager(configuration)["http_filters"] if entry["name"] == name)


def ext_authz(configuration: Any) -> Any:
    return filter_of(configuration, "envoy.filters.http.ext_authz")


def wait(configuration: Any) -> None:
    """Makes Envoy wait for every decision."""
    ext_authz(configuration)["grpc_service"]["timeout"] = f"{LIMIT_S}s"


def cluster(configuration: Any, name: str) -> Any:
    return next(entry for entry in configuration["static_resources"]["clusters"] if entry["name"] == name)


def chat_body(model: str, **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "Grüße"}], **more}).encode()


def policy_headers(received: Received) -> dict[str, str]:
    """The x-policy-* headers that the upstream got, each of which came once."""
    found = [(name, value) for name, value in received.headers if name.startswith("x-policy-")]
    assert len(dict(found)) == len(found), found
    return dict(found)


def code(answer: Answer) -> str:
    """The code in an error of the OpenAI API."""
    assert answer.values("content-type") == ["application/json"], answer
    return str(answer.json["error"]["code"])


def shell_blocks(text: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
