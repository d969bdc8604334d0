"""Every status becomes an error of the library, with the details that came with it."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

import policy_client
from policy_client import AccessClient, AdminClient, FieldViolation, PolicyClientError, PreconditionViolation

from .scripted import Refusal, Script, serving

CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: policy_client.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: policy_client.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: policy_client.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: policy_client.PreconditionFailed,
    grpc.StatusCode.ABORTED: policy_client.Aborted,
    grpc.StatusCode.UNAUTHENTICATED: policy_client.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: policy_client.PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: policy_client.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: policy_client.DeadlineExceeded,
    grpc.StatusCode.INTERNAL: policy_client.Internal,
    grpc.StatusCode.UNKNOWN: policy_client.Internal,
    grpc.StatusCode.DATA_LOSS: policy_client.Internal,
}
FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


async def error_for(refusal: Refusal) -> PolicyClientError:
    async with serving(Script([refusal])) as target, AccessClient(target) as access:
        with pytest.raises(PolicyClientError) as caught:
            await access.check("support", "sam", "gpt-4o")
    return caught.value


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
async def test_every_code_has_its_class(code: grpc.StatusCode) -> None:
    error = await error_for(Refusal(code, "no, because"))
    assert type(error) is CLASSES.get(code, PolicyClientError)
    assert (error.code, error.message, error.rpc) == (code, "no, because", "CheckModelAccess")
    assert str(error) == f"CheckModelAccess: {code.name}: no, because"
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
async def test_a_gateway_may_fail_open_only_when_nobody_answered(code: grpc.StatusCode) -> None:
    error = await error_for(Refusal(code))
    assert error.may_fail_open is (code.name in ("UNAVAILABLE", "DEADLINE_EXCEEDED"))


async def test_details_are_decoded() -> None:
    violation = details.BadRequest.FieldViolation(field="member.user", description="is empty")
    missing = details.PreconditionFailure.Violation(type="NEEDS_FORCE", subject="cheap", description="is listed")
    error = await error_for(
        Refusal(
            grpc.StatusCode.FAILED_PRECONDITION,
            details=(
                details.ErrorInfo(reason="WIDENS", domain="policy_service", metadata={"team": "support"}),
                details.BadRequest(field_violations=[violation]),
                details.PreconditionFailure(violations=[missing]),
                details.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000)),
            ),
        )
    )
    assert error.reason == "WIDENS"
    assert error.metadata == {"team": "support"}
    assert error.violations == (FieldViolation("member.user", "is empty"),)
    assert error.preconditions == (PreconditionViolation("NEEDS_FORCE", "cheap", "is listed"),)
    assert error.retry_delay_s == 1.5


async def test_without_details_the_fields_are_empty() -> None:
    error = await error_for(Refusal(grpc.StatusCode.NOT_FOUND))
    assert (error.reason, dict(error.metadata), error.violations, error.preconditions) == ("", {}, (), ())
    assert error.retry_delay_s is None


async def test_without_a_message_the_error_says_so() -> None:
    error = await error_for(Refusal(grpc.StatusCode.NOT_FOUND, ""))
    assert error.message == "the server gave no message"


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\xff\xff",
        status_pb2.Status(
            details=[{"type_url": "type.googleapis.com/google.rpc.ErrorInfo", "value": b"\xff"}]
        ).SerializeToString(),
        status_pb2.Status(
            details=[{"type_url": "type.googleapis.com/unknown.Thing", "value": b"x"}]
        ).SerializeToString(),
    ],
    ids=["no status", "broken detail", "unknown detail"],
)
async def test_details_that_do_not_decode_leave_the_status(raw: bytes) -> None:
    error = await error_for(Refusal(grpc.StatusCode.PERMISSION_DENIED, "no", raw_details=raw))
    assert type(error) is policy_client.PermissionDenied
    assert (error.message, error.reason) == ("no", "")


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
async def test_text_that_is_not_unicode_is_a_bad_request_like_any_other(text: str) -> None:
    async with AccessClient("127.0.0.1:1") as access, AdminClient("127.0.0.1:1") as admin:
        for call in (
            access.check("support", "sam", text),
            access.batch_check([("support", text, "gpt-4o")]),
            access.explain(text, "sam", "gpt-4o"),
            access.list_accessible_models(text, "sam"),
            admin.get_team(text),
        ):
            with pytest.raises(policy_client.InvalidArgument, match="cannot be written") as caught:
                await call
            assert not caught.value.may_fail_open
