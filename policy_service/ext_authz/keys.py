"""Keys that an upstream may take for one another: by case, by separators, or because its strings end at a NUL."""

from __future__ import annotations

import re
from functools import lru_cache

_NO_WORD = re.compile(r"[\W_]+")


@lru_cache(maxsize=1_024)  # the same few keys come with every request
def folded(key: str) -> str:
    """Equal for keys that some parser takes for the same: Go's ignores case, others ignore `_` and `-`."""
    return _NO_WORD.sub("", key.partition("\0")[0].casefold())
