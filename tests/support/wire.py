"""Messages written by hand, as no library would: wrong types, cut short, text that is none, fields nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32 = range(6)
TEXT, BYTES, MESSAGE = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE
NOT_UTF8 = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"a\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")
UNKNOWN_FIELD = 19_000 - 1

GARBAGE = (
    b"\x00",
    b"\xff" * 10,
    b"\xff" * 100,
    b"\x08",  # a tag without its value
    b"\x08" + b"\xff" * 11,  # a number that does not end
    b"\x0a\x05a",  # a text that is shorter than it says
    b"\x0a\xff\xff\xff\xff\x0f",  # one of 4 GiB
    b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # one of a negative length
    b"\x0b",  # a group that does not end
    b"\x0c",  # one that did not begin
    b"\x0b" * 200,  # groups in groups
    b"\x0f",  # a type that is none
    b"\x02\x00",  # field number 0
    b"\x0a" * 301,
    b'{"team": "ml"}',
    b"team: 'ml'",
    b"GET / HTTP/1.1\r\n\r\n",
)


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def tag(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def length_delimited(number: int, content: bytes) -> bytes:
    return tag(number, LENGTH) + varint(len(content)) + content


def fields(message: Descriptor, depth: int = 4) -> Iterator[tuple[list[FieldDescriptor], FieldDescriptor]]:
    """Every field under a message, with those it is inside of."""
    for field in message.fields:
        yield [], field
        if field.type == MESSAGE and depth:
            for inside, inner in fields(field.message_type, depth - 1):
                yield [field, *inside], inner


def placed(inside: list[FieldDescriptor], encoded: bytes) -> bytes:
    """The encoded field inside the messages that hold it."""
    for field in reversed(inside):
        encoded = length_delimited(field.number, encoded)
    return encoded


def invalid_texts(message: Descriptor) -> Iterator[tuple[str, bytes]]:
    """For every text field, a message with bytes there that are no UTF-8."""
    for inside, field in fields(message):
        if field.type == TEXT:
            path = ".".join(part.name for part in (*inside, field))
            for content in NOT_UTF8:
                yield path, placed(inside, length_delimited(field.number, content))


UNKNOWN = (
    tag(UNKNOWN_FIELD, VARINT) + varint(7),
    tag(UNKNOWN_FIELD, FIXED64) + bytes(8),
    tag(UNKNOWN_FIELD, FIXED32) + bytes(4),
    length_delimited(UNKNOWN_FIELD, b"\xff" * 20),
    tag(UNKNOWN_FIELD, START_GROUP) + tag(1, VARINT) + varint(1) + tag(UNKNOWN_FIELD, END_GROUP),
)


def unknown_inside(message: Descriptor) -> Iterator[bytes]:
    """A field that nobody knows in every message below."""
    for inside, field in fields(message):
        if field.type == MESSAGE:
            yield placed([*inside, field], UNKNOWN[3])


def wrong_types(message: Descriptor) -> Iterator[bytes]:
    """Every field in every wire type."""
    for inside, field in fields(message, depth=2):
        for encoded in (
            tag(field.number, VARINT) + varint(-1),
            tag(field.number, FIXED64) + b"\xff" * 8,
            tag(field.number, FIXED32) + b"\xff" * 4,
            length_delimited(field.number, b"\xff" * 3),
            length_delimited(field.number, b""),
            tag(field.number, START_GROUP) + tag(field.number, END_GROUP),
        ):
            yield placed(inside, encoded)
