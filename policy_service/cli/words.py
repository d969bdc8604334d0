"""Values of fields in words that fit a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from policy_service.domain.records import ModelScope
from policy_service.domain.validation import Problems
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb

MAX_ITEMS_SHOWN = 8


def message_words(message: pb.ModelScope) -> str:
    """The scope that a server returned."""
    return scope_words(convert.scope_of(Problems(), "", message))


def scope_words(scope: ModelScope) -> str:
    """Mode, entries, exclusions."""
    excluded = f" without {listed(scope.excluded_models)}" if scope.excluded_models else ""
    return f"{scope.mode.value}{' ' + listed(scope.models) if scope.models else ''}{excluded}"


def change_words(old: Any, new: Any) -> str:
    """From the old value to the new one."""
    if isinstance(old, ModelScope) and isinstance(new, ModelScope) and old.mode is new.mode:
        words = [_moves(old.models, new.models)] if old.models != new.models else []
        if old.excluded_models != new.excluded_models:
            words.append(f"without {_moves(old.excluded_models, new.excluded_models)}")
        return " ".join(words)
    if isinstance(old, tuple) and isinstance(new, tuple):
        return _moves(old, new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _moves(pairs(old), pairs(new))
    return f"{value_words(old)} -> {value_words(new)}"


def value_words(value: Any) -> str:
    """A single value."""
    if isinstance(value, ModelScope):
        return scope_words(value)
    if value is None:
        return "unset"
    return yes(value) if isinstance(value, bool) else str(value)


def yes(value: bool) -> str:
    """As JSON and YAML have it."""
    return str(value).lower()


def pairs(values: Mapping[str, Any]) -> list[str]:
    """A map's items in order (a message has them in any), as the options that set them are written."""
    return [f"{key}={value}" for key, value in sorted(values.items())]


def listed(items: Iterable[str]) -> str:
    """The first of them."""
    shown = list(items)
    rest = len(shown) - MAX_ITEMS_SHOWN
    return "[" + ", ".join(shown[:MAX_ITEMS_SHOWN] + ([f"and {rest} more"] if rest > 0 else [])) + "]"


def _moves(old: Iterable[str], new: Iterable[str]) -> str:
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    moves = [f"+{item}" for item in after if item not in before]
    moves += [f"-{item}" for item in before if item not in after]
    return listed(moves) if moves else "in another order"
