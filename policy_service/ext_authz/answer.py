"""The answer to Envoy. Nothing else makes a CheckResponse: an empty one, or one with status OK, lets a request pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf.struct_pb2 import Struct
from google.rpc.code_pb2 import OK, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE

from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.bodies import Api, Kind, error_body, error_headers

POLICY_HEADERS = "x-policy-"
FALLBACK_STATUS = 403
NO_ANSWER_STATUS = 503
_CODES = {Kind.IDENTITY: UNAUTHENTICATED, Kind.NO_ANSWER: UNAVAILABLE}

Facts = Mapping[str, Any]


class Allowed(NamedTuple):
    """The request may go on, with `set_headers` and without `removed_headers`. The facts go into Envoy's dynamic
    metadata."""

    set_headers: Mapping[str, str]
    removed_headers: Iterable[str]
    facts: Facts


class Denied(NamedTuple):
    """The request ends here, with an error of the API that was called. With kind NO_ANSWER Envoy's
    `failure_mode_allow` says whether it does."""

    kind: Kind
    code: str
    message: str
    status: int
    api: Api
    facts: Facts


def answer(outcome: Allowed | Denied) -> pb.CheckResponse:
    """The one constructor."""
    metadata = Struct()
    metadata.update(outcome.facts)
    response = pb.CheckResponse(dynamic_metadata=metadata)
    if isinstance(outcome, Allowed):
        response.status.code = OK
        response.ok_response.headers.extend(map(_overwrite, outcome.set_headers.items()))
        response.ok_response.headers_to_remove.extend(outcome.removed_headers)
        return response
    response.status.code = _CODES.get(outcome.kind, PERMISSION_DENIED)
    no_answer = outcome.kind is Kind.NO_ANSWER
    # Envoy gives the client the status as it is: 200 would look like success.
    status = NO_ANSWER_STATUS if no_answer else outcome.status if 400 <= outcome.status <= 499 else FALLBACK_STATUS
    denied = response.error_response if no_answer else response.denied_response
    denied.status.code = status
    denied.headers.extend(map(_overwrite, error_headers(outcome.api, outcome.kind).items()))
    denied.body = error_body(outcome.api, outcome.kind, outcome.code, outcome.message, status)
    return response


def _overwrite(header: tuple[str, str]) -> pb.HeaderValueOption:
    key, value = header
    return pb.HeaderValueOption(
        header=pb.HeaderValue(key=key, value=value), append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    )
