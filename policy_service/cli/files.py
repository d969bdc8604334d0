"""Writes files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def why_unreadable(error: OSError | UnicodeError) -> str:
    """What keeps a file from being read as text, in words that need no file name."""
    return error.strerror or str(error) if isinstance(error, OSError) else "it is not UTF-8 text"


def write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Puts the text in place in one go; the folder has to be there. Raises OSError, then the file is as it was."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.writelines(pieces)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
