"""The error bodies of the APIs, so that each API's own client shows the message."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Any


class Api(StrEnum):
    """Whose clients read the answer."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GEMINI = "gemini"
    BEDROCK = "bedrock"
    COHERE = "cohere"


class Kind(Enum):
    """What sort of answer it is."""

    DECISION = auto()  # the policy says no
    IDENTITY = auto()  # nobody is known to ask
    REQUEST = auto()  # the request cannot be judged
    NO_ANSWER = auto()  # there is no decision
    FAULT = auto()  # ours


_OPENAI_TYPES = {
    Kind.IDENTITY: "authentication_error",
    Kind.REQUEST: "invalid_request_error",
    Kind.NO_ANSWER: "service_unavailable",
    Kind.FAULT: "server_error",
}
_ANTHROPIC_TYPES = {
    Kind.DECISION: "permission_error",
    Kind.IDENTITY: "authentication_error",
    Kind.REQUEST: "invalid_request_error",
    Kind.NO_ANSWER: "overloaded_error",
    Kind.FAULT: "api_error",
}
_GEMINI_STATUSES = {Kind.IDENTITY: "UNAUTHENTICATED", Kind.NO_ANSWER: "UNAVAILABLE"}
_BEDROCK_TYPES = {Kind.NO_ANSWER: "ServiceUnavailableException"}


def _openai(kind: Kind, code: str, message: str, status: int) -> dict[str, Any]:
    param = "model" if code.endswith("_model_access_denied") else None
    return {"error": {"message": message, "type": _OPENAI_TYPES.get(kind, code), "param": param, "code": code}}


def _anthropic(kind: Kind, code: str, message: str, status: int) -> dict[str, Any]:
    return {"type": "error", "error": {"type": _ANTHROPIC_TYPES[kind], "message": message}}


def _gemini(kind: Kind, code: str, message: str, status: int) -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": _GEMINI_STATUSES.get(kind, "PERMISSION_DENIED")}}


def _message_only(kind: Kind, code: str, message: str, status: int) -> dict[str, Any]:
    return {"message": message}


_BODIES: Mapping[Api, Callable[[Kind, str, str, int], dict[str, Any]]] = {
    Api.OPENAI: _openai,
    Api.ANTHROPIC: _anthropic,
    Api.GEMINI: _gemini,
    Api.BEDROCK: _message_only,
    Api.COHERE: _message_only,
}


def error_body(api: Api, kind: Kind, code: str, message: str, status: int) -> str:
    """JSON as the API's own errors look."""
    return json.dumps(_BODIES[api](kind, code, message, status))


def error_headers(api: Api, kind: Kind) -> dict[str, str]:
    """The headers that go with it."""
    headers = {"content-type": "application/json"}
    if api is Api.BEDROCK:
        headers["x-amzn-errortype"] = _BEDROCK_TYPES.get(kind, "AccessDeniedException")
    if kind is Kind.NO_ANSWER:
        headers["retry-after"] = "1"
    return headers
