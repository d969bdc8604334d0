"""Every RPC that is served, made from the descriptors, with what it needs of its caller and an example request.

A service that is missing here fails `test_the_table_has_every_service`; an RPC without a valid example fails
`test_a_principal_with_every_permission_passes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from policy_service.envoy_v3 import external_auth_pb2
from policy_service.v1 import access_pb2, admin_pb2, replication_pb2

from .examples import EXAMPLES

NOTHING, ANY = "nothing", "any permission"
DEADLINE_S = 10.0
Metadata = Sequence[tuple[str, str | bytes]]

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
# full name: (what describes it, what its RPCs need: a permission, ANY or NOTHING)
SERVICES: dict[str, tuple[ServiceDescriptor, str]] = {
    "policy_service.v1.AccessService": (access_pb2.DESCRIPTOR.services_by_name["AccessService"], "check"),
    "policy_service.v1.AdminService": (admin_pb2.DESCRIPTOR.services_by_name["AdminService"], "admin"),
    "policy_service.v1.ReplicationService": (
        replication_pb2.DESCRIPTOR.services_by_name["ReplicationService"],
        "replicate",
    ),
    "envoy.service.auth.v3.Authorization": (
        external_auth_pb2.DESCRIPTOR.services_by_name["Authorization"],
        "check",
    ),
    "grpc.health.v1.Health": (HEALTH, NOTHING),
    "grpc.reflection.v1.ServerReflection": (REFLECTION, ANY),
    "grpc.reflection.v1alpha.ServerReflection": (REFLECTION, ANY),
}
# Served and perhaps not listed by reflection: it has no descriptor of its own.
UNLISTED = {"grpc.reflection.v1.ServerReflection"}


class Rpc(NamedTuple):
    """One RPC of a service that is served."""

    service: str
    method: MethodDescriptor
    needs: str

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.method.name}"

    @property
    def is_mutation(self) -> bool:
        return "validate_only" in self.method.input_type.fields_by_name

    @property
    def request(self) -> bytes:
        example: Message = EXAMPLES.get(self.method.name) or GetMessageClass(self.method.input_type)()
        return example.SerializeToString()


RPCS = [Rpc(name, method, needs) for name, (service, needs) in SERVICES.items() for method in service.methods]


class Outcome(NamedTuple):
    """How a call ended: its status, and the first response if there was one."""

    code: grpc.StatusCode
    response: bytes = b""


async def call(channel: grpc.aio.Channel, rpc: Rpc, metadata: Metadata = ()) -> Outcome:
    """Calls the RPC with its example request. A stream of responses is left after the first. A stream of requests
    is one request: as grpc.aio's stream_stream it would now and then report INTERNAL for a call that was refused."""
    try:
        if not rpc.method.server_streaming:
            unary = channel.unary_unary(rpc.path)
            return Outcome(grpc.StatusCode.OK, await unary(rpc.request, metadata=metadata, timeout=DEADLINE_S))
        stream = channel.unary_stream(rpc.path)(rpc.request, metadata=metadata, timeout=DEADLINE_S)
        response = await stream.read()
        stream.cancel()
        return Outcome(grpc.StatusCode.OK, response)
    except grpc.aio.AioRpcError as error:
        return Outcome(error.code())


async def codes(channel: grpc.aio.Channel, metadata: Metadata = ()) -> dict[str, grpc.StatusCode]:
    """Calls every RPC; the path and how it ended."""
    return {rpc.path: (await call(channel, rpc, metadata)).code for rpc in RPCS}


def refused(code: grpc.StatusCode) -> dict[str, grpc.StatusCode]:
    """What `codes` returns when every RPC that needs something of its caller ends with this code."""
    return {rpc.path: grpc.StatusCode.OK if rpc.needs == NOTHING else code for rpc in RPCS}


def checks_alone() -> dict[str, grpc.StatusCode]:
    """What `codes` returns for who may check and no more."""
    denied = ("replicate", "admin")
    return {rpc.path: grpc.StatusCode.PERMISSION_DENIED if rpc.needs in denied else grpc.StatusCode.OK for rpc in RPCS}


def passed() -> dict[str, grpc.StatusCode]:
    """What `codes` returns when every RPC succeeds."""
    return dict.fromkeys((rpc.path for rpc in RPCS), grpc.StatusCode.OK)
