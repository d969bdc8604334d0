"""What is wrong already as HTTP/2, clients that go or dawdle, and what is very large: it ends alone, others go on."""

from __future__ import annotations

import asyncio
import ssl

import grpc
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, RstStreamFrame, SettingsFrame

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.dataplane import envoy
from policy_service.envoy_v3.external_auth_pb2 import CheckResponse
from policy_service.server import Server
from policy_service.services.unary import MAX_MESSAGE_BYTES
from tests.support.messages import check
from tests.support.wire import length_delimited

from .asking import after
from .http2 import CANCEL, CHECK, GONE, PREFACE, Headers, Http2, connected, framed, request_headers, what_comes_back
from .plane import GOOD, Plane, details_of, is_allowed

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORIZE = b"/envoy.service.auth.v3.Authorization/Check"
LARGEST_ASKED_BY_ENVOY = (16 << 20) + (1 << 20)  # a body, and what there is besides
INVALID, TOO_MUCH = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED

NO_HTTP2: dict[str, Headers] = {
    "no path": request_headers(_path=None),
    "an empty path": request_headers(b""),
    "a path without its slash": request_headers(CHECK[1:]),
    "a path for all": request_headers(b"*"),
    "no method": request_headers(_method=None),
    "no scheme": request_headers(_scheme=None),
    "no authority": request_headers(_authority=None),
    "an authority with a space": request_headers(_authority=b"a b"),
    "a pseudo-header that is none": request_headers(_user=b"ann"),
    "a status": request_headers(_status=b"200"),
    "two paths": [(b":path", b"/x"), *request_headers()],
    "a late path": [*request_headers(_path=None), (b":path", CHECK)],
    "CONNECT": request_headers(_method=b"CONNECT"),
    "capitals": [*request_headers(), (b"X-Team", b"t")],
    "a header without a name": [*request_headers(), (b"", b"x")],
    "NUL": request_headers(x=b"a\0b"),
    "a new line": request_headers(x=b"a\r\nauthorization: Bearer x"),
    "connection": request_headers(connection=b"close"),
    "transfer-encoding": request_headers(transfer_encoding=b"chunked"),
    "another te": request_headers(te=b"gzip"),
    "a te more": request_headers(te=b"trailers, deflate"),
    "a wrong length": request_headers(content_length=b"3"),
    "a length that is none": request_headers(content_length=b"x"),
    "two lengths": [*request_headers(content_length=b"3"), (b"content-length", b"%d" % len(GOOD))],
    "very many headers": [*request_headers(), *((b"x-%d" % number, b"v") for number in range(2_000))],
    "very long headers": request_headers(x=b"v" * 70_000),
    "a far too long header": request_headers(x=b"v" * 1_000_000),
}


async def goes_wrong(plane: Plane, headers: Headers, what: str) -> None:
    """The stream is reset or the connection ended."""
    async with connected(plane.target) as http2:
        answer = await http2.call(GOOD, headers)
        assert not answer.data, what
        assert answer.reset is not None or http2.closed.is_set(), what


async def test_what_is_no_http2(plane: Plane, http2: Http2) -> None:
    """All at once, since Envoy takes a second to end a connection. Nothing is answered."""
    await asyncio.gather(*(goes_wrong(plane, headers, what) for what, headers in NO_HTTP2.items()))


async def test_a_fragment(http2: Http2) -> None:
    """Envoy itself refuses that."""
    answer = await http2.call(GOOD, request_headers(CHECK + b"#x"))
    assert answer.is_trailers_only
    assert answer.code is not grpc.StatusCode.OK


BEGINNINGS: dict[str, bytes] = {
    "HTTP/1.1": b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\ncontent-length: 5\r\n\r\n" % CHECK,
    "an upgrade": b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
    b"http2-settings: AAMAAABk\r\n\r\n",
    "garbage": bytes(range(256)) * 8,
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "a request without settings": PREFACE + b"\0\0\4\1\5\0\0\0\1\x82\x84\x86\x41",
    "a frame that is too large": PREFACE + b"\xff\xff\xff\0\0\0\0\0\1",
}


async def test_who_does_not_speak_http2(plane: Plane, http2: Http2) -> None:
    """The connection ends."""
    comes = await asyncio.gather(*(what_comes_back(plane.target, sent) for sent in BEGINNINGS.values()))
    for received in comes:
        assert b"HTTP/" not in received
        assert b"grpc" not in received


async def test_tls_where_there_is_none(plane: Plane, http2: Http2) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(GONE):
        async with connected(plane.target, context):
            pass


async def test_clients_that_go(plane: Plane) -> None:
    """In the middle of a request, before the answer, or while they wait for one; the streams beside them go on."""
    waiting = framed(check("t", "ann", "gpt-4o", after(plane.revision)).SerializeToString())
    async with connected(plane.target) as http2:
        for body, end in ((b"", False), (GOOD[:3], False), (GOOD[:9], False), (GOOD, True), (waiting, True)) * 20:
            number = http2.open(request_headers())
            await http2.write(number, body, end=end)
            http2.send(RstStreamFrame(number, error_code=CANCEL))
        assert (await http2.check("t", "ann")).allowed
    for body, end in ((GOOD[:3], False), (GOOD, True), (waiting, True)) * 20:
        async with connected(plane.target) as http2:
            await http2.write(http2.open(request_headers()), body, end=end)
    async with connected(plane.target) as http2:
        assert (await http2.check("t", "ann")).allowed


async def test_goaway_by_the_client(plane: Plane) -> None:
    """It takes no streams any more, and has none; its own are answered."""
    async with connected(plane.target) as http2:
        number = http2.open(request_headers())
        http2.send(GoAwayFrame(0, last_stream_id=0))
        await http2.write(number, GOOD)
        assert is_allowed(await http2.answer(number))


async def test_ping(http2: Http2) -> None:
    http2.send(PingFrame(0, opaque_data=b"01234567"))
    assert (await http2.check("t", "ann")).allowed
    assert http2.pongs == 1


# Sizes and deadlines


@pytest.mark.parametrize(("path", "largest"), [(CHECK, MAX_MESSAGE_BYTES), (AUTHORIZE, LARGEST_ASKED_BY_ENVOY)])
async def test_the_largest_message(http2: Http2, path: bytes, largest: int) -> None:
    """It is read, and one byte more is not."""
    field = 1 if path == CHECK else 11
    message = length_delimited(field, b"x" * (largest - 5))
    assert len(message) == largest
    number = http2.open(request_headers(path))
    await http2.write(number, framed(message))
    answer = await http2.answer(number)
    if path == CHECK:
        assert (answer.code, details_of(answer)[0]) == (INVALID, "INVALID_ARGUMENT")
        assert "team: is longer than 256 bytes" in answer.grpc_message
    else:
        assert CheckResponse.FromString(answer.message).HasField("denied_response")
    number = http2.open(request_headers(path))
    await http2.write(number, framed(message + b"x"))
    answer = await http2.answer(number)
    assert (answer.code, details_of(answer)[0]) == (TOO_MUCH, "MESSAGE_TOO_LARGE")
    assert answer.grpc_message == f"the message has {largest + 1} bytes; send at most {largest}"


async def test_more_than_was_said(http2: Http2) -> None:
    """It is not read to its end."""
    number = http2.open(request_headers())
    await http2.write(number, framed(b"x" * (MAX_MESSAGE_BYTES + (64 << 10)), length=8), end=False)
    answer = await http2.answer(number)
    assert answer.code is grpc.StatusCode.UNIMPLEMENTED
    http2.send(RstStreamFrame(number, error_code=CANCEL))


async def test_a_deadline_while_a_revision_is_waited_for(plane: Plane, http2: Http2) -> None:
    asked = framed(check("t", "ann", "gpt-4o", after(plane.revision)).SerializeToString())
    answer = await http2.call(asked, request_headers(grpc_timeout=b"50m"))
    assert answer.code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.FAILED_PRECONDITION)
    assert not answer.data


@pytest.mark.parametrize("text", ["é", "100%", "%41", "日本", "a b", "~`\"'", "\N{PARTY POPPER}"])
async def test_words_beyond_ascii(http2: Http2, text: str) -> None:
    """grpc-message is percent-encoded, and reads back as what was meant."""
    answer = await http2.call(GOOD, request_headers(grpc_timeout=text.encode()))
    assert answer.code is INVALID
    assert all(0x20 <= byte < 0x7F for byte in answer.blocks[0][b"grpc-message"])
    assert answer.grpc_message.startswith(f"grpc-timeout {text!r} is not")
    assert details_of(answer)[0] == "INVALID_ARGUMENT", "and both say the same"


async def drip(http2: Http2, number: int) -> None:
    """A message that never ends, byte by byte."""
    for byte in framed(bytes(1_000_000)):
        await http2.write(number, bytes([byte]), end=False)
        await asyncio.sleep(0.05)


async def test_who_takes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that lets the server send nothing cannot keep its answers there: health is open to all."""
    monkeypatch.setattr(envoy, "ANSWER_TIMEOUT_S", 1)
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), data_plane=Address("127.0.0.1:0")))
    async with connected(server.data_plane) as http2:
        http2.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0}))
        answers = [await http2.call(framed(b""), request_headers(b"/grpc.health.v1.Health/Check")) for _ in range(2)]
    assert all(answer.reset is not None and not answer.data for answer in answers), answers
    await server.stop()


async def test_who_is_too_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has to arrive whole within some time; byte by byte does not help."""
    monkeypatch.setattr(envoy, "REQUEST_TIMEOUT_S", 1)
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), data_plane=Address("127.0.0.1:0")))
    try:
        async with connected(server.data_plane) as http2:
            silent, dripping = http2.open(request_headers()), http2.open(request_headers())
            await http2.write(silent, GOOD[:7], end=False)
            writing = asyncio.create_task(drip(http2, dripping))
            for number in (silent, dripping):
                answer = await http2.answer(number)
                assert answer.code not in (grpc.StatusCode.OK, None)
                assert not answer.data
            writing.cancel()
            assert not (await http2.check("t", "ann")).allowed
    finally:
        await server.stop()
