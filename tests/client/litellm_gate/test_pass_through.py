"""Requests that LiteLLM hands on as they are: where each provider's API names models, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_client.litellm.asked import Asked
from policy_client.litellm.pass_through import CALL_TYPE, PROVIDERS, ROUTED_CALL_TYPE, read_pass_through
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.ext_authz.settings import default_table

TABLE = default_table()
NOT_KNOWN = Asked()


def read(route: str, body: Any, call_type: str = CALL_TYPE) -> Asked:
    data = {"model": "of LiteLLM", "data": body} if call_type == ROUTED_CALL_TYPE else body
    return read_pass_through(TABLE, route, data, call_type)


def in_body(model: str, *others: str) -> Asked:
    return Asked(requested=model, others=others)


def in_path(model: str, *others: str) -> Asked:
    return Asked(requested=model, others=others, fixed=True)


VERTEX = "/v1/projects/p/locations/global/publishers"
FALLBACKS = {"model": "a", "fallbacks": ["b"], "tools": [{"model": "c"}]}
EVERY_ONE = {"requests": [{"params": {"model": "a"}}, {"params": {"model": "b"}}]}
# name: (the path that is called, the body, what is asked for)
READ: dict[str, tuple[str, dict[str, Any], Asked]] = {
    "openai": ("/openai/v1/chat/completions", {"model": "a"}, in_body("a")),
    "openai, with others": ("/openai/v1/chat/completions", FALLBACKS, in_body("a", "b", "c")),
    "openai, images": ("/openai/v1/images/generations", {"model": "a", "svg": {"model": "b"}}, in_body("a", "b")),
    "openai, under its other name": ("/openai_passthrough/v1/responses", {"model": "a"}, in_body("a")),
    "anthropic": ("/anthropic/v1/messages", {"model": "a"}, in_body("a")),
    "anthropic, fallbacks": (
        "/anthropic/v1/messages",
        {"model": "a", "fallbacks": [{"model": "b"}]},
        in_body("a", "b"),
    ),
    "anthropic, tokens": ("/anthropic/v1/messages/count_tokens", {"model": "a"}, in_body("a")),
    "anthropic, a batch": ("/anthropic/v1/messages/batches", EVERY_ONE, in_body("a", "b")),
    "gemini": ("/gemini/v1beta/models/g:generateContent", {"contents": []}, in_path("g")),
    "gemini, beside the body's": ("/gemini/v1beta/models/g:embedContent", {"model": "models/x"}, in_path("g", "x")),
    "gemini, within the body": (
        "/gemini/v1beta/models/g:countTokens",
        {"generateContentRequest": {"model": "models/x"}},
        in_path("g", "x"),
    ),
    "gemini, of a batch": (
        "/gemini/v1beta/models/g:batchEmbedContents",
        {"requests": [{"model": "models/x"}, {"model": "y"}]},
        in_path("g", "x", "y"),
    ),
    "gemini, like OpenAI": ("/gemini/v1beta/openai/chat/completions", {"model": "models/g"}, in_body("g")),
    "vertex": (f"/vertex_ai{VERTEX}/google/models/g:generateContent", {}, in_path("g")),
    "vertex, under its other name": (f"/vertex-ai{VERTEX}/google/models/g:streamGenerateContent", {}, in_path("g")),
    "vertex, beside the body's": (
        f"/vertex_ai{VERTEX}/anthropic/models/c:rawPredict",
        {"model": "x", "fallbacks": ["y"]},
        in_path("c", "x", "y"),
    ),
    "vertex, tokens": (
        f"/vertex_ai{VERTEX}/anthropic/models/count-tokens:rawPredict",
        {"model": "claude"},
        in_body("claude"),
    ),
    "bedrock": ("/bedrock/model/anthropic.claude-v2:1/converse", {"messages": []}, in_path("anthropic.claude-v2:1")),
    "bedrock, beside the body's": ("/bedrock/model/c/invoke", {"model": "x"}, in_path("c", "x")),
    "bedrock, the same in both": ("/bedrock/model/c/invoke", {"model": "c"}, in_path("c", "c")),
    "bedrock, within the body": (
        "/bedrock/model/c/converse-stream",
        {"additionalModelRequestFields": {"model": "x", "fallbacks": ["y"]}},
        in_path("c", "x", "y"),
    ),
    "bedrock, as it is written": ("/bedrock/model/arn%3Aaws/invoke", {}, in_path("arn%3Aaws")),
    "azure": ("/azure/openai/deployments/d/chat/completions", {"messages": []}, in_path("d")),
    "azure, beside the body's": ("/azure/openai/deployments/d/embeddings", {"model": "x"}, in_path("d", "x")),
    "azure, in the body": ("/azure/openai/v1/chat/completions", {"model": "a"}, in_body("a")),
    "azure_ai": ("/azure_ai/anthropic/v1/messages", {"model": "a"}, in_body("a")),
    "cohere": ("/cohere/v2/chat", {"model": "a"}, in_body("a")),
    "cohere, rerank": ("/cohere/v2/rerank", {"model": "a", "fallbacks": ["b"]}, in_body("a", "b")),
    "mistral": ("/mistral/v1/chat/completions", {"model": "a"}, in_body("a")),
    "vllm": ("/vllm/v1/completions", {"model": "a"}, in_body("a")),
}


@pytest.mark.parametrize("call_type", [CALL_TYPE, ROUTED_CALL_TYPE])
@pytest.mark.parametrize("name", READ)
def test_what_is_asked_for(name: str, call_type: str) -> None:
    route, body, asked = READ[name]
    assert read(route, body, call_type) == asked


def test_every_provider_is_in_the_table() -> None:
    assert {route.split("/")[1] for route, _, _ in READ.values()} == PROVIDERS


def test_what_litellm_read_from_the_path_is_not_the_clients() -> None:
    """With a deployment of the proxy it is beside the body."""
    data = {"model": "of LiteLLM", "api_base": "https://provider", "data": {"model": "a"}}
    assert read_pass_through(TABLE, "/openai/v1/embeddings", data, ROUTED_CALL_TYPE) == in_body("a")
    for data in ({"model": "of LiteLLM"}, {"model": "of LiteLLM", "data": None}, {"model": "of LiteLLM", "data": {}}):
        assert read_pass_through(TABLE, "/bedrock/model/c/converse", data, ROUTED_CALL_TYPE) == in_path("c")


MODEL = {"model": "a"}
UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "another provider": ("/assemblyai/v2/transcript", MODEL),
    "another provider's, with a path of one that is known": ("/groq/v1/chat/completions", MODEL),
    "a provider in capitals": ("/OpenAI/v1/chat/completions", MODEL),
    "no provider": ("/v1/chat/completions", MODEL),
    "a provider's name alone": ("/openai", MODEL),
    "a provider without a path": ("/openai/", MODEL),
    "nothing": ("/", MODEL),
    "another path": ("/mistral/v1/ocr", MODEL),
    "a longer path": ("/openai/v1/chat/completions/x", MODEL),
    "a path with a slash at its end": ("/openai/v1/chat/completions/", MODEL),
    "a path with two slashes": ("/openai//v1/chat/completions", MODEL),
    "a path with a query": ("/openai/v1/chat/completions?x=y", MODEL),
    "a path that goes up": ("/openai/../anthropic/v1/messages", MODEL),
    "what nobody may call": ("/openai/v1/videos/edits", MODEL),
    "the models of a batch that are not read": ("/gemini/v1beta/models/g:batchGenerateContent", {}),
    "what asks for no model": ("/openai/v1/fine_tuning/jobs/j/cancel", MODEL),
    "two segments for a model": ("/bedrock/model/a/b/invoke", MODEL),
    "no model in the path": ("/bedrock/model//invoke", MODEL),
    "an upgrade": ("/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent", MODEL),
    "a stored prompt": ("/openai/v1/responses", {"model": "a", "prompt": {"id": "greeting"}}),
    "a stored prompt, by another key": ("/openai/v1/chat/completions", {"model": "a", "prompt_id": "greeting"}),
    "a stored prompt, empty": ("/openai/v1/chat/completions", {"model": "a", "prompt_id": ""}),
    "stored content": ("/gemini/v1beta/models/g:generateContent", {"cachedContent": "cachedContents/x"}),
}


@pytest.mark.parametrize("call_type", [CALL_TYPE, ROUTED_CALL_TYPE])
@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known(name: str, call_type: str) -> None:
    """Then it names no model, and the judge refuses it."""
    route, body = UNKNOWN[name]
    assert read(route, body, call_type) == NOT_KNOWN
    assert not NOT_KNOWN.names_a_model


REFUSED: dict[str, tuple[str, dict[str, Any], Code]] = {
    "no model": ("/openai/v1/chat/completions", {}, Code.MODEL_MISSING),
    "a model of null": ("/openai/v1/chat/completions", {"model": None}, Code.MODEL_MISSING),
    "a model that is a list": ("/openai/v1/chat/completions", {"model": ["a"]}, Code.MODEL_MALFORMED),
    "a model that is a number": ("/cohere/v2/chat", {"model": 7}, Code.MODEL_MALFORMED),
    "a model beside that of the path, a list": ("/bedrock/model/c/invoke", {"model": ["a"]}, Code.MODEL_MALFORMED),
    "a similar key": ("/openai/v1/chat/completions", {"model": "a", "Model": "b"}, Code.SIMILAR_KEY),
    "another address": ("/openai/v1/chat/completions", {"model": "a", "api_base": "http://x"}, Code.FIELD_REFUSED),
    "a configuration": ("/bedrock/model/c/invoke", {"user_config": {}}, Code.FIELD_REFUSED),
    "an empty batch": ("/anthropic/v1/messages/batches", {"requests": []}, Code.MODEL_MISSING),
    "a router of Gemini's": (
        "/gemini/v1beta/models/g:generateContent",
        {"generationConfig": {"routingConfig": {}}},
        Code.FIELD_REFUSED,
    ),
}


@pytest.mark.parametrize("call_type", [CALL_TYPE, ROUTED_CALL_TYPE])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, call_type: str) -> None:
    route, body, code = REFUSED[name]
    with pytest.raises(Refused) as caught:
        read(route, body, call_type)
    assert caught.value.code is code


@pytest.mark.parametrize("body", ["model=a", ["a"], 7, True])
def test_a_body_that_is_no_object(body: Any) -> None:
    with pytest.raises(Refused) as caught:
        read("/openai/v1/chat/completions", body, ROUTED_CALL_TYPE)
    assert caught.value.code is Code.MODEL_MALFORMED


PARTS = st.one_of(
    st.sampled_from([part for route, _, _ in READ.values() for part in route.split("/")]), st.text(max_size=5)
)
ROUTES = st.one_of(
    st.sampled_from([route for route, _, _ in READ.values()]), st.lists(PARTS).map(lambda parts: "/" + "/".join(parts))
)
BODY_KEYS = st.sampled_from(["model", "tools", "requests", "params", "fallbacks", "prompt", "id", "data", "messages"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(BODY_KEYS, inner, max_size=3)),
    max_leaves=15,
)


@given(ROUTES, st.dictionaries(BODY_KEYS, JSON, max_size=4), st.sampled_from([CALL_TYPE, ROUTED_CALL_TYPE]))
def test_a_request_is_read_or_refused(route: str, data: dict[str, Any], call_type: str) -> None:
    """And the body's own model is never overlooked where anything is read."""
    try:
        asked = read_pass_through(TABLE, route, data, call_type)
    except Refused as error:
        assert str(error)
    else:
        body = data if call_type == CALL_TYPE else data.get("data") or {}
        assert asked == NOT_KNOWN or not body.get("model") or body["model"] in asked.all
