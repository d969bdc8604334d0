"""What the tests of the stores and of the authority share: records, commits, and a state as plain values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from policy_service.domain.changes import Change, LogEntry, changes_hash, entry_hash, image_of
from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Member,
    Mode,
    Model,
    ModelScope,
    Record,
    ScopeSource,
    Team,
)
from policy_service.domain.state import Prepared, State
from policy_service.errors import DatabaseError
from policy_service.store.protocol import Commit, Page, Store
from policy_service.store.sqlite import SqliteStore

START = datetime(2030, 1, 1, tzinfo=UTC)
ALL = ModelScope(Mode.ALL)
NONE = ModelScope(Mode.NONE)

# In byte order, which is not the order of UTF-16: U+FF5E comes before the characters of the planes above it.
NAMES = ("A", "Z", 'a"b', "a%", "a\\b", "a_b", "aa", "b", "z", "é", "ÿ", "Ā", "中", "～", "𐀀", "😀", "😀a")


def only(*models: str, excluded: tuple[str, ...] = ()) -> ModelScope:
    return ModelScope(Mode.ONLY, models, excluded)


def team(name: str, models: ModelScope = ALL, **fields: Any) -> Team:
    stamps = {"etag": "e", "create_time": START, "update_time": START}
    return Team(id=name, models=models, **stamps | fields)


def member(team_name: str, user: str, scope: ModelScope = INHERIT, **fields: Any) -> Member:
    stamps = {"etag": "e", "create_time": START, "update_time": START}
    return Member(team=team_name, user=user, allowed_models=scope, **stamps | fields)


def seeded(team_name: str, user: str, scope: ModelScope = INHERIT, **fields: Any) -> Member:
    return member(team_name, user, scope, scope_source=ScopeSource.SEEDED, **fields)


def group(name: str, *models: str, excluded: tuple[str, ...] = ()) -> AccessGroup:
    stamps = {"etag": "e", "create_time": START, "update_time": START}
    return AccessGroup(name=name, models=models or ("m",), excluded_models=excluded, **stamps)


def model(name: str, provider: str = "p", **fields: Any) -> Model:
    return Model(name=name, provider=provider, **fields)


class Ledger:
    """Commits changes to a store as the authority does, and holds the state that they lead to."""

    def __init__(self, store: Store, state: State) -> None:
        self.store, self.state = store, state
        self.time = START

    @classmethod
    async def of(cls, store: Store) -> Ledger:
        return cls(store, await loaded(store))

    async def commit(self, *changes: Change, **fields: Any) -> LogEntry:
        """One revision with the changes; `fields` are those of the commit."""
        commit, prepared = self.prepare(*changes, **fields)
        await self.store.commit(commit)
        assert commit.entry is not None
        self.state.apply(prepared, commit.entry.position)
        return commit.entry

    def prepare(self, *changes: Change, **fields: Any) -> tuple[Commit, Prepared]:
        prepared, position = Prepared(self.state), self.state.position
        for change in changes:
            prepared.add(change)
        images = [image_of(change) for change in changes]
        entry = LogEntry(
            epoch=position.epoch,
            revision=position.revision + 1,
            time=self.time,
            actor="ann",
            peer="ipv4:127.0.0.1:1",
            rpc="Test",
            digest=prepared.digest,
            previous_hash=position.hash,
            hash="",
            change_count=len(images),
        )
        entry = replace(entry, hash=entry_hash(entry, changes_hash(images)))
        return Commit(entry=entry, changes=changes, images=images, **fields), prepared

    async def put(self, *records: Record, **fields: Any) -> LogEntry:
        """Creates or replaces the records, in one revision."""
        return await self.commit(*[Change(await self.stored(record), record) for record in records], **fields)

    async def drop(self, *records: Record, **fields: Any) -> LogEntry:
        """Deletes the records, in one revision."""
        return await self.commit(*[Change(await self.stored(record), None) for record in records], **fields)

    async def stored(self, record: Record) -> Record | None:
        """What the store has under the record's name."""
        match record:
            case Team():
                return await self.store.team(record.id)
            case Member():
                return await self.store.member(record.team, record.user)
            case AccessGroup():
                return await self.store.group(record.name)
            case Model():
                return (await self.store.models_named([record.name])).get(record.name)


async def loaded(store: Store) -> State:
    """The state as a start would load it."""
    state = State()
    await store.load(state)
    return state


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    """The store in the file, closed at the end."""
    store = await SqliteStore.open(path)
    try:
        yield store
    finally:
        await store.close()


async def refusal(path: Path) -> str:
    """Why the file is not opened."""
    with pytest.raises(DatabaseError) as caught:
        async with opened(path):
            pass
    return str(caught.value)


async def pages(
    page: Callable[[Any, int], Awaitable[Page[Any]]], key: Callable[[Any], Any], start: Any, limit: int
) -> Any:
    """All pages, as lists of items."""
    found: list[list[Any]] = []
    after, more = start, True
    while more:
        items, more = await page(after, limit)
        assert items or not more, "a page without items that is not the last"
        found.append(items)
        after = key(items[-1]) if items else after
    return found


async def all_records(store: Store) -> list[tuple[Record, int]]:
    """Every record that the store lists, with the member count of the teams."""
    found: list[Record] = []
    for page, key, start in (
        (store.teams, lambda team: team.id, ""),
        (lambda after, limit: store.members("", "", None, after, limit), lambda m: (m.team, m.user), ("", "")),
        (store.groups, lambda group: group.name, ""),
        (store.models, lambda model: model.name, ""),
    ):
        for items in await pages(page, key, start, 1_000):
            found += items
    return [(record, getattr(record, "member_count", 0)) for record in found]


def dump(state: State) -> dict[str, Any]:
    """All that a state holds, as plain values."""
    return {
        "position": state.position,
        "revision": state.revision,
        "digest": state.digest,
        "teams": {
            name: (t.scope.source, t.aliases, t.blocked, t.unlisted_allowed, t.limits)
            for name, t in state.teams.items()
        },
        "members": {
            (name, user): (policy.scope.source, policy.limits, policy.blocked)
            for name, t in state.teams.items()
            for user, policy in t.members.items()
        },
        "groups": {name: (g.source.models, g.source.excluded_models) for name, g in state.groups.items()},
        "provider_names": dict(state.provider_names),
        "folded_provider_names": dict(state.folded_provider_names),
        "providers": dict(state.providers),
        "spellings": {folded: dict(alike) for folded, alike in state.spellings.items()},
    }
