"""The keys of the tests' proxy: `TEAM/USER`, either of which may be empty. Runs inside the proxy."""

from typing import Any
from urllib.parse import unquote

from fastapi import Request
from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """A key that says of itself whose it is, and after a `?` which models LiteLLM itself lets it use."""
    whose, _, models = unquote(api_key).partition("?")
    team, _, user = whose.partition("/")
    metadata: dict[str, Any] = {"tenant": team}
    return UserAPIKeyAuth(
        api_key=api_key,
        team_id=team or None,
        user_id=user or None,
        metadata=metadata,
        models=models.split("+") if models else [],
    )
