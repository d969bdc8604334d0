"""ReplicationService of a running authority: what Watch streams, to whom, and how it ends."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

import policy_service.credentials
import policy_service.replication.log_feed
import policy_service.services.replication
import policy_service.services.rpc
from policy_service.replication.messages import head_of, manifest_of, part_of
from policy_service.replication.signing import Verifier
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    DeleteTeamRequest,
    RemoveMemberRequest,
    UpdateTeamRequest,
)
from policy_service.v1.replication_pb2 import GetHeadRequest, GetStatusRequest, Head, WatchRequest
from policy_service.v1.resources_pb2 import Team
from tests.security.principals import bearer, overwrite, with_token, write_credentials
from tests.support import examples
from tests.support.keys import key_pair
from tests.support.messages import ALL, NONE, member, only, team
from tests.support.process import serving
from tests.support.rpc import ACCESS, METHODS, REPLICATION, Rpc, connect, failure_of, refused
from tests.support.waiting import until
from tests.support.watcher import Watcher

EXHAUSTED, UNAVAILABLE = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


@pytest.fixture
async def rpc(server: Any) -> AsyncIterator[Rpc]:
    """An authority with the small world."""
    async with connect(server.target) as rpc:
        await examples.build(rpc)
        yield rpc


async def head(rpc: Rpc) -> Head:
    return (await rpc.replication.GetHead(GetHeadRequest())).head


async def watchers(rpc: Rpc) -> int:
    return int((await rpc.replication.GetStatus(GetStatusRequest())).watchers)


async def nobody_watches(rpc: Rpc) -> bool:
    return await watchers(rpc) == 0


async def touch(rpc: Rpc, label: str) -> str:
    """A small mutation; its revision."""
    answer = await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="other", labels={"touched": label})))
    return str(answer.revision)


# What comes


async def test_from_nothing_a_snapshot_then_changes_and_bookmarks(rpc: Rpc) -> None:
    watcher = Watcher(rpc)
    watcher.open()
    begun = await head(rpc)
    await watcher.reach(f"{begun.epoch}.{begun.revision}")
    assert (watcher.kinds["snapshot"], watcher.revisions) == (1, [])
    made = [await touch(rpc, str(number)) for number in range(3)]
    await watcher.reach(made[-1])
    assert watcher.revisions == made
    assert watcher.kinds["snapshot"] == 1


async def test_from_a_position_only_what_came_after_it(rpc: Rpc) -> None:
    watcher = Watcher(rpc)
    watcher.open()
    await watcher.reach(await rpc.head())
    watcher.call.cancel()
    made = [await touch(rpc, str(number)) for number in range(3)]
    watcher.kinds.clear()
    watcher.open()
    await watcher.reach(made[-1])
    assert watcher.revisions == made
    assert watcher.kinds["snapshot"] == 0
    watcher.call.cancel()
    watcher.kinds.clear()
    watcher.open()
    await watcher.reach(made[-1])
    assert watcher.kinds == {"bookmark": 1}, "nothing is to be sent but where the log stands"


async def test_a_large_change_set_comes_in_parts(rpc: Rpc) -> None:
    """Of at most about 1 MiB; who breaks off in the middle of one gets it whole."""
    watcher = Watcher(rpc)
    watcher.open()
    await watcher.reach(await rpc.head())
    scopes = [only(*(f"{number}-{at}-{'x' * 200}" for at in range(15))) for number in range(500)]
    users = [member("", f"user-{number}", allowed_models=scope) for number, scope in enumerate(scopes)]
    made = await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="other", members=users))
    while watcher.kinds["changes"] == 0:
        await watcher.next()
    assert watcher.revisions == []
    watcher.call.cancel()
    watcher.kinds.clear()
    watcher.open()
    await watcher.reach(made.revision)
    assert watcher.revisions == [made.revision]
    assert watcher.kinds["changes"] >= 2


def moved(at: Head, **fields: Any) -> WatchRequest:
    known = {"epoch": at.epoch, "revision": at.revision, "hash": at.hash}
    return WatchRequest(**known | fields)


ELSEWHERE: dict[str, dict[str, Any]] = {
    "no epoch": {"epoch": ""},
    "a foreign epoch": {"epoch": "f" * 16},
    "no epoch at all": {"epoch": "../\N{SNOWMAN}" * 100},
    "ahead": {"revision": 1_000},
    "as far ahead as can be": {"revision": 2**63 - 1},
    "another hash": {"hash": "0" * 64},
    "no hash": {"hash": ""},
    "another revision's hash": {"revision": 3},
    "before the beginning": {"revision": -1},
    "as far back as can be": {"revision": -(2**63)},
}


@pytest.mark.parametrize("fields", ELSEWHERE.values(), ids=ELSEWHERE)
async def test_a_position_that_the_log_does_not_have_gets_a_snapshot(rpc: Rpc, fields: dict[str, Any]) -> None:
    watcher = Watcher(rpc)
    watcher.call = rpc.replication.Watch(moved(await head(rpc), **fields))
    assert await watcher.next() == "snapshot"
    await watcher.reach(await rpc.head())


async def test_who_is_far_behind_gets_a_snapshot(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_service.replication.log_feed, "MAX_BEHIND", 3)
    begun = await head(rpc)
    for number in range(3):
        await touch(rpc, str(number))
    for expected in ("changes", "snapshot"):
        watcher = Watcher(rpc)
        watcher.call = rpc.replication.Watch(moved(begun))
        assert (await watcher.call.read()).WhichOneof("event") == expected
        watcher.call.cancel()
        await touch(rpc, "once more")


async def test_a_bookmark_comes_at_least_every_second(rpc: Rpc) -> None:
    """By the authority's own clock, and while nothing happens; a busy machine may hold up some, not each."""
    watcher = Watcher(rpc)
    watcher.open()
    while len(watcher.ticks) < 5:
        await watcher.next()
    gaps = [later - earlier for earlier, later in itertools.pairwise(watcher.ticks)]
    assert 0 < min(gaps) <= 1_000


async def test_get_head(rpc: Rpc) -> None:
    before = await head(rpc)
    status = await rpc.replication.GetStatus(GetStatusRequest())
    assert status.revision == status.head_revision == f"{before.epoch}.{before.revision}" == await rpc.head()
    assert status.digest == before.digest
    made = await touch(rpc, "more")
    after = await head(rpc)
    assert f"{after.epoch}.{after.revision}" == made
    assert after.hash != before.hash
    assert after.publisher == before.publisher
    assert after.tick_ms >= before.tick_ms > 0
    assert not after.signature


# In order, each once, none missing, and resumable


async def mutate(rpc: Rpc, name: str, count: int) -> None:
    """Mutations of all sizes, of a team of its own."""
    chance = random.Random(name)
    for number in range(count):
        kind = chance.choice(("one", "many", "scope", "remove", "again"))
        if number == 0 or kind == "again":
            if number:
                await rpc.admin.DeleteTeam(DeleteTeamRequest(team=name, force=True))
            users = [member("", f"m{at}") for at in range(30)]
            await rpc.admin.CreateTeam(CreateTeamRequest(team=team(name), members=users))
        elif kind == "many":
            users = [member("", f"{number}-{at}", allowed_models=only(f"m-{at % 7}")) for at in range(30)]
            await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team=name, members=users))
        elif kind == "scope":
            await rpc.admin.UpdateTeam(UpdateTeamRequest(team=team(name, chance.choice((ALL, NONE, only("m"))))))
        elif kind == "remove":
            await rpc.admin.RemoveMember(RemoveMemberRequest(team=name, user=f"m{number % 30}", force=True))
            await rpc.admin.AddMember(AddMemberRequest(member=member(name, f"m{number % 30}")))
        else:
            await rpc.admin.AddMember(AddMemberRequest(member=member(name, f"u{number}")))


async def watch_and_reconnect(watcher: Watcher, chance: random.Random, stop: asyncio.Event) -> None:
    """Breaks the stream after a few events, again and again, and goes on from its position."""
    while not stop.is_set():
        watcher.open()
        await watcher.take(1 + chance.randrange(40))
        watcher.call.cancel()
        await asyncio.sleep(chance.random() * 0.02)


async def test_many_watchers_see_each_change_once_in_order(rpc: Rpc) -> None:
    """Each event is checked as it comes, by the watchers themselves."""
    stop = asyncio.Event()
    steady = [Watcher(rpc) for _ in range(3)]
    restless = [Watcher(rpc) for _ in range(6)]
    begun = await head(rpc)
    for watcher in steady:
        watcher.open()
        await watcher.reach(f"{begun.epoch}.{begun.revision}")
    tasks = [
        asyncio.create_task(watch_and_reconnect(watcher, random.Random(number), stop))
        for number, watcher in enumerate(restless)
    ]
    writers = [asyncio.create_task(mutate(rpc, f"team-{number}", 20)) for number in range(3)]
    reading = [asyncio.create_task(watcher.take(40)) for watcher in steady]
    await asyncio.gather(*writers, *reading)
    stop.set()
    while not all(task.done() for task in tasks):
        await touch(rpc, f"something to see: {await rpc.head()}")
    await asyncio.gather(*tasks)
    end = await head(rpc)
    for watcher in restless:
        watcher.open()
    for watcher in (*steady, *restless):
        await watcher.reach(f"{end.epoch}.{end.revision}")
        watcher.call.cancel()
    expected = [f"{end.epoch}.{number}" for number in range(begun.revision + 1, end.revision + 1)]
    assert len(expected) >= 60
    for watcher in steady:
        assert watcher.revisions == expected
    for watcher in restless:
        assert watcher.revisions == expected[-len(watcher.revisions) :], "what came before was in its snapshot"
        assert watcher.kinds["snapshot"] >= 1
    for watcher in (*steady, *restless):
        assert watcher.state is not None
        assert watcher.state.digest == end.digest
    await until(lambda: nobody_watches(rpc), "the watches that were cancelled are counted no more")


# How it ends


async def swell(rpc: Rpc, name: str) -> str:
    """Changes of more than a MiB; the last revision."""
    revision = ""
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team(name)))
    for number in range(12):
        users = [member("", f"{number}-{at}-{'x' * 240}") for at in range(500)]
        revision = (await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team=name, members=users))).revision
    return revision


async def test_a_watcher_that_does_not_read_is_ended_and_resumes(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_service.services.rpc, "WRITE_TIMEOUT_S", 0.3)
    small = {"use_local_subchannel_pool": 1, "http2.bdp_probe": 0}  # so that it is sent 64 KiB ahead and no more
    async with connect(rpc.target, **small) as lazy:
        watcher = Watcher(lazy)
        watcher.open()
        await watcher.reach(await rpc.head())
        last = await swell(rpc, "big")
        await until(lambda: nobody_watches(rpc), "it is given up while it reads nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watcher.reach(last)
        failure = failure_of(caught.value)
        assert (failure.code, failure.reason) == (EXHAUSTED, "TOO_SLOW")
        assert 0 < len(watcher.revisions) < 13
        watcher.open()
        await watcher.reach(last)
        assert len(watcher.revisions) == 13
        assert watcher.kinds["snapshot"] == 1


async def test_more_watchers_than_are_served(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_service.services.replication, "MAX_WATCHERS", 2)
    served = [Watcher(rpc), Watcher(rpc)]
    for watcher in served:
        watcher.open()
        assert await watcher.next() == "snapshot"
    assert await watchers(rpc) == 2
    assert (await refused(rpc.replication.Watch(WatchRequest()).read(), EXHAUSTED)).reason == "TOO_MANY_WATCHERS"
    await served[0].reach(await rpc.head())
    served[1].call.cancel()

    async def admitted() -> bool:
        try:
            return bool(await rpc.replication.Watch(WatchRequest()).read())
        except grpc.aio.AioRpcError:
            return False

    await until(admitted, "there is room again")


CHECK, REPLICATE = with_token("it", "ps_token", "check"), with_token("it", "ps_token", "replicate")
NO_MORE = {
    "gone": ([], UNAUTHENTICATED),
    "without the permission": ([CHECK], DENIED),
}


@pytest.mark.parametrize(("entries", "code"), NO_MORE.values(), ids=NO_MORE)
async def test_a_stream_ends_with_the_right_to_it(
    start_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: Any, code: grpc.StatusCode
) -> None:
    monkeypatch.setattr(policy_service.credentials, "POLL_S", 0.05)
    other = with_token("another", "ps_another", "replicate")
    file = write_credentials(tmp_path / "credentials.yaml", REPLICATE, other)
    async with connect((await start_server(credentials=file)).target) as rpc:
        ending, going = Watcher(rpc), Watcher(rpc)
        ending.open(bearer("ps_token"))
        going.open(bearer("ps_another"))
        for watcher in (ending, going):
            await watcher.take(3)
        write_credentials(file, *entries, other)

        async def end() -> None:
            while True:
                await ending.next()

        await refused(asyncio.wait_for(end(), 60), code)
        await refused(rpc.replication.Watch(WatchRequest(), metadata=bearer("ps_token")).read(), code)
        await going.take(3)
        overwrite(file, "principals: []")
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(going.take(1_000), 60)


async def test_replicate_alone_watches_and_does_nothing_else(start_server: Any, tmp_path: Path) -> None:
    file = write_credentials(tmp_path / "credentials.yaml", REPLICATE)
    async with connect((await start_server(credentials=file)).target) as rpc:
        watcher = Watcher(rpc)
        watcher.open(bearer("ps_token"))
        await watcher.take(5)
        for name, method in METHODS.items():
            if method.containing_service is not REPLICATION:
                stub = rpc.access if method.containing_service is ACCESS else rpc.admin
                call = getattr(stub, name)(examples.EXAMPLES[name], metadata=bearer("ps_token"))
                await refused(call, DENIED)
        await watcher.take(1)
        assert watcher.revisions == []


async def test_a_drain_ends_watches_at_once(tmp_path: Path) -> None:
    """With a drain timeout that outlasts the test."""
    async with serving(tmp_path / "policy.db", "--drain-timeout-s=3600") as server, AsyncExitStack() as stack:
        streams = []
        for _ in range(3):
            rpc = await stack.enter_async_context(connect(server.target, use_local_subchannel_pool=1))
            streams += [Watcher(rpc) for _ in range(4)]
        await examples.build(rpc)
        for watcher in streams:
            watcher.open()
            await watcher.reach(await rpc.head())
        server.terminate()
        for watcher in streams:
            failure = await refused(watcher.take(1_000), UNAVAILABLE)
            assert "shutting down" in failure.message
        assert await server.ended() == 0
        assert "Traceback" not in "".join(server.lines)


# Signatures


async def test_what_a_signing_authority_sends_verifies(start_server: Any, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    other = key_pair(tmp_path, "other")[1]
    async with connect((await start_server(signing_key=private)).target) as rpc:
        await examples.build(rpc)
        call = rpc.replication.Watch(WatchRequest())
        signed: dict[str, Any] = {"GetHead": head_of(await head(rpc))}
        while not {"snapshot", "changes", "bookmark"} <= signed.keys():
            event = await call.read()
            match event.WhichOneof("event"):
                case "snapshot":
                    signed["snapshot"] = manifest_of(event.snapshot)
                case "changes":
                    signed["changes"] = part_of(event.changes)
                case "bookmark":
                    signed["bookmark"] = head_of(event.bookmark.head)
                    await touch(rpc, "more")
    for name, item in signed.items():
        Verifier.read(public).check(item)
        for wrong in (replace(item, signature=b""), replace(item, position=item.position._replace(revision=99))):
            with pytest.raises(Exception, match="not signed"):
                Verifier.read(public).check(wrong)
        with pytest.raises(Exception, match="not signed"):
            Verifier.read(other).check(item)
        assert len(item.signature) == 64, name
