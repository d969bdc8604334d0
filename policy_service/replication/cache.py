"""The disk cache of a replica: the last snapshot and the change sets since, so that a restart needs nobody.

A file of frames, each with its length and checksums. It begins with the manifest, a mark and the chunks; change parts
and marks of how old the policy was are appended. A frame that is cut off at the end is what a crash leaves; any other
damage makes the file worthless. Signatures are kept, so that what is read back can be verified as when it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import struct
import time
import zlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from policy_service.domain.feed import ChangePart, Manifest, Snapshot
from policy_service.errors import Malformed, PolicyError

MAGIC = b"policy-service state cache 1\n"
MARK_S = 60.0  # between two marks
MAX_JOURNAL_BYTES = 64 << 20  # change sets since the snapshot; beyond, a new snapshot is asked for
_HEAD = struct.Struct(">cII")  # kind, length, checksum of these two
_CHECKSUM_BYTES = 16
_MANIFEST, _CHUNK, _PART, _MARK = b"m", b"c", b"p", b"f"

log = logging.getLogger(__name__)


class Cached(NamedTuple):
    """What a cache holds: a snapshot and the parts after it. `as_of` is the newest Unix time at which that is known to
    have been the authority's; when it came, where nothing is known. The file is whole up to `end`."""

    snapshot: Snapshot
    parts: list[ChangePart]
    as_of: float
    journal_bytes: int
    end: int


class StateCache:
    """One file. A disk that fails is logged and never stops the replica."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new: BinaryIO | None = None
        self._file: BinaryIO | None = None
        self._journal_bytes = 0
        self._allowed_bytes: int | None = None  # of the journal; None while the snapshot is being caught up with
        self._marked = -MARK_S

    @property
    def has_outgrown(self) -> bool:
        """Whether a new snapshot should be begun."""
        return self._allowed_bytes is not None and self._journal_bytes > self._allowed_bytes

    def caught_up(self) -> None:
        """Says that nothing is missing. What a new snapshot left to catch up with is no reason for another one."""
        if self._allowed_bytes is None:
            self._allowed_bytes = self._journal_bytes + MAX_JOURNAL_BYTES

    def read(self) -> Cached | None:
        """What is there; None when nothing is. A damaged file is set aside."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report("cannot be read", error)
            return None
        try:
            return _parse(content)
        except PolicyError as error:
            self.set_aside(str(error))
            return None

    def set_aside(self, why: str) -> None:
        """Renames the file: it is not trusted, and kept for whoever wants to look."""
        aside = self._path.with_name(f"{self._path.name}.damaged")
        with contextlib.suppress(OSError):
            os.replace(self._path, aside)
        log.error("the state cache is not used", extra={"fields": {"path": str(aside), "reason": why}})

    # Writing

    def begin(self, manifest: Manifest) -> None:
        """Begins a new file beside the old one; `chunk` and `commit` go on with it."""
        self.abandon()
        self._journal_bytes, self._allowed_bytes = 0, None
        with self._guarded("cannot be written"):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._new_path.unlink(missing_ok=True)
            descriptor = os.open(self._new_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._new = os.fdopen(descriptor, "wb")
            self._new.write(MAGIC)
            self._new.write(_frame(_MANIFEST, _joined(manifest.header, manifest.signature)))
            self._new.write(_frame(_MARK, repr(time.time()).encode()))

    def chunk(self, chunk: bytes) -> None:
        """Adds a chunk to the new file."""
        if self._new is not None:
            with self._guarded("cannot be written"):
                self._new.write(_frame(_CHUNK, chunk))

    async def commit(self) -> None:
        """Makes the new file, if one is begun, the cache. What is appended from now on goes to it."""
        if self._new is None:
            return
        with self._guarded("cannot be written"):
            self._new.flush()
            self._close_file()
            self._file, self._new = self._new, None
            self._marked = -MARK_S
            await asyncio.to_thread(_replace, os.dup(self._file.fileno()), self._new_path, self._path)

    def abandon(self) -> None:
        """Drops a new file that was begun."""
        if self._new is not None:
            with contextlib.suppress(OSError):
                self._new.close()
                self._new_path.unlink(missing_ok=True)
            self._new = None

    def resume(self, cached: Cached) -> None:
        """Goes on appending to the file that was read."""
        with self._guarded("cannot be written"):
            self._file = self._path.open("r+b")
            os.fchmod(self._file.fileno(), 0o600)
            self._file.truncate(cached.end)
            self._file.seek(cached.end)
            self._journal_bytes, self._allowed_bytes = cached.journal_bytes, MAX_JOURNAL_BYTES

    def append(self, part: ChangePart) -> None:
        """Adds a part of a change set that was applied, to the new file if one is begun."""
        self._append(self._new or self._file, _PART, _joined(part.header, part.signature, part.payload))

    def mark(self, age_s: float) -> None:
        """Notes, now and then, how old the policy is at most."""
        if self._file is not None and time.monotonic() - self._marked > MARK_S:
            self._marked = time.monotonic()
            self._append(self._file, _MARK, repr(time.time() - age_s).encode())

    def _append(self, file: BinaryIO | None, kind: bytes, body: bytes) -> None:
        if file is not None:
            with self._guarded("cannot be written"):
                frame = _frame(kind, body)
                file.write(frame)
                file.flush()
                self._journal_bytes += len(frame)

    def close(self) -> None:
        self.abandon()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    @property
    def _new_path(self) -> Path:
        return self._path.with_name(f"{self._path.name}.new")

    @contextlib.contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """A cache that cannot be written is left alone until the next snapshot: it is old, not wrong."""
        try:
            yield
        except OSError as error:
            self._report(what, error)
            self.close()
            with contextlib.suppress(OSError):
                self._new_path.unlink(missing_ok=True)

    def _report(self, what: str, error: OSError) -> None:
        fields = {"path": str(self._path), "problem": what, "error": error.strerror}
        log.error("the state cache is left alone", extra={"fields": fields})


def _joined(header: bytes, signature: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">II", len(header), len(signature)) + header + signature + payload


def _split(body: bytes) -> tuple[bytes, bytes, bytes]:
    try:
        of_header, of_signature = struct.unpack_from(">II", body)
    except struct.error:
        raise Malformed("a frame is too short") from None
    end = 8 + of_header + of_signature
    return body[8 : 8 + of_header], body[8 + of_header : end], body[end:]


def _replace(descriptor: int, new: Path, path: Path) -> None:
    """Makes a file the one at the path once it is on the disk, which may take a while."""
    try:
        os.fsync(descriptor)
        os.replace(new, path)
    finally:
        os.close(descriptor)


def _frame(kind: bytes, body: bytes) -> bytes:
    return _head(kind, len(body)) + body + _checksum(body)


def _head(kind: bytes, length: int) -> bytes:
    return _HEAD.pack(kind, length, zlib.crc32(kind + length.to_bytes(4)))


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_CHECKSUM_BYTES).digest()


def _frames(content: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """(kind, body, end) of each whole frame. Raises Malformed for one that is not as it was written."""
    if not content.startswith(MAGIC):
        raise Malformed("it is no state cache, or of another version")
    at = len(MAGIC)
    while at + _HEAD.size <= len(content):
        kind, length, _ = _HEAD.unpack_from(content, at)
        body_at = at + _HEAD.size
        end = body_at + length + _CHECKSUM_BYTES
        if content[at:body_at] != _head(kind, length):
            raise Malformed(f"the frame at byte {at} is damaged")
        if end > len(content):
            return
        body = content[body_at : body_at + length]
        if content[body_at + length : end] != _checksum(body):
            raise Malformed(f"the frame at byte {at} is damaged")
        yield kind, body, end
        at = end


def _parse(content: bytes) -> Cached:
    manifest: Manifest | None = None
    chunks: list[bytes] = []
    parts: list[ChangePart] = []
    as_of, journal_bytes, end = 0.0, 0, len(MAGIC)
    for kind, body, frame_end in _frames(content):
        if kind == _MANIFEST:
            header, signature, _ = _split(body)
            manifest = Manifest.read(header, signature)
        elif kind == _CHUNK:
            chunks.append(body)
        elif kind == _PART:
            header, signature, payload = _split(body)
            parts.append(ChangePart.read(header, payload, signature))
            journal_bytes += frame_end - end
        else:
            as_of = _time_of(body)
        end = frame_end
    if manifest is None or len(chunks) < len(manifest.checksums):
        raise Malformed("the snapshot in it is not whole")
    return Cached(Snapshot(manifest, _each(chunks)), parts, as_of, journal_bytes, end)


def _time_of(body: bytes) -> float:
    try:
        return float(body)
    except ValueError:
        raise Malformed("a mark is no time") from None


async def _each(chunks: list[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk
