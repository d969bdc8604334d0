"""Authority and replica as processes that are killed, stopped, continued and started again."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from policy_service.addresses import Address
from policy_service.v1.access_pb2 import BatchCheckModelAccessRequest
from policy_service.v1.admin_pb2 import AddMemberRequest, CreateTeamRequest, RemoveMemberRequest
from tests.security.certificates import Pki
from tests.security.principals import with_token, write_credentials
from tests.support import examples
from tests.support.keys import key_pair
from tests.support.messages import check, member, team
from tests.support.paging import members
from tests.support.process import Serving, serving
from tests.support.replicas import FRESH, STALE, SYNCING, equal, in_state, status
from tests.support.rpc import Rpc, connect, number_of, refused

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
ROUNDS = 2


def replica(target: str, *options: str) -> list[str]:
    """The options of a replica."""
    return ["--role=replica", f"--follow=grpc://{target}", "--revision-wait=60", *options]


# The authority is killed


class Writer:
    """Adds members until the authority is gone. `added`: by name, the revision that was acknowledged."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.added: dict[str, str] = {}
        self._sent = 0

    async def run(self, rpc: Rpc, acknowledged: asyncio.Semaphore) -> None:
        while True:
            self._sent += 1
            user = f"{self.name}-{self._sent}"
            try:
                answer = await rpc.admin.AddMember(AddMemberRequest(member=member("t", user)))
            except grpc.aio.AioRpcError as error:
                assert error.code() is UNAVAILABLE, error
                return
            self.added[user] = answer.revision
            acknowledged.release()


async def write_until_killed(server: Serving, writers: list[Writer]) -> None:
    acknowledged = asyncio.Semaphore(0)
    async with connect(server.target, use_local_subchannel_pool=1) as rpc:
        tasks = [asyncio.create_task(writer.run(rpc, acknowledged)) for writer in writers]
        for _ in range(60):
            await acknowledged.acquire()
        await server.kill()
        await asyncio.gather(*tasks)


async def test_an_authority_that_is_killed_under_load(tmp_path: Path) -> None:
    """What it acknowledged is there when it is back, and on the replica, which ends with its digest."""
    database = tmp_path / "policy.db"
    writers = [Writer(f"w{number}") for number in range(5)]
    async with AsyncExitStack() as stack:
        async with serving(database) as first, connect(first.target) as rpc:
            target = first.target
            await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
            follower = await stack.enter_async_context(serving(tmp_path / "none", *replica(target)))
            to_replica = await stack.enter_async_context(connect(follower.target))
            await equal(to_replica, rpc)
            await write_until_killed(first, writers)
        for at in range(ROUNDS):
            async with serving(database, listen=target) as again, connect(target, use_local_subchannel_pool=1) as rpc:
                known = {user: revision for writer in writers for user, revision in writer.added.items()}
                listed = {name.removeprefix("t/") for name in await members("t").all(rpc, 1_000)}
                assert known.keys() <= listed
                last = max(known.values(), key=number_of)
                users = sorted(known)[-1_000:]
                batch = BatchCheckModelAccessRequest(
                    checks=[check("t", user, "m") for user in users], at_least_revision=last
                )
                answer = await to_replica.access.BatchCheckModelAccess(batch)
                assert all(result.decision.allowed for result in answer.results)
                await equal(to_replica, rpc)
                if at < ROUNDS - 1:
                    await write_until_killed(again, writers)
        assert len(known) >= 60 * ROUNDS
        counters = (await status(to_replica)).counters
        assert counters["snapshots_loaded"] == 1, "it goes on from where it was"
        assert await follower.stop() == 0
        assert "Traceback" not in "".join(follower.lines)


# The replica is killed


async def test_a_replica_that_is_killed(start_server: Any, tmp_path: Path) -> None:
    """With a cache it serves at once, also while nobody is there to follow; with a damaged one, and without, it has
    nothing to serve until the authority is back."""
    main = await start_server()
    target, cache = main.target, tmp_path / "cache" / "replica.cache"
    cached = replica(target, f"--state-cache={cache}", "--max-staleness=5")
    question = check("ml", "ann", "gpt-4o-mini")
    async with connect(target) as authority:
        await examples.build(authority)
        async with serving(tmp_path / "none", *cached) as running, connect(running.target) as rpc:
            before = await equal(rpc, authority)
            removed = await authority.admin.RemoveMember(RemoveMemberRequest(team="ml", user="bob"))
            await rpc.access.CheckModelAccess(check("ml", "bob", "gpt-4", removed.revision))
            await running.kill()
        assert cache.stat().st_mode & 0o777 == 0o600
        await main.stop()

        async with serving(tmp_path / "none", *cached) as running, connect(running.target) as rpc:
            answer = await rpc.access.CheckModelAccess(question)
            assert (answer.allowed, answer.stale, answer.revision) == (True, True, removed.revision)
            assert not (await rpc.access.CheckModelAccess(check("ml", "bob", "gpt-4"))).allowed
            found = await status(rpc)
            assert (found.state, found.revision) == (STALE, removed.revision)
            assert found.digest != before.digest
            assert not found.HasField("staleness"), "it never heard of a head"
            assert (await rpc.health.Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
            await running.kill()

        damaged = bytearray(cache.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        cache.write_bytes(damaged)
        async with serving(tmp_path / "none", *cached) as running, connect(running.target) as rpc:
            await refused(rpc.access.CheckModelAccess(question), UNAVAILABLE)
            assert (await status(rpc)).state == SYNCING
            assert "the state cache is not used" in "".join(running.lines)
            assert [file.name for file in cache.parent.iterdir()] == ["replica.cache.damaged"]

            await start_server(listen=Address(target))
            await in_state(rpc, FRESH)
            await equal(rpc, authority)
            assert cache.exists()
            assert await running.stop() == 0
            assert "Traceback" not in "".join(running.lines)


# The replica is stopped and goes on


async def test_a_replica_that_was_stopped_does_not_pass_off_old_policy(start_server: Any, tmp_path: Path) -> None:
    """Questions that wait for it while it is stopped are answered first: as stale, or from after what happened
    meanwhile. When there is nobody to hear that from, as stale."""
    main = await start_server()
    options = replica(main.target, "--max-staleness=1")
    async with (
        connect(main.target) as authority,
        serving(tmp_path / "none", *options) as running,
        connect(running.target, use_local_subchannel_pool=1) as rpc,
    ):
        await examples.build(authority)
        await equal(rpc, authority)
        question = check("ml", "bob", "gpt-4")
        running.signal(signal.SIGSTOP)
        removed = await authority.admin.RemoveMember(RemoveMemberRequest(team="ml", user="bob"))
        calls = [asyncio.ensure_future(rpc.access.CheckModelAccess(question)) for _ in range(20)]
        await asyncio.sleep(1.5)  # longer than the policy may be old; it cannot be too long
        running.signal(signal.SIGCONT)
        for answer in await asyncio.gather(*calls):
            assert answer.stale or not answer.allowed
            assert answer.stale or answer.revision == removed.revision
        await equal(rpc, authority)

        running.signal(signal.SIGSTOP)
        await main.stop()
        calls = [asyncio.ensure_future(rpc.access.CheckModelAccess(question)) for _ in range(20)]
        await asyncio.sleep(1.5)
        running.signal(signal.SIGCONT)
        assert {answer.stale for answer in await asyncio.gather(*calls)} == {True}


# The options


async def test_all_that_a_replica_can_be_told(start_server: Any, tmp_path: Path) -> None:
    """TLS, a certificate, a token, a key, a cache, and to refuse when it is stale; half of it by the environment."""
    pki, (private, public) = Pki(tmp_path), key_pair(tmp_path)
    credentials = write_credentials(tmp_path / "credentials.yaml", with_token("it", "ps_token", "replicate"))
    main = await start_server(credentials=credentials, signing_key=private, **pki.mutual_tls)
    (tmp_path / "token").write_text("ps_token\n")
    (tmp_path / "client.pem").write_bytes((certificate := pki.certificate("replica"))[0])
    (tmp_path / "client-key.pem").write_bytes(certificate[1])
    told = replica(
        main.target,
        f"--follow-token-file={tmp_path}/token",
        f"--follow-tls-ca={pki.client_ca}",
        "--when-stale=refuse",
        f"--verify-key={public}",
    )
    environment = {
        "FOLLOW_TLS_CERT": f"{tmp_path}/client.pem",
        "FOLLOW_TLS_KEY": f"{tmp_path}/client-key.pem",
        "MAX_STALENESS": "1",
        "STATE_CACHE": f"{tmp_path}/replica.cache",
    }
    async with serving(tmp_path / "none", *told, **environment) as running, connect(running.target) as rpc:
        found = await in_state(rpc, FRESH)
        assert running.announced("follow") == found.feed == f"grpc://{main.target}"
        await rpc.access.CheckModelAccess(check("t", "u", "m"))
        assert (tmp_path / "replica.cache").exists()
        await main.stop()
        await in_state(rpc, STALE)
        assert "refuse" in (await refused(rpc.access.CheckModelAccess(check("t", "u", "m")), UNAVAILABLE)).message
        assert await running.stop() == 0
    assert not (tmp_path / "none").exists(), "a replica has no database"
    assert "ps_token" not in "".join(running.lines)
