"""The headers of HTTP/2: those of a call, made by hand, and those of answers, each of which is read.

To decode every head in full would take longer than all the rest. But a server sends the same few blocks again and
again, and equal blocks mean the same while HPACK's dynamic table stays as it is. So a block is decoded when it is new,
and looked up afterwards, until one comes that changes the table.
"""

from __future__ import annotations

from typing import NamedTuple

from hpack import Decoder

USER_AGENT = b"policy-service-bench/1"
_INSERT, _INDEXED = 0x40, 0x80  # a literal that goes into the dynamic table; an index
_PATH, _AUTHORITY, _AUTHORIZATION, _CONTENT_TYPE, _USER_AGENT, _NEW_NAME = (
    4,
    1,
    23,
    31,
    58,
    0,
)  # names in the static table
_METHOD_POST, _SCHEME_HTTP = 3, 6  # whole entries of it
_STATIC = 61  # entries; those of the dynamic table follow, the youngest first


def call_heads(path: bytes, authority: bytes, token: str = "") -> tuple[bytes, bytes]:
    """The block of a connection's first call, and the one of all others, which is a row of indices: what clients of
    gRPC send."""
    literals = [
        (_PATH, b"", path),
        (_AUTHORITY, b"", authority),
        (_NEW_NAME, b"te", b"trailers"),
        (_CONTENT_TYPE, b"", b"application/grpc"),
        (_USER_AGENT, b"", USER_AGENT),
    ]
    if token:
        literals.append((_AUTHORIZATION, b"", f"Bearer {token}".encode()))
    fixed = bytes((_INDEXED | _METHOD_POST, _INDEXED | _SCHEME_HTTP))
    first = b"".join(
        bytes((_INSERT | index,)) + (_text(name) if index == _NEW_NAME else b"") + _text(value)
        for index, name, value in literals
    )
    return fixed + first, fixed + bytes(_INDEXED | _STATIC + len(literals) - at for at in range(len(literals)))


def _text(value: bytes) -> bytes:
    assert len(value) < 127  # so that its length is one byte
    return bytes((len(value),)) + value


class Head(NamedTuple):
    """What counts of a block of headers; None is not there."""

    status: str | None
    grpc_status: str | None
    text: str  # all of it


class AnswerHeads:
    """The blocks of one connection, which all have to be read, in order."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self.known: dict[bytes, Head] = {}  # what may be looked up in place of a call of `read`

    def read(self, block: bytes) -> Head:
        before = self._table()
        headers = {_plain(name): _plain(value) for name, value in self._decoder.decode(block)}
        text = ", ".join(f"{name}: {value}" for name, value in headers.items())
        head = Head(headers.get(":status"), headers.get("grpc-status"), text)
        if self._table() != before:
            self.known.clear()
        else:
            self.known[block] = head
        return head

    def _table(self) -> tuple[object, ...]:
        table = self._decoder.header_table
        return (table.maxsize, *table.dynamic_entries)


def _plain(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("latin-1")
