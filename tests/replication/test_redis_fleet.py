"""Many followers of one Redis, and revocations that have to be seen at once by who asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from policy_client import AccessClient, AdminClient, LocalPolicy
from policy_service.config import Config
from policy_service.domain.feed import ChangePart, Head
from policy_service.replication import publisher
from policy_service.replication.publication import Publication
from policy_service.replication.publisher import FOREIGN_S
from policy_service.server import Server
from policy_service.v1.access_pb2 import CheckModelAccessResponse
from policy_service.v1.replication_pb2 import GetStatusResponse
from tests.replication.redis_servers import PREFIX
from tests.replication.stage import FREE_PORT, Stage, running
from tests.replication.truth import MODELS, status_of, under_watch, until_equal
from tests.support.messages import ALL, member, team

FOLLOWERS = 20
REVOCATIONS = 500
AT_ONCE = 10


async def test_twenty_followers_of_one_redis(stage: Stage) -> None:
    def follower() -> LocalPolicy:
        return LocalPolicy(
            stage.redis.url(), redis_prefix=PREFIX, verify_key=stage.follow.verify_key, max_staleness_s=5
        )

    async with AsyncExitStack() as stack, asyncio.timeout(60):
        followers = [await stack.enter_async_context(follower()) for _ in range(FOLLOWERS)]
        for policy in followers:
            await policy.wait_until_fresh(timeout_s=60)
        for model in MODELS[:5]:
            changed = await stage.admin.create_team(team(model), [member(model, "ann")])
            answers = await asyncio.gather(
                *(policy.check(model, "ann", "any", at_least_revision=changed.revision) for policy in followers)
            )
            assert all(answer.allowed for answer in answers)
        await stage.redis.command("FLUSHALL")
        changed = await stage.admin.remove_member(MODELS[0], "ann")
        for policy in followers:
            while policy.revision != changed.revision:  # noqa: ASYNC110 - it follows by itself
                await asyncio.sleep(0.02)
        assert len({policy._replica.state.digest for policy in followers if policy._replica.state}) == 1


async def revoke(admin: AdminClient, replica: AccessClient, user: str) -> CheckModelAccessResponse:
    """Adds a member, sees that it may use a model, removes it, and asks again with the revision of that."""
    added = await admin.add_member(member("revocations", user))
    answer = await replica.check("revocations", user, "any", at_least_revision=added.revision)
    assert answer.allowed, "the test shows nothing"
    removed = await admin.remove_member("revocations", user)
    return await replica.check("revocations", user, "any", at_least_revision=removed.revision)


async def test_a_revocation_is_never_overlooked(stage: Stage) -> None:
    await stage.admin.create_team(team("revocations", ALL))
    for start in range(0, REVOCATIONS, AT_ONCE):
        users = [f"user-{number}" for number in range(start, start + AT_ONCE)]
        answers = await asyncio.gather(*(revoke(stage.admin, stage.replica, user) for user in users))
        assert not [answer for answer in answers if answer.allowed]


async def test_of_two_authorities_one_publishes(stage: Stage, tmp_path: Path) -> None:
    """With databases of their own. No replica follows now one, now the other."""
    other = Config(
        listen=FREE_PORT,
        database=tmp_path / "other.db",
        publish=stage.redis.url(),
        redis_prefix=PREFIX,
        drain_timeout_s=1,
        signing_key=tmp_path / "key",
    )
    async with running(other) as server, AccessClient(server.addresses[0], timeout_s=5) as rival:
        async with under_watch(stage.admin, [stage.replica], stage.truth):
            await asyncio.sleep(FOREIGN_S / 4)
        status = await status_of(rival)
        assert "another authority publishes another epoch" in status.last_error
        assert "--redis-prefix" in status.last_error
        assert (await status_of(stage.replica)).state == GetStatusResponse.FRESH
        assert stage.truth.stale_answers == 0
        await until_equal(stage.authority, [stage.replica])
        loaded = (await status_of(stage.replica)).counters["snapshots_loaded"]
        assert loaded == 1


async def test_a_database_put_back_with_cp_begins_a_new_epoch(stage: Stage, tmp_path: Path) -> None:
    """Redis is ahead of it. The replica ends with the authority's digest, and no old revision passes for a new one."""
    database = tmp_path / "policy.db"
    await stage.end_authority()
    old = database.read_bytes()
    again = Config(
        listen=FREE_PORT,
        database=database,
        publish=stage.redis.url(),
        redis_prefix=PREFIX,
        drain_timeout_s=1,
        signing_key=tmp_path / "key",
    )
    async with running(again) as server, AdminClient(server.addresses[0]) as admin:
        lost = await admin.create_team(team("lost"))
        async with AccessClient(server.addresses[0], timeout_s=5) as access:
            await until_equal(access, [stage.replica])
        answer = await stage.replica.check("lost", "", "m", at_least_revision=lost.revision)
        assert answer.revision == lost.revision
    database.write_bytes(old)
    async with running(again) as server, AccessClient(server.addresses[0], timeout_s=5) as access:
        status = await status_of(access)
        epoch = lost.revision.partition(".")[0]
        assert list(status.ancestors) == [epoch]
        assert status.last_error, "it does not publish while the head of the former epoch is young"
        async with AdminClient(server.addresses[0]) as admin:
            await admin.create_team(team("new"))
        await until_equal(access, [stage.replica])
        assert list((await status_of(stage.replica)).ancestors) == [epoch]


async def test_an_authority_begins_where_redis_is_away(stage: Stage, tmp_path: Path) -> None:
    """Mutations go on; when Redis is back, what was committed meanwhile is published."""
    await stage.end_authority()
    await stage.redis.kill()
    again = Config(
        listen=FREE_PORT,
        database=tmp_path / "policy.db",
        publish=stage.redis.url(),
        redis_prefix=PREFIX,
        drain_timeout_s=1,
        signing_key=tmp_path / "key",
    )
    server = await Server.start(again)
    try:
        async with AdminClient(server.addresses[0]) as admin, AccessClient(server.addresses[0], timeout_s=5) as access:
            changed = await admin.create_team(team("meanwhile"))
            assert (await status_of(access)).last_error
            await stage.redis.start()
            await until_equal(access, [stage.replica])
            answer = await stage.replica.check("meanwhile", "", "m", at_least_revision=changed.revision)
            assert answer.revision == changed.revision
            assert not (await status_of(access)).last_error
    finally:
        await server.stop()


async def test_a_backlog_is_published_no_further_than_the_log(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches; after each the head is where the log ends, so that whoever begins there gets on."""
    monkeypatch.setattr(publisher, "BATCH_BYTES", 1)
    heads: list[tuple[int, int]] = []
    append = Publication.append

    async def seen(self: Publication, parts: Sequence[ChangePart], head: Head) -> None:
        await append(self, parts, head)
        heads.extend((part.position.revision, head.position.revision) for part in parts if part.last)

    monkeypatch.setattr(Publication, "append", seen)
    stage.redis.pause()
    try:
        for number in range(30):
            await stage.admin.create_team(team(f"waiting-{number}"))
    finally:
        stage.redis.resume()
    await until_equal(stage.authority, [stage.replica])
    assert len(heads) >= 30
    assert [pair for pair in heads if pair[0] != pair[1]] == []
