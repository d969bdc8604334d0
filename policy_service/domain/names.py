"""What an identifier, an entry, a requested model and a name may look like. Every function returns what is wrong
with the text, as words that say what to change, or None."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_NAME_BYTES = 256
MAX_REQUEST_ID_BYTES = 128
FORBIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Zl", "Zp", "Cs"))
RESERVED_ENTRIES = {
    "all-proxy-models": "use mode ALL",
    "all-team-models": "use mode INHERIT",
    "no-default-models": "use mode NONE",
}
_NOT_IN_A_REQUESTED_MODEL = re.compile(r"[,*\\?#%]")
_BAD_SEGMENT = re.compile(r"(?:^|/)\.{0,2}(?:/|$)")


def text_problem(text: str, max_bytes: int = MAX_NAME_BYTES) -> str | None:
    """What is wrong with a text that may be empty."""
    if text.isascii() and text.isprintable():
        if len(text) > max_bytes:
            return f"is longer than {max_bytes} bytes; shorten it"
    else:
        if len(text.encode("utf-8", "surrogatepass")) > max_bytes:
            return f"is longer than {max_bytes} bytes of UTF-8; shorten it"
        if any(unicodedata.category(char) in FORBIDDEN_CATEGORIES for char in text):
            return "holds control, format or line-separating characters; remove them"
        if not unicodedata.is_normalized("NFC", text):
            return "is not in Unicode normalisation form C; normalise it"
    if text != text.strip():
        return "has white space at its start or end; remove it"
    return None


def identifier_problem(text: str) -> str | None:
    """What is wrong with a team's or user's identifier, an entry, or a label's key."""
    return text_problem(text) if text else "is empty; give 1 to 256 bytes"


def entry_problem(text: str) -> str | None:
    """What is wrong with an entry of a scope or group."""
    if text in RESERVED_ENTRIES:
        return f"{text!r} is a word of another system, not a model; {RESERVED_ENTRIES[text]}"
    return identifier_problem(text)


def requested_model_problem(text: str) -> str | None:
    """What is wrong with a model that somebody asks for."""
    # Names of models come again and again; longer ones, which are refused, would fill the memory.
    return _requested_model_problem(text) if len(text) <= MAX_NAME_BYTES else identifier_problem(text)


@lru_cache(maxsize=4_096)
def _requested_model_problem(text: str) -> str | None:
    problem = identifier_problem(text)
    if problem is None and _NOT_IN_A_REQUESTED_MODEL.search(text):
        return "holds one of , * \\ ? # %; ask for one model by its plain name"
    if problem is None and _BAD_SEGMENT.search(text):
        return "has an empty, '.' or '..' part between slashes; ask for one model by its plain name"
    return problem


def plain_name_problem(text: str) -> str | None:
    """What is wrong with the name of a catalogue model, a provider, an alias or its target."""
    return identifier_problem(text) or ("holds '*'; a name is no pattern" if "*" in text else None)


def group_name_problem(text: str) -> str | None:
    """What is wrong with an access group's name."""
    return plain_name_problem(text) or ("holds '/'; a group's name has none" if "/" in text else None)


def request_id_problem(text: str) -> str | None:
    """What is wrong with a request_id (the empty one is absent)."""
    return text_problem(text, MAX_REQUEST_ID_BYTES)


def fold(text: str) -> str:
    """The form in which exclusions compare: case ignored, as Unicode's canonical caseless matching has it."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
