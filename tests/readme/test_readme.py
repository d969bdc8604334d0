"""The README's tour, run as written: every command, against a server with the example organisation, with its output."""

from __future__ import annotations

from pathlib import Path

from tests.support.console import ROOT, assert_as_written, serving_acme


def test_the_tour_prints_what_the_readme_shows(tmp_path: Path) -> None:
    with serving_acme(tmp_path) as target:
        assert_as_written(ROOT / "README.md", target, at_least=11)
