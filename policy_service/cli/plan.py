"""What `policy-service apply` does to bring a server to what a manifest says: a list of steps, each one mutation.

The order: models and groups, then each team before its members, so that members are seeded from the team as the file
has it. Deletions (only with `prune`) come last: members, teams, groups, models, when nothing in the file uses them any
more; they pass `force`, for it was asked for. Exceptions:

- Members that are only narrowed come before their team, and whatever opens a team (`unlisted_users: TEAM_SCOPE`, no
  longer `blocked`) waits for its members, lest a member that the file restricts can use more for a moment, or for long
  if apply breaks off. No order is right for all: a group, or a team and a member, that both lose something and get
  something else, can allow more in between than before or after.
- A deletion, or a team without an alias, goes first if it frees a name that the file gives to another kind of thing.

Members that the file has as seeded with another scope than the team's default, or without a limit that the team seeds
with, are brought while the team seeds with that: the only way to seed is to add or reseed. The team's own defaults come
last.

Every update and deletion of a team, a member or a group carries the etag that was read, or that the step before it
brought, so that nobody's change in between is overwritten. The steps are as many revisions, not one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

from policy_client import AdminClient
from policy_service.cli.differences import (
    Difference,
    group_differences,
    member_differences,
    model_differences,
    team_differences,
)
from policy_service.cli.manifest import Manifest, MemberEntry, TeamEntry
from policy_service.cli.prune import deletions
from policy_service.cli.steps import Action, Answer, Change, Present, Step, batches, updated
from policy_service.domain.records import Member, MemberLimits, Mode, ModelScope, ScopeSource, Team, UnlistedUsers
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb

MAX_MODELS = 1_000
MAX_MEMBERS = 500


def make_plan(manifest: Manifest, present: Present, *, prune: bool) -> list[Step]:
    """The steps, in order; none when the server has what the file says."""
    steps = [*_model_steps(manifest, present), *_group_steps(manifest, present)]
    group_names = frozenset(group.name for group in manifest.groups or ())
    for entry in manifest.teams or ():
        steps += _team_steps(entry, present, group_names)
    deleting = list(deletions(manifest, present)) if prune else []
    # A deletion needs no name; a team that drops an alias may need one for another alias.
    first = [step for step in (*deleting, *steps) if step.first]
    return first + [step for step in (*steps, *deleting) if not step.first]


def _model_steps(manifest: Manifest, present: Present) -> Iterator[Step]:
    changes: dict[str, Change] = {}
    for model in manifest.models or ():
        old = present.models.get(model.name)
        if old is None:
            changes[model.name] = Change(Action.CREATE, "model", model.name)
        elif differences := model_differences(old, model):
            changes[model.name] = updated("model", model.name, differences)
    wanted = [convert.model_message(model) for model in manifest.models or () if model.name in changes]
    for batch in batches(wanted, MAX_MODELS):
        yield Step(tuple(changes[model.name] for model in batch), partial(AdminClient.upsert_models, models=batch))


def _group_steps(manifest: Manifest, present: Present) -> Iterator[Step]:
    for group in manifest.groups or ():
        old = present.groups.get(group.name)
        differences = group_differences(old, group) if old is not None else []
        if old is None or differences:
            create = Change(Action.CREATE, "group", group.name)
            change = create if old is None else updated("group", group.name, differences)
            message = convert.group_message(replace(group, etag=old.etag if old is not None else ""))
            yield Step((change,), partial(AdminClient.set_access_group, group=message))


def _team_steps(entry: TeamEntry, present: Present, group_names: frozenset[str]) -> Iterator[Step]:
    team, old = entry.team, present.teams.get(entry.team.id)
    narrowing, phases = _phases(entry, present.members.get(team.id, {}))
    etags = [] if old is None else [old.etag]
    yield from narrowing
    closed = _closed(team, old) if any(phase.added or phase.updates for phase in phases) else team
    now = old
    for phase in phases:
        wanted = replace(closed, default_team_member_models=phase.scope, default_member_limits=phase.limits)
        added = phase.batches()
        if now is None:
            first_members = added.pop(0) if added else []
            if not added and len(phases) == 1:
                wanted = team
            changes = (Change(Action.CREATE, "team", team.id), *_added(team.id, first_members))
            message = convert.team_message(wanted)
            run = partial(_send_team, AdminClient.create_team, team=message, etags=etags, members=first_members)
            yield Step(changes, run)
        elif differences := team_differences(now, wanted):
            frees = now is old and (now.model_aliases.keys() - team.model_aliases.keys()) & group_names
            yield replace(_team_update(wanted, differences, etags), first=bool(frees))
        else:
            wanted = now
        now = wanted
        for batch in added:
            add = partial(AdminClient.batch_add_members, team=team.id, members=batch)
            yield Step(tuple(_added(team.id, batch)), add)
        yield from phase.updates
    if now is not None and (differences := team_differences(now, team)):
        yield _team_update(team, differences, etags)


def _closed(team: Team, old: Team | None) -> Team:
    """The team without what opens it and is still closed."""
    if old is None:
        return replace(team, unlisted_users=UnlistedUsers.DENY)
    unlisted = (
        UnlistedUsers.DENY if UnlistedUsers.DENY in (team.unlisted_users, old.unlisted_users) else old.unlisted_users
    )
    return replace(team, unlisted_users=unlisted, blocked=team.blocked or old.blocked)


async def _send_team(
    call: Callable[..., Awaitable[Any]], admin: AdminClient, *, team: pb.Team, etags: list[str], **arguments: Any
) -> Answer:
    """Sends the team with the last etag that is known of it, and notes the next."""
    team.etag = etags[-1] if etags else ""
    answer = await call(admin, team=team, **arguments)
    etags.append(answer.team.etag)
    return cast(Answer, answer)


class _Phase(NamedTuple):
    """What is done to members while the team seeds with this scope and these limits."""

    scope: ModelScope
    limits: MemberLimits
    added: list[pb.Member]
    updates: list[Step]

    def batches(self) -> list[list[pb.Member]]:
        """Those who are added. The answer has each with the scope it was seeded with, which may be large."""
        seeded = convert.scope_message(self.scope).ByteSize()

        def size_of(member: pb.Member) -> int:
            return member.ByteSize() + (0 if member.HasField("allowed_models") else seeded)

        return batches(self.added, MAX_MEMBERS, size_of)


def _phases(entry: TeamEntry, present: dict[str, Member]) -> tuple[list[Step], list[_Phase]]:
    """The updates that only narrow, and the phases: the last one is the team's own seeds; before it, those that members
    of the file were seeded with before."""
    team = entry.team
    narrowing: list[Step] = []
    own = _Phase(team.default_team_member_models, team.default_member_limits, [], [])
    others: dict[tuple[ModelScope, MemberLimits], _Phase] = {}
    for wanted in entry.members or ():
        old = present.get(wanted.member.user)
        step = None if old is None else _member_update(wanted, old)
        if old is not None and step is None:
            continue
        if old is not None and step is not None and _narrows(old, wanted.member):
            narrowing.append(step)
            continue
        scope, limits = own.scope, own.limits
        if wanted.has_scope and wanted.member.scope_source is ScopeSource.SEEDED and not _has_scope(old, wanted):
            scope = wanted.member.allowed_models
        if old is None:
            limits = replace(limits, **dict.fromkeys(wanted.unset_limits))
        phase = own
        if (scope, limits) != (own.scope, own.limits):
            phase = others.setdefault((scope, limits), _Phase(scope, limits, [], []))
        if step is None:
            phase.added.append(_member_message(wanted.member))
        else:
            phase.updates.append(step)
    return narrowing, [*others.values(), own]


def _narrows(old: Member, new: Member) -> bool:
    """Whether the update takes from the member, as far as the two scopes alone show it, and gives nothing."""
    before, after = old.allowed_models, new.allowed_models
    takes = before != after or (new.blocked and not old.blocked)
    if new.scope_source is not ScopeSource.EXPLICIT or (old.blocked and not new.blocked) or not takes:
        return False
    if after.mode is Mode.NONE:
        return True
    if not set(before.excluded_models) <= set(after.excluded_models):
        return False
    return before.mode is Mode.INHERIT or (after.mode is Mode.ONLY and set(after.models) <= set(before.models))


def _has_scope(old: Member | None, wanted: MemberEntry) -> bool:
    """Whether the member has the scope already, seeded as the file says."""
    own = None if old is None else (old.scope_source, old.allowed_models)
    return own == (wanted.member.scope_source, wanted.member.allowed_models)


def _member_update(wanted: MemberEntry, old: Member) -> Step | None:
    differences = member_differences(old, wanted)
    if not differences:
        return None
    message = _member_message(replace(wanted.member, etag=old.etag))
    change = updated("member", old.user, differences, old.team)
    paths = [difference.path for difference in differences]
    return Step((change,), partial(AdminClient.update_member, member=message, update_mask=paths))


def _team_update(team: Team, differences: Sequence[Difference], etags: list[str]) -> Step:
    paths = [difference.path for difference in differences]
    message = convert.team_message(team)
    run = partial(_send_team, AdminClient.update_team, team=message, etags=etags, update_mask=paths)
    return Step((updated("team", team.id, differences),), run)


def _added(team: str, members: Iterable[pb.Member]) -> list[Change]:
    return [Change(Action.CREATE, "member", member.user, team) for member in members]


def _member_message(member: Member) -> pb.Member:
    message = convert.member_message(member)
    if member.scope_source is ScopeSource.SEEDED:
        message.ClearField("allowed_models")
    return message
