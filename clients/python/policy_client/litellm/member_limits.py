"""A member's limits, where LiteLLM's own rate limiter finds them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from litellm.integrations.custom_logger import CustomLogger

from policy_service.domain.records import MemberLimits


class MemberLimitsHook(CustomLogger):  # type: ignore[misc] # LiteLLM has no types for it
    """Runs before LiteLLM's limiter, which is another callback, and so is one of its own: the gate runs last."""

    def __init__(self, limits_of: Callable[[Any, Any], Awaitable[MemberLimits | None]]) -> None:
        super().__init__()
        self._limits_of = limits_of

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: str) -> None:
        """Lowers the key's limits of a team member to those of the policy; where it has none, LiteLLM's own stay."""
        limits = await self._limits_of(user_api_key_dict, data)
        if limits is None:
            return
        key = user_api_key_dict
        if limits.tpm_limit is not None:
            key.team_member_tpm_limit = _lower(key.team_member_tpm_limit, limits.tpm_limit)
        if limits.rpm_limit is not None:
            key.team_member_rpm_limit = _lower(key.team_member_rpm_limit, limits.rpm_limit)


def _lower(own: int | None, limit: int) -> int:
    return limit if own is None else min(own, limit)
