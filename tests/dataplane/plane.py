"""A data plane for all tests of a module, and what its answers say."""

from __future__ import annotations

import base64
from typing import NamedTuple

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from policy_service.v1.access_pb2 import CheckModelAccessResponse
from tests.support.messages import check

from .http2 import CODES, Answer, framed

QUESTION = check("t", "ann", "gpt-4o").SerializeToString()
GOOD = framed(QUESTION)


class Plane(NamedTuple):
    """A data plane whose policy has the team `t` with its member `ann`."""

    target: str
    revision: str


def is_allowed(answer: Answer) -> bool:
    return answer.code is grpc.StatusCode.OK and CheckModelAccessResponse.FromString(answer.message).allowed


def details_of(answer: Answer) -> tuple[str, list[str]]:
    """The reason and the violations in the details, which say what the other trailers say. Empty without details."""
    encoded = answer.blocks[-1].get(b"grpc-status-details-bin")
    if encoded is None:
        return "", []
    assert not encoded.endswith(b"="), "it goes without padding"
    status = Status.FromString(base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True))
    assert (CODES[status.code], status.message) == (answer.code, answer.grpc_message)
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad)
    assert info.domain == "policy_service"
    return info.reason, [violation.description for violation in bad.field_violations]
