"""gRPC as HTTP/2 shows it: requests as clients of gRPC send them, and as none of them does, and what comes back. After
each the connection is as good as before."""

from __future__ import annotations

from typing import NamedTuple

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2

from policy_service.dataplane.envoy import MAX_STREAMS
from policy_service.reads import READ_SERVICES
from policy_service.services.unary import MAX_MESSAGE_BYTES
from tests.support.rpc import METHODS

from .http2 import CHECK, Headers, Http2, framed, request_headers
from .plane import GOOD, QUESTION, details_of, is_allowed

pytestmark = pytest.mark.asyncio(loop_scope="module")

HEALTH = b"/grpc.health.v1.Health/Check"
INVALID, DEADLINE = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED
TOO_MUCH, UNIMPLEMENTED = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNIMPLEMENTED


# Answered

ACCEPTED: dict[str, Headers] = {
    "as it should be": request_headers(),
    "application/grpc+proto": request_headers(content_type=b"application/grpc+proto"),
    "a parameter": request_headers(content_type=b"application/grpc; charset=utf-8"),
    "capitals": request_headers(content_type=b"Application/GRPC+Proto ; a=b"),
    "a compression it could use": request_headers(grpc_encoding=b"gzip", grpc_accept_encoding=b"gzip,identity"),
    "a length": request_headers(content_length=b"%d" % len(GOOD)),
    "metadata": request_headers(x_request_id=b"7", a_b=b"c", trace_bin=b"AAEC"),
    "another host": request_headers(_authority=b"policy.acme.example:443", host=b"elsewhere"),
    "another scheme": request_headers(_scheme=b"https"),
    "a user agent": request_headers(user_agent=b"grpc-go/1.80.0"),
    "the longest deadline": request_headers(grpc_timeout=b"99999999H"),
    "minutes": request_headers(grpc_timeout=b"1M"),
    "seconds": request_headers(grpc_timeout=b"60S"),
    "milliseconds": request_headers(grpc_timeout=b"60000m"),
    "microseconds": request_headers(grpc_timeout=b"60000000u"),
    "ninety more headers": [*request_headers(), *((b"x-%d" % number, b"v") for number in range(90))],
    "long headers": request_headers(x_long=b"v" * 16_000, x_long_too=b"v" * 16_000),
}


@pytest.mark.parametrize("headers", ACCEPTED.values(), ids=ACCEPTED)
async def test_what_is_answered(http2: Http2, headers: Headers) -> None:
    answer = await http2.call(GOOD, headers)
    assert is_allowed(answer)
    first, trailers = answer.blocks
    assert (first[b":status"], first[b"content-type"]) == (b"200", b"application/grpc")
    assert trailers == {b"grpc-status": b"0"}


@pytest.mark.parametrize("pieces", [1, 2, 5, 7, len(GOOD)])
async def test_a_message_in_pieces(http2: Http2, pieces: int) -> None:
    number = http2.open(request_headers())
    await http2.write(number, GOOD, pieces=pieces)
    assert is_allowed(await http2.answer(number))


async def test_an_end_of_its_own(http2: Http2) -> None:
    """END_STREAM comes in a frame of DATA without data, or with trailers."""
    number = http2.open(request_headers())
    await http2.write(number, GOOD, end=False)
    await http2.write(number, b"")
    assert is_allowed(await http2.answer(number))
    number = http2.open(request_headers())
    await http2.write(number, GOOD, end=False)
    http2.trailers(number, [(b"x-checksum", b"1")])
    assert is_allowed(await http2.answer(number))


async def test_many_at_once(http2: Http2) -> None:
    numbers = [http2.open(request_headers()) for _ in range(MAX_STREAMS)]
    for number in reversed(numbers):
        await http2.write(number, GOOD)
    for number in numbers:
        assert is_allowed(await http2.answer(number))


async def test_a_message_of_no_bytes(http2: Http2) -> None:
    """That is one where every field may be left out."""
    answer = await http2.call(framed(b""), request_headers(HEALTH))
    status = health_pb2.HealthCheckResponse.FromString(answer.message).status
    assert status == health_pb2.HealthCheckResponse.SERVING


# Refused with a status


class Refused(NamedTuple):
    """A request, and the status that it gets."""

    body: bytes
    headers: Headers
    code: grpc.StatusCode
    words: str
    reason: str = ""


def malformed(body: bytes, words: str, **changed: bytes | None) -> Refused:
    return Refused(body, request_headers(**changed), INVALID, words, "INVALID_ARGUMENT")


def unimplemented(words: str, body: bytes = GOOD, path: bytes = CHECK, **changed: bytes) -> Refused:
    return Refused(body, request_headers(path, **changed), UNIMPLEMENTED, words)


def too_large(length: int) -> Refused:
    words = f"the message has {length} bytes; send at most {MAX_MESSAGE_BYTES}"
    return Refused(framed(QUESTION, length=length), request_headers(), TOO_MUCH, words, "MESSAGE_TOO_LARGE")


def not_offered(path: bytes) -> Refused:
    return unimplemented(f"{path.partition(b'?')[0].decode()[:256]} is not offered here", path=path)


NO_TIMEOUTS = [b"", b"1", b"S", b"1s", b"1SS", b"1 S", b"-1S", b"+1S", b"1.5S", b"0x1S", b"123456789S", b"1S,1S"]
NO_TIMEOUTS += ["١S".encode(), b"\xffS", b"1" * 1_000]
REFUSED: dict[str, Refused] = {
    "compressed": unimplemented("the message is compressed", framed(QUESTION, flag=1)),
    "compressed as it says": unimplemented("the message is compressed", framed(QUESTION, 1), grpc_encoding=b"gzip"),
    "flag 2": malformed(framed(QUESTION, flag=2), "begins with the byte 2"),
    "flag 255": malformed(framed(QUESTION, flag=255), "begins with the byte 255"),
    "no gRPC": malformed(b'{"team": "t"}', "begins with the byte 123"),
    "one byte missing": malformed(GOOD[:-1], "ends 1 bytes before its message does"),
    "no byte of it": malformed(GOOD[:5], f"ends {len(QUESTION)} bytes before its message does"),
    "four bytes": malformed(GOOD[:4], "the body ends within the 5 bytes"),
    "one byte": malformed(b"\0", "the body ends within the 5 bytes"),
    "no message": unimplemented("there is no message; send exactly one", b""),
    "two messages": unimplemented("goes on after the message; send exactly one", GOOD * 2),
    "one byte too many": unimplemented("goes on after the message; send exactly one", GOOD + b"\0"),
    "no message but bytes": unimplemented("goes on after the message", framed(b"") + b"x", HEALTH),
    "one byte too large": too_large(MAX_MESSAGE_BYTES + 1),
    "as large as can be said": too_large((1 << 32) - 1),
    "no protobuf": malformed(framed(b"\xff"), "the message is no policy_service.v1.CheckModelAccessRequest"),
    "JSON": unimplemented("send content-type application/grpc", content_type=b"application/grpc+json"),
    "some format": unimplemented("send content-type application/grpc", content_type=b"application/grpc+x;y"),
    "no te": malformed(GOOD, "`te: trailers` is missing", te=None),
    "deadline 0": Refused(GOOD, request_headers(grpc_timeout=b"0S"), DEADLINE, "deadline passed"),
    "deadline at once": Refused(GOOD, request_headers(grpc_timeout=b"1n"), DEADLINE, "deadline passed"),
    **{
        f"grpc-timeout {value!r}": malformed(GOOD, "is not up to 8 digits and one of", grpc_timeout=value)
        for value in NO_TIMEOUTS
    },
    "unknown method": not_offered(b"/policy_service.v1.AccessService/Nope"),
    "unknown service": not_offered(b"/nobody.v1.Nothing/Check"),
    "another version": not_offered(b"/policy_service.v2.AccessService/CheckModelAccess"),
    "another case": not_offered(CHECK.lower()),
    "no method": not_offered(b"/policy_service.v1.AccessService/"),
    "the root": not_offered(b"/"),
    "a slash more": not_offered(CHECK + b"/"),
    "a slash before": not_offered(b"/" + CHECK),
    "a way around": not_offered(b"/x/.." + CHECK),
    "a query": not_offered(CHECK + b"?x=1"),
    "escaped letters": not_offered(CHECK.replace(b"C", b"%43")),
    "an escaped slash": not_offered(CHECK.replace(b"/Check", b"%2FCheck")),
    "beyond ASCII": not_offered(CHECK + "é".encode()),
    "a long path": not_offered(b"/" + b"x" * 10_000),
    "a stream": not_offered(b"/grpc.health.v1.Health/Watch"),
    "reflection": not_offered(b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    "former reflection": not_offered(b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    "an admin interface": not_offered(b"/quitquitquit"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
async def test_what_gets_a_status(http2: Http2, case: Refused) -> None:
    answer = await http2.call(case.body, case.headers)
    assert answer.is_trailers_only
    assert (answer.http_status, answer.blocks[0][b"content-type"]) == (200, b"application/grpc")
    assert answer.code is case.code
    assert case.words in answer.grpc_message
    reason, violations = details_of(answer)
    assert reason == case.reason
    assert violations == ([answer.grpc_message] if reason == "INVALID_ARGUMENT" else [])
    accepts = b"identity" if case.code == UNIMPLEMENTED else None
    assert answer.blocks[0].get(b"grpc-accept-encoding") == accepts


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
async def test_nothing_but_reads(http2: Http2, method: MethodDescriptor) -> None:
    """Neither AdminService nor ReplicationService, whatever is sent to them."""
    service = method.containing_service.full_name
    path = f"/{service}/{method.name}".encode()
    for body in (framed(b""), GOOD, b""):
        answer = await http2.call(body, request_headers(path))
        if service not in READ_SERVICES:
            assert (answer.code, answer.is_trailers_only) == (UNIMPLEMENTED, True)
    assert service in READ_SERVICES or "is not offered here" in answer.grpc_message


# Refused with an HTTP status: no gRPC

POST_ONLY, NO_GRPC = {b"allow": b"POST"}, {b"accept": b"application/grpc"}
NO_POST = ("PUT", "DELETE", "PATCH", "OPTIONS", "X", "post")
NO_GRPC_TYPES = ["", ";", "application/json", "text/plain", "application/grpc-web", "application/grpc-web+proto"]
NO_GRPC_TYPES += ["application/grpcx", "application/grp", "application/proto", "application/x-protobuf", "grpc"]
OTHER_HTTP: dict[str, tuple[Headers, int, dict[bytes, bytes]]] = {
    **{method: (request_headers(_method=method.encode()), 405, POST_ONLY) for method in NO_POST},
    "a GET of nothing": (request_headers(b"/", _method=b"GET", content_type=None, te=None), 405, POST_ONLY),
    "no content-type": (request_headers(content_type=None), 415, NO_GRPC),
    **{f"content-type {kind}": (request_headers(content_type=kind.encode()), 415, NO_GRPC) for kind in NO_GRPC_TYPES},
    "two content-types": ([*request_headers(), (b"content-type", b"text/plain")], 415, NO_GRPC),
}


@pytest.mark.parametrize(("headers", "status", "more"), OTHER_HTTP.values(), ids=OTHER_HTTP)
async def test_what_gets_an_http_status(http2: Http2, headers: Headers, status: int, more: dict[bytes, bytes]) -> None:
    answer = await http2.call(GOOD, headers)
    assert (answer.http_status, answer.data, answer.reset) == (status, b"", None)
    [block] = answer.blocks
    assert {name: value for name, value in block.items() if name not in (b":status", b"date")} == more


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_request_without_a_body(http2: Http2, method: bytes) -> None:
    answer = await http2.answer(http2.open(request_headers(_method=method), end=True))
    assert (answer.http_status, answer.data) == (405, b"")
