"""Bytes that no client library sends, to every RPC of every service: refused in plain words, nothing changed, and
the server goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from policy_service.v1.access_pb2 import CheckModelAccessRequest
from policy_service.v1.admin_pb2 import CreateTeamRequest
from policy_service.v1.resources_pb2 import Team
from tests.support import wire
from tests.support.audit import read, verify
from tests.support.examples import EXAMPLES
from tests.support.messages import team
from tests.support.rpc import DEADLINE_S, METHODS, MUTATIONS, Rpc, connect, failure_of, outcome, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID, TOO_MUCH = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
EVERY_RPC = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
LIBRARY = [
    method
    for service in (
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    )
    for method in service.methods
]


@EVERY_RPC
async def test_garbage(shared: Rpc, method: MethodDescriptor) -> None:
    before = await shared.head()
    for encoded in wire.GARBAGE:
        failure = await refused(shared.send(method, encoded))
        assert method.input_type.full_name in failure.message or failure.violations
    assert await shared.head() == before


@EVERY_RPC
async def test_text_that_is_not_utf8(shared: Rpc, method: MethodDescriptor) -> None:
    before = await shared.head()
    for path, encoded in wire.invalid_texts(method.input_type):
        failure = await refused(shared.send(method, encoded))
        assert "UTF-8" in failure.message, path
    assert await shared.head() == before


@EVERY_RPC
async def test_an_empty_message(shared: Rpc, method: MethodDescriptor) -> None:
    """Only the lists that need nothing answer it, and what has nothing to say."""
    lists = ("ListTeams", "ListAccessGroups", "ListModels", "ListAuditEvents")
    if method.name in (*lists, "Watch", "GetHead", "GetStatus"):
        assert await shared.send(method, b"")
    else:
        assert (await refused(shared.send(method, b""))).violations


@EVERY_RPC
async def test_fields_that_nobody_knows_are_passed_over(shared: Rpc, method: MethodDescriptor) -> None:
    """A newer client is answered as an older one would be."""
    example = type(EXAMPLES[method.name])()
    example.CopyFrom(EXAMPLES[method.name])
    if method.name in MUTATIONS:
        example.validate_only = True
    encoded = example.SerializeToString()
    for unknown in wire.UNKNOWN:
        await shared.send(method, encoded + unknown)
    for unknown in wire.unknown_inside(method.input_type):
        await outcome(shared.send(method, encoded + unknown))


@EVERY_RPC
async def test_every_field_in_every_wire_type(shared: Rpc, method: MethodDescriptor) -> None:
    before = await shared.head()
    for encoded in wire.wrong_types(method.input_type):
        await outcome(shared.send(method, encoded))
    assert await shared.head() == before


@EVERY_RPC
async def test_a_message_cut_anywhere(shared: Rpc, method: MethodDescriptor) -> None:
    """It may be a whole one by chance: as a dry run, which comes last and so is set first."""
    dry = wire.tag(11, wire.VARINT) + b"\x01" if method.name in MUTATIONS else b""
    encoded = dry + EXAMPLES[method.name].SerializeToString()
    before = await shared.head()
    for end in range(len(encoded)):
        await outcome(shared.send(method, encoded[:end]))
    assert await shared.head() == before


@EVERY_RPC
async def test_an_oversized_message(shared: Rpc, method: MethodDescriptor) -> None:
    """More than 4 MiB, of anything but an HTTP request to authorize: refused before it is decoded, and the connection
    goes on."""
    before = await shared.head()
    failure = await refused(shared.send(method, wire.length_delimited(1, b"x" * (4 << 20))), TOO_MUCH)
    assert f"send at most {4 << 20}" in failure.message
    assert await shared.head() == before


async def test_the_biggest_message_that_is_taken(shared: Rpc) -> None:
    """Up to 4 MiB a request is read; what is wrong with it is said."""
    request = CreateTeamRequest(team=team("z", labels={"k": "x" * ((4 << 20) - 100)}))
    assert (4 << 20) - 200 < request.ByteSize() < 4 << 20
    assert "longer than 256 bytes" in (await refused(shared.admin.CreateTeam(request))).violations["team.labels['k']"]


async def test_methods_and_services_that_are_not_there(shared: Rpc) -> None:
    for path in ("/policy_service.v1.AdminService/Nope", "/policy_service.v2.AdminService/CreateTeam", "/x/y"):
        call = shared.channel.unary_unary(path)(b"", timeout=DEADLINE_S)
        assert (await refused(call, grpc.StatusCode.UNIMPLEMENTED)).message


async def many(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield CheckModelAccessRequest(team="t", model="m").SerializeToString()


async def test_a_stream_where_one_message_is_expected(shared: Rpc) -> None:
    """The first is answered, the others are passed over."""
    call = shared.channel.stream_unary("/policy_service.v1.AccessService/CheckModelAccess")
    for count in (1, 2, 50):
        assert await call(many(count), timeout=DEADLINE_S)


def is_malformed(method: MethodDescriptor, encoded: bytes) -> bool:
    """Whether the bytes are none of this method's requests; some garbage happens to be one."""
    try:
        GetMessageClass(method.input_type).FromString(encoded)
    except DecodeError:
        return True
    return False


@pytest.mark.parametrize("method", LIBRARY, ids=lambda method: method.name)
async def test_health_and_reflection(shared: Rpc, method: MethodDescriptor) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    texts = [encoded for _, encoded in wire.invalid_texts(method.input_type)]
    for encoded in filter(lambda encoded: is_malformed(method, encoded), (*wire.GARBAGE, *texts)):
        if method.client_streaming:
            call = shared.channel.stream_stream(path)(iter([encoded]), timeout=DEADLINE_S)
        elif method.server_streaming:
            call = shared.channel.unary_stream(path)(encoded, timeout=DEADLINE_S)
        else:
            call = shared.channel.unary_unary(path)(encoded, timeout=DEADLINE_S)
        assert await call.code() is INVALID, encoded[:20]
        assert await call.details()


async def test_the_server_went_on(shared: Rpc) -> None:
    """After all that: the same world, a log that verifies, and one more mutation."""
    for name, request in EXAMPLES.items():
        if name not in MUTATIONS:
            await shared.call(name, request)
    verify(await read(shared))
    before = await shared.head()
    changed = Team(id="other", labels={"still": "there"})
    answer = await shared.admin.UpdateTeam(type(EXAMPLES["UpdateTeam"])(team=changed))
    assert answer.revision != before


async def test_other_callers_notice_nothing(shared: Rpc) -> None:
    """While one connection sends garbage, another is answered."""
    async with connect(shared.target, use_local_subchannel_pool=1) as hostile:
        method = METHODS["CheckModelAccess"]
        for encoded in wire.GARBAGE:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await hostile.send(method, encoded)
            failure_of(caught.value)
            assert await shared.head()
