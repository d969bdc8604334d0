"""The answer to Envoy. Nothing else makes a CheckResponse: an empty one, or one with status OK, lets a request pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence
from typing import Any, NamedTuple, cast

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
    response = pb.CheckResponse()
    _fill(response.dynamic_metadata, outcome.facts)
    if isinstance(outcome, Allowed):
        response.status.code = OK
        _overwrite(response.ok_response.headers, outcome.set_headers)
        response.ok_response.headers_to_remove.extend(outcome.removed_headers)
        return response
    response.status.code = _CODES.get(outcome.kind, PERMISSION_DENIED)
    no_answer = outcome.kind is Kind.NO_ANSWER
    # Envoy gives the client the status as it is: 200 would look like success.
    status = NO_ANSWER_STATUS if no_answer else outcome.status if 400 <= outcome.status <= 499 else FALLBACK_STATUS
    denied = response.error_response if no_answer else response.denied_response
    denied.status.code = status
    _overwrite(denied.headers, error_headers(outcome.api, outcome.kind))
    denied.body = error_body(outcome.api, outcome.kind, outcome.code, outcome.message, status)
    return response


def _overwrite(headers: MutableSequence[pb.HeaderValueOption], values: Mapping[str, str]) -> None:
    for key, value in values.items():
        added = cast(Any, headers).add(append_action=pb.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD).header
        added.key, added.value = key, value


def _fill(struct: Struct, facts: Facts) -> None:
    """As Struct.update does, in half of its time."""
    for name, fact in facts.items():
        field = struct.fields[name]
        if isinstance(fact, str):
            field.string_value = fact
        elif isinstance(fact, bool):
            field.bool_value = fact
        elif isinstance(fact, int | float):
            field.number_value = fact
        elif isinstance(fact, Mapping):
            _fill(field.struct_value, fact)
        else:
            for text in fact:
                field.list_value.values.add().string_value = text
