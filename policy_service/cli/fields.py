"""Options that set fields of teams, members, groups and models, and what they make of the messages. An option changes
what it names and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import typer

from policy_service.cli.console import fail
from policy_service.cli.words import listed
from policy_service.v1 import resources_pb2 as pb

Entries = pb.ModelScope | pb.AccessGroup  # what has models and excluded_models


def _words(name: str, words: str, metavar: str = "ENTRY") -> Any:
    return typer.Option(name, metavar=metavar, help=words)


class TeamMode(StrEnum):
    """What `models` of a team can be."""

    ALL = "ALL"
    NONE = "NONE"
    ONLY = "ONLY"


class MemberMode(StrEnum):
    """What `allowed_models` of a member can be, and a team's default for them."""

    INHERIT = "INHERIT"
    NONE = "NONE"
    ONLY = "ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryOptions:
    """The two lists of a scope or a group, whole."""

    model: Annotated[list[str], _words("--model", "A model, pattern or group that is granted; repeat it.")] = field(
        default_factory=list
    )
    exclude: Annotated[list[str], _words("--exclude", "One that is excluded, whatever grants it; repeat it.")] = field(
        default_factory=list
    )

    def edit(self, entries: Entries) -> bool:
        """Makes the change; returns whether there was one."""
        if self.model:
            entries.models[:] = self.model
        if self.exclude:
            entries.excluded_models[:] = self.exclude
        return bool(self.model or self.exclude)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryChanges:
    """Changes of the two lists, entry by entry."""

    add_model: Annotated[list[str], _words("--add-model", "Grant this too; repeat it.")] = field(default_factory=list)
    remove_model: Annotated[list[str], _words("--remove-model", "Grant this no more; repeat it.")] = field(
        default_factory=list
    )
    add_exclude: Annotated[list[str], _words("--add-exclude", "Exclude this too; repeat it.")] = field(
        default_factory=list
    )
    remove_exclude: Annotated[list[str], _words("--remove-exclude", "Exclude this no more; repeat it.")] = field(
        default_factory=list
    )

    def edit(self, entries: Entries) -> bool:
        """Makes the change; returns whether there was one. Ends the command where it would not do what it says."""
        _edit(entries.models, self.add_model, self.remove_model, "models")
        _edit(entries.excluded_models, self.add_exclude, self.remove_exclude, "excluded_models")
        return bool(self.add_model or self.remove_model or self.add_exclude or self.remove_exclude)


def _edit(entries: Any, added: Iterable[str], removed: Iterable[str], name: str) -> None:
    for entry in removed:
        if entry not in entries:
            fail(f"{entry!r} is not in {name} ({listed(entries) if entries else 'which is empty'})")
        entries.remove(entry)
    entries.extend(entry for entry in dict.fromkeys(added) if entry not in entries)


def edit_scope(
    scope: pb.ModelScope,
    whole: EntryOptions,
    mode: str | None,
    changes: EntryChanges | None = None,
    otherwise: str | None = None,
) -> bool:
    """Changes a scope; returns whether there was anything to change. The mode follows from the models unless it is
    given; a new scope with exclusions alone gets the mode `otherwise`."""
    added = changes.add_model if changes is not None else []
    if added and not whole.model and scope.mode in (pb.ModelScope.ALL, pb.ModelScope.INHERIT):
        now = pb.ModelScope.Mode.Name(scope.mode)
        fail(f"the mode is {now}: to add one model would take all others away; if that is meant, give --model")
    edited = whole.edit(scope)
    if changes is not None:
        edited = changes.edit(scope) or edited
    if mode is not None:
        scope.mode = pb.ModelScope.Mode.Value(mode)
        if scope.mode != pb.ModelScope.ONLY and not (whole.model or added):
            del scope.models[:]  # those that were there; what is given now, the server refuses with such a mode
    elif scope.models:
        scope.mode = pb.ModelScope.ONLY
    elif scope.excluded_models and scope.mode == pb.ModelScope.MODE_UNSPECIFIED and otherwise is not None:
        scope.mode = pb.ModelScope.Mode.Value(otherwise)
    return edited or mode is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOptions:
    """A member's limits, for the gateway to enforce."""

    max_budget: Annotated[float | None, typer.Option(help="Money for each --budget-duration.")] = None
    budget_duration: Annotated[str | None, typer.Option(help="How long --max-budget is for, such as 30d.")] = None
    tpm_limit: Annotated[int | None, typer.Option(help="Tokens a minute.")] = None
    rpm_limit: Annotated[int | None, typer.Option(help="Requests a minute.")] = None

    def edit(self, limits: pb.MemberLimits) -> list[str]:
        """Makes the change; returns the fields that were given."""
        given = {"max_budget_in_team": self.max_budget, "budget_duration": self.budget_duration}
        given |= {"tpm_limit": self.tpm_limit, "rpm_limit": self.rpm_limit}
        names = [name for name, value in given.items() if value is not None]
        for name in names:
            try:
                setattr(limits, name, given[name])
            except ValueError:
                fail(f"{name}: {given[name]} is out of range")
        return names


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """Labels."""

    label: Annotated[list[str], _words("--label", "Set this label; repeat it.", "KEY=VALUE")] = field(
        default_factory=list
    )

    def edit(self, labels: Any) -> bool:
        """Makes the change; returns whether there was one."""
        labels.update(pairs("--label", self.label))
        return bool(self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChanges(LabelOptions):
    """Labels, and those to remove."""

    remove_label: Annotated[list[str], _words("--remove-label", "Remove this label; repeat it.", "KEY")] = field(
        default_factory=list
    )

    def edit(self, labels: Any) -> bool:
        """Makes the change; returns whether there was one."""
        remove_keys(labels, self.remove_label, "label")
        return LabelOptions.edit(self, labels) or bool(self.remove_label)


def pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """The values of an option that takes KEY=VALUE."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            fail(f"{option} {text!r} has no '='; give {option} NAME=VALUE")
        found[key] = value
    return found


def remove_keys(values: Any, keys: Iterable[str], what: str) -> None:
    """Removes keys of a map. Ends the command for one that is not there."""
    for key in keys:
        if key not in values:
            fail(f"there is no {what} {key!r}; there are {', '.join(sorted(values)) or 'none'}")
        del values[key]


def with_cleared(message: Any, paths: Iterable[str], cleared: Iterable[str] | None) -> list[str]:
    """Clears fields, by their paths in an update mask; returns these and the other paths. Ends the command when there
    are none. The server refuses a path that there is not."""
    for path in cleared or ():
        owner, _, name = path.rpartition(".")
        target: Any = getattr(message, owner, None) if owner else message
        if name in getattr(getattr(target, "DESCRIPTOR", None), "fields_by_name", ()):
            target.ClearField(name)
    both = set(paths) & set(cleared or ())
    if both:
        fail(f"--clear {sorted(both)[0]} undoes what another option sets; give one of them")
    found = list(dict.fromkeys((*paths, *(cleared or ()))))
    if not found:
        fail("there is nothing to change; give the fields to set, or --clear")
    return found
