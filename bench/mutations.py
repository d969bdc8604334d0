"""One mutation with a million members and without any, side by side."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import grpc

from bench.processes import serving
from bench.report import Cell, Table, percentile
from bench.world import GROUPS, World
from policy_service.authority.authority import Authority
from policy_service.domain.state import State
from policy_service.replication.loading import collector_paused
from policy_service.services.admin import AdminService
from policy_service.services.caller import Caller
from policy_service.services.convert import team_message
from policy_service.store.sqlite import SqliteStore
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    CreateTeamRequest,
    RemoveMemberRequest,
    SetAccessGroupRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.admin_pb2_grpc import AdminServiceStub
from policy_service.v1.resources_pb2 import AccessGroup, Member, ModelScope, Team

TITLE = "Mutations with a million members"
WORLD = World(members=1_000_000, teams=10_000)
ROUNDS = 300
WARM_UP = 10
EMPTY, FULL = "empty", f"{WORLD.members:,}"
CALLER = Caller("bench", lambda: "ipv4:127.0.0.1:1", lambda: None)
NOTES = f"""Target: a ratio of at most 1.5. {ROUNDS} of each mutation, of another random team and member each, one after
the other; each is sent to the full store and its like to the empty one, either being first in turn. The empty one has
one team, a group and, between two mutations, a member. Each has a request id, as a client's has, and waits for the
disk. About one in a hundred also brings the write-ahead log into the database: that is the p99, and in the mean. *CPU*
is the processor time of the process, its SQLite thread included."""

Request = AddMemberRequest | UpdateMemberRequest | RemoveMemberRequest | UpdateTeamRequest | SetAccessGroupRequest
Send = Callable[[Request | CreateTeamRequest], Awaitable[object]]


class Took(NamedTuple):
    """Milliseconds, on the clock and of a processor."""

    wall: float
    cpu: float


async def measure(folder: Path) -> list[Table]:
    databases = {FULL: await WORLD.database(folder), EMPTY: folder / "empty.db"}
    changes = {FULL: _of_the_world(), EMPTY: _of_one_team()}
    tables = []
    for title, opened, cpu in (
        ("Commit and apply, in this process", _in_process, True),
        ("From request to answer, over gRPC", _served, False),
    ):
        async with AsyncExitStack() as stack:
            senders = {name: await stack.enter_async_context(opened(path)) for name, path in databases.items()}
            if cpu:
                await senders[EMPTY](CreateTeamRequest(team=team_message(WORLD.team_records[1])))
            found = await _take_turns(senders, changes)
        tables.append(_table(title, found, cpu))
    return tables


async def _take_turns(
    senders: Mapping[str, Send], changes: Mapping[str, Iterator[list[Request]]]
) -> dict[str, dict[str, list[Took]]]:
    """What each took, by request and by store."""
    found: dict[str, dict[str, list[Took]]] = {}
    for number in range(-WARM_UP, ROUNDS):
        names = (EMPTY, FULL) if number % 2 else (FULL, EMPTY)
        turns = zip(*(next(changes[name]) for name in names), strict=True)
        for name, request in ((name, request) for turn in turns for name, request in zip(names, turn, strict=True)):
            began, cpu = time.perf_counter(), time.process_time()
            await senders[name](request)
            took = Took((time.perf_counter() - began) * 1e3, (time.process_time() - cpu) * 1e3)
            if number >= 0:
                found.setdefault(_rpc(request), {}).setdefault(name, []).append(took)
    return found


def _rpc(request: Request | CreateTeamRequest) -> str:
    return request.DESCRIPTOR.name.removesuffix("Request")


def _table(title: str, found: Mapping[str, Mapping[str, list[Took]]], cpu: bool) -> Table:
    columns = ["mutation", *(f"{name} {what}" for name in (EMPTY, FULL) for what in ("p50 ms", "p99 ms"))]
    columns += ["p50 ratio", "mean ratio", "p99 ratio", *(["CPU p50 ratio"] if cpu else [])]
    rows: list[list[Cell]] = []
    for rpc, by_store in found.items():
        empty, full = (_statistics([took.wall for took in by_store[name]]) for name in (EMPTY, FULL))
        row: list[Cell] = [rpc, empty[0], empty[2], full[0], full[2]]
        row += [with_members / without for without, with_members in zip(empty, full, strict=True)]
        if cpu:
            spent = {name: statistics.median(took.cpu for took in by_store[name]) for name in (EMPTY, FULL)}
            row.append(spent[FULL] / spent[EMPTY])
        rows.append(row)
    return Table(title, columns, rows, NOTES if cpu else "")


def _statistics(times: list[float]) -> tuple[float, float, float]:
    return statistics.median(times), statistics.mean(times), percentile(times, 99)


# What is sent


def _of_the_world() -> Iterator[list[Request]]:
    chance = Random(5)
    members = iter(chance.sample(range(WORLD.members), 4 * (ROUNDS + WARM_UP)))
    for updated in members:
        team = WORLD.team_id(chance.randrange(WORLD.teams))
        yield _requests(updated, team, WORLD.member_of(updated), WORLD.member_of(next(members)))


def _of_one_team() -> Iterator[list[Request]]:
    team = WORLD.team_records[1].id
    for number in range(2 * (ROUNDS + WARM_UP)):
        member = team, _new_user(number)
        yield _requests(number, team, member, member)


def _new_user(number: int) -> str:
    return f"new-user-{number:07d}@corp.example"


def _requests(number: int, team: str, updated: tuple[str, str], removed: tuple[str, str]) -> list[Request]:
    """`number`: another one each time, so that each request changes something."""
    scope = ModelScope(models=["gpt-4o", f"model-{number}"])
    changed = Member(team=updated[0], user=updated[1], allowed_models=scope)
    group = AccessGroup(name=GROUPS[0], models=scope.models)
    return [
        AddMemberRequest(member=Member(team=team, user=_new_user(number)), request_id=f"add-{number}"),
        UpdateMemberRequest(member=changed, request_id=f"update-{number}"),
        RemoveMemberRequest(team=removed[0], user=removed[1], force=True, request_id=f"remove-{number}"),
        UpdateTeamRequest(team=Team(id=team, models=scope), request_id=f"update-{number}"),
        SetAccessGroupRequest(group=group, request_id=f"set-{number}"),
    ]


# To whom


@asynccontextmanager
async def _in_process(database: Path) -> AsyncIterator[Send]:
    store, state = await SqliteStore.open(database), State()
    with collector_paused(owns_process=True):
        await store.load(state)
    authority = Authority(store, state)
    service = AdminService(authority)
    writer = asyncio.create_task(authority.run())
    yield lambda request: getattr(service, _rpc(request))(request, CALLER)
    await authority.finish()
    await writer
    await store.close()


@asynccontextmanager
async def _served(database: Path) -> AsyncIterator[Send]:
    async with (
        serving(f"--database={database}", "--drain-timeout-s=1") as server,
        grpc.aio.insecure_channel(await server.target()) as channel,
    ):
        stub = AdminServiceStub(channel)
        yield lambda request: getattr(stub, _rpc(request))(request)
