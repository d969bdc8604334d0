"""The keys of the measured proxies, in place of LiteLLM's database: `TEAM/USER`. Runs inside them."""

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """A key that says of itself whose it is."""
    team, _, user = api_key.partition("/")
    return UserAPIKeyAuth(api_key=api_key, team_id=team, user_id=user)
