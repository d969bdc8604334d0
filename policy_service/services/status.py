"""The one place where expected failures become gRPC statuses with google.rpc details."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import singledispatch
from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from policy_service.errors import (
    AlreadyExists,
    EtagMismatch,
    FeedUnavailable,
    InvalidArgument,
    MessageTooLarge,
    NotFound,
    PermissionDenied,
    PolicyError,
    PreconditionFailed,
    RevisionNotReached,
    TooManyWatchers,
    TooSlow,
    Unauthenticated,
    Unavailable,
    Violation,
)

DOMAIN = "policy_service"
RETRY_AFTER_S = 1
# A client refuses trailers above 8 KiB, and the details travel in base64 beside the message.
MAX_MESSAGE_BYTES = 1_000
MAX_VIOLATIONS_BYTES = 2_000
MAX_FIELD_BYTES = 300
MAX_NAME_BYTES = 600
OTHER_PROBLEM = "all the items with a problem"
_INDEXED = re.compile(r"^(?P<list>\w+)\[(?P<index>\d+)\](?P<rest>.*)$", re.DOTALL)


class Failure(NamedTuple):
    """A status code and its details."""

    code: grpc.StatusCode
    details: Sequence[Message]


def status_of(error: PolicyError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """The status for an expected failure."""
    failure = _failure(error)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=_metadata(error))
    message = _cut(str(error), MAX_MESSAGE_BYTES)
    status = status_pb2.Status(code=failure.code.value[0], message=message)
    for detail in (info, *failure.details):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return failure.code, status


def _metadata(error: PolicyError) -> dict[str, str]:
    return {"current_revision": error.current} if isinstance(error, RevisionNotReached) else {}


@singledispatch
def _failure(error: PolicyError) -> Failure:
    raise TypeError(f"no status for {type(error).__name__}")


@_failure.register
def _(error: InvalidArgument) -> Failure:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
        for field, description in _fitting(error.violations)
    ]
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, [error_details_pb2.BadRequest(field_violations=violations)])


@_failure.register
def _(error: NotFound) -> Failure:
    return Failure(grpc.StatusCode.NOT_FOUND, [_resource(error.kind, error.name, str(error))])


@_failure.register
def _(error: AlreadyExists) -> Failure:
    details: list[Message] = [_resource(error.kind, error.names[0], str(error))]
    if error.fields:
        found = [Violation(field, "exists already") for field in error.fields]
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
            for field, description in _fitting(found)
        ]
        details.append(error_details_pb2.BadRequest(field_violations=violations))
    return Failure(grpc.StatusCode.ALREADY_EXISTS, details)


@_failure.register
def _(error: PreconditionFailed) -> Failure:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.reason, subject=error.subject, description=_cut(error.description, MAX_MESSAGE_BYTES)
    )
    details = [error_details_pb2.PreconditionFailure(violations=[violation])]
    return Failure(grpc.StatusCode.FAILED_PRECONDITION, details)


@_failure.register
def _(error: EtagMismatch) -> Failure:
    return Failure(grpc.StatusCode.ABORTED, [_resource(error.kind, error.name, str(error))])


@_failure.register
def _(error: Unauthenticated) -> Failure:
    return Failure(grpc.StatusCode.UNAUTHENTICATED, [])


@_failure.register
def _(error: PermissionDenied) -> Failure:
    return Failure(grpc.StatusCode.PERMISSION_DENIED, [])


@_failure.register(MessageTooLarge)
@_failure.register(TooSlow)
@_failure.register(TooManyWatchers)
def _(error: PolicyError) -> Failure:
    return Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, [])


@_failure.register(Unavailable)
@_failure.register(FeedUnavailable)
def _(error: PolicyError) -> Failure:
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=RETRY_AFTER_S))
    return Failure(grpc.StatusCode.UNAVAILABLE, [retry])


def _resource(kind: str, name: str, description: str) -> error_details_pb2.ResourceInfo:
    return error_details_pb2.ResourceInfo(
        resource_type=kind, resource_name=_cut(name, MAX_NAME_BYTES), description=_cut(description, MAX_MESSAGE_BYTES)
    )


def _cut(text: str, most: int) -> str:
    encoded = text.encode()
    return text if len(encoded) <= most else encoded[: most - 3].decode(errors="ignore") + "..."


def _size(violations: Iterable[Violation]) -> int:
    return sum(len(field.encode()) + len(description.encode()) + 8 for field, description in violations)


def _fitting(violations: Sequence[Violation]) -> list[Violation]:
    """The violations, so that they fit the trailers: items of a list with the same problem become one entry
    (`members[0,3-7].user`). Of those that still do not fit, the items are named, and the rest is counted."""
    fitting = [Violation(_cut(field, MAX_FIELD_BYTES), _cut(words, MAX_MESSAGE_BYTES)) for field, words in violations]
    if _size(fitting) <= MAX_VIOLATIONS_BYTES:
        return fitting
    fitting = _grouped(fitting)
    size = 0
    for at, violation in enumerate(fitting):
        size += _size([violation])
        if size > MAX_VIOLATIONS_BYTES:
            items = _grouped(Violation(field.partition("]")[0] + "]", OTHER_PROBLEM) for field, _ in violations)
            named = [item for item in items if _INDEXED.match(item.field) or "," in item.field or "-" in item.field]
            return [*fitting[:at], *named[:1], Violation("", f"and {len(fitting) - at} more")]
    return fitting


def _grouped(violations: Iterable[Violation]) -> list[Violation]:
    groups: dict[tuple[str, str, str], list[int]] = {}
    for field, description in violations:
        indexed = _INDEXED.match(field)
        if indexed:
            groups.setdefault((indexed["list"], indexed["rest"], description), []).append(int(indexed["index"]))
        else:
            groups.setdefault((field, "", description), [])
    return [
        Violation(f"{name}[{_ranges(indexes)}]{rest}" if indexes else name, description)
        for (name, rest, description), indexes in groups.items()
    ]


def _ranges(indexes: Sequence[int]) -> str:
    """`0,3-7` for 0, 3, 4, 5, 6, 7. The indexes ascend."""
    ranges: list[list[int]] = []
    for index in indexes:
        if ranges and index <= ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
