"""Shadow: both checks side by side. The gate says where it disagrees with LiteLLM's own answer, and refuses nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.litellm_proxy.organisation import MEMBER, configuration
from tests.litellm_proxy.parts import NEWEST, Proxy, Service, running, until
from tests.litellm_proxy.upstream import Provider


@pytest.fixture(scope="module")
def shadowed(service: Service, all_asked: Provider, folder: Path) -> Iterator[Proxy]:
    settings = {"follow": f"grpc://{service.target}", "mode": "shadow"}
    general = {"master_key": "sk-master", "custom_auth": "keys.authenticate", "custom_auth_run_common_checks": True}
    callbacks = {"callbacks": "policy_client.litellm.policy_gate", "num_retries": 0}
    own_checks = {"enable_post_custom_auth_checks": True}  # without, LiteLLM leaves all to custom_auth
    config = configuration(all_asked.url, general_settings=general, litellm_settings=callbacks | own_checks)
    with running(NEWEST, config, folder / "shadowed", settings) as proxy:
        yield proxy


def disagreements(proxy: Proxy) -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r"policy_gate\.disagreement (\{.*\})", proxy.log)]


def about(proxy: Proxy, **wanted: str) -> dict[str, Any]:
    """The disagreement that has these fields."""
    return dict(
        until(
            lambda: next((one for one in disagreements(proxy) if one.items() >= wanted.items()), None),
            f"a disagreement about {wanted}",
        )
    )


def test_what_the_policy_denies_is_called_all_the_same(shadowed: Proxy, provider: Provider) -> None:
    assert shadowed.chat(MEMBER, "gpt-4o").status == 200
    assert provider.take() == ["gpt-4o"]
    (found,) = [one for one in disagreements(shadowed) if one["model"] == "gpt-4o"]  # once, whatever it went through
    assert found["litellm"] == "allow"
    assert (found["team"], found["user"], found["reason"]) == ("crew", "mia", "member_model_access_denied")
    assert "may not use model 'gpt-4o'" in found["message"]


def test_a_call_without_a_model_says_what_to_list(shadowed: Proxy) -> None:
    shadowed.request("GET", "/v1/vector_stores", MEMBER)
    assert "'avector_store_list' in without_model" in about(shadowed, call_type="avector_store_list")["message"]


# LiteLLM says whose key it refuses only of keys in its database, and this proxy has none: so its own handler of refused
# keys is given one here, in a process of its own, with the gate among the callbacks.
REFUSED_BY_LITELLM = """
import asyncio
import litellm
from litellm.proxy import proxy_server
from litellm.proxy._types import ProxyErrorTypes, ProxyException, UserAPIKeyAuth
from litellm.proxy.auth.auth_exception_handler import UserAPIKeyAuthExceptionHandler
from starlette.requests import Request

async def main():
    from policy_client.litellm import policy_gate
    litellm.callbacks = [policy_gate]
    for model in ("gpt-4o-mini", "gpt-4o"):
        error = ProxyException("no", ProxyErrorTypes.team_model_access_denied, "model", 401)
        request = Request({"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [],
                           "query_string": b"", "client": ("127.0.0.1", 1)})
        try:
            await UserAPIKeyAuthExceptionHandler._handle_authentication_error(
                e=error, request=request, request_data={"model": model, "messages": []}, route="/v1/chat/completions",
                parent_otel_span=None, api_key="k", resolved_identity=UserAPIKeyAuth(team_id="crew", user_id="mia"))
        except ProxyException:
            print("refused", flush=True)

asyncio.run(main())
"""


def test_what_litellm_denies_and_the_policy_allows_is_said_too(service: Service) -> None:
    settings = {"POLICY_GATE_FOLLOW": f"grpc://{service.target}", "POLICY_GATE_MODE": "shadow"}
    ended = subprocess.run(
        [NEWEST, "-c", REFUSED_BY_LITELLM],
        env=os.environ | settings | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
    )
    assert ended.stdout.count("refused") == 2, ended.stderr
    (found,) = re.findall(r"policy_gate\.disagreement (\{.*\})", ended.stderr)
    expected = {"litellm": "deny", "team": "crew", "user": "mia", "model": "gpt-4o-mini"}
    assert json.loads(found).items() >= {**expected, "reason": "ALLOWED_BY_MEMBER_SCOPE"}.items()


def test_an_alias_of_the_policy_changes_nothing_yet(shadowed: Proxy, provider: Provider) -> None:
    assert shadowed.chat(MEMBER, "fast").status == 400  # LiteLLM does not know it
    assert provider.take() == []


def test_where_both_agree_nothing_is_said(shadowed: Proxy) -> None:
    before = len(disagreements(shadowed))
    assert shadowed.chat(MEMBER, "gpt-4o-mini").status == 200
    assert shadowed.chat(f"{MEMBER}?gpt-4.1", "gpt-4o").status in (401, 403)
    assert len(disagreements(shadowed)) == before
