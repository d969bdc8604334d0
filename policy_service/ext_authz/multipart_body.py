"""multipart/form-data read as RFC 7578 has it and no more loosely: one way to cut it into parts, or none."""

from __future__ import annotations

import re
from typing import Final

from policy_service.ext_authz.refusal import Code, Refused

_BOUNDARY = re.compile(r'multipart/form-data[ \t]*;[ \t]*boundary=(?:"([^"\\]+)"|([^\s";,]+))[ \t]*', re.IGNORECASE)
_BOUNDARY_CHARACTERS = re.compile(r"[A-Za-z0-9'()+_,\-./:=?]{1,70}")
_HEADER = re.compile(r"([A-Za-z\-]+):[ \t]*(.*)")
_DISPOSITION = re.compile(r'form-data((?:[ \t]*;[ \t]*[a-z]+\*?=(?:"[^"\\]*"|[^\s";,]+))+)[ \t]*', re.IGNORECASE)
_PARAMETER = re.compile(r';[ \t]*([a-z]+\*?)=(?:"([^"\\]*)"|([^\s";,]+))', re.IGNORECASE)
_PLAIN_TEXT = re.compile(r'text/plain(?:[ \t]*;[ \t]*charset="?utf-?8"?)?', re.IGNORECASE)
_NAME = re.compile(r"[\w.\-]{1,100}(?:\[[\w.\-]{0,100}\]){0,5}", re.ASCII)
_ENDS = (b"--", b"--\r\n", b"--\r\n\r\n")  # the last is that of older clients in JavaScript
MAX_PARTS = 1_000
_PLAIN_TRANSFER = ("7bit", "8bit", "binary")

FILE: Final = object()  # the value of a part that is a file


def parse_multipart(body: bytes, content_type: str) -> dict[str, object]:
    """Texts, or FILE, by the field's name. Raises Refused."""
    delimiter = b"\r\n--" + _boundary(content_type)
    if body.count(delimiter[2:]) > MAX_PARTS:
        raise Refused(Code.BODY_TOO_LARGE, f"the multipart body has more than {MAX_PARTS} parts; send less at once")
    before, *parts = (b"\r\n" + body).split(delimiter)
    after = parts.pop() if parts else b""
    # A delimiter that is not at the start of a line would be one for a parser that takes other ends of lines.
    if before or after not in _ENDS or body.count(delimiter[2:]) != len(parts) + 1:
        raise _malformed("the multipart body is not cut by its boundary, or goes on before or after it")
    fields: dict[str, object] = {}
    for part in parts:
        name, value = _part(part)
        if name in fields and not name.endswith("[]"):
            raise Refused(Code.REPEATED_KEY, f"the field {name[:100]!r} is in the body twice; give it once")
        if name.lower() == "_charset_":  # it would say how the others are to be read
            raise Refused(Code.WRONG_CHARSET, f"the field {name} is not taken; send UTF-8 without it")
        fields[name] = value
    return fields


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.fullmatch(content_type)
    boundary = found and (found[1] or found[2])
    if not boundary or not _BOUNDARY_CHARACTERS.fullmatch(boundary):
        words = "content-type has to be multipart/form-data with one boundary and nothing else"
        raise Refused(Code.WRONG_CONTENT_TYPE, words)
    return boundary.encode()


def _part(part: bytes) -> tuple[str, object]:
    head, separator, content = part.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n"):
        raise _malformed("a part of the multipart body has no header")
    headers = _part_headers(head[2:])
    parameters = _disposition(headers.pop("content-disposition", ""))
    name = parameters.pop("name", None)
    if not name or not _NAME.fullmatch(name):
        raise _malformed("a part of the multipart body has no name, or one that is read in several ways")
    if name.lower() == "_method":
        raise Refused(Code.METHOD_OVERRIDE, f"the field {name} may ask for something else; leave it out")
    if headers.pop("content-transfer-encoding", "binary").lower() not in _PLAIN_TRANSFER:
        raise Refused(Code.BODY_ENCODED, f"the field {name!r} is encoded; send it as it is")
    if parameters:
        return name, FILE
    content_type = headers.pop("content-type", "text/plain")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Refused(Code.WRONG_CHARSET, f"the field {name!r} is not UTF-8") from None
    return name, text if _PLAIN_TEXT.fullmatch(content_type) else FILE


def _part_headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise _malformed("a part's header is not UTF-8") from None
    for line in lines:
        found = _HEADER.fullmatch(line)
        if not found or not line.isprintable():
            raise _malformed("a part's header is malformed")
        name = found[1].lower()
        if name in headers:
            raise _malformed(f"a part has the header {name} twice")
        headers[name] = found[2].strip(" \t")
    return headers


def _disposition(text: str) -> dict[str, str]:
    """`name`, and `filename` or `filename*` for a file."""
    found = _DISPOSITION.fullmatch(text)
    parameters: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(found[1] if found else ""):
        if name.lower() in parameters or name.lower() not in ("name", "filename", "filename*"):
            raise _malformed(f"a part's content-disposition has {name!r} twice, or where it means nothing")
        parameters[name.lower()] = quoted or bare
    return parameters


def _malformed(words: str) -> Refused:
    return Refused(Code.BODY_MALFORMED, words)
