"""How gRPC writes messages, deadlines and statuses into HTTP/2 (PROTOCOL-HTTP2); which status what is wrong gets, its
statuscodes.md says, but for what a caller did wrong, which here is never INTERNAL."""

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import grpc

from policy_service.errors import InvalidArgument, MessageTooLarge, Violation
from policy_service.services.unary import Failed

FRAME_BYTES = 5  # in front of a message: whether it is compressed, and its length
ACCEPT_ENCODING = (b"grpc-accept-encoding", b"identity")

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S = {b"H": 3_600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# Left as they are in grpc-message: printable ASCII but `%`.
_UNESCAPED = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def message_of(body: bytes, max_message_bytes: int) -> bytes:
    """The one message that a body has to be. Raises Failed."""
    if len(body) >= FRAME_BYTES:
        length = int.from_bytes(body[1:FRAME_BYTES])
        if body[0] == 0 and length == len(body) - FRAME_BYTES and length <= max_message_bytes:
            return body[FRAME_BYTES:]
        raise _bad_frame(body, length, max_message_bytes)
    if body:
        raise malformed(f"the body ends within the {FRAME_BYTES} bytes before a message")
    raise Failed(grpc.StatusCode.UNIMPLEMENTED, "there is no message; send exactly one")


def _bad_frame(body: bytes, length: int, max_message_bytes: int) -> Failed:
    if body[0] == 1:
        return Failed(grpc.StatusCode.UNIMPLEMENTED, "the message is compressed; send it with grpc-encoding identity")
    if body[0] != 0:
        return malformed(f"the body begins with the byte {body[0]}, and a message's frame with 0")
    if length > max_message_bytes:
        return Failed.of(MessageTooLarge(f"the message has {length} bytes; send at most {max_message_bytes}"))
    if length > len(body) - FRAME_BYTES:
        return malformed(f"the body ends {length - len(body) + FRAME_BYTES} bytes before its message does")
    return Failed(grpc.StatusCode.UNIMPLEMENTED, "the body goes on after the message; send exactly one")


def malformed(words: str) -> Failed:
    return Failed.of(InvalidArgument([Violation("", words)]))


def timeout_s(value: bytes) -> float:
    """What `grpc-timeout` says, in seconds. Raises Failed."""
    found = _TIMEOUT.fullmatch(value)
    if found is None:
        shown = value[:32].decode(errors="replace")
        raise malformed(f"grpc-timeout {shown!r} is not up to 8 digits and one of H, M, S, m, u, n")
    return int(found[1]) * _UNIT_S[found[2]]


def trailers_of(failed: Failed) -> list[tuple[bytes, bytes]]:
    """The status as trailers."""
    code: int = failed.code.value[0]
    trailers = [(b"grpc-status", b"%d" % code), (b"grpc-message", quote(failed.message, safe=_UNESCAPED).encode())]
    if failed.details:
        trailers.append((b"grpc-status-details-bin", base64.b64encode(failed.details).rstrip(b"=")))
    if failed.code is grpc.StatusCode.UNIMPLEMENTED:
        trailers.append(ACCEPT_ENCODING)
    return trailers
