"""JSON read one character after the other, keeping every pair, refusing whatever two parsers might read in two ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_DEPTH = 100
MAX_NUMBER = 64
SPACE = " \t\n\r"
DIGITS = "0123456789"
HEX = "0123456789abcdefABCDEF"
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
WORDS = {"true": True, "false": False, "null": None}


class Refused(Exception):
    """The reading is not sure of the request."""


@dataclass(frozen=True)
class Number:
    """A number; nobody needs its value."""

    text: str


@dataclass(frozen=True)
class Object:
    """An object with its pairs as they stand there."""

    pairs: tuple[tuple[str, Value], ...]


Value = Object | list["Value"] | str | Number | bool | None


def read_json(body: bytes) -> Value:
    """The document."""
    try:
        text = body.decode("utf-8", "strict")
    except UnicodeDecodeError as error:
        raise Refused("not UTF-8") from error
    reader = _Reader(text)
    reader.space()
    value = reader.value(1)
    reader.space()
    if reader.at != len(text):
        raise Refused("something follows the document")
    return value


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def next(self) -> str:
        """The next character, or nothing at the end; it stays."""
        return self.text[self.at : self.at + 1]

    def take(self, expected: str) -> None:
        if not self.text.startswith(expected, self.at):
            raise Refused(f"no {expected!r} at {self.at}")
        self.at += len(expected)

    def space(self) -> None:
        while self.next() and self.next() in SPACE:
            self.at += 1

    def value(self, depth: int) -> Value:
        char = self.next()
        if char == "{":
            return self.object(depth)
        if char == "[":
            return self.list(depth)
        if char == '"':
            return self.string()
        if char and char in "-" + DIGITS:
            return self.number()
        for word, value in WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        raise Refused(f"no value at {self.at}")

    def object(self, depth: int) -> Object:
        pairs: list[tuple[str, Value]] = []
        for _ in self.items("{", "}", depth):
            key = self.string()
            self.space()
            self.take(":")
            self.space()
            if any(key == other for other, _ in pairs):
                raise Refused("a key is there twice")
            pairs.append((key, self.value(depth + 1)))
        return Object(tuple(pairs))

    def list(self, depth: int) -> list[Value]:
        return [self.value(depth + 1) for _ in self.items("[", "]", depth)]

    def items(self, opening: str, closing: str, depth: int) -> Iterator[None]:
        """Stops where each item begins; whoever iterates reads it."""
        if depth > MAX_DEPTH:
            raise Refused("too deep")
        self.take(opening)
        self.space()
        if self.next() == closing:
            self.at += 1
            return
        while True:
            yield
            self.space()
            if self.next() == closing:
                self.at += 1
                return
            self.take(",")
            self.space()

    def string(self) -> str:
        self.take('"')
        units: list[str] = []
        while (char := self.next()) != '"':
            if not char or ord(char) < 0x20:
                raise Refused("a control character in a text, or no end of it")
            self.at += 1
            units.append(self.escape() if char == "\\" else char)
        self.at += 1
        return _joined(units)

    def escape(self) -> str:
        char = self.next()
        self.at += 1
        if char in ESCAPES:
            return ESCAPES[char]
        digits = self.text[self.at : self.at + 4]
        if char != "u" or len(digits) != 4 or any(digit not in HEX for digit in digits):
            raise Refused("no such escape")
        self.at += 4
        return chr(int(digits, 16))

    def number(self) -> Number:
        start = self.at
        if self.next() == "-":
            self.at += 1
        if self.next() == "0":
            self.at += 1
        else:
            self.digits()
        if self.next() == ".":
            self.at += 1
            self.digits()
        if self.next() in ("e", "E"):
            self.at += 1
            if self.next() in ("+", "-"):
                self.at += 1
            self.digits()
        text = self.text[start : self.at]
        if len(text) > MAX_NUMBER or float(text) in (float("inf"), float("-inf")):
            raise Refused("a number out of bounds")
        return Number(text)

    def digits(self) -> None:
        if not self.next() or self.next() not in DIGITS:
            raise Refused("no digit where one has to be")
        while self.next() and self.next() in DIGITS:
            self.at += 1


def _joined(units: list[str]) -> str:
    """Escaped surrogates in pairs make a character, alone they make none."""
    text, high = "", ""
    for unit in units:
        if "\udc00" <= unit <= "\udfff":
            if not high:
                raise Refused("half a surrogate pair")
            text += chr(0x10000 + ((ord(high) - 0xD800) << 10) + (ord(unit) - 0xDC00))
            high = ""
            continue
        if high:
            raise Refused("half a surrogate pair")
        if "\ud800" <= unit <= "\udbff":
            high = unit
        else:
            text += unit
    if high:
        raise Refused("half a surrogate pair")
    return text
