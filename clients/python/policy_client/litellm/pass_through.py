"""Requests that LiteLLM hands on to a provider as they are: their models are where that provider's API has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policy_client.litellm.asked import Asked
from policy_service.ext_authz.asked import stripped
from policy_service.ext_authz.places import Role, walk
from policy_service.ext_authz.routes import Access, RouteTable

CALL_TYPE = "pass_through_endpoint"
# With a deployment of the proxy: the client's body is one level down, beside what LiteLLM read from the path.
ROUTED_CALL_TYPE = "allm_passthrough_route"
# The first part of the path names the provider; the rest is a path of its API.
PROVIDERS = frozenset(
    (
        *("openai", "openai_passthrough", "anthropic", "gemini", "vertex_ai", "vertex-ai", "bedrock", "azure"),
        *("azure_ai", "cohere", "mistral", "vllm"),
    )
)


def read_pass_through(table: RouteTable, route: str, data: Mapping[str, Any], call_type: str) -> Asked:
    """What the request asks for; nothing where its API, or the models in it, are not known. Raises Refused.

    `route` is the path that the client called, `data` what LiteLLM's hook gets.
    """
    body = data.get("data") or {} if call_type == ROUTED_CALL_TYPE else data
    provider, _, rest = route.removeprefix("/").partition("/")
    matched = table.find("POST", False, f"/{rest}") if provider in PROVIDERS else None
    if matched is None or matched.route.access is not Access.MODELS:
        return Asked()
    named = list(walk(matched.route.places, body))
    if matched.route.strip_up_to:
        named = [name._replace(text=stripped(name.text, matched.route.strip_up_to)) for name in named]
    if any(name.role is Role.STORED for name in named):
        return Asked()
    own = [name.text for name in named if name.role is Role.ASKED]
    others = tuple(name.text for name in named if name.role is Role.OTHER)
    if matched.model is not None:
        return Asked(requested=matched.model, others=(*own, *others), fixed=True)
    return Asked(requested=own[0] if own else "", others=(*own[1:], *others))
