"""What happens to the fleet, drawn by chance. Each leaves everything running again."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable

from policy_service.errors import FeedUnavailable
from tests.replication.redis_servers import PREFIX
from tests.soak.fleet import Fleet, Member

Fault = Callable[[Fleet, random.Random], Awaitable[None]]


async def redis_restarts_empty(fleet: Fleet, chance: random.Random) -> None:
    await fleet.redis.kill()
    await asyncio.sleep(chance.uniform(0, 5))
    await fleet.redis.restart_empty()


async def redis_restarts_with_an_old_dump(fleet: Fleet, chance: random.Random) -> None:
    await fleet.redis.dump()
    await asyncio.sleep(chance.uniform(0, 3))
    await fleet.redis.kill()
    await asyncio.sleep(chance.uniform(0, 5))
    await fleet.redis.start()


async def redis_pauses(fleet: Fleet, chance: random.Random) -> None:
    fleet.redis.pause()
    try:
        await asyncio.sleep(chance.uniform(0, 12))
    finally:
        fleet.redis.resume()


async def redis_forgets_everything(fleet: Fleet, chance: random.Random) -> None:
    await fleet.redis.command("FLUSHALL")


async def redis_loses_a_key(fleet: Fleet, chance: random.Random) -> None:
    keys = await fleet.redis.keys(f"{PREFIX}*")
    if keys:
        await fleet.redis.command("DEL", chance.choice(keys))


async def redis_loses_its_log(fleet: Fleet, chance: random.Random) -> None:
    for key in await fleet.redis.keys("*:log"):
        await fleet.redis.command("XTRIM", key, "MAXLEN", chance.choice((0, 1, 10)))


async def authority_is_killed(fleet: Fleet, chance: random.Random) -> None:
    await fleet.authority.kill()
    await asyncio.sleep(chance.uniform(0, 4))
    await fleet.authority.start()


async def authority_restarts(fleet: Fleet, chance: random.Random) -> None:
    await fleet.authority.stop()
    await fleet.authority.start()


async def authority_pauses(fleet: Fleet, chance: random.Random) -> None:
    await fleet.authority.pause(chance.uniform(0, 6))


async def authority_is_restored(fleet: Fleet, chance: random.Random) -> None:
    backup = fleet.folder / "backup.db"
    await fleet.run("backup", str(backup))
    await asyncio.sleep(chance.uniform(0, 2))
    await fleet.authority.stop()
    await fleet.run("restore", str(backup))
    backup.unlink()
    await fleet.authority.start()


async def authority_is_put_back_with_cp(fleet: Fleet, chance: random.Random) -> None:
    """Followers of Redis learn of it by a new epoch. Long enough after, nobody asks for what was lost any more."""
    database = fleet.authority.database
    await fleet.authority.stop()
    old = database.with_suffix(".old")
    shutil.copy(database, old)
    await fleet.authority.start()
    await asyncio.sleep(chance.uniform(0.5, 2))
    await fleet.authority.stop()
    old.replace(database)
    await fleet.authority.start()


def _a_replica(fleet: Fleet, chance: random.Random) -> Member:
    return chance.choice(list(fleet.replicas.values()))


async def replica_is_killed(fleet: Fleet, chance: random.Random) -> None:
    replica = _a_replica(fleet, chance)
    await replica.kill()
    await asyncio.sleep(chance.uniform(0, 2))
    await replica.start()


async def replica_pauses(fleet: Fleet, chance: random.Random) -> None:
    await _a_replica(fleet, chance).pause(chance.uniform(0, 6))


FAULTS: tuple[Fault, ...] = (
    redis_restarts_empty,
    redis_restarts_with_an_old_dump,
    redis_pauses,
    redis_forgets_everything,
    redis_loses_a_key,
    redis_loses_its_log,
    authority_is_killed,
    authority_restarts,
    authority_pauses,
    authority_is_restored,
    authority_is_put_back_with_cp,
    replica_is_killed,
    replica_is_killed,
    replica_pauses,
)


async def strike(fleet: Fleet, fault: Fault, chance: random.Random) -> None:
    """A fault. A Redis that does not answer a test's own command is no failure of the service."""
    try:
        await fault(fleet, chance)
    except FeedUnavailable:
        await fleet.redis.restart()
