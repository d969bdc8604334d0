"""Why a request is refused before the policy is asked."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The machine-readable reason. The HTTP client and Envoy's access log see it."""

    NO_IDENTITY = "no_identity"
    MALFORMED_IDENTITY = "malformed_identity"
    NOT_CONFIGURED = "not_configured"
    UNKNOWN_ROUTE = "unknown_route"
    ROUTE_DENIED = "route_denied"
    MODEL_MISSING = "model_missing"
    MODEL_MALFORMED = "model_malformed"
    REPEATED_KEY = "repeated_key"
    SIMILAR_KEY = "similar_key"
    MODELS_DISAGREE = "models_disagree"
    BODY_TRUNCATED = "body_truncated"
    BODY_TOO_LARGE = "body_too_large"
    BODY_ENCODED = "body_encoded"
    BODY_MALFORMED = "body_malformed"
    BODY_TOO_DEEP = "body_too_deep"
    BODY_UNEXPECTED = "body_unexpected"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    WRONG_CHARSET = "wrong_charset"
    MALFORMED_PATH = "malformed_path"
    MALFORMED_QUERY = "malformed_query"
    MALFORMED_HEADER = "malformed_header"
    METHOD_OVERRIDE = "method_override"
    WRONG_UPGRADE = "wrong_upgrade"
    FIELD_REFUSED = "field_refused"
    UNKNOWN_STORED_MODEL = "unknown_stored_model"
    ALIAS_NOT_REWRITTEN = "alias_not_rewritten"
    TOO_MANY_LARGE_BODIES = "too_many_large_bodies"
    INTERNAL = "internal"


class Refused(Exception):
    """The request is denied. The message tells its sender what to change."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
