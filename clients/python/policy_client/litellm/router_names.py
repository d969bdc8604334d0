"""What LiteLLM's router makes of a name after the hook: ids of deployments, and aliases of the whole proxy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

BUCKETS = ("litellm_metadata", "metadata")  # which of them LiteLLM fills is a matter of the route


def model_of_deployment(router: Any, name: str) -> str:
    """The model whose deployment has this id; the name itself when there is no such deployment.

    The router takes an id anywhere it takes a model, and shows ids in a header of every answer.
    """
    if router is None or not router.has_model_id(name):
        return name
    deployment = router.get_deployment(model_id=name)
    if deployment is None:
        return name
    info = deployment.model_info  # a deployment of one team has an inner name, and the one that its callers use
    public = getattr(info, "team_public_model_name", None) if getattr(info, "team_id", None) else None
    return str(public or deployment.model_name)


def alias_target(router: Any, name: str) -> str:
    """What `router_settings.model_group_alias` makes of a name; the name itself when it is no alias there."""
    aliases = getattr(router, "model_group_alias", None) or {}
    target = aliases.get(name, name)
    return str(target["model"]) if isinstance(target, Mapping) else str(target)


def attempted_models(kwargs: Mapping[str, Any], within: str) -> tuple[str, ...]:
    """The models of an attempt whose deployment is chosen: the group that the router tries; for what goes past the
    router the model itself, unless it is `within` a call of that model: some APIs are served by way of another."""
    model = kwargs.get("model")
    # The router notes in one of these which deployment it chose. Without the key, `metadata` is what the client wrote.
    buckets = (attempt_metadata(kwargs), kwargs.get("litellm_metadata"))
    groups = [
        group
        for bucket in buckets
        if isinstance(bucket, Mapping)
        and isinstance(group := bucket.get("model_group"), str)
        and bucket.get("deployment") == model
    ]
    called: list[object] = [*groups] or ([] if model == within else [model])
    names = (*called, *_nested(kwargs))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _nested(kwargs: Mapping[str, Any]) -> Iterator[object]:
    """The models of RAG calls, which run no other hook."""
    for keys in (("rerank", "model"), ("ingest_options", "embedding", "model"), ("ingest_options", "ocr", "model")):
        value: object = kwargs
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        yield value


def attempt_metadata(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a call that LiteLLM itself filled: that with the authenticated key. Empty: the call is LiteLLM's
    own, such as a health check."""
    for name in BUCKETS:
        metadata = kwargs.get(name)
        if isinstance(metadata, dict) and metadata.get("user_api_key_auth") is not None:
            return metadata
    return {}
