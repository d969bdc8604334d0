"""The store in memory: for tests of a gateway and for trying things out. What it holds goes with the process."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any, TypeVar

from policy_service.domain.changelog import Lineage, Loading, LogSlice, Visitor
from policy_service.domain.changes import NO_HASH, Change, ChangeImage, LogEntry, Position
from policy_service.domain.encoding import canonical, policy_to_json, to_json
from policy_service.domain.records import AccessGroup, Kind, Member, Model, ScopeSource, Team
from policy_service.domain.state import State
from policy_service.errors import DatabaseError
from policy_service.store.protocol import (
    BODIES_AT_ONCE,
    EXPIRED_AT_ONCE,
    LOG_SLICES,
    MEMBERS_AT_ONCE,
    PAGE_BYTES,
    Commit,
    LogFilter,
    Page,
    RecordedRequest,
    ancestry,
    new_epoch,
    team_scopes_listing,
)

Body = Team | AccessGroup | Model
R = TypeVar("R", Team, Member, AccessGroup, Model)


class MemoryStore:
    """Dictionaries and a list."""

    location = "memory (nothing is kept when the process ends)"

    def __init__(self) -> None:
        self._teams: dict[str, Team] = {}
        self._members: dict[str, dict[str, Member]] = {}
        self._groups: dict[str, AccessGroup] = {}
        self._models: dict[str, Model] = {}
        self._log: list[tuple[LogEntry, Sequence[ChangeImage]]] = []
        self._requests: dict[tuple[str, str], RecordedRequest] = {}
        self._anchor = Position(new_epoch(), 0, NO_HASH, State().digest)  # its epoch is the store's
        self._ancestors: list[str] = []

    async def position(self) -> Position:
        head = self._log[-1][0].position if self._log else self._anchor
        return head._replace(epoch=self._anchor.epoch)

    async def lineage(self) -> Lineage:
        return Lineage(await self.position(), tuple(self._ancestors))

    async def load(self, state: State) -> None:
        position, state.ancestors = await self.visit(Loading(state))
        state.move_to(position)

    async def visit(self, visitor: Visitor) -> Lineage:
        lineage = await self.lineage()
        bodies: list[Body] = [*self._teams.values(), *self._groups.values(), *self._models.values()]
        members = [list(of_team.values()) for of_team in self._members.values()]
        for _ in _shown(visitor, bodies, members):
            await asyncio.sleep(0)
        return lineage

    async def team(self, team: str) -> Team | None:
        found = self._teams.get(team)
        return None if found is None else replace(found, member_count=len(self._members[team]))

    async def member(self, team: str, user: str) -> Member | None:
        return self._members.get(team, {}).get(user)

    async def group(self, name: str) -> AccessGroup | None:
        return self._groups.get(name)

    async def models_named(self, names: Sequence[str]) -> dict[str, Model]:
        return {name: self._models[name] for name in names if name in self._models}

    async def users_in(self, team: str, users: Sequence[str]) -> set[str]:
        return set(users) & self._members.get(team, {}).keys()

    async def teams(self, after: str, limit: int) -> Page[Team]:
        page = _page(self._teams.values(), limit, lambda team: team.id > after, lambda team: team.id)
        return Page([replace(team, member_count=len(self._members[team.id])) for team in page.items], page.more)

    async def members(
        self, team: str, user: str, source: ScopeSource | None, after: tuple[str, str], limit: int
    ) -> Page[Member]:
        teams = [self._members.get(team, {})] if team else list(self._members.values())
        found = (
            member
            for members in teams
            for member in ([members[user]] if user in members else members.values() if not user else ())
            if source in (None, member.scope_source)
        )
        return _page(found, limit, lambda m: (m.team, m.user) > after, lambda m: (m.team, m.user))

    async def groups(self, after: str, limit: int) -> Page[AccessGroup]:
        return _page(self._groups.values(), limit, lambda group: group.name > after, lambda group: group.name)

    async def models(self, after: str, limit: int) -> Page[Model]:
        return _page(self._models.values(), limit, lambda model: model.name > after, lambda model: model.name)

    async def scopes_listing(self, entry: str, limit: int) -> list[str]:
        teams = sorted(self._teams.values(), key=lambda team: team.id)
        found = [words for team in teams for words in team_scopes_listing(team, entry)]
        for team, members in sorted(self._members.items()):
            holders = (user for user, member in sorted(members.items()) if entry in member.allowed_models.entries)
            found += [f"member {team}/{user}" for user in holders]
        return found[:limit]

    async def excluded_entries(self) -> set[str]:
        scopes = [member.allowed_models for members in self._members.values() for member in members.values()]
        for team in self._teams.values():
            scopes += [team.models, team.default_team_member_models]
        return {entry for scope in scopes for entry in scope.excluded_models}

    async def log(self, select: LogFilter, after: tuple[int, int], limit: int) -> Page[LogSlice]:
        slices: list[LogSlice] = []
        size = 0
        start = bisect_right(self._log, after[0] - 1, key=lambda logged: logged[0].revision)
        for entry, images in self._log[start:]:
            first = after[1] + 1 if entry.revision == after[0] else 0
            if first >= len(images) or not _selected(select, entry, images):
                continue
            if len(slices) == limit or size > PAGE_BYTES:
                return Page(slices, more=True)
            slices.append(LogSlice(entry, first, []))
            for image in images[first:]:
                if size > PAGE_BYTES:
                    return Page(slices, more=True)
                slices[-1].images.append(image)
                size += image.size
        return Page(slices, more=False)

    async def hash_at(self, revision: int) -> str | None:
        if revision == self._anchor.revision:
            return self._anchor.hash
        at = revision - self._anchor.revision - 1
        return self._log[at][0].hash if 0 <= at < len(self._log) else None

    async def log_after(self, revision: int, change: int) -> list[LogSlice]:
        return (await self.log(LogFilter(), (revision, change), LOG_SLICES)).items

    async def recorded_request(self, rpc: str, request_id: str) -> RecordedRequest | None:
        return self._requests.get((rpc, request_id))

    async def commit(self, commit: Commit) -> None:
        entry = commit.entry
        if entry is not None:
            head = await self.position()
            if (head.epoch, head.revision + 1, head.hash) != (entry.epoch, entry.revision, entry.previous_hash):
                raise DatabaseError(f"the log moved to {head.token} behind this process's back")
            self._log.append((entry, commit.images))
            for change in commit.changes:
                self._apply(change)
        if commit.request is not None:
            self._requests[commit.request.rpc, commit.request.request_id] = commit.request
        if commit.forget_requests_before is not None:
            oldest = nsmallest(EXPIRED_AT_ONCE, self._requests.items(), key=lambda item: item[1].time)
            for key, recorded in oldest:
                if recorded.time < commit.forget_requests_before:
                    del self._requests[key]
        for _ in range(EXPIRED_AT_ONCE):
            before = commit.forget_log_before
            if before is None or len(self._log) < 2 or self._log[0][0].time >= before:
                break
            self._anchor = self._log.pop(0)[0].position._replace(epoch=self._anchor.epoch)

    def _apply(self, change: Change) -> None:
        kind, team, name = change.key
        match change.after:
            case Team():
                self._teams[team] = change.after
                self._members.setdefault(team, {})
            case Member():
                self._members[team][name] = change.after
            case AccessGroup():
                self._groups[name] = change.after
            case Model():
                self._models[name] = change.after
            case None if kind is Kind.TEAM:
                del self._teams[team], self._members[team]
            case None if kind is Kind.MEMBER:
                del self._members[team][name]
            case None if kind is Kind.GROUP:
                del self._groups[name]
            case None:
                del self._models[name]

    async def begin_epoch(self, epoch: str) -> None:
        self._ancestors = ancestry((*self._ancestors, self._anchor.epoch))
        self._anchor = self._anchor._replace(epoch=epoch)

    async def close(self) -> None:
        """Nothing to release."""


def _shown(visitor: Visitor, bodies: Sequence[Body], members: Sequence[Sequence[Member]]) -> Iterator[None]:
    """Shows the records in slices; what yields is due a turn of the event loop."""
    for at, record in enumerate(bodies, 1):
        match record:
            case Team():
                visitor.team(record.id, to_json(record))
            case AccessGroup():
                visitor.group(record.name, to_json(record))
            case Model():
                visitor.model(record.name, record.provider)
        if at % BODIES_AT_ONCE == 0:
            yield
    policies: dict[Any, Any] = {}
    shown = 0
    for of_team in members:
        for member in of_team:
            decides = (member.allowed_models, member.limits, member.blocked)
            if decides not in policies:
                policies[decides] = visitor.policy(policy_to_json(member))
            visitor.member(member.team, member.user, policies[decides])
            shown += 1
            if shown % MEMBERS_AT_ONCE == 0:
                yield


def _selected(select: LogFilter, entry: LogEntry, images: Iterable[ChangeImage]) -> bool:
    return (
        (not select.team or any(image.key.team == select.team for image in images))
        and (select.start is None or entry.time >= select.start)
        and (select.end is None or entry.time < select.end)
    )


def _page(records: Iterable[R], limit: int, beyond: Callable[[R], bool], key: Callable[[R], Any]) -> Page[R]:
    items: list[R] = []
    size = 0
    for record in sorted(filter(beyond, records), key=key):
        if len(items) == limit or size > PAGE_BYTES:
            return Page(items, more=True)
        items.append(record)
        size += len(canonical(to_json(record)).encode())
    return Page(items, more=False)
