"""What somebody who can write to Redis can do to a replica that knows the authority's key: make it STALE, no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from policy_client import AccessClient
from policy_service.domain.feed import Head
from policy_service.replication.following import Follow
from policy_service.replication.signing import Signer, make_keys
from policy_service.v1.replication_pb2 import GetStatusResponse
from tests.replication.redis_servers import PREFIX, RedisServer
from tests.replication.stage import MAX_STALENESS_S, Stage
from tests.replication.truth import ASKED, MODELS, status_of, until_equal, until_stale
from tests.support.messages import member, only

Dump = dict[str, bytes]


async def dump_of(redis: RedisServer) -> Dump:
    """All keys, each as Redis serialises it."""
    return {key: await redis.command("DUMP", key) for key in await redis.keys()}


async def put_back(redis: RedisServer, dump: Dump) -> None:
    """Replaces all keys, and says that the head was written just now."""
    await redis.command("FLUSHALL")
    for key, content in dump.items():
        await redis.command("RESTORE", key, 0, content)
    await now_written(redis)


async def now_written(redis: RedisServer) -> None:
    seconds, micros = await redis.command("TIME")
    await redis.command("HSET", f"{PREFIX}:head", "written_at", b"%s%06d" % (seconds, int(micros)))


async def use(stage: Stage, model: str) -> str:
    """Lets the member use one model alone; the revision."""
    answer = await stage.admin.update_member(member("truth", "ann", allowed_models=only(model)))
    return answer.revision


async def allowed(access: AccessClient) -> list[str]:
    answer = await access.batch_check(ASKED)
    return [model for model, result in zip(MODELS, answer.results, strict=True) if result.decision.allowed]


async def head_of(redis: RedisServer) -> Head:
    header, signature = await redis.command("HMGET", f"{PREFIX}:head", "header", "signature")
    return Head.read(header, signature)


async def put_head(redis: RedisServer, head: Head) -> None:
    await redis.command("HSET", f"{PREFIX}:head", "header", head.header, "signature", head.signature)
    await now_written(redis)


async def forged_head(stage: Stage, folder: Path) -> None:
    """Newer than any, by another key."""
    make_keys(folder / "enemy")
    head = await head_of(stage.redis)
    head = replace(head, position=head.position._replace(revision=head.position.revision + 1), signature=b"")
    await put_head(stage.redis, replace(head, signature=Signer.read(folder / "enemy").sign(head.signed)))


async def unsigned_head(stage: Stage, folder: Path) -> None:
    await put_head(stage.redis, replace(await head_of(stage.redis), tick_ms=2**40, signature=b""))


async def forged_entry(stage: Stage, folder: Path) -> None:
    """The member may use the first model; the signature is another entry's."""
    ((log,),) = [[key for key in await stage.redis.keys() if key.endswith(":log")]]
    ((_, fields),) = await stage.redis.command("XREVRANGE", log, "+", "-", "COUNT", 1)
    entry = dict(zip(fields[::2], fields[1::2], strict=True))
    header = entry[b"header"]
    head = await head_of(stage.redis)
    number = head.position.revision
    header = header.replace(b'"revision":%d' % number, b'"revision":%d' % (number + 1))
    words = ("header", header, "payload", entry[b"payload"], "signature", entry[b"signature"])
    await stage.redis.command("XADD", log, f"{number + 1}-0", *words)
    await put_head(stage.redis, replace(head, position=head.position._replace(revision=number + 1)))


async def truncated_entry(stage: Stage, folder: Path) -> None:
    """An entry that breaks off, as a next one."""
    ((log,),) = [[key for key in await stage.redis.keys() if key.endswith(":log")]]
    number = (await head_of(stage.redis)).position.revision
    await stage.redis.command(
        "XADD", log, f"{number + 1}-0", "header", b'{"epoch":"', "payload", b"[", "signature", b""
    )


ATTACKS: dict[str, Callable[[Stage, Path], Awaitable[None]]] = {
    "forged head": forged_head,
    "unsigned head": unsigned_head,
    "forged entry": forged_entry,
    "truncated entry": truncated_entry,
}


@pytest.fixture
async def abandoned(stage: Stage) -> Stage:
    """The authority is stopped, so that nobody repairs what an enemy does."""
    await use(stage, MODELS[3])
    await until_equal(stage.authority, [stage.replica])
    await stage.end_authority()
    return stage


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_what_is_not_signed_is_ignored(
    abandoned: Stage, attack: Callable[[Stage, Path], Awaitable[None]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = await status_of(abandoned.replica)
    with caplog.at_level(logging.ERROR):
        await attack(abandoned, tmp_path)
        after = await until_stale(abandoned.replica)
        async with asyncio.timeout(30):
            while not any(name in after.counters for name in ("errors_untrusted", "errors_malformed")):
                await now_written(abandoned.redis)  # again and again as if it were new
                await asyncio.sleep(0.1)
                after = await status_of(abandoned.replica)
    assert (after.revision, after.digest) == (before.revision, before.digest)
    assert after.state == GetStatusResponse.STALE
    assert after.last_error
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    assert await allowed(abandoned.replica) == [MODELS[3]]


async def test_what_is_replayed_is_not_taken_for_new(stage: Stage) -> None:
    await use(stage, MODELS[1])
    await until_equal(stage.authority, [stage.replica])
    old = await dump_of(stage.redis)
    await use(stage, MODELS[2])
    await until_equal(stage.authority, [stage.replica])
    await stage.end_authority()
    for _ in range(10):  # shown as new all the time
        await put_back(stage.redis, old)
        await asyncio.sleep(MAX_STALENESS_S / 5)
        assert await allowed(stage.replica) == [MODELS[2]]
    status = await until_stale(stage.replica)
    assert status.counters["errors_untrusted"]


async def test_a_head_that_is_held_back_is_as_old_as_it_is(stage: Stage) -> None:
    """The content is the newest, and shown as just written for ever: nothing proves that it still is."""
    await use(stage, MODELS[1])
    await until_equal(stage.authority, [stage.replica])
    await stage.end_authority()
    async with asyncio.timeout(30):
        while (await status_of(stage.replica)).state != GetStatusResponse.STALE:
            await now_written(stage.redis)
            await asyncio.sleep(0.05)
    for _ in range(20):
        await now_written(stage.redis)
        await asyncio.sleep(0.05)
        assert (await status_of(stage.replica)).state == GetStatusResponse.STALE


async def test_without_a_key_redis_has_to_be_trusted_aloud(stage: Stage) -> None:
    with pytest.raises(Exception, match="--verify-key with the authority's public key, or say --trust-redis"):
        Follow(url=stage.redis.url())
    assert Follow(url=stage.redis.url(), trust_redis=True)
