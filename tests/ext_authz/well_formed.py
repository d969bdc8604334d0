"""What every answer of ext_authz has to look like, whatever was asked."""

from __future__ import annotations

import json
from typing import Any

from policy_service.envoy_v3.external_auth_pb2 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    HeaderValueOption,
    OkHttpResponse,
)
from tests.ext_authz.strict import Verdict
from tests.ext_authz.world import DENIED_STATUS, NO_IDENTITY_STATUS, SECRET, SECRET_GROUP, SECRET_TEAM, SECRET_USER

OK, PERMISSION_DENIED, UNAVAILABLE, UNAUTHENTICATED = 0, 7, 14, 16
DECISIONS = {
    "TEAM_NOT_FOUND",
    "TEAM_BLOCKED",
    "NOT_A_MEMBER",
    "MEMBER_BLOCKED",
    "MODEL_NOT_IN_TEAM_SCOPE",
    "MODEL_NOT_IN_MEMBER_SCOPE",
}
REFUSALS = {
    *("no_identity", "malformed_identity", "unknown_route", "route_denied", "model_missing", "model_malformed"),
    *("repeated_key", "similar_key", "models_disagree", "body_truncated", "body_too_large", "body_encoded"),
    *("body_malformed", "body_too_deep", "body_unexpected", "wrong_content_type", "wrong_charset", "malformed_path"),
    *("malformed_query", "malformed_header", "method_override", "wrong_upgrade", "field_refused"),
    *("unknown_stored_model", "alias_not_rewritten"),
}
CODES = REFUSALS | {
    *("team_model_access_denied", "member_model_access_denied", "membership_denied", "team_blocked", "member_blocked"),
}
TYPES = {"openai": {"authentication_error", "invalid_request_error"}}
ANTHROPIC_TYPES = {"permission_error", "authentication_error", "invalid_request_error"}


def kind_of(answer: CheckResponse) -> str:
    """`allow`, `deny` or `error`, after a look at its form. A deny for a fault of the service's own is none of them."""
    assert answer.HasField("status"), "an answer without a status lets the request pass"
    match answer.status.code, answer.WhichOneof("http_response"):
        case 0, "ok_response":
            assert answer.dynamic_metadata["allowed"] is True
            return "allow"
        case 7 | 16 as code, "denied_response":
            _check_denied(answer, code)
            return "deny"
        case 14, "error_response":
            assert answer.error_response.status.code == 503
            assert _headers(answer.error_response.headers)["retry-after"] == "1"
            json.loads(answer.error_response.body)
            return "error"
    raise AssertionError(f"neither allowed nor denied: {answer}")


def _headers(options: Any) -> dict[str, str]:
    values = {}
    for option in options:
        name, value = option.header.key, option.header.raw_value.decode() or option.header.value
        assert name not in values
        values[name] = value
    return values


def _check_denied(answer: CheckResponse, code: int) -> None:
    denied, metadata = answer.denied_response, answer.dynamic_metadata
    unauthenticated = code == UNAUTHENTICATED
    assert denied.status.code == (NO_IDENTITY_STATUS if unauthenticated else DENIED_STATUS)
    assert metadata["allowed"] is False
    assert metadata["reason"] in DECISIONS | REFUSALS, metadata["reason"]
    assert (metadata["reason"] == "no_identity") == unauthenticated
    headers = _headers(denied.headers)
    assert headers.pop("content-type") == "application/json"
    assert set(headers) <= {"x-amzn-errortype", "retry-after"}
    message(denied)


def message(denied: DeniedHttpResponse) -> str:
    """What the caller reads; the body has the form of one of the APIs."""
    body = json.loads(denied.body)
    match body:
        case {"error": {"message": str(words), "type": str(), "param": "model" | None, "code": str(code)}, **rest}:
            assert code in CODES
        case {"type": "error", "error": {"type": str(kind), "message": str(words), **rest}}:
            assert kind in ANTHROPIC_TYPES
        case {"error": {"code": int(code), "message": str(words), "status": str(status), **rest}}:
            assert code == denied.status.code
            assert status in ("PERMISSION_DENIED", "UNAUTHENTICATED")
        case {"message": str(words), **rest}:
            pass
        case _:
            raise AssertionError(f"no API's error: {body}")
    assert words
    assert not rest
    return words


def check_allowed(answer: CheckResponse, request: CheckRequest, verdict: Verdict, revision: str) -> None:
    """What the upstream is told is what the request and the policy say, and nothing that the client made up is left."""
    ok: OkHttpResponse = answer.ok_response
    told = _headers(ok.headers)
    assert all(option.append_action == HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD for option in ok.headers)
    assert told.pop("x-policy-revision", None) in (revision, None if verdict.team is None else revision)
    assert told.pop("x-policy-team", None) == verdict.team
    assert told.pop("x-policy-user", "") == (verdict.user or "")
    model = told.pop("x-policy-model", None)
    if verdict.primary:  # of several models, none of which is the request's own, it may be any or none
        assert model in verdict.primary
    assert model in (None, *verdict.resolved)
    assert not told
    http = request.attributes.request.http
    sent = {name.lower() for name in (*http.headers, *(header.key for header in http.header_map.headers))}
    spoofed = {name for name in sent if _is_ours(name)}
    removed, names = set(ok.headers_to_remove), set(_headers(ok.headers))
    assert spoofed <= removed | names
    assert not removed & names
    assert all(map(_is_ours, removed))


def _is_ours(name: str) -> bool:
    return name.replace("_", "-").startswith("x-policy-")


def check_secrets(answer: CheckResponse, request: CheckRequest) -> None:
    """Nothing of another team is in it but what was asked for."""
    said, asked = answer.SerializeToString(), request.SerializeToString()
    for secret in (SECRET, SECRET_GROUP, SECRET_TEAM, SECRET_USER):
        assert secret.encode() not in said or secret.encode() in asked
