"""Partial updates: which fields of a message change, and to what.

Without a mask the fields that are present change, limits field by field. With one, exactly the named fields change,
and one that is absent is cleared. A scope or a map is one value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from policy_service.domain.records import INHERIT, Role, UnlistedUsers
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.domain.validation import Problems
from policy_service.services.convert import role_of, scope_of, unlisted_users_of
from policy_service.v1 import resources_pb2 as pb

Read = Callable[[Problems, str, Any], Any]


def _plain(_problems: Problems, _field: str, value: Any) -> Any:
    return value


def _map(_problems: Problems, _field: str, value: Any) -> Any:
    return dict(value)


class Field:
    """A field that an update can change: how its value is read, and what clearing it means."""

    def __init__(self, read: Read, cleared: Any = None, required: bool = False) -> None:
        self.read, self.cleared, self.required = read, cleared, required


TEAM_FIELDS = {
    "display_name": Field(_plain),
    "models": Field(scope_of, required=True),
    "default_team_member_models": Field(scope_of, cleared=INHERIT),
    "model_aliases": Field(_map, cleared={}),
    "blocked": Field(_plain, cleared=False),
    "unlisted_users": Field(unlisted_users_of, cleared=UnlistedUsers.DENY),
    "labels": Field(_map, cleared={}),
}
MEMBER_FIELDS = {
    "role": Field(role_of, cleared=Role.MEMBER),
    "allowed_models": Field(scope_of),  # cleared to None: seeded again
    "blocked": Field(_plain, cleared=False),
    "labels": Field(_map, cleared={}),
}


def team_patch(problems: Problems, team: pb.Team, mask: Iterable[str]) -> dict[str, Any]:
    """Field to new value; limits as `default_member_limits.<limit>`."""
    return _patch(problems, "team", team, mask, TEAM_FIELDS, "default_member_limits")


def member_patch(problems: Problems, member: pb.Member, mask: Iterable[str]) -> dict[str, Any]:
    """Field to new value; limits as `limits.<limit>`; `allowed_models` None: seed it again."""
    return _patch(problems, "member", member, mask, MEMBER_FIELDS, "limits")


def _patch(
    problems: Problems, name: str, message: Message, mask: Iterable[str], fields: Mapping[str, Field], limits: str
) -> dict[str, Any]:
    limit_paths = [f"{limits}.{limit}" for limit in LIMIT_NAMES]
    paths = list(mask)
    if paths:
        named = _checked(problems, paths, [*fields, limits, *limit_paths])
        chosen = [path for path in (*fields, *limit_paths) if path in named or path.partition(".")[0] in named]
    else:
        chosen = [path for path in (*fields, *limit_paths) if _present(message, path)]
    patch: dict[str, Any] = {}
    for path in chosen:
        present = _present(message, path)
        if path in limit_paths:
            limit = path.removeprefix(limits + ".")
            patch[path] = getattr(getattr(message, limits), limit) if present else None
        elif present:
            patch[path] = fields[path].read(problems, f"{name}.{path}", getattr(message, path))
        elif fields[path].required:
            problems.add(f"{name}.{path}", "is required and cannot be cleared; give it, or leave it out of the mask")
        else:
            patch[path] = fields[path].cleared
    return patch


def _checked(problems: Problems, paths: Iterable[str], settable: list[str]) -> set[str]:
    for index, path in enumerate(paths):
        if path not in settable:
            words = f"{path!r} cannot be updated; use {', '.join(settable)}"
            problems.add(f"update_mask.paths[{index}]", words)
    return set(paths)


def _present(message: Message, path: str) -> bool:
    outer, _, inner = path.partition(".")
    field = message.DESCRIPTOR.fields_by_name[outer]
    if inner:
        return message.HasField(outer) and _present(getattr(message, outer), inner)
    return message.HasField(outer) if field.has_presence else bool(getattr(message, outer))
