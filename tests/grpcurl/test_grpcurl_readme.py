"""The page of the recipes, run as written."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.console import ROOT, blanked, run, serving_acme, steps

from .recipes import FOLDER, RECIPES


def test_the_examples_print_what_the_page_shows(tmp_path: Path) -> None:
    written = steps(FOLDER / "README.md")
    shown = {name for name in RECIPES for command, _ in written if f"clients/grpcurl/{name} " in command}
    assert shown == set(RECIPES)
    with serving_acme(tmp_path, "--ext-authz-config", ROOT / "clients" / "envoy" / "ext-authz.yaml") as target:
        for command, output in written:
            assert_as_written(run(command, target), output)


def assert_as_written(printed: str, output: str) -> None:
    """A line `...` of the page stands for one or more lines."""
    pattern = re.escape(blanked(output)).replace(re.escape("..."), ".+")
    assert re.fullmatch(pattern, blanked(printed), re.DOTALL), printed
