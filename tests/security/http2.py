"""Just enough HTTP/2 to send what grpc's own client refuses to send, and not to read what it would read."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW_SIZE = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Header = tuple[bytes, bytes]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header without compression; both parts under 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


@contextmanager
def open_call(
    target: str, path: bytes, message: bytes = b"", headers: Sequence[Header] = (), window: int = 65_535
) -> Iterator[socket.socket]:
    """Sends a call with one message. `window`: how many bytes of answers the server may send."""
    host, _, port = target.rpartition(":")
    pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")]
    grpc_headers = [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    block = b"".join(_literal(*header) for header in (*pseudo, *grpc_headers, *headers))
    with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as connection:
        settings = _frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, window))
        body = b"\0" + struct.pack(">I", len(message)) + message
        connection.sendall(
            PREFACE + settings + _frame(HEADERS, END_HEADERS, 1, block) + _frame(DATA, END_STREAM, 1, body)
        )
        yield connection


def _frames(connection: socket.socket) -> Iterator[tuple[int, int, int]]:
    """Kind, flags and size of the frames that come."""
    stream = connection.makefile("rb")
    while len(head := stream.read(9)) == 9:
        size, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
        stream.read(size)
        if kind == SETTINGS and not flags & ACK:
            connection.sendall(_frame(SETTINGS, ACK, 0, b""))
        yield kind, flags, size


def starts_to_answer(connection: socket.socket) -> bool:
    """Waits for the headers of an answer; whether there are some, and the call goes on."""
    return any(kind == HEADERS and not flags & END_STREAM for kind, flags, _ in _frames(connection))


def answers(connection: socket.socket) -> bool:
    """Whether the server sends a message before it ends the call."""
    for kind, flags, size in _frames(connection):
        if kind == DATA and size:
            return True
        if kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
            return False
    return False
