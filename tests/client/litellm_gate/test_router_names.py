"""What LiteLLM's router makes of names, and what an attempt tells of its models."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from policy_client.litellm.router_names import alias_target, attempt_metadata, attempted_models, model_of_deployment


class Router:
    """As much of LiteLLM's router as is asked. `deployments`: by id; None is one that was just deleted."""

    def __init__(self, deployments: dict[str, Any] | None = None, aliases: dict[str, Any] | None = None) -> None:
        self._deployments = deployments or {}
        self.model_group_alias = aliases

    def has_model_id(self, candidate_id: str) -> bool:
        return candidate_id in self._deployments

    def get_deployment(self, model_id: str) -> Any:
        return self._deployments[model_id]


def deployment(model_name: str, **info: Any) -> SimpleNamespace:
    return SimpleNamespace(model_name=model_name, model_info=SimpleNamespace(**info))


# Ids of deployments

ROUTER = Router(
    {
        "id-1": deployment("gpt-4o"),
        "id-2": deployment("model_name_t-1_7c", team_id="t-1", team_public_model_name="fine-tuned"),
        "id-3": deployment("gpt-4o-mini", team_id=None, team_public_model_name=None),
        "id-4": deployment("o1", team_id=None, team_public_model_name="only of a team"),
        "id-5": deployment("inner", team_id="t-1", team_public_model_name=None),
        "gone": None,
    }
)
DEPLOYMENTS = {
    "id-1": "gpt-4o",
    "id-2": "fine-tuned",
    "id-3": "gpt-4o-mini",
    "id-4": "o1",
    "id-5": "inner",
    "gone": "gone",
    "gpt-4o": "gpt-4o",
    "ID-1": "ID-1",
    "": "",
}


@pytest.mark.parametrize("name", DEPLOYMENTS, ids=repr)
def test_the_model_of_a_deployment(name: str) -> None:
    assert model_of_deployment(ROUTER, name) == DEPLOYMENTS[name]


def test_a_deployment_without_information_of_its_model() -> None:
    router = Router({"id-1": SimpleNamespace(model_name="gpt-4o", model_info=None)})
    assert model_of_deployment(router, "id-1") == "gpt-4o"


def test_without_a_router_a_name_is_itself() -> None:
    assert model_of_deployment(None, "id-1") == "id-1"
    assert alias_target(None, "fast") == "fast"


# Aliases

ALIASES = {"fast": "gpt-4o-mini", "hidden": {"model": "o1", "hidden": True}, "twice": "fast", "gpt-4o": "gpt-4o"}


@pytest.mark.parametrize(
    ("name", "target"),
    {"fast": "gpt-4o-mini", "hidden": "o1", "twice": "fast", "gpt-4o": "gpt-4o", "other": "other", "": ""}.items(),
)
def test_the_target_of_an_alias(name: str, target: str) -> None:
    """One step, as the router goes."""
    assert alias_target(Router(aliases=ALIASES), name) == target


@pytest.mark.parametrize("router", [Router(aliases=None), Router(aliases={}), SimpleNamespace()])
def test_a_router_without_aliases(router: Any) -> None:
    assert alias_target(router, "fast") == "fast"


# Attempts

KEY = object()
WRITTEN = {"model_group": "gpt-4o", "deployment": "azure/eu-gpt-4o"}
ROUTED = {**WRITTEN, "user_api_key_auth": KEY}
ATTEMPTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "routed": ({"model": "azure/eu-gpt-4o", "metadata": ROUTED}, ("gpt-4o",)),
    "routed, in the other bucket": ({"model": "azure/eu-gpt-4o", "litellm_metadata": ROUTED}, ("gpt-4o",)),
    "routed, with the client's metadata": (
        {"model": "azure/eu-gpt-4o", "litellm_metadata": ROUTED, "metadata": {"model_group": "cheap"}},
        ("gpt-4o",),
    ),
    "routed, with the client's metadata of another deployment": (
        {"model": "azure/eu-gpt-4o", "metadata": ROUTED, "litellm_metadata": {"model_group": "a", "deployment": "b"}},
        ("gpt-4o",),
    ),
    "what the client wrote hides nothing": (
        {"model": "azure/eu-gpt-4o", "litellm_metadata": ROUTED, "metadata": {**WRITTEN, "model_group": "cheap"}},
        ("gpt-4o",),
    ),
    "nor past the router": (
        {"model": "o1", "metadata": {"model_group": "cheap", "deployment": "o1"}, "litellm_metadata": ROUTED},
        ("o1",),
    ),
    "a group that is no text": (
        {"model": "o1", "metadata": {**ROUTED, "model_group": ["x"], "deployment": "o1"}},
        ("o1",),
    ),
    "routed, with the key in the other bucket": (
        {"model": "azure/eu-gpt-4o", "litellm_metadata": WRITTEN, "metadata": {"user_api_key_auth": KEY}},
        ("gpt-4o",),
    ),
    "the same in both": ({"model": "azure/eu-gpt-4o", "litellm_metadata": ROUTED, "metadata": ROUTED}, ("gpt-4o",)),
    "not routed": ({"model": "openai/o1"}, ("openai/o1",)),
    "not routed, with metadata": ({"model": "openai/o1", "metadata": {"user_id": "sam"}}, ("openai/o1",)),
    "a group without a deployment": ({"model": "openai/o1", "metadata": {"model_group": "cheap"}}, ("openai/o1",)),
    "a group of another deployment": ({"model": "openai/o1", "metadata": ROUTED}, ("openai/o1",)),
    "a deployment without a group": (
        {"model": "openai/o1", "metadata": {"model_group": "", "deployment": "openai/o1"}},
        ("openai/o1",),
    ),
    "metadata that are none": ({"model": "o1", "metadata": "x", "litellm_metadata": None}, ("o1",)),
    "no model": ({}, ()),
    "an empty model": ({"model": ""}, ()),
    "a model that is no text": ({"model": 7}, ()),
    "rerank": ({"model": "o1", "rerank": {"model": "cohere/rerank"}}, ("o1", "cohere/rerank")),
    "ingest": (
        {"ingest_options": {"embedding": {"model": "ada"}, "ocr": {"model": "mistral-ocr"}}},
        ("ada", "mistral-ocr"),
    ),
    "RAG that names a model twice": (
        {"model": "o1", "rerank": {"model": "o1"}, "ingest_options": {"ocr": {"model": "o1"}}},
        ("o1",),
    ),
    "RAG whose options are none": ({"model": "o1", "rerank": "x", "ingest_options": {"embedding": ["ada"]}}, ("o1",)),
    "RAG, routed": (
        {"model": "azure/eu-gpt-4o", "metadata": ROUTED, "rerank": {"model": "cohere/rerank"}},
        ("gpt-4o", "cohere/rerank"),
    ),
}


@pytest.mark.parametrize("name", ATTEMPTS)
def test_the_models_of_an_attempt(name: str) -> None:
    kwargs, models = ATTEMPTS[name]
    assert attempted_models(kwargs, "") == models
    assert attempted_models(kwargs, "another") == models


def test_an_attempt_within_a_call_of_the_same_model() -> None:
    """Such as a call of Responses that is served by way of chat completions."""
    assert attempted_models({"model": "openai/o1"}, "openai/o1") == ()
    assert attempted_models({"model": "openai/o1-pro"}, "openai/o1") == ("openai/o1-pro",)
    assert attempted_models({"model": "openai/o1", "rerank": {"model": "x"}}, "openai/o1") == ("x",)


def test_a_routed_attempt_within_another() -> None:
    """A fallback could go to another group with a deployment of the same model."""
    assert attempted_models({"model": "azure/eu-gpt-4o", "metadata": ROUTED}, "azure/eu-gpt-4o") == ("gpt-4o",)


# Whose attempt it is

METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "one bucket": ({"metadata": {"user_api_key_auth": KEY}}, "metadata"),
    "the other": ({"litellm_metadata": {"user_api_key_auth": KEY}}, "litellm_metadata"),
    "the client's beside it": (
        {"metadata": {"x": 1}, "litellm_metadata": {"user_api_key_auth": KEY}},
        "litellm_metadata",
    ),
    "the other way round": ({"metadata": {"user_api_key_auth": KEY}, "litellm_metadata": {"x": 1}}, "metadata"),
    "a key that is none": (
        {"litellm_metadata": {"user_api_key_auth": None}, "metadata": {"user_api_key_auth": KEY}},
        "metadata",
    ),
    "what is no object": ({"litellm_metadata": "x", "metadata": {"user_api_key_auth": KEY}}, "metadata"),
}


@pytest.mark.parametrize("name", METADATA)
def test_the_metadata_that_litellm_filled(name: str) -> None:
    """Itself, no copy: the gate writes into it."""
    kwargs, bucket = METADATA[name]
    assert attempt_metadata(kwargs) is kwargs[bucket]


@pytest.mark.parametrize(
    "kwargs", [{}, {"metadata": {}}, {"metadata": None}, {"metadata": {"user_api_key_auth": None}}]
)
def test_a_call_of_litellm_itself(kwargs: dict[str, Any]) -> None:
    assert attempt_metadata(kwargs) == {}
