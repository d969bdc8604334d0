"""`make demo-litellm`: a LiteLLM proxy that asks the service, with models that answer by themselves. Ctrl-C ends it.

The service keeps the example organisation in memory. LITELLM_LISTEN and POLICY_SERVICE_LISTEN name other addresses.
LITELLM names the proxy's program.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

from parts import COMMAND, HERE, Demo, answers, apply, environment, happens, serves, unusable

CONFIGURATION = HERE.parent / "clients" / "litellm" / "config.yaml"
LITELLM = os.environ.get("LITELLM", str(HERE.parent / "build" / "litellm" / "bin" / "litellm"))
ADDRESSES = {"LITELLM_LISTEN": "127.0.0.1:4000", "POLICY_SERVICE_LISTEN": "127.0.0.1:50051"}
GATEWAY, SERVICE = (os.environ.get(variable, default) for variable, default in ADDRESSES.items())
TRY = f"""
LiteLLM listens on {GATEWAY} and follows the service on {SERVICE}, which has the organisation of
examples/acme.yaml. Try, in another terminal:

"""
CHATS = (
    ("sam of support may use gpt-4o-mini", "sam", "gpt-4o-mini"),
    ("`fast` is what the team calls it", "sam", "fast"),
    ("nobody of the team may use o1-pro", "sam", "o1-pro"),
    ("the team may use gpt-4o, but sam may not", "sam", "gpt-4o"),
    ("beatriz, of the same team, may", "beatriz", "gpt-4o"),
)


def start(demo: Demo) -> bool:
    """False when a part ended, does not answer in time, or nobody wants it any more."""
    service = demo.launch("the service", [COMMAND, "serve", f"--listen={SERVICE}", "--in-memory"])
    if not serves(service, SERVICE, demo.given_up) or not apply(SERVICE, environment(), quietly=True):
        return False
    host, _, port = GATEWAY.rpartition(":")
    command = [LITELLM, "--config", str(CONFIGURATION), "--host", host, "--port", port]
    settings = {
        "POLICY_GATE_FOLLOW": f"grpc://{SERVICE}",
        "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(16)}",  # some LiteLLM does not start without; nobody needs it
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    demo.launch("LiteLLM", command, settings, stdout=subprocess.DEVNULL)
    return happens(lambda: answers(f"http://{GATEWAY}/health/liveliness"), demo.given_up)


def commands() -> list[str]:
    """What to try, as lines for a shell."""
    lines, status = [], r"'\nHTTP %{http_code}\n'"
    for words, who, model in CHATS:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello"}]})
        headers = f"-H 'authorization: Bearer example-key-of-{who}' -H 'content-type: application/json'"
        lines += [f"# {words}", f"  curl -sS -w {status} http://{GATEWAY}/v1/chat/completions {headers} -d '{body}'"]
    key = "-H 'authorization: Bearer example-key-of-sam'"
    lines += ["# what sam may use, and no more", f"  curl -sS -w {status} http://{GATEWAY}/v1/models {key}"]
    change = f"member update support sam@acme.example --add-model gpt-4o --server {SERVICE}"
    return [*lines, "# give sam gpt-4o, and ask again: nothing is restarted", f"  .venv/bin/policy-service {change}"]


def main() -> int:
    """The exit status."""
    for address, variable in zip((GATEWAY, SERVICE), ADDRESSES, strict=True):
        if problem := unusable(address):
            print(f"{address} cannot be listened on: {problem}; {variable} names another", file=sys.stderr)
            return 2
    if not os.path.exists(LITELLM):
        print(f"{LITELLM} is not there: run `make demo-litellm`, which installs it", file=sys.stderr)
        return 2
    return Demo().run(start, TRY + "\n".join(commands()))


if __name__ == "__main__":
    sys.exit(main())
