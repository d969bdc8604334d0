"""What a follower gets to see of a log: heads, change sets in parts, snapshots. And where they come from: `Feed`.

Each has a `header`, canonical JSON that says all but the payload, and `signed`, the bytes that a signature covers.
Reading a header that somebody else wrote raises Malformed, or UnknownFormat for one newer than this program knows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from policy_service.domain.changes import LOG_FORMAT, Position
from policy_service.domain.encoding import canonical
from policy_service.errors import Malformed, UnknownFormat

PART_BYTES = 1 << 18  # a part of a change set is about this large: it decodes within a few milliseconds
CHUNK_BYTES = 1 << 16  # so is a chunk of a snapshot: it decodes within two milliseconds
MAX_BEHIND = 10_000  # revisions; a follower that is further behind gets a snapshot
MAX_ANCESTORS = 1_000

_EPOCH = re.compile(r"[0-9a-z]{1,64}")
_HEX = re.compile(r"[0-9a-f]{32}([0-9a-f]{32})?")


class Fields:
    """The fields of a header that somebody else wrote, each read with its type."""

    def __init__(self, header: bytes) -> None:
        try:
            fields = json.loads(header)
        except (ValueError, RecursionError):
            raise Malformed("a header is no JSON") from None
        if not isinstance(fields, dict):
            raise Malformed("a header is no JSON object")
        self._fields: Mapping[str, Any] = fields
        if self.number("format") > LOG_FORMAT:
            words = f"format {self.number('format')} is newer than {LOG_FORMAT}, the newest that this program knows"
            raise UnknownFormat(f"{words}; update this instance")

    def number(self, name: str) -> int:
        """A count from 0."""
        value = self._fields.get(name)
        if type(value) is not int or not 0 <= value < 2**63:
            raise Malformed(f"{name} is no number from 0")
        return value

    def flag(self, name: str) -> bool:
        value = self._fields.get(name)
        if not isinstance(value, bool):
            raise Malformed(f"{name} is neither true nor false")
        return value

    def epoch(self, name: str) -> str:
        return _matching(_EPOCH, self._fields.get(name), name)

    def hex(self, name: str) -> str:
        """A hash or a digest."""
        return _matching(_HEX, self._fields.get(name), name)

    def list(self, name: str, of: re.Pattern[str], most: int) -> tuple[str, ...]:
        values = self._fields.get(name)
        if not isinstance(values, list) or len(values) > most:
            raise Malformed(f"{name} is no list of at most {most}")
        return tuple(_matching(of, value, name) for value in values)

    def epochs(self, name: str) -> tuple[str, ...]:
        return self.list(name, _EPOCH, MAX_ANCESTORS)

    def position(self) -> Position:
        return Position(self.epoch("epoch"), self.number("revision"), self.hex("hash"), self.hex("digest"))


def _matching(pattern: re.Pattern[str], value: Any, name: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Malformed(f"{name} is not as it has to be")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the authority's log stands. `ancestors` are the epochs that this one grew out of, the oldest first.

    `publisher` is a random word of the authority's process and `tick_ms` its monotonic clock, so that who relays a
    head cannot pass off an old one as new.
    """

    position: Position
    ancestors: tuple[str, ...] = ()
    publisher: str = "0"
    tick_ms: int = 0
    format: int = LOG_FORMAT
    signature: bytes = b""

    @property
    def header(self) -> bytes:
        fields = self.position._asdict() | {"ancestors": self.ancestors, "format": self.format}
        return canonical(fields | {"publisher": self.publisher, "tick_ms": self.tick_ms}).encode()

    @property
    def signed(self) -> bytes:
        return b"head\n" + self.header

    @classmethod
    def read(cls, header: bytes, signature: bytes) -> Head:
        """Raises Malformed and UnknownFormat."""
        fields = Fields(header)
        return cls(
            position=fields.position(),
            ancestors=fields.epochs("ancestors"),
            publisher=fields.epoch("publisher"),
            tick_ms=fields.number("tick_ms"),
            format=fields.number("format"),
            signature=signature,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePart:
    """A part of the change set of one revision; the set is applied with its `last` part, in one go.

    It continues a follower whose position has its epoch, the revision before and `previous_hash`. The position's
    digest is the state's after it.
    """

    position: Position
    previous_hash: str
    part: int = 0
    last: bool = True
    format: int = LOG_FORMAT
    payload: bytes
    signature: bytes = b""

    @property
    def header(self) -> bytes:
        fields = self.position._asdict() | {"previous_hash": self.previous_hash, "format": self.format}
        return canonical(fields | {"part": self.part, "last": self.last}).encode()

    @property
    def signed(self) -> bytes:
        return b"changes\n" + self.header + b"\n" + hashlib.sha256(self.payload).digest()

    @classmethod
    def read(cls, header: bytes, payload: bytes, signature: bytes) -> ChangePart:
        """Raises Malformed and UnknownFormat."""
        fields = Fields(header)
        return cls(
            position=fields.position(),
            previous_hash=fields.hex("previous_hash"),
            part=fields.number("part"),
            last=fields.flag("last"),
            format=fields.number("format"),
            payload=payload,
            signature=signature,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a snapshot is made of: the SHA-256 of each chunk, in order."""

    position: Position
    ancestors: tuple[str, ...] = ()
    checksums: tuple[str, ...]
    format: int = LOG_FORMAT
    signature: bytes = b""

    @property
    def header(self) -> bytes:
        fields = self.position._asdict() | {"ancestors": self.ancestors, "format": self.format}
        return canonical(fields | {"checksums": self.checksums}).encode()

    @property
    def signed(self) -> bytes:
        return b"snapshot\n" + self.header

    @classmethod
    def read(cls, header: bytes, signature: bytes) -> Manifest:
        """Raises Malformed and UnknownFormat."""
        fields = Fields(header)
        return cls(
            position=fields.position(),
            ancestors=fields.epochs("ancestors"),
            checksums=fields.list("checksums", re.compile(r"[0-9a-f]{64}"), 1_000_000),
            format=fields.number("format"),
            signature=signature,
        )

    def check(self, index: int, chunk: bytes) -> bytes:
        """The chunk, if it is the one of this index. Raises Malformed."""
        if index >= len(self.checksums) or checksum(chunk) != self.checksums[index]:
            raise Malformed(f"chunk {index} of the snapshot of revision {self.position.token} is not as it was made")
        return chunk


Signable = Head | ChangePart | Manifest


def checksum(chunk: bytes) -> str:
    return hashlib.sha256(chunk).hexdigest()


class Snapshot(NamedTuple):
    """A whole state, encoded: the manifest, then the chunks in order."""

    manifest: Manifest
    chunks: AsyncGenerator[bytes, None]


class HeardHead(NamedTuple):
    """A head, and for how many seconds it had been lying where it was read."""

    head: Head
    age_s: float


class Feed(Protocol):
    """Where a follower's policy comes from. Every method raises FeedUnavailable when that cannot be reached, and
    Malformed for what does not decode. What it hands out is not verified.

    `authoritative`: its word is the authority's own, so a follower may go back when it says so.
    `location`: for people, without secrets.
    """

    authoritative: bool
    location: str

    async def head(self) -> HeardHead:
        """The newest head; the request is sent after the call begins."""

    async def snapshot(self) -> Snapshot:
        """A snapshot, not far behind the head."""

    def changes(self, after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        """The parts beyond the position, in order, as they come; and at least every second a head, which comes after
        every change up to it. Raises RevisionCompacted when the log does not go on from the position, or the follower
        is so far behind that a snapshot is cheaper."""

    async def close(self) -> None:
        """Ends connections. May be called twice."""
