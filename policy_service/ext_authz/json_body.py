"""JSON read as RFC 7493 (I-JSON) has it, so that no other parser finds something else in the same bytes."""

from __future__ import annotations

import json
import re
from collections import Counter
from math import isfinite
from typing import Any, NoReturn

from policy_service.ext_authz.refusal import Code, Refused

MAX_DEPTH = 100
MAX_VALUES = 400_000  # of a kind; an embedding of as many tokens as OpenAI takes has 300,000 numbers
MAX_NUMBER_CHARACTERS = 64
MAX_KEY_CHARACTERS = 1_000
_SURROGATE = re.compile(rb"\\u[dD]")


def parse_json(body: bytes) -> Any:
    """The value. Numbers become 0: none is ever looked at. Raises Refused."""
    try:
        text = body.decode()
        if len(text) > MAX_VALUES and max(text.count("["), (text.count('"') - text.count('\\"')) // 2) > MAX_VALUES:
            raise _too_many()
        strictly = _Strictly()
        value = json.loads(
            text,
            object_pairs_hook=strictly.object,
            parse_int=strictly.number,
            parse_float=strictly.number,
            parse_constant=_constant,
        )
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()  # fails when a half of a pair stands alone
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        reason = f" ({error.msg} at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise _malformed(f"the body is not JSON in UTF-8{reason}") from None
    if strictly.objects + text.count("[") > MAX_DEPTH:
        _check_depth(value)
    return value


class _Strictly:
    """What the decoder of one body calls for objects and numbers; lists and texts were counted before."""

    def __init__(self) -> None:
        self._left = MAX_VALUES
        self.objects = 0

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise _too_many()

    def object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self._count(1 + len(pairs))
        self.objects += 1
        made = dict(pairs)
        if len(made) < len(pairs):
            twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise Refused(Code.REPEATED_KEY, f"the key {twice[:100]!r} is twice in one object; give it once")
        for key in made:
            if len(key) > MAX_KEY_CHARACTERS:
                raise _malformed(f"a key is longer than {MAX_KEY_CHARACTERS} characters")
        return made

    def number(self, text: str) -> int:
        self._count(1)
        if len(text) > MAX_NUMBER_CHARACTERS or not isfinite(float(text)):
            raise _malformed(f"a number is longer than {MAX_NUMBER_CHARACTERS} characters or out of range")
        return 0


def _constant(text: str) -> NoReturn:
    raise _malformed(f"{text} is no JSON")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _malformed(words: str) -> Refused:
    return Refused(Code.BODY_MALFORMED, words)


def _too_deep() -> Refused:
    return Refused(Code.BODY_TOO_DEEP, f"the body nests deeper than {MAX_DEPTH} levels; flatten it")


def _too_many() -> Refused:
    return Refused(Code.BODY_TOO_LARGE, f"the body has more than {MAX_VALUES} values; send less at once")
