"""A manifest as YAML: what `apply` reads back to the same. The same policy gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, TypeVar

import yaml

from policy_service.cli.manifest import Manifest, MemberEntry, TeamEntry
from policy_service.domain.encoding import Json, limits_to_json
from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Mode,
    Model,
    ModelScope,
    Role,
    ScopeSource,
    UnlistedUsers,
)

_T = TypeVar("_T")


def manifest_text(manifest: Manifest) -> Iterator[str]:
    """The text in pieces: sections in the order of the file, everything in them in byte order of its name."""
    yield from _section("models", manifest.models, lambda model: model.name, lambda model: [_item(_model(model))])
    yield from _section("groups", manifest.groups, lambda group: group.name, lambda group: [_item(_group(group))])
    yield from _section("teams", manifest.teams, lambda entry: entry.team.id, _team)


def _section(
    name: str,
    items: Iterable[_T] | None,
    key: Callable[[_T], str],
    written: Callable[[_T], Iterable[str]],
    indent: str = "",
) -> Iterator[str]:
    if items is None:
        return
    # Code points sort as the bytes of their UTF-8 do.
    ordered = sorted(items, key=key)
    yield f"{indent}{name}:\n" if ordered else f"{indent}{name}: []\n"
    for item in ordered:
        yield from (f"{indent}  {line}" for line in written(item))


def _team(entry: TeamEntry) -> Iterator[str]:
    team = entry.team
    fields: Json = {"id": team.id}
    if team.display_name is not None:
        fields["display_name"] = team.display_name
    fields["models"] = _scope(team.models)
    if team.default_team_member_models != INHERIT:
        fields["default_team_member_models"] = _scope(team.default_team_member_models)
    fields |= _given(
        default_member_limits=limits_to_json(team.default_member_limits),
        model_aliases=dict(sorted(team.model_aliases.items())),
        blocked=team.blocked,
        unlisted_users="TEAM_SCOPE" if team.unlisted_users is UnlistedUsers.TEAM_SCOPE else "",
        labels=dict(sorted(team.labels.items())),
    )
    for number, (key, value) in enumerate(fields.items()):
        yield f"{'  ' if number else '- '}{_flow({key: value})[1:-1]}\n"
    yield from _section(
        "members", entry.members, lambda member: member.member.user, lambda member: [_item(_member(member))], "  "
    )


def _member(entry: MemberEntry) -> Json:
    member = entry.member
    fields: Json = {"user": member.user} | _given(role=member.role.value if member.role is not Role.MEMBER else "")
    if member.scope_source is ScopeSource.EXPLICIT:
        fields["allowed_models"] = _scope(member.allowed_models)
    elif entry.has_scope:
        fields |= {"allowed_models": _scope(member.allowed_models), "scope_source": "SEEDED"}
    limits = limits_to_json(member.limits) | dict.fromkeys(sorted(entry.unset_limits))
    return fields | _given(limits=limits, blocked=member.blocked, labels=dict(sorted(member.labels.items())))


def _group(group: AccessGroup) -> Json:
    return {"name": group.name, "models": list(group.models)} | _given(excluded_models=list(group.excluded_models))


def _model(model: Model) -> Json:
    return {"name": model.name, "provider": model.provider} | _given(labels=dict(sorted(model.labels.items())))


def _scope(scope: ModelScope) -> Json:
    mode = {} if scope.mode is Mode.ONLY else {"mode": scope.mode.value}
    return mode | _given(models=list(scope.models), excluded_models=list(scope.excluded_models))


def _given(**fields: Any) -> Json:
    return {key: value for key, value in fields.items() if value}


def _item(fields: Json) -> str:
    return f"- {_flow(fields)}\n"


def _flow(value: Json) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 30
    )
    return text.rstrip("\n")


class _Dumper(yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper):  # type: ignore[misc]
    """Numbers in plain decimal digits, as the reader wants them."""


def _represent_float(dumper: Any, value: float) -> Any:
    digits = format(Decimal(repr(value)), "f").removesuffix(".0")
    return dumper.represent_scalar(f"tag:yaml.org,2002:{'float' if '.' in digits else 'int'}", digits)


_Dumper.add_representer(float, _represent_float)
