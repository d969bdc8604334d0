"""The policy of the tests, and a proxy's configuration with more than the policy allows."""

from __future__ import annotations

from typing import Any

MEMBER = "crew/mia"  # keys, as keys.py reads them
LEAD = "crew/lena"
ALLOWED = ("gpt-4o-mini", "embed-small", "whisper-1", "image-1", "omni-moderation")
DENIED = ("gpt-4o", "embed-large", "transcribe-large", "image-2", "other-moderation")
FLAKY = ("flaky", "flaky-denied", "flaky-id")
POLICY: dict[str, Any] = {
    "teams": [
        {
            "id": "crew",
            "models": {"mode": "ALL"},
            "default_team_member_models": {"models": [*ALLOWED, "mini", "big", *FLAKY, "openai/gpt-4.1-*", "fast"]},
            "model_aliases": {"fast": "gpt-4o-mini", "best": "gpt-4o"},
            "members": [
                {"user": "mia"},
                {"user": "lena", "allowed_models": {"mode": "INHERIT"}},
                {"user": "rita", "limits": {"rpm_limit": 1, "max_budget_in_team": 5}},
                {"user": "bob", "blocked": True},
            ],
        },
        {"id": "open", "models": {"models": ["gpt-4o-mini"]}, "unlisted_users": "TEAM_SCOPE"},
    ]
}


def configuration(upstream: str, **more: Any) -> dict[str, Any]:
    """The proxy's; `more` replaces sections."""
    names = {name: name for name in (*ALLOWED, *DENIED, "gpt-4.1")} | dict.fromkeys(FLAKY, "broken")
    deployments = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{model}", "api_base": upstream, "api_key": "none"},
            "model_info": {"id": f"id-of-{name}"},
        }
        for name, model in {**names, "openai/*": "*"}.items()
    ]
    fallbacks = [{"flaky": ["gpt-4o", "gpt-4o-mini"]}, {"flaky-denied": ["gpt-4o"]}, {"flaky-id": ["id-of-gpt-4o"]}]
    return {
        "model_list": deployments,
        "router_settings": {
            "model_group_alias": {"mini": "gpt-4o-mini", "big": "gpt-4o"},
            "fallbacks": fallbacks,
            "num_retries": 0,
        },
        "files_settings": [{"custom_llm_provider": "openai", "api_base": upstream, "api_key": "none"}],
        "litellm_settings": {"callbacks": "policy_client.litellm.policy_gate", "num_retries": 0},
        "general_settings": {"master_key": "sk-master", "custom_auth": "keys.authenticate"},
        **more,
    }
