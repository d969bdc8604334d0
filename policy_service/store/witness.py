"""The newest position of a database, noted in its lock file with every commit. A database file that was put back with
`cp` is behind it, or has another hash there: what went on from it must not be mistaken for what was before."""

from __future__ import annotations

import contextlib
import os

from policy_service.domain.changes import Position

_MAX_BYTES = 1_000


def note(lock_file: int, position: Position) -> None:
    """Not synced: after a power failure it may be older than the database, which says nothing, and never newer."""
    text = f"{position.epoch} {position.revision} {position.hash}\n".encode()
    with contextlib.suppress(OSError):
        os.pwrite(lock_file, text, 0)
        os.ftruncate(lock_file, len(text))


def noted(lock_file: int) -> tuple[str, int, str] | None:
    """Epoch, revision and hash; None when there is no note, or one that was cut off."""
    words = os.pread(lock_file, _MAX_BYTES, 0).decode(errors="replace")
    epoch, _, rest = words.partition(" ")
    revision, _, hash_ = rest.partition(" ")
    if not revision.isdecimal() or not hash_.endswith("\n"):
        return None
    return epoch, int(revision), hash_.rstrip("\n")
