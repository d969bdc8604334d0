"""The mutations as values, and an administrator who sends them to an authority and reads the answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from policy_service.authority import mutations
from policy_service.authority.authority import Authority, Mutation
from policy_service.authority.mutations import Plan, World
from policy_service.domain.changes import key_of
from policy_service.domain.encoding import canonical, from_json, to_json
from policy_service.domain.records import AccessGroup, Kind, Member, Model, Record, Team
from policy_service.domain.validation import Problems
from policy_service.store.protocol import Store
from tests.store.support import START, loaded


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@dataclass(frozen=True, repr=False)
class Call:
    """A mutation that may be sent any number of times."""

    rpc: str
    plan: Callable[..., Awaitable[Plan]]
    arguments: dict[str, Any]
    collects_problems: bool = False

    def planned(self) -> Callable[[World], Awaitable[Plan]]:
        problems = {"problems": Problems()} if self.collects_problems else {}
        return partial(self.plan, **self.arguments, **problems)


def create_team(team: Team, *members: Member) -> Call:
    return Call("CreateTeam", mutations.create_team, {"team": team, "members": members}, collects_problems=True)


def update_team(team_id: str, etag: str = "", /, **patch: Any) -> Call:
    return Call("UpdateTeam", mutations.update_team, {"team_id": team_id, "etag": etag, "patch": _paths(patch)})


def delete_team(team_id: str, etag: str = "", force: bool = False) -> Call:
    return Call("DeleteTeam", mutations.delete_team, {"team_id": team_id, "etag": etag, "force": force})


def add_member(member: Member) -> Call:
    arguments = {"team_id": member.team, "members": [member], "field_of": "member"}
    return Call("AddMember", mutations.add_members, arguments, collects_problems=True)


def batch_add(team_id: str, *members: Member) -> Call:
    arguments = {"team_id": team_id, "members": members}
    return Call("BatchAddMembers", mutations.add_members, arguments, collects_problems=True)


def update_member(team_id: str, user: str, etag: str = "", /, **patch: Any) -> Call:
    arguments = {"team_id": team_id, "user": user, "etag": etag, "patch": _paths(patch)}
    return Call("UpdateMember", mutations.update_member, arguments)


def remove_member(team_id: str, user: str, etag: str = "", force: bool = False) -> Call:
    arguments = {"team_id": team_id, "user": user, "etag": etag, "force": force}
    return Call("RemoveMember", mutations.remove_member, arguments)


def reseed(team_id: str) -> Call:
    return Call("ReseedMembers", mutations.reseed_members, {"team_id": team_id})


def set_group(group: AccessGroup, etag: str = "") -> Call:
    return Call("SetAccessGroup", mutations.set_group, {"group": replace(group, etag=etag)})


def delete_group(name: str, etag: str = "", force: bool = False) -> Call:
    return Call("DeleteAccessGroup", mutations.delete_group, {"name": name, "etag": etag, "force": force})


def upsert(*models: Model) -> Call:
    return Call("UpsertModels", mutations.upsert_models, {"models": models})


def delete_models(*names: str, force: bool = False) -> Call:
    return Call("DeleteModels", mutations.delete_models, {"names": names, "force": force})


def _paths(patch: Mapping[str, Any]) -> dict[str, Any]:
    """`limits__tpm_limit` is the path `limits.tpm_limit`."""
    return {name.replace("__", "."): value for name, value in patch.items()}


class Answer(NamedTuple):
    """What a mutation answered."""

    revision: str
    warnings: tuple[str, ...]
    records: tuple[Record, ...]
    member_counts: tuple[int, ...]

    @property
    def record(self) -> Any:
        """The first record."""
        return self.records[0]

    @property
    def users(self) -> list[str]:
        return [record.user for record in self.records if isinstance(record, Member)]


def encode(plan: Plan, revision: str) -> bytes:
    records = [
        (key_of(record).kind.value, to_json(record), getattr(record, "member_count", 0)) for record in plan.records
    ]
    return canonical([revision, list(plan.warnings), records]).encode()


def decode(answer: bytes) -> Answer:
    revision, warnings, records = json.loads(answer)
    decoded = []
    for kind, fields, member_count in records:
        record = from_json(Kind(kind), fields)
        decoded.append(replace(record, member_count=member_count) if isinstance(record, Team) else record)
    return Answer(revision, tuple(warnings), tuple(decoded), tuple(count for _, _, count in records))


class Admin:
    """An authority that runs, and whoever calls it. Get one from `start`."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self.authority, self.clock = authority, clock
        self.store, self.state = authority.store, authority.state
        self.writer = asyncio.create_task(authority.run())

    @classmethod
    async def start(cls, store: Store, clock: Clock | None = None, log_retention: timedelta | None = None) -> Admin:
        clock = clock or Clock()
        return cls(Authority(store, await loaded(store), log_retention, clock), clock)

    async def stop(self) -> None:
        if not self.writer.done():
            await self.authority.finish()
            await self.writer

    async def send(self, call: Call, request_id: str = "", validate_only: bool = False, plan: Any = None) -> bytes:
        """Sends a call as it is; `plan` in place of its own."""
        content = repr((call.arguments, validate_only))
        return await self.authority.mutate(
            Mutation(
                rpc=call.rpc,
                actor="ann",
                peer="ipv4:127.0.0.1:1",
                plan=plan or call.planned(),
                encode=encode,
                request_id=request_id,
                request_hash=hashlib.sha256(content.encode()).digest(),
                validate_only=validate_only,
            )
        )

    async def run(self, call: Call, request_id: str = "", validate_only: bool = False) -> Answer:
        return decode(await self.send(call, request_id, validate_only))

    async def run_all(self, *calls: Call) -> None:
        """One after the other; all succeed."""
        for call in calls:
            await self.run(call)

    @property
    def revision(self) -> int:
        return self.state.position.revision

    async def team(self, team_id: str) -> Team:
        found = await self.store.team(team_id)
        assert found is not None
        return found

    async def member(self, team_id: str, user: str) -> Member:
        found = await self.store.member(team_id, user)
        assert found is not None
        return found

    async def members(self, team_id: str) -> Sequence[Member]:
        return (await self.store.members(team_id, "", None, ("", ""), 1_000)).items

    async def group(self, name: str) -> AccessGroup:
        found = await self.store.group(name)
        assert found is not None
        return found
