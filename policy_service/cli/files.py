"""Writes files whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

STANDARD_OUTPUT = Path("-")


def why_unreadable(error: OSError | UnicodeError) -> str:
    """What keeps a file from being read as text, in words that need no file name."""
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"


def write_text(path: Path | None, pieces: Iterable[str], mode: int | None = None) -> None:
    """Puts UTF-8 text in place in one go; None or `-` is standard output. The folder has to be there. A link stays one,
    a pipe or a device is written to, a file keeps its mode; a new one gets `mode` (None: what the umask leaves).
    Raises OSError, then a file is as it was."""
    if path is None or path == STANDARD_OUTPUT:
        sys.stdout.buffer.writelines(piece.encode() for piece in pieces)  # whatever encoding the terminal has
        sys.stdout.buffer.flush()
        return
    path = path.resolve()
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8") as special:
            special.writelines(pieces)
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
        os.chmod(name, _mode_of(path, mode))
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _mode_of(path: Path, mode: int | None) -> int:
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    if mode is not None:
        return mode
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
