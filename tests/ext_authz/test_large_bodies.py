"""Bodies that are small to send and much to read: refused before they hold up others."""

from __future__ import annotations

import json

import pytest

from policy_service.ext_authz.json_body import MAX_DEPTH, MAX_VALUES, parse_json
from policy_service.ext_authz.refusal import Code, Refused

TOO_MANY = {
    "objects": [{} for _ in range(MAX_VALUES + 1)],
    "keys": {str(number): None for number in range(MAX_VALUES)},
    "lists": [[] for _ in range(MAX_VALUES + 1)],
    "numbers": [0] * (MAX_VALUES + 1),
    "texts": [""] * (MAX_VALUES + 1),
}


@pytest.mark.parametrize("kind", TOO_MANY)
def test_too_many_values(kind: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_json(json.dumps({"model": "m", "x": TOO_MANY[kind]}).encode())
    assert caught.value.code is Code.BODY_TOO_LARGE


def test_as_many_as_an_embedding_has() -> None:
    tokens = {"model": "m", "input": [[7] * 3_000 for _ in range(100)]}
    assert parse_json(json.dumps(tokens).encode())["model"] == "m"


def test_quotes_in_texts_are_no_texts() -> None:
    document = json.dumps([""] * MAX_VALUES)
    with pytest.raises(Refused):
        parse_json(json.dumps({"model": "m", "x": [""] * (MAX_VALUES + 1)}).encode())
    assert parse_json(json.dumps({"model": "m", "document": document}).encode())["model"] == "m"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth(opening: str, closing: str) -> None:
    def nested(depth: int) -> bytes:
        return (opening * depth + "0" + closing * depth).encode()

    parse_json(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 5_000, 100_000):
        with pytest.raises(Refused) as caught:
            parse_json(nested(depth))
        assert caught.value.code is Code.BODY_TOO_DEEP
