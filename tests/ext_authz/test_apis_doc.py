"""docs/ext_authz_apis.md is about every route of the default table, and every proof that it names is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

import policy_service.ext_authz
from tests.ext_authz.cases import PROVIDER_CASES, TRICK_CASES, Case

TABLE = yaml.safe_load((Path(policy_service.ext_authz.__file__).parent / "default_routes.yaml").read_text())
ROUTES: dict[str, dict[str, Any]] = {route["name"]: route for route in TABLE["routes"]}
DOCUMENT = (Path(__file__).parents[2] / "docs" / "ext_authz_apis.md").read_text()
CASES = {case.id: case for case in (*PROVIDER_CASES, *TRICK_CASES)}
_SEGMENTS = {"{}": "[^/]+", "{model}": "[^/]+", "{model+}": ".+"}


class Row(NamedTuple):
    """A row of one of the document's tables."""

    routes: list[str]
    cases: list[str]


def _rows() -> list[Row]:
    lines = [line.strip("|").split(" | ") for line in DOCUMENT.splitlines() if line.startswith("| `")]
    return [Row(re.findall(r"`([^`]+)`", cells[0]), re.findall(r"`([^`]+)`", cells[-1])) for cells in lines]


ROWS = _rows()


def _asks(case: Case, method: str, path: str, *, upgrade: bool) -> bool:
    """Whether a request is one to this path of a route."""
    parts = re.split(r"(\{model\+?\}|\{\})", path)
    pattern = "".join(_SEGMENTS.get(part) or re.escape(part) for part in parts)
    asked = case.path.partition("?")[0]
    return (case.method, case.upgrade) == (method, upgrade) and re.fullmatch(pattern, asked) is not None


def test_every_route_is_in_the_document_once() -> None:
    assert sorted(route for row in ROWS for route in row.routes) == sorted(ROUTES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.routes[0])
def test_the_proofs_of_a_row_are_of_its_routes(row: Row) -> None:
    assert [case for case in row.cases if case not in CASES] == []
    assert {CASES[case].route for case in row.cases} == set(row.routes)


@pytest.mark.parametrize("name", ROUTES)
def test_every_method_and_path_of_a_route_has_a_case(name: str) -> None:
    route = ROUTES[name]
    cases = [case for case in PROVIDER_CASES if case.route == name]
    paths = [route["path"]] if isinstance(route["path"], str) else route["path"]
    upgrade = route.get("upgrade", False)
    methods = route.get("methods", ["POST"])
    for method in methods:
        assert any(case.method == method for case in cases), method
    for path in paths:
        assert any(_asks(case, method, path, upgrade=upgrade) for case in cases for method in methods), path


@pytest.mark.parametrize("place", TABLE["refused"])
def test_what_is_refused_everywhere_is_in_the_document_and_has_a_case(place: str) -> None:
    assert f"`{place}`" in DOCUMENT
    assert CASES[f"openai.chat.completions {place}"].refusal == "field_refused"
