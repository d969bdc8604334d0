"""The mutations of the contract: each reads what it needs, checks every rule, and returns the changes to commit.

They run one at a time in the writer task, so that what they read is what their changes build on. Nothing is written
here. Errors: those of the contract (InvalidArgument, NotFound, AlreadyExists, PreconditionFailed, EtagMismatch).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from policy_service.domain.changes import Change
from policy_service.domain.names import identifier_problem, plain_name_problem
from policy_service.domain.records import (
    AccessGroup,
    Member,
    Model,
    Record,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.rules import (
    exclusions_lifted,
    is_restricted,
    member_warnings,
    refuse_group_name,
    refuse_names_of_groups,
    seed,
    shortened,
    team_warnings,
    updated_member,
    updated_team,
)
from policy_service.domain.state import State, TeamState
from policy_service.domain.validation import Problems, check_group, check_member, check_model, check_team
from policy_service.errors import AlreadyExists, EtagMismatch, NotFound, PreconditionFailed
from policy_service.store.protocol import Store

MAX_NAMED_HOLDERS = 5
MEMBERS_AT_ONCE = 200  # members that are read and reseeded within a few milliseconds

S = TypeVar("S", Team, Member, AccessGroup)


@dataclass(frozen=True, slots=True)
class World:
    """What a mutation sees: the state and the store at one revision, the time, and the etag of what it changes."""

    state: State
    store: Store
    now: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a mutation comes to: the changes (none: nothing to do), the resources to return, the warnings."""

    changes: Sequence[Change] = ()
    records: Sequence[Record] = ()
    warnings: Sequence[str] = ()


async def create_team(world: World, team: Team, members: Sequence[Member], problems: Problems) -> Plan:
    """Creates a team with its first members, seeded. `problems`: those found so far; all are named together."""
    check_team(problems, "team", team, world.state.groups)
    seeded = [seed(member, team) for member in members]
    _check_new_members(problems, world.state, team.id, members, seeded)
    problems.raise_any()
    if await world.store.team(team.id) is not None:
        raise AlreadyExists("team", [team.id])
    refuse_names_of_groups(world.state, team.model_aliases, "alias")
    created = _created(world, team)
    added = [_created(world, member) for member in seeded]
    warnings = [
        *team_warnings(world.state, team),
        *_warnings_of(world.state, TeamState(team, world.state), seeded),
    ]
    changes = [Change(None, created), *(Change(None, member) for member in added)]
    return Plan(changes, [replace(created, member_count=len(added)), *added], shortened(warnings))


async def update_team(world: World, team_id: str, etag: str, patch: Mapping[str, Any]) -> Plan:
    """Changes the named fields of a team."""
    before = await _team(world, team_id)
    _check_etag("team", team_id, etag, before.etag)
    after = updated_team(before, patch)
    problems = Problems()
    check_team(problems, "team", after, world.state.groups)
    problems.raise_any()
    refuse_names_of_groups(world.state, after.model_aliases, "alias")
    return _revision_of(world, before, after, team_warnings(world.state, after))


async def delete_team(world: World, team_id: str, etag: str, force: bool) -> Plan:
    """Deletes a team; its members go with it, which needs `force`."""
    before = await _team(world, team_id)
    _check_etag("team", team_id, etag, before.etag)
    if before.member_count and not force:
        raise PreconditionFailed(
            "TEAM_HAS_MEMBERS",
            team_id,
            f"team {team_id!r} has {before.member_count} members; remove them first, or delete with force",
        )
    return Plan([Change(before, None)])


async def add_members(
    world: World, team_id: str, members: Sequence[Member], problems: Problems, field_of: str = "members"
) -> Plan:
    """Adds members, seeded, all or none. `problems`: those found so far. `field_of` is `member` for a single one."""
    problems.add("team" if field_of == "members" else "member.team", identifier_problem(team_id))
    team = await world.store.team(team_id)
    if team is None:
        problems.raise_any()
        raise NotFound("team", team_id)
    seeded = [seed(member, team) for member in members]
    _check_new_members(problems, world.state, team_id, members, seeded, field_of)
    there = await world.store.users_in(team_id, [member.user for member in members])
    taken = {index: member.user for index, member in enumerate(members) if member.user in there}
    fields = [_item(field_of, index) + ".user" for index in taken]
    if problems.violations:
        for path in fields:
            problems.add(path, "is a member of the team already; leave it out, or update it")
        problems.raise_any()
    if taken:
        raise AlreadyExists("member", list(taken.values()), fields)
    created = [_created(world, member) for member in seeded]
    warnings = _warnings_of(world.state, world.state.teams[team_id], seeded)
    return Plan([Change(None, member) for member in created], created, shortened(warnings))


async def update_member(world: World, team_id: str, user: str, etag: str, patch: Mapping[str, Any]) -> Plan:
    """Changes the named fields of a member."""
    team = await _team(world, team_id)
    before = await _member(world, team_id, user)
    _check_etag("member", f"{team_id}/{user}", etag, before.etag)
    after = updated_member(before, team, patch)
    problems = Problems()
    check_member(problems, "member", after, world.state.groups)
    problems.raise_any()
    return _revision_of(world, before, after, member_warnings(world.state, world.state.teams[team_id], after))


async def remove_member(world: World, team_id: str, user: str, etag: str, force: bool) -> Plan:
    """Removes a member. Where unlisted users may use the team's models, that can widen what this one may."""
    team = await _team(world, team_id)
    before = await _member(world, team_id, user)
    _check_etag("member", f"{team_id}/{user}", etag, before.etag)
    if team.unlisted_users is UnlistedUsers.TEAM_SCOPE and is_restricted(before) and not force:
        raise PreconditionFailed(
            "WOULD_WIDEN",
            f"{team_id}/{user}",
            f"user {user!r} is blocked or restricted, and team {team_id!r} lets unlisted users use all its models: "
            "removed, this user could use more; keep or block the member, or remove with force",
        )
    return Plan([Change(before, None)])


async def reseed_members(world: World, team_id: str) -> Plan:
    """Copies the team's default scope to the members that are still SEEDED. Their limits stay."""
    team = await _team(world, team_id)
    changes: list[Change] = []
    after, more = ("", ""), True
    while more:
        members, more = await world.store.members(team_id, "", ScopeSource.SEEDED, after, MEMBERS_AT_ONCE)
        for member in members:
            after = (member.team, member.user)
            reseeded = replace(member, allowed_models=team.default_team_member_models)
            if reseeded != member:
                changes.append(Change(member, _revised(world, reseeded)))
    records = [change.after for change in changes if change.after is not None]
    return Plan(changes, records)


async def set_group(world: World, group: AccessGroup) -> Plan:
    """Creates an access group or replaces it whole."""
    problems = Problems()
    check_group(problems, "group", group)
    problems.raise_any()
    before = await world.store.group(group.name)
    if group.etag and before is None:
        raise EtagMismatch("group", group.name)
    if before is not None:
        _check_etag("group", group.name, group.etag, before.etag)
        after = replace(before, models=group.models, excluded_models=group.excluded_models)
        return _revision_of(world, before, after, ())
    refuse_group_name(world.state, group.name)
    created = _created(world, group)
    holders = await world.store.scopes_listing(group.name, MAX_NAMED_HOLDERS)
    warnings = [f"{holder} lists {group.name!r}, which meant a model and now means this group" for holder in holders]
    return Plan([Change(None, created)], [created], warnings)


async def delete_group(world: World, name: str, etag: str, force: bool) -> Plan:
    """Deletes an access group; one that a scope lists only with `force`."""
    before = await world.store.group(name)
    if before is None:
        raise NotFound("group", name)
    _check_etag("group", name, etag, before.etag)
    holders = [] if force else await world.store.scopes_listing(name, MAX_NAMED_HOLDERS)
    if holders:
        raise PreconditionFailed(
            "GROUP_IN_USE",
            name,
            f"access group {name!r} is listed by {', '.join(holders)}: where it is an exclusion, deleting it would "
            "widen what can be used; take it out of the scopes first, or delete with force",
        )
    return Plan([Change(before, None)])


async def upsert_models(world: World, models: Sequence[Model]) -> Plan:
    """Puts models into the catalogue, each replaced whole."""
    problems = Problems()
    for index, model in enumerate(models):
        check_model(problems, f"models[{index}]", model)
    _refuse_repeats(problems, [model.name for model in models], lambda index: f"models[{index}].name")
    problems.raise_any()
    refuse_names_of_groups(world.state, (model.name for model in models), "model")
    there = await world.store.models_named([model.name for model in models])
    changes = [Change(there.get(m.name), m) for m in models if there.get(m.name) != m]
    return Plan(changes, models)


async def delete_models(world: World, names: Sequence[str], force: bool) -> Plan:
    """Takes models out of the catalogue. One whose provider an exclusion needs only with `force`."""
    problems = Problems()
    for index, name in enumerate(names):
        problems.add(f"names[{index}]", plain_name_problem(name))
    _refuse_repeats(problems, names, lambda index: f"names[{index}]")
    problems.raise_any()
    there = await world.store.models_named(names)
    for name in names:
        if name not in there:
            raise NotFound("model", name)
    if not force:
        excluded = await world.store.excluded_entries()
        lifted = list(exclusions_lifted(world.state, names, excluded))[:MAX_NAMED_HOLDERS]
        if lifted:
            words = "; ".join(f"{entry!r} would no longer exclude {name!r}" for name, entry in lifted)
            raise PreconditionFailed(
                "WOULD_WIDEN", lifted[0][0], f"{words}: the catalogue's provider is what it matches; delete with force"
            )
    return Plan([Change(there[name], None) for name in names])


async def _team(world: World, team_id: str) -> Team:
    team = await world.store.team(team_id)
    if team is None:
        raise NotFound("team", team_id)
    return team


async def _member(world: World, team_id: str, user: str) -> Member:
    member = await world.store.member(team_id, user)
    if member is None:
        raise NotFound("member", f"{team_id}/{user}")
    return member


def _check_etag(kind: str, name: str, given: str, actual: str) -> None:
    if given and given != actual:
        raise EtagMismatch(kind, name)


def _created(world: World, record: S) -> S:
    return replace(record, etag=world.etag, create_time=world.now, update_time=world.now)


def _revised(world: World, record: S) -> S:
    return replace(record, etag=world.etag, update_time=world.now)


def _revision_of(world: World, before: S, after: S, warnings: Iterable[str]) -> Plan:
    """A change of the record, or none when nothing of it is different."""
    if after == before:
        return Plan((), (before,), shortened(warnings))
    revised = _revised(world, after)
    return Plan([Change(before, revised)], [revised], shortened(warnings))


def _item(field_of: str, index: int) -> str:
    return f"{field_of}[{index}]" if field_of == "members" else field_of


def _check_new_members(
    problems: Problems,
    state: State,
    team_id: str,
    members: Sequence[Member],
    seeded: Sequence[Member],
    field_of: str = "members",
) -> None:
    for index, (member, ready) in enumerate(zip(members, seeded, strict=True)):
        path = _item(field_of, index)
        if member.team not in ("", team_id):
            problems.add(f"{path}.team", f"is {member.team!r}, not {team_id!r}; leave it empty")
        check_member(problems, path, ready, state.groups)
    _refuse_repeats(problems, [member.user for member in members], lambda index: f"{_item(field_of, index)}.user")


def _warnings_of(state: State, team: TeamState, members: Iterable[Member]) -> Iterable[str]:
    """Of each distinct scope once: seeded members all have the same."""
    first = {member.allowed_models: member for member in reversed(list(members))}
    for member in reversed(first.values()):
        yield from member_warnings(state, team, member)


def _refuse_repeats(problems: Problems, names: Sequence[str], path: Callable[[int], str]) -> None:
    first: dict[str, int] = {}
    for index, name in enumerate(names):
        if first.setdefault(name, index) != index:
            problems.add(path(index), f"is the same as {path(first[name])}; name it once")
