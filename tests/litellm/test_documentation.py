"""docs/litellm.md has every code that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "litellm.md").read_text()
SOURCES = (ROOT / "policy_service" / "cli" / "litellm").glob("*.py")
ADDED = re.compile(r'[._]add\(\s*"([A-Z_]+)"')


def test_every_code_is_documented_in_order() -> None:
    documented = re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)
    assert documented == sorted(documented)
    assert set(documented) == {code for source in SOURCES for code in ADDED.findall(source.read_text())}


def test_the_number_of_questions_is_right() -> None:
    answers = yaml.safe_load((ROOT / "tests" / "litellm" / "answers.yaml").read_text())
    count = sum(len(lines) for users in answers.values() for lines in users.values())
    assert f"answers to {count:,} questions" in PAGE
