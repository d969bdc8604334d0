"""The real parts: the service and LiteLLM's proxy as processes of their own, and requests to the proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("policy-service")
NEWEST = Path(os.environ.get("LITELLM_PYTHON", ROOT / "build" / "litellm" / "bin" / "python"))
OLDEST = Path(os.environ.get("OLDEST_LITELLM_PYTHON", ROOT / "build" / "litellm-oldest" / "bin" / "python"))
LIMIT_S = 120.0  # far more than anything needs
JSON = dict[str, Any]


def free_port() -> int:
    """A port that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(ask: Any, what: str) -> Any:
    """Asks again and again until the answer is true, and returns it."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


class Service:
    """`policy-service serve`, which can be stopped and started again on the same port and database."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.target = f"127.0.0.1:{free_port()}"
        self._command = [str(COMMAND), "serve", f"--listen={self.target}", f"--database={folder / 'policy.db'}"]
        self._options, self._process = options, None

    _process: subprocess.Popen[str] | None

    def start(self) -> None:
        process = subprocess.Popen([*self._command, *self._options], stderr=subprocess.PIPE, text=True, env=_plain())
        self._process = process
        assert process.stderr is not None
        line = next((line for line in process.stderr if " serving " in line), "")
        assert line, "the service did not start"

    def stop(self) -> None:
        if self._process is not None:
            with self._process as process:
                process.send_signal(signal.SIGKILL)
            self._process = None

    def run(self, *arguments: str) -> None:
        """A command of an admin."""
        command = [str(COMMAND), *arguments, "--server", self.target]
        subprocess.run(command, check=True, capture_output=True, env=_plain())

    def apply(self, policy: JSON, folder: Path) -> None:
        path = folder / "policy.yaml"
        path.write_text(yaml.safe_dump(policy))
        self.run("apply", "-f", str(path))


class Answer(NamedTuple):
    """What a client of the proxy gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> JSON:
        """OpenAI's error object."""
        return dict(self.json["error"])


class Proxy:
    """A running proxy of LiteLLM."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self._log = port, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    def request(
        self,
        method: str,
        path: str,
        key: str,
        body: JSON | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends JSON, or bytes as they are."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"authorization": f"Bearer {key}"} | ({"content-type": "application/json"} if content else {})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        with contextlib.closing(connection):
            connection.request(method, path, content, {**given, **(headers or {})})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def chat(self, key: str, model: str, **more: Any) -> Answer:
        """A chat completion."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
        return self.request("POST", "/v1/chat/completions", key, body)

    def answers(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/health/liveliness", "none").status == 200
        return False


@contextmanager
def running(
    python: Path, config: JSON, folder: Path, gate: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Iterator[Proxy]:
    """A proxy with this configuration, and the gate's settings as variables; its keys are those of keys.py."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "keys.py").write_text((Path(__file__).parent / "keys.py").read_text())
    port, log = free_port(), folder / "log"
    variables = {f"POLICY_GATE_{name.upper()}": value for name, value in gate.items()}
    local = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": "sk-master", "LITELLM_TELEMETRY": "False"}
    local |= {"ANTHROPIC_API_KEY": "none", "GEMINI_API_KEY": "none", "OPENAI_API_KEY": "none", **(environment or {})}
    command = [python.with_name("litellm"), "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port]
    with log.open("w") as output:
        process = subprocess.Popen(
            list(map(str, command)), env=_plain() | local | variables, stdout=output, stderr=output, cwd=folder
        )
    with process:
        proxy = Proxy(port, log)
        try:
            until(lambda: proxy.answers() or process.poll() is not None, "the proxy starts")
            assert process.poll() is None, proxy.log
            yield proxy
        finally:
            process.kill()


def _plain() -> dict[str, str]:
    """The environment without what configures services and gates."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POLICY_")}
