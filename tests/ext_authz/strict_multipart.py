"""A multipart body read as the strictest parser reads it: one way to write each thing, and no other."""

from __future__ import annotations

from typing import NamedTuple

from tests.ext_authz.strict_json import Refused

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
IN_A_BOUNDARY = LETTERS + "'+_-."
IN_A_NAME = LETTERS + "!#$%&'*+-.^_`|~"
PLAIN_TEXT = ("text/plain", "text/plain;charset=utf-8", "text/plain; charset=utf-8")


class Field(NamedTuple):
    """A part of the body. `text` is None for a file, or for anything that might be read as something else."""

    name: str
    text: str | None


def read_boundary(parameters: list[str]) -> str:
    """The boundary, from what follows `multipart/form-data`."""
    if len(parameters) != 1:
        raise Refused("not one parameter beside multipart/form-data")
    name, _, value = parameters[0].strip(" \t").partition("=")
    if len(value) > 2 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if name.lower() != "boundary" or not 1 <= len(value) <= 70 or any(char not in IN_A_BOUNDARY for char in value):
        raise Refused("no boundary")
    return value


def read_multipart(body: bytes, boundary: str) -> list[Field]:
    """Every field, in order."""
    mark = b"--" + boundary.encode()
    # The mark may stand nowhere but where a part begins or the last one ends.
    pieces = body.split(mark)
    if len(pieces) < 2 or pieces[0] != b"" or pieces[-1] not in (b"--", b"--\r\n", b"--\r\n\r\n"):
        raise Refused("does not begin and end with the boundary")
    fields = [_read_part(part) for part in pieces[1:-1]]
    if any(field.name.lower() == "_charset_" for field in fields):
        raise Refused("a charset for all fields")
    return fields


def _read_part(part: bytes) -> Field:
    if not part.startswith(b"\r\n") or not part.endswith(b"\r\n") or len(part) < 4:
        raise Refused("a boundary that is no line of its own")
    head, blank, content = part[2:-2].partition(b"\r\n\r\n")
    if not blank:
        raise Refused("a part without an end of its headers")
    headers = _read_headers(head)
    if "content-disposition" not in headers:
        raise Refused("a part that says not what it is")
    parameters = _read_disposition(headers.pop("content-disposition"))
    if not parameters.get("name"):
        raise Refused("a part without a name")
    kind = headers.pop("content-type", PLAIN_TEXT[0]).lower()
    plain = set(parameters) == {"name"} and kind in PLAIN_TEXT and not headers
    return Field(parameters["name"], _decoded(content) if plain else None)


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode("utf-8", "strict")
    except UnicodeDecodeError:
        return None


def _read_headers(head: bytes) -> dict[str, str]:
    try:
        text = head.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise Refused("a part's header that is not UTF-8") from error
    headers: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not name or any(char not in IN_A_NAME for char in name) or name.lower() in headers:
            raise Refused("a part's header that is none, or is there twice")
        if any(ord(char) < 0x20 and char != "\t" for char in value) or "\x7f" in value:
            raise Refused("a control character in a part's header")
        headers[name.lower()] = value.strip(" \t")
    return headers


def _read_disposition(value: str) -> dict[str, str]:
    kind, semicolon, rest = value.partition(";")
    if kind.strip(" \t").lower() != "form-data" or not semicolon:
        raise Refused("a part that is no form-data")
    parameters: dict[str, str] = {}
    while True:
        name, equals, rest = rest.strip(" \t").partition("=")
        if not equals or name.lower() not in ("name", "filename", "filename*") or name.lower() in parameters:
            raise Refused("a parameter of a part that is not known, or there twice")
        parameters[name.lower()], rest = _read_value(rest)
        rest = rest.strip(" \t")
        if not rest:
            return parameters
        if rest[0] != ";":
            raise Refused("something between two parameters of a part")
        rest = rest[1:]


def _read_value(text: str) -> tuple[str, str]:
    """A parameter's value, and what follows it."""
    if text[:1] == '"':
        value, end, rest = text[1:].partition('"')
        if not end or "\\" in value:
            raise Refused("no end of a quoted text, or a backslash in it")
        return value, rest
    rest = text.lstrip(IN_A_NAME)
    if rest == text:
        raise Refused("a parameter without a value")
    return text[: len(text) - len(rest)], rest
