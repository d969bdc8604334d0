"""Bytes that no client library sends: the data plane and a grpcio replica make of them what the grpcio server does.

What that is, and that it is decent, tests/api/test_wire.py says.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_service.envoy_v3 import external_auth_pb2
from policy_service.v1.access_pb2 import CheckModelAccessResponse
from tests.support import wire
from tests.support.examples import EXAMPLES
from tests.support.fronts import AUTHORITY, DATA_PLANE, REPLICA, Fleet, Served
from tests.support.messages import check
from tests.support.rpc import ACCESS, DEADLINE_S, METHODS, Failure, Rpc, outcome
from tests.support.strategies import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECK = METHODS["CheckModelAccess"]
AUTHORIZE = external_auth_pb2.DESCRIPTOR.services_by_name["Authorization"].methods_by_name["Check"]
READS = [*ACCESS.methods, AUTHORIZE]
EVERY_RPC = pytest.mark.parametrize("method", READS, ids=lambda method: method.name)
FOLLOWERS = pytest.mark.parametrize("front", [DATA_PLANE, REPLICA])
AT_ONCE = 32
some = settings(
    max_examples=30, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def rpc_of(fleet: Fleet, front: str) -> Rpc:
    served = fleet[front]
    assert isinstance(served, Served)
    return served.rpc


def example(method: MethodDescriptor) -> bytes:
    if method is AUTHORIZE:
        http = external_auth_pb2.AttributeContext.HttpRequest(method="POST", path="/v1/chat/completions", body="{}")
        request = external_auth_pb2.AttributeContext.Request(http=http)
        attributes = external_auth_pb2.AttributeContext(request=request)
        return external_auth_pb2.CheckRequest(attributes=attributes).SerializeToString()
    return EXAMPLES[method.name].SerializeToString()


def damaged(encoded: bytes, seed: str) -> Iterator[bytes]:
    """With bytes changed, left out and repeated."""
    chance = random.Random(seed)
    for _ in range(200):
        made = bytearray(encoded)
        for _ in range(1 + chance.randrange(4)):
            at = chance.randrange(len(made) + 1)
            kind = chance.randrange(3)
            if kind == 0:
                made[at:at] = chance.randbytes(1 + chance.randrange(3))
            elif kind == 1:
                del made[at : at + 1 + chance.randrange(4)]
            elif made:
                made[at % len(made)] ^= 1 << chance.randrange(8)
        yield bytes(made)


def random_messages(method: MethodDescriptor) -> list[bytes]:
    drawn: list[bytes] = []

    @some
    @given(st.lists(messages(method.input_type), min_size=4, max_size=4))
    def draw(found: list[Any]) -> None:
        drawn.extend(message.SerializeToString() for message in found)

    draw()
    return drawn


def odd(method: MethodDescriptor) -> list[bytes]:
    """Malformed, cut short, of other types, with text that is none, with fields that nobody knows."""
    whole = example(method)
    return [
        b"",
        *wire.GARBAGE,
        *(encoded for _, encoded in wire.invalid_texts(method.input_type)),
        *(whole + unknown for unknown in (*wire.UNKNOWN, *wire.unknown_inside(method.input_type))),
        *wire.wrong_types(method.input_type),
        *(whole[:end] for end in range(len(whole))),
        *damaged(whole, method.name),
    ]


async def told(rpc: Rpc, method: MethodDescriptor, encoded: bytes) -> Any:
    """The answer, or the status with its details."""
    answer = await outcome(rpc.send(method, encoded))
    return answer if isinstance(answer, Failure) else GetMessageClass(method.output_type).FromString(answer)


async def assert_alike(fleet: Fleet, front: str, method: MethodDescriptor, sent: list[bytes]) -> None:
    one, other = rpc_of(fleet, AUTHORITY), rpc_of(fleet, front)
    for start in range(0, len(sent), AT_ONCE):
        some_of_them = sent[start : start + AT_ONCE]
        wanted = await asyncio.gather(*(told(one, method, encoded) for encoded in some_of_them))
        found = await asyncio.gather(*(told(other, method, encoded) for encoded in some_of_them))
        for encoded, here, there in zip(some_of_them, wanted, found, strict=True):
            assert here == there, encoded[:60]


@FOLLOWERS
@EVERY_RPC
async def test_odd_bytes(fleet: Fleet, method: MethodDescriptor, front: str) -> None:
    await assert_alike(fleet, front, method, odd(method))


@FOLLOWERS
@pytest.mark.parametrize("method", list(ACCESS.methods), ids=lambda method: method.name)
async def test_random_messages(fleet: Fleet, method: MethodDescriptor, front: str) -> None:
    """Without a revision: one that is not reached is waited for."""
    sent = [encoded for encoded in random_messages(method) if not waits(method, encoded)]
    assert len(sent) > 30
    await assert_alike(fleet, front, method, sent)


def waits(method: MethodDescriptor, encoded: bytes) -> bool:
    return bool(type(EXAMPLES[method.name]).FromString(encoded).at_least_revision)


@pytest.mark.parametrize("front", [AUTHORITY, REPLICA, DATA_PLANE])
async def test_messages_that_are_too_large(fleet: Fleet, front: str) -> None:
    """4 MiB are read, and what is wrong with them is said; more are not."""
    largest = wire.length_delimited(1, b"x" * ((4 << 20) - 5))
    assert len(largest) == 4 << 20
    for method in ACCESS.methods:
        fits = await told(rpc_of(fleet, front), method, largest)
        assert fits.code is grpc.StatusCode.INVALID_ARGUMENT, fits
        failure = await told(rpc_of(fleet, front), method, largest + b"\0")
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE")
        assert f"send at most {4 << 20}" in failure.message
        assert failure == await told(rpc_of(fleet, AUTHORITY), method, largest + b"\0")


NOT_THERE = (
    "/policy_service.v1.AccessService/Nope",
    "/policy_service.v1.AccessService/checkmodelaccess",
    "/policy_service.v1.AccessService/",
    "/policy_service.v2.AccessService/CheckModelAccess",
    "/envoy.service.auth.v2.Authorization/Check",
    "/x/y",
)


@pytest.mark.parametrize("front", [AUTHORITY, REPLICA, DATA_PLANE])
@pytest.mark.parametrize("path", NOT_THERE)
async def test_what_is_not_there(fleet: Fleet, front: str, path: str) -> None:
    failure = await outcome(rpc_of(fleet, front).channel.unary_unary(path)(b"", timeout=DEADLINE_S))
    assert isinstance(failure, Failure)
    assert failure.code is grpc.StatusCode.UNIMPLEMENTED
    assert failure.message


@pytest.mark.parametrize("front", [AUTHORITY, REPLICA, DATA_PLANE])
async def test_without_a_deadline(fleet: Fleet, front: str) -> None:
    stub = rpc_of(fleet, front).access._stub
    answer = await stub.CheckModelAccess(check("ml", "ann", "gpt-4o-mini"))
    assert isinstance(answer, CheckModelAccessResponse)
    assert answer.allowed
    again = await stub.CheckModelAccess(check("ml", "ann", "gpt-4o-mini", answer.revision))
    assert again == answer
