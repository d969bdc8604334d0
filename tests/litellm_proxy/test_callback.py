"""The gate among LiteLLM's callbacks: last of them, never switched off silently, and what it leaves in the logs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.litellm_proxy.organisation import MEMBER, configuration
from tests.litellm_proxy.parts import NEWEST, Proxy, Service, running, until
from tests.litellm_proxy.upstream import Provider


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Where LiteLLM is installed."""
    return subprocess.run([NEWEST, "-c", code], capture_output=True, text=True)


def test_a_subclass_is_an_error(tmp_path: Path) -> None:
    ended = run("from policy_client.litellm.gate import PolicyGate\nclass Mine(PolicyGate): pass")
    assert ended.returncode == 1
    assert "TypeError: PolicyGate cannot be subclassed" in ended.stderr


def test_to_import_the_package_starts_nothing() -> None:
    ended = run("import sys, policy_client.litellm\nassert 'litellm' not in sys.modules and 'grpc' in sys.modules")
    assert ended.returncode == 0, ended.stderr


def test_a_proxy_does_not_start_with_settings_that_cannot_be_used(
    service: Service, all_asked: Provider, tmp_path: Path
) -> None:
    settings = {"follow": f"grpc://{service.target}", "mode": "maybe", "user": "end_user_id"}
    with (
        pytest.raises(AssertionError) as failure,
        running(NEWEST, configuration(all_asked.url), tmp_path / "proxy", settings),
    ):
        pass
    assert "POLICY_GATE_MODE: there is no 'maybe'; use enforce or shadow" in str(failure.value)
    assert "'end_user_id' comes from the request" in str(failure.value)


@pytest.fixture(scope="module")
def probed(service: Service, all_asked: Provider, folder: Path) -> Any:
    """A proxy with another callback behind the gate; the team is in the key's metadata."""
    own = folder / "probed"
    own.mkdir()
    (own / "probe.py").write_text((Path(__file__).parent / "probe.py").read_text())
    callbacks = ["policy_client.litellm.policy_gate", "probe.probe"]
    config = configuration(all_asked.url, litellm_settings={"callbacks": callbacks, "num_retries": 0})
    settings = {"follow": f"grpc://{service.target}", "team": "metadata.tenant"}
    with running(NEWEST, config, own, settings) as proxy:
        yield proxy


def test_a_callback_that_renames_the_model_is_judged_too(probed: Proxy, provider: Provider) -> None:
    for _ in range(2):  # LiteLLM adds callbacks of its own while it starts
        answer = probed.chat(MEMBER, "gpt-4o-mini", user="rename")
        assert (answer.status, provider.take()) == (403, [])
        assert "may not use model 'gpt-4o'" in answer.error["message"]


def events(proxy: Proxy, what: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(rf"^probe\.{what} (.*)$", proxy.log, re.MULTILINE)]


def test_the_decision_is_in_what_litellm_logs(probed: Proxy) -> None:
    assert probed.chat("crew/rita", "fast").status == 200
    event = until(
        lambda: next((event for event in events(probed, "success") if event and event["user"] == "rita"), None),
        "the event of an allowed call",
    )
    revision = event.pop("revision")
    assert re.fullmatch(r"[0-9a-f]{16}\.\d+", revision)
    assert event == {
        "allowed": True,
        "team": "crew",
        "user": "rita",
        "model": "fast",
        "resolved_model": "gpt-4o-mini",
        "reason": "ALLOWED_BY_MEMBER_SCOPE",
        "stale": False,
        "limits": {"max_budget_in_team": 5.0, "budget_duration": None, "tpm_limit": None, "rpm_limit": 1},
        "mode": "enforce",
    }


def test_so_is_a_refusal(probed: Proxy) -> None:
    assert probed.chat(MEMBER, "gpt-4.1").status == 403
    event = until(
        lambda: next((event for event in events(probed, "failure") if event and event["model"] == "gpt-4.1"), None),
        "the event of a denied call",
    )
    assert (event["allowed"], event["reason"]) == (False, "member_model_access_denied")
