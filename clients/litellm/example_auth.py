"""The keys of the example, in place of LiteLLM's database: each is that of a member of a team in examples/acme.yaml.

LiteLLM loads it by `general_settings: {custom_auth: example_auth.authenticate}`. A gateway that has LiteLLM's database,
or a custom_auth of its own, needs none of this: the policy gate reads what the authenticated key says.
"""

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

# Key: team and user.
KEYS = {
    "example-key-of-sam": ("support", "sam@acme.example"),
    "example-key-of-beatriz": ("support", "beatriz.costa@acme.example"),
    "example-key-of-oscar": ("marketing", "oscar.lindgren@acme.example"),
    "example-key-without-user": ("support", None),
    "example-key-without-team": (None, "sam@acme.example"),
}


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """The key's team and user. Raises HTTPException (401) for a key that nobody has."""
    if api_key not in KEYS:
        raise HTTPException(401, f"this key is not known; the example has {', '.join(KEYS)}")
    team, user = KEYS[api_key]
    return UserAPIKeyAuth(api_key=api_key, team_id=team, user_id=user)
