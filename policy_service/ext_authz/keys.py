"""Keys that an upstream may take for one another: by case, by separators, by what forms make of brackets, or because
its strings end at a NUL."""

from __future__ import annotations

import re
from functools import lru_cache

MODEL = "model"
_NO_WORD = re.compile(r"[\W_]+")
_END = re.compile(r"[\0\[]")


@lru_cache(maxsize=1_024)  # the same few keys come with every request
def folded(key: str) -> str:
    """Equal for keys that some parser takes for the same: Go's ignores case, others ignore `_` and `-`, those of forms
    read `model[x]` and `[model]` as `model`. For short keys: the last ones are kept."""
    return _NO_WORD.sub("", _END.split(key.lstrip("["), maxsplit=1)[0].casefold())
