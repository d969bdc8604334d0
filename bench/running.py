"""Running a measurement, in a process of its own: what the one before left in memory would count."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

from bench.report import Table
from bench.world import KEPT


def run(name: str) -> str:
    """The measurement's section of the results."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, name).result()


def _run(name: str) -> str:
    measurement = import_module(f"bench.{name}")
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=KEPT, prefix="run-") as folder:
        tables: list[Table] = asyncio.run(measurement.measure(Path(folder)))
    return "\n".join([f"## {measurement.TITLE}\n", *(table.markdown() for table in tables)])
