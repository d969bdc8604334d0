"""Calling a real server: stubs with a deadline, raw bytes, and failures with their google.rpc details."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_status import rpc_status

from policy_service.v1 import access_pb2, admin_pb2, replication_pb2
from policy_service.v1.access_pb2 import CheckModelAccessRequest
from policy_service.v1.access_pb2_grpc import AccessServiceStub
from policy_service.v1.admin_pb2_grpc import AdminServiceStub
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub

DEADLINE_S = 60.0  # far more than anything needs; a test that hangs fails instead
ACCESS = access_pb2.DESCRIPTOR.services_by_name["AccessService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
REPLICATION = replication_pb2.DESCRIPTOR.services_by_name["ReplicationService"]
METHODS: dict[str, MethodDescriptor] = {
    method.name: method for service in (ACCESS, ADMIN, REPLICATION) for method in service.methods
}
MUTATIONS = [name for name, method in METHODS.items() if "request_id" in method.input_type.fields_by_name]
DETAILS = {
    kind.DESCRIPTOR.full_name: kind for kind in (BadRequest, ErrorInfo, PreconditionFailure, ResourceInfo, RetryInfo)
}
NEVER = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
TRACES = ("Traceback", 'File "', "Exception", "Error:", "object at 0x", "policy_service/", "sqlite3", "_pb2")

M = TypeVar("M", bound=Message)


class _Deadlined:
    """A stub whose every call has a deadline."""

    def __init__(self, stub: object) -> None:
        self._stub = stub

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(self._stub, name), timeout=DEADLINE_S)


class Rpc:
    """A channel to `target` and its stubs."""

    def __init__(self, channel: grpc.aio.Channel, target: str) -> None:
        self.channel, self.target = channel, target
        self.access: Any = _Deadlined(AccessServiceStub(channel))
        self.admin: Any = _Deadlined(AdminServiceStub(channel))
        self.replication: Any = _Deadlined(ReplicationServiceStub(channel))
        self.health: Any = _Deadlined(HealthStub(channel))

    def call(self, rpc: str, request: Message) -> Awaitable[Any]:
        """Calls an RPC of any service by its name. Of a stream the first message counts."""
        stubs = {ACCESS: self.access, ADMIN: self.admin, REPLICATION: self.replication}
        call = getattr(stubs[METHODS[rpc].containing_service], rpc)(request)
        return _first(call) if METHODS[rpc].server_streaming else call

    def send(self, method: MethodDescriptor, encoded: bytes) -> Awaitable[bytes]:
        """Calls an RPC with bytes that need not be a message."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        if method.server_streaming:
            return _first(self.channel.unary_stream(path)(encoded, timeout=DEADLINE_S))
        return self.channel.unary_unary(path)(encoded, timeout=DEADLINE_S)

    async def head(self) -> str:
        """The revision the server is at."""
        answer = await self.access.CheckModelAccess(CheckModelAccessRequest(team="nobody", model="nothing"))
        return str(answer.revision)


async def _first(call: Any) -> Any:
    try:
        return await call.read()
    finally:
        call.cancel()


@asynccontextmanager
async def connect(target: str, **options: int) -> AsyncIterator[Rpc]:
    """An Rpc on a channel of its own; `options` are channel arguments without their `grpc.`."""
    arguments = [(f"grpc.{name}", value) for name, value in options.items()]
    async with grpc.aio.insecure_channel(target, arguments) as channel:
        yield Rpc(channel, target)


@dataclass(frozen=True)
class Failure:
    """A status that is not OK, with its details."""

    code: grpc.StatusCode
    message: str
    details: tuple[Message, ...]

    def detail(self, kind: type[M]) -> M:
        """The one detail of this kind."""
        (found,) = [detail for detail in self.details if isinstance(detail, kind)]
        return found

    @property
    def reason(self) -> str:
        return self.detail(ErrorInfo).reason

    @property
    def violations(self) -> dict[str, str]:
        """Field to description; those of one field are joined."""
        found: dict[str, str] = {}
        for violation in self.detail(BadRequest).field_violations:
            found[violation.field] = f"{found.get(violation.field, '')} {violation.description}".strip()
        return found


def failure_of(error: grpc.aio.AioRpcError) -> Failure:
    """What a client learns. Whatever was sent, it is no INTERNAL, has words, and shows nothing of the inside."""
    code, message = error.code(), error.details() or ""
    assert code not in NEVER, message
    assert message.strip()
    assert not [trace for trace in TRACES if trace in message], message
    status = rpc_status.from_call(error)
    if status is None:  # made by gRPC itself, before the service saw anything
        return Failure(code, message, ())
    details = []
    for packed in status.details:
        detail = DETAILS[packed.TypeName()]()
        assert packed.Unpack(detail)
        details.append(detail)
    failure = Failure(code, message, tuple(details))
    info = failure.detail(ErrorInfo)
    assert info.domain == "policy_service"
    assert info.reason == info.reason.upper() != ""
    return failure


async def refused(call: Awaitable[Any], code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> Failure:
    """The failure of a call that has to fail with this code."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    failure = failure_of(caught.value)
    assert failure.code is code, failure.message
    return failure


async def outcome(call: Awaitable[Any]) -> Failure | Any:
    """The answer, or the failure of a call that may fail, decently."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        return failure_of(error)


def number_of(revision: str) -> int:
    """How many mutations there were: for a test only, callers take a revision as it is."""
    return int(revision.rpartition(".")[2])
