"""Files that are written: whole, where they are meant, and readable as the umask says."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy_service.cli.files import write_text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_as_the_umask_says_and_an_old_one_stays_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "new", ["é"])
        write_text(tmp_path / "secret", ["x"], mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "new").read_bytes() == "é".encode()
    assert (mode(tmp_path / "new"), mode(tmp_path / "secret")) == (0o640, 0o600)
    (tmp_path / "new").chmod(0o604)
    write_text(tmp_path / "new", ["y"], mode=0o600)
    assert ((tmp_path / "new").read_text(), mode(tmp_path / "new")) == ("y", 0o604)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", ["new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write_text(tmp_path / "pipe", ["a", "b"])
    reader.join()
    assert got == ["ab"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_what_breaks_off_leaves_the_file_and_nothing_beside_it(tmp_path: Path) -> None:
    def pieces() -> Iterator[str]:
        yield "half"
        raise OSError("no more")

    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="no more"):
        write_text(tmp_path / "file", pieces())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
