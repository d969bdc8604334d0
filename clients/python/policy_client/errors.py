"""What a call raises: one class a condition, with what the server said about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_M = TypeVar("_M", bound=Message)


class FieldViolation(NamedTuple):
    """One thing wrong with a request: `field` is a path into it, `description` says what to change."""

    field: str
    description: str


class PreconditionViolation(NamedTuple):
    """One thing that stands in the way: its `type`, its `subject`'s name, and a `description` for people."""

    type: str
    subject: str
    description: str


class PolicyClientError(Exception):
    """A call failed. The subclasses name the conditions; a code that none of them stands for is this class itself.

    `code` and `message` are the status, `rpc` the method's name. `reason` (stable, machine-readable) and `metadata`
    come from the server's ErrorInfo, `violations` from BadRequest, `preconditions` from PreconditionFailure,
    `retry_delay_s` from RetryInfo; they are empty where the server sent none.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        rpc: str = "",
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
        violations: Sequence[FieldViolation] = (),
        preconditions: Sequence[PreconditionViolation] = (),
        retry_delay_s: float | None = None,
    ) -> None:
        super().__init__(f"{rpc}: {code.name}: {message}" if rpc else f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.rpc = rpc
        self.reason = reason
        self.metadata = metadata
        self.violations = tuple(violations)
        self.preconditions = tuple(preconditions)
        self.retry_delay_s = retry_delay_s

    @property
    def may_fail_open(self) -> bool:
        """Whether a gateway may let the call go on: nobody answered. Every other error is a deny."""
        return self.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class InvalidArgument(PolicyClientError):
    """The request breaks a rule, whatever the state. `violations` says what to change."""


class NotFound(PolicyClientError):
    """There is no such team, member, group or model."""


class AlreadyExists(PolicyClientError):
    """There is such a team or member already."""


class PreconditionFailed(PolicyClientError):
    """The state forbids it: a name in use, a removal that needs `force`, a revision not reached."""


class Aborted(PolicyClientError):
    """The resource has changed since its etag was read: read it again and repeat the change."""


class Unauthenticated(PolicyClientError):
    """The caller shows no credential, or one that the server does not know."""


class PermissionDenied(PolicyClientError):
    """The principal lacks the permission."""


class Unavailable(PolicyClientError):
    """Nobody answered, even after the retries."""


class DeadlineExceeded(PolicyClientError):
    """There was no answer in time. A mutation may have taken effect; repeat it with the same `request_id`."""


class Internal(PolicyClientError):
    """The server failed in a way it should not."""


_CLASSES: Mapping[grpc.StatusCode, type[PolicyClientError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: PreconditionFailed,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INTERNAL: Internal,
    grpc.StatusCode.UNKNOWN: Internal,
    grpc.StatusCode.DATA_LOSS: Internal,
}


def error_of(rpc: str, error: grpc.aio.AioRpcError) -> PolicyClientError:
    """The error of this library for one of gRPC's, with the details that came with it."""
    code = error.code()
    details = _details(error)
    infos = list(_unpacked(details, error_details_pb2.ErrorInfo))
    delays = [info.retry_delay for info in _unpacked(details, error_details_pb2.RetryInfo)]
    requests = _unpacked(details, error_details_pb2.BadRequest)
    failures = _unpacked(details, error_details_pb2.PreconditionFailure)
    return _CLASSES.get(code, PolicyClientError)(
        code,
        error.details() or "the server gave no message",
        rpc=rpc,
        reason=infos[0].reason if infos else "",
        metadata=MappingProxyType(dict(infos[0].metadata) if infos else {}),
        violations=[FieldViolation(v.field, v.description) for bad in requests for v in bad.field_violations],
        preconditions=[PreconditionViolation(v.type, v.subject, v.description) for f in failures for v in f.violations],
        retry_delay_s=delays[0].seconds + delays[0].nanos / 1e9 if delays else None,
    )


def _details(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    # A proxy can put anything here: details that do not decode are no details, the status still counts.
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _unpacked(status: status_pb2.Status, kind: type[_M]) -> Iterator[_M]:
    for detail in status.details:
        message = kind()
        try:
            if detail.Unpack(message):
                yield message
        except DecodeError:
            continue
