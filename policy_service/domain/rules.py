"""What a mutation makes of the records: seeding, partial update, names that exclude each other, warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from policy_service.domain.matching import Exclusions, spell
from policy_service.domain.names import fold
from policy_service.domain.records import Member, MemberLimits, Mode, ModelScope, ScopeSource, Team
from policy_service.domain.state import Scope, State, TeamState, provider_names
from policy_service.domain.verdict import Outcome, judge
from policy_service.errors import PreconditionFailed

MAX_WARNINGS = 100
LIMIT_NAMES = tuple(field.name for field in fields(MemberLimits))


def seed(member: Member, team: Team) -> Member:
    """A new member: a SEEDED one gets the team's default scope, each gets the limits it does not bring."""
    own, default = member.limits, team.default_member_limits
    limits = {n: getattr(default if getattr(own, n) is None else own, n) for n in LIMIT_NAMES}
    scope = team.default_team_member_models if member.scope_source is ScopeSource.SEEDED else member.allowed_models
    return replace(member, team=team.id, allowed_models=scope, limits=MemberLimits(**limits))


def updated_team(team: Team, patch: Mapping[str, Any]) -> Team:
    """The team with the patch: field to new value, `default_member_limits.<limit>` to new value or None."""
    return replace(team, **_split_limits(patch, "default_member_limits", team.default_member_limits))


def updated_member(member: Member, team: Team, patch: Mapping[str, Any]) -> Member:
    """The member with the patch; `allowed_models` given makes it EXPLICIT, None seeds it again."""
    values = _split_limits(patch, "limits", member.limits)
    if "allowed_models" in values:
        given = values["allowed_models"]
        values["allowed_models"] = team.default_team_member_models if given is None else given
        values["scope_source"] = ScopeSource.SEEDED if given is None else ScopeSource.EXPLICIT
    return replace(member, **values)


def _split_limits(patch: Mapping[str, Any], field: str, limits: MemberLimits) -> dict[str, Any]:
    prefix = field + "."
    inner = {path.removeprefix(prefix): value for path, value in patch.items() if path.startswith(prefix)}
    outer = {path: value for path, value in patch.items() if not path.startswith(prefix)}
    return outer | ({field: replace(limits, **inner)} if inner else {})


def is_restricted(member: Member) -> bool:
    """Whether the member may use less than an unlisted user of a TEAM_SCOPE team."""
    scope = member.allowed_models
    return member.blocked or scope.mode is not Mode.INHERIT or bool(scope.excluded_models)


def refuse_group_name(state: State, name: str) -> None:
    """A group may not have the name of a catalogue model or an alias."""
    if name in state.providers:
        holder = f"the catalogue has a model {name!r}"
    else:
        team = next((team_id for team_id, team in state.teams.items() if name in team.aliases), None)
        if team is None:
            return
        holder = f"team {team!r} has an alias {name!r}"
    raise PreconditionFailed("NAME_IN_USE", name, f"{holder}; choose another name for the group")


def refuse_names_of_groups(state: State, names: Iterable[str], what: str) -> None:
    """A catalogue model or an alias (`what`) may not have the name of a group."""
    for name in names:
        if name in state.groups:
            raise PreconditionFailed(
                "NAME_IN_USE", name, f"there is an access group {name!r}; choose another name for the {what}"
            )


def exclusions_lifted(state: State, names: Iterable[str], excluded: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(model, exclusion) for every exclusion that catches a model only by its provider, which the catalogue would
    no longer know without these names. `excluded`: the exclusions of all scopes; groups are looked up here."""
    entries = set(excluded)
    for name, group in state.groups.items():
        entries.update(group.source.excluded_models)
        if name in entries:
            entries.update(group.source.models)
    tried = [(entry, Exclusions((entry,))) for entry in sorted(entries) if "*" in entry or "/" in entry]
    if not tried:
        return
    together = Exclusions(entry for entry, _ in tried)
    leaving = frozenset(names)
    aliases = {fold(alias) for alias in set[str]().union(*(team.aliases for team in state.teams.values()))}
    for name in sorted(leaving):
        alike = state.spellings.get(fold(name), {})
        staying = {provider for other, provider in alike.items() if other not in leaving}
        folded = fold(name)
        before = spell(name, folded, state.folded_provider_names[folded], any_provider=False)
        if together.match(before) is None:
            continue
        # Another spelling in the catalogue, or an alias, is not tried as a name of any provider.
        after = spell(name, folded, provider_names(folded, staying), any_provider=not staying and folded not in aliases)
        for entry, exclusion in tried:
            if exclusion.match(before) is not None and exclusion.match(after) is None:
                yield name, entry


def team_warnings(state: State, team: Team) -> Iterator[str]:
    """What in the team is accepted but probably not meant."""
    if state.providers:
        for entry in team.models.models:
            known = entry in state.providers or entry in state.groups or entry in team.model_aliases
            if not known and "*" not in entry:
                yield f"team {team.id!r}: {entry!r} in models is no catalogue model, access group or alias"
    scope = Scope(team.models)
    for alias, target in sorted(team.model_aliases.items()):
        if judge(state, scope, alias, target, alias_grants=False).outcome is not Outcome.GRANTED:
            yield f"team {team.id!r}: the team may not use {target!r}, the target of alias {alias!r}"
    default = team.default_team_member_models
    yield from _denied_entries(state, team.id, scope, team.model_aliases, default, "default_team_member_models")


def member_warnings(state: State, team: TeamState, member: Member) -> Iterator[str]:
    """What in the member is accepted but probably not meant."""
    field = f"allowed_models of {member.user!r}"
    yield from _denied_entries(state, member.team, team.scope, team.aliases, member.allowed_models, field)


def _denied_entries(
    state: State, team: str, scope: Scope, aliases: Mapping[str, str], narrower: ModelScope, field: str
) -> Iterator[str]:
    for entry in narrower.models:
        if "*" in entry or entry in state.groups:
            continue
        target = aliases.get(entry, entry)
        if judge(state, scope, entry, target, alias_grants=False).outcome is not Outcome.GRANTED:
            yield f"team {team!r}: the team may not use {entry!r}, listed in {field}"


def shortened(warnings: Iterable[str]) -> list[str]:
    """The warnings without repetitions, at most MAX_WARNINGS and a word on the rest."""
    unique = list(dict.fromkeys(warnings))
    rest = len(unique) - MAX_WARNINGS
    return unique[:MAX_WARNINGS] + ([f"and {rest} more warnings"] if rest > 0 else [])
