"""Why the gate lets a request not go on, as the client reads it: OpenAI's error object, by way of an HTTPException."""

from __future__ import annotations

from fastapi import HTTPException

FORBIDDEN = 403
UNAVAILABLE = 503
_TYPES = {FORBIDDEN: "permission_error", UNAVAILABLE: "service_unavailable_error"}


class GateRefusal(HTTPException):  # type: ignore[misc] # FastAPI comes with LiteLLM, not with the tools
    """LiteLLM makes `error.message`, `type`, `param` and `code` of it, and retries and cools down nothing for a 403.

    `reason` is machine-readable, such as `member_model_access_denied`; it is in `error.provider_specific_fields`.
    """

    def __init__(self, status: int, reason: str, message: str, fields: dict[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.reason, self.message = reason, message
        self.type, self.param = _TYPES[status], "model" if status == FORBIDDEN else None
        self.provider_specific_fields = {"reason": reason, **(fields or {})}

    def __str__(self) -> str:
        return self.message  # LiteLLM shows it where a fallback failed
