"""The encoding in which policy travels: in snapshots, change sets and the disk cache. JSON, what the state holds alone.

A payload is a list of items. `["p",N,scope,limits,blocked]` gives a policy the number N for the items after it;
`["m",team,{user:N,...}]` are members, null drops one; `["t",id,fields]`, `["g",name,fields]` and `["c",name,provider]`
are a team, an access group and a model of the catalogue, null drops it. Numbers hold across the parts of one set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from policy_service.domain.changes import ChangeImage, Key
from policy_service.domain.encoding import (
    canonical,
    limits_from_json,
    limits_to_json,
    scope_from_json,
    scope_to_json,
)
from policy_service.domain.records import AccessGroup, Kind, Model, Team, UnlistedUsers
from policy_service.domain.state import SLICE, Policy, State, Value
from policy_service.errors import Malformed

_TEAM_FIELDS = ("models", "default_member_limits", "model_aliases", "blocked", "unlisted_users")
_GROUP_FIELDS = ("models", "excluded_models")


class Packer:
    """Packs items into payloads of about `limit` bytes. `ready` are those that are full, `finish` adds the rest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: list[str] = []
        self._size = 0
        self._policies: dict[str, int] = {}
        self._team = ""
        self._members: dict[str, int | None] = {}
        self.ready: list[bytes] = []

    def finish(self) -> list[bytes]:
        """The payloads, but those that were taken from `ready`; at least one."""
        self._close_members()
        self._close_payload()
        if not self.ready:
            self.ready.append(b"[]")
        ready, self.ready = self.ready, []
        return ready

    def put(self, image: ChangeImage) -> None:
        """Packs what a change leaves behind."""
        kind, team, name = image.key
        fields = json.loads(image.after) if image.after else None
        match kind:
            case Kind.MEMBER:
                self.member(team, name, None if fields is None else self.policy(fields))
            case Kind.TEAM:
                self.team(team, fields)
            case Kind.GROUP:
                self.group(name, fields)
            case Kind.MODEL:
                self.model(name, None if fields is None else fields["provider"])

    def policy(self, fields: Mapping[str, Any]) -> int:
        """Packs a policy, once. `fields` are those of a member that decide. Returns its number."""
        parts = [fields["allowed_models"], fields.get("limits", {}), fields.get("blocked", False)]
        encoded = canonical(parts)
        number = self._policies.get(encoded)
        if number is None:
            self._close_members()  # numbers are given before they are used
            number = self._policies[encoded] = len(self._policies)
            self._add(f'["p",{number},{encoded[1:]}')
        return number

    def member(self, team: str, user: str, policy: int | None) -> None:
        """Packs a member, or that there is none. Call for one team after the other, and after the policy's."""
        if team != self._team:
            self._close_members()
            self._team = team
        size = len(user.encode()) + 12
        if self._size + size > self._limit:
            self._close_members()
            self._close_payload()
        self._members[user] = policy
        self._size += size

    def team(self, team: str, fields: Mapping[str, Any] | None) -> None:
        self._named("t", team, fields, _TEAM_FIELDS)

    def group(self, name: str, fields: Mapping[str, Any] | None) -> None:
        self._named("g", name, fields, _GROUP_FIELDS)

    def model(self, name: str, provider: str | None) -> None:
        self._close_members()
        self._add(canonical(["c", name, provider]))

    def _named(self, sign: str, name: str, fields: Mapping[str, Any] | None, known: tuple[str, ...]) -> None:
        self._close_members()
        kept = None if fields is None else {field: fields[field] for field in known if field in fields}
        self._add(canonical([sign, name, kept]))

    def _close_members(self) -> None:
        if self._members:
            members, self._members = self._members, {}
            self._items.append(canonical(["m", self._team, members]))
            self._size += len(self._team.encode()) + 10

    def _add(self, item: str) -> None:
        size = len(item.encode()) + 1
        if self._size + size > self._limit:
            self._close_members()
            self._close_payload()
        self._items.append(item)
        self._size += size

    def _close_payload(self) -> None:
        if self._items:
            self.ready.append(f"[{','.join(self._items)}]".encode())
        self._items, self._size = [], 0


class Unpacker:
    """Reads the payloads of one set, in order, into what a state keeps."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._policies: dict[int, Policy] = {}

    def read(self, payload: bytes) -> Iterator[list[tuple[Key, Value]]]:
        """Slices of keys and values; a None value drops. Raises Malformed."""
        try:
            items = json.loads(payload)
            for item in items:
                yield from self._slices(*item)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise Malformed(f"a payload does not decode ({type(error).__name__})") from error

    def _slices(self, sign: str, *rest: Any) -> Iterator[list[tuple[Key, Value]]]:
        if sign == "p":
            number, scope, limits, blocked = rest
            self._policies[number] = self._state.intern(scope_from_json(scope), limits_from_json(limits), bool(blocked))
            yield []  # compiling one takes a while
        elif sign == "m":
            team, members = rest
            policies = self._policies
            found: list[tuple[Key, Value]] = []
            for user, number in members.items():
                found.append((Key(Kind.MEMBER, team, user), None if number is None else policies[number]))
                if len(found) == SLICE:
                    yield found
                    found = []
            yield found
        else:
            yield [_read_named(sign, *rest)]


def _read_named(sign: str, name: str, fields: Any) -> tuple[Key, Value]:
    match sign:
        case "t":
            return Key(Kind.TEAM, name, ""), None if fields is None else _team_of(name, fields)
        case "g":
            return Key(Kind.GROUP, "", name), None if fields is None else _group_of(name, fields)
        case "c":
            return Key(Kind.MODEL, "", name), None if fields is None else Model(name=name, provider=fields)
    raise Malformed(f"an item of the kind {sign!r} is not known")


def _team_of(team: str, fields: dict[str, Any]) -> Team:
    return Team(
        id=team,
        models=scope_from_json(fields["models"]),
        default_member_limits=limits_from_json(fields.get("default_member_limits", {})),
        model_aliases=fields.get("model_aliases", {}),
        blocked=fields.get("blocked", False),
        unlisted_users=UnlistedUsers(fields["unlisted_users"]),
    )


def _group_of(name: str, fields: dict[str, Any]) -> AccessGroup:
    return AccessGroup(
        name=name, models=tuple(fields["models"]), excluded_models=tuple(fields.get("excluded_models", ()))
    )


def shown(value: Value) -> dict[str, Any] | None:
    """What the state keeps of a record, as JSON fields."""
    match value:
        case Policy():
            fields: dict[str, Any] = {"allowed_models": scope_to_json(value.scope.source), "blocked": value.blocked}
            return fields | {"limits": limits_to_json(value.limits)}
        case Team():
            fields = {"models": scope_to_json(value.models), "model_aliases": dict(value.model_aliases)}
            fields |= {"blocked": value.blocked, "unlisted_users": value.unlisted_users.value}
            return fields | {"default_member_limits": limits_to_json(value.default_member_limits)}
        case AccessGroup():
            return {"models": list(value.models), "excluded_models": list(value.excluded_models)}
        case Model():
            return {"provider": value.provider}
        case None:
            return None
