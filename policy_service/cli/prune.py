"""What `policy-service apply --prune` deletes: what the server has and a section of the file has not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

from policy_client import AdminClient
from policy_service.cli.manifest import Manifest, TeamEntry
from policy_service.cli.steps import Action, Change, Present, Step

MAX_NAMES = 1_000


def deletions(manifest: Manifest, present: Present) -> Iterator[Step]:
    """Members, teams, groups, models: each when what may use it is gone. `first` where the file needs the name."""
    group_names = {group.name for group in manifest.groups or ()}
    yield from _members(manifest, present)
    if manifest.teams is not None:
        yield from _teams(manifest.teams, present, group_names)
    if manifest.groups is not None:
        plain_names = {model.name for model in manifest.models or ()}
        plain_names.update(alias for entry in manifest.teams or () for alias in entry.team.model_aliases)
        yield from _groups(group_names, present, plain_names)
    if manifest.models is not None:
        unused = present.models.keys() - {model.name for model in manifest.models}
        yield from _models(unused & group_names, first=True)
        yield from _models(unused - group_names, first=False)


def _members(manifest: Manifest, present: Present) -> Iterator[Step]:
    for entry in manifest.teams or ():
        if entry.members is None:
            continue
        kept = {wanted.member.user for wanted in entry.members}
        for member in present.members.get(entry.team.id, {}).values():
            if member.user not in kept:
                run = partial(
                    AdminClient.remove_member, team=member.team, user=member.user, etag=member.etag, force=True
                )
                yield Step((Change(Action.DELETE, "member", member.user, member.team),), run)


def _teams(entries: Iterable[TeamEntry], present: Present, group_names: Collection[str]) -> Iterator[Step]:
    kept = {entry.team.id for entry in entries}
    for team in present.teams.values():
        if team.id not in kept:
            count = team.member_count
            details = f"with {count} member{'s' * (count > 1)}" if count else ""
            run = partial(AdminClient.delete_team, team=team.id, etag=team.etag, force=True)
            frees = any(alias in group_names for alias in team.model_aliases)
            yield Step((Change(Action.DELETE, "team", team.id, details=details),), run, first=frees)


def _groups(kept: Collection[str], present: Present, plain_names: Collection[str]) -> Iterator[Step]:
    for group in present.groups.values():
        if group.name not in kept:
            run = partial(AdminClient.delete_access_group, name=group.name, etag=group.etag, force=True)
            yield Step((Change(Action.DELETE, "group", group.name),), run, first=group.name in plain_names)


def _models(names: Iterable[str], *, first: bool) -> Iterator[Step]:
    ordered = sorted(names)
    for start in range(0, len(ordered), MAX_NAMES):
        batch = ordered[start : start + MAX_NAMES]
        changes = tuple(Change(Action.DELETE, "model", name) for name in batch)
        yield Step(changes, partial(AdminClient.delete_models, names=batch, force=True), first=first)
