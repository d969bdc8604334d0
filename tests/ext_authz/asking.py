"""Asking the service as Envoy does: an HTTP request as a CheckRequest, and what the answer means to the HTTP client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from policy_service.domain.records import Record
from policy_service.domain.source import Reading
from policy_service.domain.state import State
from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.service import AuthorizationService
from policy_service.ext_authz.settings import read_settings
from policy_service.services.caller import Caller
from tests.domain.worlds import build

Headers = Iterable[tuple[str, str]]


def check_request(
    method: str = "POST",
    path: str = "/v1/chat/completions",
    headers: Headers = (),
    body: bytes = b"",
    *,
    raw: bool = False,
    **attributes: Any,
) -> pb.CheckRequest:
    """`raw`: the headers as Envoy sends them with `encode_raw_headers`. `attributes`: more of the AttributeContext."""
    http = pb.AttributeContext.HttpRequest(method=method, path=path, raw_body=body, size=len(body))
    for name, value in headers:
        if raw:
            http.header_map.headers.add(key=name.lower(), raw_value=value.encode())
        elif name.lower() in http.headers:
            http.headers[name.lower()] += f",{value}"
        else:
            http.headers[name.lower()] = value
    request = pb.AttributeContext.Request(http=http)
    return pb.CheckRequest(attributes=pb.AttributeContext(request=request, **attributes))


def chat(body: Mapping[str, object], *headers: tuple[str, str], **attributes: Any) -> pb.CheckRequest:
    """A chat completion."""
    given = (("content-type", "application/json"), *headers)
    return check_request(headers=given, body=json.dumps(body).encode(), **attributes)


def facts(answer: pb.CheckResponse) -> dict[str, Any]:
    """The dynamic metadata."""
    made: dict[str, Any] = MessageToDict(answer.dynamic_metadata)
    return made


def set_headers(answer: pb.CheckResponse) -> dict[str, str]:
    """What the upstream gets."""
    return {option.header.key: option.header.value for option in answer.ok_response.headers}


CALLER = Caller("local", lambda: "test", lambda: None)


class Fixed:
    """A policy that stays as it is."""

    def __init__(self, state: State, *, stale: bool = False) -> None:
        self._reading = Reading(state, stale)

    def read(self) -> Reading:
        return self._reading

    async def reach(self, wanted: str, remaining_s: object) -> None:
        raise AssertionError(f"nothing here asks for a revision, but {wanted} was")


def service(records: Iterable[Record], configuration: str) -> AuthorizationService:
    """The service in this process, over a policy of these records."""
    return AuthorizationService(Fixed(build(records)), read_settings(configuration, "ext-authz.yaml"))


def denied(answer: pb.CheckResponse) -> dict[str, Any]:
    """The body of a denied response, whose form is checked."""
    assert answer.status.code in (7, 16)
    assert answer.WhichOneof("http_response") == "denied_response"
    return _body(answer.denied_response)


def no_answer(answer: pb.CheckResponse) -> dict[str, Any]:
    """The body of an error response, whose form is checked."""
    assert answer.status.code == 14
    assert answer.WhichOneof("http_response") == "error_response"
    assert answer.error_response.status.code == 503
    assert ("retry-after", "1") in [(one.header.key, one.header.value) for one in answer.error_response.headers]
    return _body(answer.error_response)


def _body(response: pb.DeniedHttpResponse) -> dict[str, Any]:
    assert ("content-type", "application/json") in [(one.header.key, one.header.value) for one in response.headers]
    body: dict[str, Any] = json.loads(response.body)
    return body
