"""Which fields of a record differ from what a manifest wants, and that in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from policy_service.cli.manifest import MemberEntry
from policy_service.cli.words import change_words, scope_words
from policy_service.domain.records import AccessGroup, Member, Model, Record, ScopeSource, Team
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.services.masks import MEMBER_FIELDS, TEAM_FIELDS


class Difference(NamedTuple):
    """A field, by its path in an update mask, and what it is and shall be. None is unset."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path}: {change_words(self.old, self.new)}"


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


def member_differences(present: Member, entry: MemberEntry) -> list[Difference]:
    """What to change in a member that exists.

    A scope that the manifest leaves out is the team's to seed: one that was seeded stays as it is, one that was given
    is seeded again. A scope that it gives is EXPLICIT, so that reseeding will not replace it, unless it says otherwise.
    A limit that it leaves out stays, because it may have been seeded when the member was added.
    """
    wanted = entry.member
    found = _plain_differences((name for name in MEMBER_FIELDS if name != "allowed_models"), present, wanted)
    if entry.has_scope:
        same = (present.scope_source, present.allowed_models) == (wanted.scope_source, wanted.allowed_models)
        if not same:
            found.append(Difference("allowed_models", _origin(present), _origin(wanted)))
    elif present.scope_source is ScopeSource.EXPLICIT:
        found.append(Difference("allowed_models", present.allowed_models, "the team's default"))
    for limit in LIMIT_NAMES:
        old, new = (getattr(member.limits, limit) for member in (present, wanted))
        if old != new and (new is not None or limit in entry.unset_limits):
            found.append(Difference(f"limits.{limit}", old, new))
    return found


def _plain_differences(names: Iterable[str], present: Record, wanted: Record) -> list[Difference]:
    pairs = ((name, getattr(present, name), getattr(wanted, name)) for name in names)
    return [Difference(name, old, new) for name, old, new in pairs if old != new]


def _origin(member: Member) -> Any:
    scope = member.allowed_models
    return scope if member.scope_source is ScopeSource.EXPLICIT else f"seeded {scope_words(scope)}"
