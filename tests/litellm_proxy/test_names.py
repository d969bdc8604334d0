"""Names that stand for others, and the places beside `model` in which a request can name more."""

from __future__ import annotations

from typing import Any

import pytest

from tests.litellm_proxy.organisation import LEAD, MEMBER
from tests.litellm_proxy.parts import Proxy
from tests.litellm_proxy.upstream import Provider

JSON = dict[str, Any]
# What is asked for, and what the provider is then asked for.
STANDS_FOR = {
    "fast": "gpt-4o-mini",  # an alias of the policy
    "mini": "gpt-4o-mini",  # one of the proxy
    "id-of-gpt-4o-mini": "gpt-4o-mini",  # a deployment
    "openai/gpt-4.1-nano": "gpt-4.1-nano",  # by a wildcard on both sides
}
REFUSED_NAMES = {
    "best": "may not use model 'best'",
    "big": "may not use model 'gpt-4o'",  # granted, but not what the proxy makes of it
    "id-of-gpt-4o": "may not use model 'gpt-4o'",
    "id-of-openai/*": "holds one of",
    "openai/gpt-4o": "may not use model 'openai/gpt-4o'",
    "openai/gpt-4o-mini": "may not use model 'openai/gpt-4o-mini'",  # another name, whatever is behind it
    "GPT-4O-MINI": "may not use model 'GPT-4O-MINI'",
    "gpt-4o-mini,gpt-4o": "holds one of",
    "gpt-4o-mini,gpt-4o-mini": "holds one of",
    "gpt-4o-mini ": "white space",
    "gpt-4o-mini*": "holds one of",
    "nothing": "may not use model 'nothing'",
}
# Beside an allowed model; each names one that is not.
REFUSED_BESIDE: dict[str, JSON] = {
    "a fallback": {"fallbacks": ["gpt-4o"]},
    "a fallback after an allowed one": {"fallbacks": ["mini", "gpt-4o"]},
    "a fallback that is an object": {"fallbacks": [{"model": "gpt-4o", "messages": []}]},
    "fallbacks of a group": {"fallbacks": [{"gpt-4o-mini": ["gpt-4o"]}]},
    "a fallback of a fallback": {"fallbacks": [{"model": "mini", "fallbacks": ["gpt-4o"]}]},
    "a fallback by its deployment": {"fallbacks": ["id-of-gpt-4o"]},
    "a fallback by the proxy's alias": {"fallbacks": ["big"]},
    "a fallback with another caller": {"fallbacks": [{"model": "mini", "metadata": {"user_api_key_auth": "x"}}]},
    "context_window_fallbacks": {"context_window_fallbacks": [{"gpt-4o-mini": ["gpt-4o"]}]},
    "content_policy_fallbacks": {"content_policy_fallbacks": [{"gpt-4o-mini": ["gpt-4o"]}]},
    "router_settings_override": {"router_settings_override": {"fallbacks": [{"gpt-4o-mini": ["gpt-4o"]}]}},
    "an alias in router_settings_override": {"router_settings_override": {"model_group_alias": {"mini": "gpt-4o"}}},
    "target_model_names": {"target_model_names": "gpt-4o-mini,gpt-4o"},
    "a tool": {"tools": [{"type": "image_generation", "model": "image-2"}]},
    "a stored prompt": {"prompt_id": "other"},
    "an uploaded file": {"input_file_id": "file-1"},
    "extra_body": {"extra_body": {"model": "gpt-4o"}},
    "deployment_id": {"deployment_id": "gpt-4o"},
    "models": {"models": ["gpt-4o"]},
    "custom_llm_provider": {"custom_llm_provider": "anthropic"},
    "passthrough_on_no_deployment": {"passthrough_on_no_deployment": True},
}
ALLOWED_BESIDE: dict[str, JSON] = {
    "a fallback": {"fallbacks": ["mini"]},
    "a fallback that is an object": {"fallbacks": [{"model": "mini", "messages": [{"role": "user", "content": "x"}]}]},
    "context_window_fallbacks": {"context_window_fallbacks": [{"gpt-4o-mini": ["mini"]}]},
    "a tool without a model": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
}


@pytest.mark.parametrize(("name", "called"), STANDS_FOR.items())
def test_a_name_that_stands_for_another_is_called_by_that(
    proxy: Proxy, provider: Provider, name: str, called: str
) -> None:
    assert proxy.chat(MEMBER, name).status == 200
    assert provider.take() == [called]


@pytest.mark.parametrize(("name", "words"), REFUSED_NAMES.items())
def test_no_spelling_leads_past_the_policy(proxy: Proxy, provider: Provider, name: str, words: str) -> None:
    answer = proxy.chat(MEMBER, name)
    assert (answer.status, provider.take()) == (403, [])
    assert words in answer.error["message"]


@pytest.mark.parametrize("more", REFUSED_BESIDE.values(), ids=REFUSED_BESIDE.keys())
def test_every_model_in_the_body_has_to_be_allowed(proxy: Proxy, provider: Provider, more: JSON) -> None:
    answer = proxy.chat(MEMBER, "gpt-4o-mini", **more)
    assert (answer.status, provider.take()) == (403, []), answer.body


@pytest.mark.parametrize("more", ALLOWED_BESIDE.values(), ids=ALLOWED_BESIDE.keys())
def test_and_when_they_are_it_is_called(proxy: Proxy, provider: Provider, more: JSON) -> None:
    answer = proxy.chat(MEMBER, "gpt-4o-mini", **more)
    assert (answer.status, provider.take()) == (200, ["gpt-4o-mini"]), answer.body


# The router's own fallbacks, for which LiteLLM runs the gate's hook before the call no more.


def test_a_fallback_of_the_router_that_is_not_allowed_is_left_out(proxy: Proxy, provider: Provider) -> None:
    assert proxy.chat(MEMBER, "flaky").status == 200
    assert provider.take() == ["broken", "gpt-4o-mini"]
    assert proxy.chat(LEAD, "flaky").status == 200
    assert provider.take() == ["broken", "gpt-4o"]


@pytest.mark.parametrize("model", ["flaky-denied", "flaky-id"])
def test_without_another_fallback_the_client_gets_the_first_error(proxy: Proxy, provider: Provider, model: str) -> None:
    answer = proxy.chat(MEMBER, model)
    assert (answer.status, provider.take()) == (500, ["broken"])
    assert "out of order" in answer.error["message"]
    assert "may not use model 'gpt-4o'" in answer.error["message"]
    assert proxy.chat(LEAD, model).status == 200
    assert provider.take() == ["broken", "gpt-4o"]
