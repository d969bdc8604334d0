"""Which fields of a record differ from what a manifest wants, and that in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from policy_service.domain.records import AccessGroup, Member, Model, ModelScope, Record, ScopeSource, Team
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.services.masks import MEMBER_FIELDS, TEAM_FIELDS

MAX_ITEMS_SHOWN = 8


class Difference(NamedTuple):
    """A field, by its path in an update mask, and what it is and shall be. None is unset."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {_words(self.old, self.new)}"


def team_differences(present: Team, wanted: Team) -> list[Difference]:
    """What to change in a team. What the manifest leaves out has its default."""
    found = _plain_differences(TEAM_FIELDS, present, wanted)
    for limit in LIMIT_NAMES:
        old, new = (getattr(team.default_member_limits, limit) for team in (present, wanted))
        if old != new:
            found.append(Difference(f"default_member_limits.{limit}", old, new))
    return found


def group_differences(present: AccessGroup, wanted: AccessGroup) -> list[Difference]:
    """What to change in an access group."""
    return _plain_differences(("models", "excluded_models"), present, wanted)


def model_differences(present: Model, wanted: Model) -> list[Difference]:
    """What to change in a model of the catalogue."""
    return _plain_differences(("provider", "labels"), present, wanted)


def member_differences(present: Member, wanted: Member) -> list[Difference]:
    """What to change in a member that exists.

    A scope that the manifest leaves out is the team's to seed: one that was seeded stays as it is, one that was given
    is seeded again. A scope that it gives is EXPLICIT, so that reseeding will not replace it. A limit that it leaves
    out stays, because it may have been seeded when the member was added.
    """
    found = _plain_differences((name for name in MEMBER_FIELDS if name != "allowed_models"), present, wanted)
    if wanted.scope_source is ScopeSource.EXPLICIT:
        if present.scope_source is ScopeSource.SEEDED or present.allowed_models != wanted.allowed_models:
            found.append(Difference("allowed_models", _origin(present), wanted.allowed_models))
    elif present.scope_source is ScopeSource.EXPLICIT:
        found.append(Difference("allowed_models", present.allowed_models, "the team's default"))
    for limit in LIMIT_NAMES:
        old, new = (getattr(member.limits, limit) for member in (present, wanted))
        if new is not None and old != new:
            found.append(Difference(f"limits.{limit}", old, new))
    return found


def _plain_differences(names: Iterable[str], present: Record, wanted: Record) -> list[Difference]:
    pairs = ((name, getattr(present, name), getattr(wanted, name)) for name in names)
    return [Difference(name, old, new) for name, old, new in pairs if old != new]


def _origin(member: Member) -> Any:
    return member.allowed_models if member.scope_source is ScopeSource.EXPLICIT else "seeded"


def _words(old: Any, new: Any) -> str:
    if isinstance(old, ModelScope) and isinstance(new, ModelScope) and old.mode is new.mode:
        words = [_changes(old.models, new.models)] if old.models != new.models else []
        if old.excluded_models != new.excluded_models:
            words.append(f"without {_changes(old.excluded_models, new.excluded_models)}")
        return " ".join(words)
    if isinstance(old, tuple) and isinstance(new, tuple):
        return _changes(old, new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _changes(_pairs(old), _pairs(new))
    return f"{_value(old)} -> {_value(new)}"


def _value(value: Any) -> str:
    if isinstance(value, ModelScope):
        excluded = f" without {_listed(value.excluded_models)}" if value.excluded_models else ""
        return f"{value.mode.value}{' ' + _listed(value.models) if value.models else ''}{excluded}"
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _changes(old: Iterable[str], new: Iterable[str]) -> str:
    before, after = dict.fromkeys(old), dict.fromkeys(new)
    moves = [f"+{item}" for item in after if item not in before]
    moves += [f"-{item}" for item in before if item not in after]
    return _listed(moves) if moves else "in another order"


def _pairs(values: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in values.items()]


def _listed(items: Iterable[str]) -> str:
    shown = list(items)
    rest = len(shown) - MAX_ITEMS_SHOWN
    return "[" + ", ".join(shown[:MAX_ITEMS_SHOWN] + ([f"and {rest} more"] if rest > 0 else [])) + "]"
