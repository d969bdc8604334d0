"""What `policy-service apply` does to bring a server to what a manifest says: a list of steps, each one mutation.

The order: models and groups, then each team before its members, so that members are seeded from the team as the file
has it. Deletions (only with `prune`) come last: members, teams, groups, models, when nothing in the file uses them any
more; they pass `force`, for it was asked for. Two exceptions:

- Whatever opens a team (`unlisted_users: TEAM_SCOPE`, no longer `blocked`) waits for its members, lest a member that
  the file restricts can use the whole team's scope for a moment, or for long if apply breaks off.
- A deletion, or a team without an alias, goes first if it frees a name that the file gives to another kind of thing.

Every update and deletion carries the etag that was read, so that nobody's change in between is overwritten. The steps
are as many revisions, not one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from policy_client import AdminClient
from policy_service.cli.differences import (
    Difference,
    group_differences,
    member_differences,
    model_differences,
    team_differences,
)
from policy_service.cli.manifest import Manifest, TeamEntry
from policy_service.cli.prune import deletions
from policy_service.cli.steps import Action, Change, Present, Step, batches
from policy_service.domain.records import Member, ScopeSource, Team, UnlistedUsers
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
            changes[model.name] = Change(Action.CREATE, f"model {model.name}")
        elif differences := model_differences(old, model):
            changes[model.name] = _updated(f"model {model.name}", differences)
    wanted = [convert.model_message(model) for model in manifest.models or () if model.name in changes]
    for batch in batches(wanted, MAX_MODELS):
        yield Step(tuple(changes[model.name] for model in batch), partial(AdminClient.upsert_models, models=batch))


def _group_steps(manifest: Manifest, present: Present) -> Iterator[Step]:
    for group in manifest.groups or ():
        old = present.groups.get(group.name)
        differences = group_differences(old, group) if old is not None else []
        if old is None or differences:
            what = f"group {group.name}"
            change = Change(Action.CREATE, what) if old is None else _updated(what, differences)
            message = convert.group_message(replace(group, etag=old.etag if old is not None else ""))
            yield Step((change,), partial(AdminClient.set_access_group, group=message))


def _team_steps(entry: TeamEntry, present: Present, group_names: frozenset[str]) -> Iterator[Step]:
    team, old = entry.team, present.teams.get(entry.team.id)
    wanted, had = entry.members or (), present.members.get(team.id, {})
    added = batches([_member_message(member) for member in wanted if member.user not in had], MAX_MEMBERS)
    updates = list(_member_updates(wanted, had))
    now: list[Difference] = []
    if old is None:
        first_members = added.pop(0) if added else []
        closed = replace(team, unlisted_users=UnlistedUsers.DENY) if added else team
        message = convert.team_message(closed)
        changes = (Change(Action.CREATE, f"team {team.id}"), *_added(team.id, first_members))
        yield Step(changes, partial(AdminClient.create_team, team=message, members=first_members))
        later = team_differences(closed, team)
    else:
        differences = team_differences(old, team)
        later = [d for d in differences if _opens(d)] if added or updates else []
        now = [d for d in differences if d not in later]
        if now:
            frees = (old.model_aliases.keys() - team.model_aliases.keys()) & group_names
            yield replace(_team_update(team, now, etag=old.etag), first=bool(frees))
    for batch in added:
        run = partial(AdminClient.batch_add_members, team=team.id, members=batch)
        yield Step(tuple(_added(team.id, batch)), run)
    yield from updates
    if later:
        # After a step that moved the etag there is none to send; these fields alone change, whatever else did.
        yield _team_update(team, later, etag="" if old is None or now else old.etag)


def _opens(difference: Difference) -> bool:
    return (difference.path, difference.new) in (("unlisted_users", UnlistedUsers.TEAM_SCOPE), ("blocked", False))


def _team_update(team: Team, differences: Sequence[Difference], *, etag: str) -> Step:
    message = convert.team_message(replace(team, etag=etag))
    run = partial(AdminClient.update_team, team=message, update_mask=[difference.path for difference in differences])
    return Step((_updated(f"team {team.id}", differences),), run)


def _member_updates(wanted: Iterable[Member], present: dict[str, Member]) -> Iterator[Step]:
    for member in wanted:
        old = present.get(member.user)
        differences = member_differences(old, member) if old is not None else []
        if old is not None and differences:
            message = _member_message(replace(member, etag=old.etag))
            change = _updated(f"member {member.user} of {member.team}", differences)
            paths = [difference.path for difference in differences]
            yield Step((change,), partial(AdminClient.update_member, member=message, update_mask=paths))


def _updated(what: str, differences: Iterable[Difference]) -> Change:
    return Change(Action.UPDATE, what, "; ".join(map(str, differences)))


def _added(team: str, members: Iterable[pb.Member]) -> list[Change]:
    return [Change(Action.CREATE, f"member {member.user} of {team}") for member in members]


def _member_message(member: Member) -> pb.Member:
    message = convert.member_message(member)
    if member.scope_source is ScopeSource.SEEDED:
        message.ClearField("allowed_models")
    return message
