"""A world of a given size, made without chance, and the database that holds it.

The database is built through the store's own commit path, in big commits whose log entries are chained as the
authority's are, so that a server starts on it. It is made once and kept under build/bench.
"""

from __future__ import annotations

import hashlib
import shutil
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import accumulate, islice
from pathlib import Path
from random import Random
from typing import Any

import aiosqlite

from policy_service.domain.changes import Change, ChangeImage, LogEntry, Position, changes_hash, entry_hash, image_of
from policy_service.domain.records import (
    INHERIT,
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Role,
    ScopeSource,
    Team,
    UnlistedUsers,
)
from policy_service.domain.state import Prepared, State
from policy_service.store.protocol import Commit
from policy_service.store.sqlite import SqliteStore
from policy_service.store.sqlite_commit import CommitWriter

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "build" / "bench"
START = datetime(2028, 1, 1, tzinfo=UTC)
SPAN_S = 2 * 365 * 86_400  # within which records were made and changed
COMMIT = 10_000  # records of a commit
SEEDED_POLICIES = 50  # of the policies, those that teams seed their members with
PROVIDERS = ("openai", "azure", "anthropic", "bedrock", "vertex_ai", "mistral")
FAMILIES = ("gpt-4o", "gpt-5", "o3", "claude-sonnet", "claude-opus", "gemini-pro", "llama-70b", "mistral-large")
VARIANTS = ("", "-mini", "-nano", "-2025-08-07", "-preview")
GROUPS = tuple(f"group-{number:02d}" for number in range(20))
AREAS = ("platform", "research", "sales", "support", "finance", "legal", "operations", "hr")
# The code that writes a database; what else makes one shows in its log, see _fingerprint.
_WRITTEN_BY = ("bench/world.py", "policy_service/store/migrations.py", "policy_service/store/sqlite_commit.py")

Check = tuple[str, str, str]


@dataclass(frozen=True)
class World:
    """`members` in `teams`, 30 % of them EXPLICIT with a scope of their own, with `policies` distinct policies. One
    team has 5 % of the members, a hundredth of the teams 10 % more, the others share the rest."""

    members: int
    teams: int
    policies: int = 2_000

    @cached_property
    def models(self) -> list[Model]:
        names = [
            (provider, f"{family}{variant}") for provider in PROVIDERS for family in FAMILIES for variant in VARIANTS
        ]
        return [
            Model(
                name=name if provider == "openai" else f"{provider}/{name}", provider=provider, labels={"family": name}
            )
            for provider, name in names
        ]

    @cached_property
    def _seeds(self) -> list[tuple[ModelScope, MemberLimits]]:
        """What teams seed members with."""
        chance = Random(1)
        return [(self._scope(chance, 5) if at % 3 == 0 else INHERIT, _limits(at)) for at in range(SEEDED_POLICIES)]

    @cached_property
    def _own(self) -> list[tuple[ModelScope, MemberLimits]]:
        """What EXPLICIT members have."""
        chance = Random(2)
        found: dict[tuple[ModelScope, MemberLimits], None] = {}
        while len(found) < self.policies - SEEDED_POLICIES:
            found[self._scope(chance, 8), _limits(chance.randrange(1_000))] = None
        return list(found)

    def _scope(self, chance: Random, most: int) -> ModelScope:
        entries = [model.name for model in chance.sample(self.models, chance.randint(1, most))]
        if chance.random() < 0.4:
            entries.append(chance.choice(GROUPS))
        if chance.random() < 0.3:
            entries.append(f"{chance.choice(PROVIDERS)}/*")
        excluded = [chance.choice(self.models).name] if chance.random() < 0.1 else []
        return ModelScope(Mode.ONLY, tuple(dict.fromkeys(entries)), tuple(excluded))

    @cached_property
    def _first(self) -> list[int]:
        """The first member of each team, and the number of members."""
        large = max(1, self.teams // 100)
        sizes = [self.members // 20, *[self.members // 10 // large] * large]
        rest, others = self.members - sum(sizes), self.teams - len(sizes)
        sizes += [rest * (at + 1) // others - rest * at // others for at in range(others)]
        return [0, *accumulate(sizes)]

    def team_id(self, at: int) -> str:
        return f"{AREAS[at % len(AREAS)]}-{at:05d}"

    @cached_property
    def team_records(self) -> list[Team]:
        return [self._team(at) for at in range(self.teams)]

    def _team(self, at: int) -> Team:
        chance = Random(at)
        scope = self._scope(chance, 15) if at % 10 else ModelScope(Mode.ALL)
        default, limits = self._seeds[at % SEEDED_POLICIES]
        return Team(
            id=self.team_id(at),
            display_name=f"{AREAS[at % len(AREAS)].title()} {at}",
            models=scope,
            default_team_member_models=default,
            default_member_limits=limits,
            model_aliases={"fast": "gpt-5-mini", "best": chance.choice(self.models).name},
            unlisted_users=UnlistedUsers.TEAM_SCOPE if at % 7 == 0 else UnlistedUsers.DENY,
            labels={"cost_center": f"cc-{at % 977:04d}", "owner": f"user-{at:07d}@corp.example"},
            **_stamps(at),
        )

    def member_of(self, at: int) -> tuple[str, str]:
        """The team and the user of a member; as many users are in two teams as not."""
        people = self.members * 2 // 3 + 1
        return self.team_id(bisect_right(self._first, at) - 1), f"user-{at * 7_919 % people:07d}@corp.example"

    def member(self, at: int) -> Member:
        team, user = self.member_of(at)
        own = at % 10 < 3
        policies = self._own if own else self._seeds
        scope, limits = policies[at // 10 % len(policies) if own else int(team[-5:]) % SEEDED_POLICIES]
        return Member(
            team=team,
            user=user,
            role=Role.TEAM_ADMIN if at % 50 == 0 else Role.MEMBER,
            allowed_models=scope,
            scope_source=ScopeSource.EXPLICIT if own else ScopeSource.SEEDED,
            limits=limits,
            blocked=at % 1_000 == 999,
            labels={"employment": "staff" if at % 4 else "contractor", "site": f"site-{at % 31:02d}"},
            **_stamps(at),
        )

    def records(self) -> Iterator[Record]:
        """All, in an order in which they can be committed."""
        yield from self.models
        chance = Random(3)
        for name in GROUPS:
            entries = tuple(model.name for model in chance.sample(self.models, 12))
            yield AccessGroup(name=name, models=entries, **_stamps(0))
        yield from self.team_records
        for at in range(self.members):
            yield self.member(at)

    def checks(self, count: int, seed: int) -> list[Check]:
        """Random checks, every text built anew: of random members, most of models that their team lists."""
        chance = Random(seed)
        found = []
        for _ in range(count):
            team, user = self.member_of(chance.randrange(self.members))
            listed = self.team_records[int(team[-5:])].models.models
            kind = chance.random()
            if kind < 0.7 and listed:
                model = chance.choice(listed)
            else:
                model = "fast" if kind > 0.95 else chance.choice(self.models).name
            if "*" in model or model in GROUPS:
                model = "gpt-5"
            found.append((team, user, f"{model} "[:-1]))
        return found

    async def database(self, folder: Path) -> Path:
        """The database, in an empty folder: a copy of the one that was kept, else a new one, which is kept."""
        path, name = folder / "policy.db", f"world-{self.members}-{self.teams}-{self.policies}"
        kept = KEPT / f"{name}-{_fingerprint()}.db"
        if kept.exists():
            shutil.copyfile(kept, path)
            return path
        records = self.records()
        async with _committer(path) as committer:
            while batch := [Change(None, record) for record in islice(records, COMMIT)]:
                await committer.commit(batch, forget_log=True)
        for former in KEPT.glob(f"{name}-*"):
            former.unlink()
        shutil.copyfile(path, kept.with_suffix(".new"))
        kept.with_suffix(".new").rename(kept)
        return path

    async def extend(self, path: Path, count: int) -> None:
        """Adds so many revisions, each of which changes one random EXPLICIT member."""
        chance = Random(4)
        async with _committer(path) as committer:
            for at in chance.sample(range(self.members // 10), count):
                before = self.member(at * 10)
                scope, limits = chance.choice(self._own)
                await committer.commit([Change(before, replace(before, allowed_models=scope, limits=limits))])


def _limits(at: int) -> MemberLimits:
    return MemberLimits(float(10 * (at % 40 + 1)), "30d", 1_000 * (at % 25 + 1), 10 * (at % 12 + 1))


def _stamps(at: int) -> dict[str, Any]:
    made = at * 7_919 % SPAN_S
    changed = min(SPAN_S, made + at * 104_729 % (SPAN_S // 4))
    times = {"create_time": START + timedelta(seconds=made), "update_time": START + timedelta(seconds=changed)}
    return {"etag": f"bench.{at}", **times}


def _entry(position: Position, digest: str, images: list[ChangeImage]) -> LogEntry:
    """That of a revision which changes so much, after a position."""
    entry = LogEntry(
        epoch=position.epoch,
        revision=position.revision + 1,
        time=START + timedelta(seconds=SPAN_S + position.revision),
        actor="bench",
        peer="ipv4:127.0.0.1:1",
        rpc="policy_service.v1.AdminService/AddMembers",
        digest=digest,
        previous_hash=position.hash,
        hash="",
        change_count=len(images),
    )
    return replace(entry, hash=entry_hash(entry, changes_hash(images)))


class _Committer:
    """Commits as the authority does, but does not wait for the disk."""

    def __init__(self, connection: aiosqlite.Connection, path: Path, state: State) -> None:
        self._writer, self._state = CommitWriter(connection, str(path)), state

    async def commit(self, changes: Sequence[Change], forget_log: bool = False) -> None:
        """One revision. `forget_log`: without the entries before it, as after a retention."""
        position, prepared = self._state.position, Prepared(self._state)
        images = [image_of(change) for change in changes]
        for change in changes:
            prepared.add(change)
        entry = _entry(position, prepared.digest, images)
        before = entry.time if forget_log else None
        await self._writer.write(Commit(entry=entry, changes=changes, images=images, forget_log_before=before))
        self._state.apply(prepared, entry.position)


@asynccontextmanager
async def _committer(path: Path) -> AsyncIterator[_Committer]:
    """One transaction, on a database that no server has."""
    store, state = await SqliteStore.open(path), State()
    try:
        await store.load(state)
    finally:
        await store.close()
    async with aiosqlite.connect(path, isolation_level=None) as connection:
        for pragma in ("synchronous = OFF", "cache_size = -1000000"):
            await connection.execute(f"PRAGMA {pragma}")
        await connection.execute("BEGIN IMMEDIATE")
        yield _Committer(connection, path, state)
        await connection.execute("COMMIT")
        await connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fingerprint() -> str:
    """Decides whether a database that was kept is still as it would be built. The hash of a small world's log entry
    covers how records are encoded, hashed and summed up, so that other changes of that code build nothing again."""
    state, changes = State(), [Change(None, record) for record in World(members=100, teams=10, policies=100).records()]
    prepared = Prepared(state)
    for change in changes:
        prepared.add(change)
    entry = _entry(state.position, prepared.digest, [image_of(change) for change in changes])
    written_by = b"".join((ROOT / name).read_bytes() for name in _WRITTEN_BY)
    return hashlib.sha256(written_by + entry.hash.encode()).hexdigest()[:12]
