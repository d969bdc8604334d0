"""From the acknowledgement of a mutation to its visibility at replicas."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from bench.processes import LOADED, redis_server, serving
from bench.report import Cell, Table, percentile
from bench.world import World
from policy_client import AccessClient, AdminClient
from policy_service.replication.signing import make_keys
from policy_service.v1.resources_pb2 import Member, ModelScope

TITLE = "Propagation"
WORLD = World(members=10_000, teams=100)
REPLICAS = (1, 3, 10)
MUTATIONS = 300
WARM_UP = 20
PAUSE_S = 0.02  # between mutations
COLUMNS = (
    "feed",
    "replicas",
    "p50 ms",
    "p99 ms",
    "max ms",
    "last p50 ms",
    "last p99 ms",
    "check p50 ms",
    "check p99 ms",
)
NOTES = f"""Target: p99 at most 50 ms. {MUTATIONS} mutations, one after the other, {PAUSE_S * 1e3:.0f} ms apart. When
one is acknowledged, a check with its revision as `at_least_revision` is sent to every replica at once; the time from
the acknowledgement to an answer is the visibility at that replica, so it contains a check. *Check*: the same, right
after, for a revision that is there already: what the measuring itself costs. *Last*: of each mutation the replica
that answered last. Over Redis everything is signed and verified."""


async def measure(folder: Path) -> list[Table]:
    rows = []
    for feed in ("gRPC", "Redis"):
        (folder / feed).mkdir()
        rows += await _feed(feed, folder / feed)
    return [Table("Acknowledgement to visibility", COLUMNS, rows, NOTES)]


async def _feed(feed: str, folder: Path) -> list[list[Cell]]:
    """The rows of a feed, for more and more replicas of one authority."""
    rows = []
    options = [f"--database={await WORLD.database(folder)}"]
    async with AsyncExitStack() as stack:
        followed = []
        if feed == "Redis":
            url, key = await stack.enter_async_context(redis_server(folder)), folder / "key.pem"
            options += [f"--publish={url}", f"--signing-key={key}"]
            followed = [f"--follow={url}", f"--verify-key={make_keys(key)}"]
        authority = await stack.enter_async_context(serving(*options))
        target = await authority.target()
        followed = followed or [f"--follow=grpc://{target}"]
        if feed == "Redis":
            await authority.said(" publishing ")
        admin = await stack.enter_async_context(AdminClient(target))
        clients: list[AccessClient] = []
        for count in REPLICAS:
            new = [
                await stack.enter_async_context(serving("--role=replica", *followed))
                for _ in range(count - len(clients))
            ]
            for replica in new:
                clients.append(await stack.enter_async_context(AccessClient(await replica.target(), timeout_s=20.0)))
                await replica.said(LOADED)
            rows.append([feed, count, *await _measure(admin, clients)])
    return rows


async def _measure(admin: AdminClient, clients: list[AccessClient]) -> list[Cell]:
    seen: list[float] = []
    last: list[float] = []
    alone: list[float] = []
    for number in range(-WARM_UP, MUTATIONS):
        team, user = WORLD.member_of((number + WARM_UP) * 10)
        mode = (ModelScope.NONE, ModelScope.INHERIT)[number % 2]
        member = Member(team=team, user=user, allowed_models=ModelScope(mode=mode))
        revision = (await admin.update_member(member)).revision
        times = await _ask(clients, team, user, revision)
        if number >= 0:
            seen += times
            last.append(max(times))
            alone += await _ask(clients, team, user, revision)
        await asyncio.sleep(PAUSE_S)
    found = [(seen, 50), (seen, 99), (seen, 100), (last, 50), (last, 99), (alone, 50), (alone, 99)]
    return [percentile(times, percent) for times, percent in found]


async def _ask(clients: list[AccessClient], team: str, user: str, revision: str) -> list[float]:
    """Milliseconds until each answered at the revision."""
    began = time.perf_counter()

    async def ask(client: AccessClient) -> float:
        await client.check(team, user, "gpt-5", at_least_revision=revision)
        return (time.perf_counter() - began) * 1e3

    return await asyncio.gather(*map(ask, clients))
