"""LocalPolicy over gRPC against the service."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from policy_client import (
    TLS,
    AccessClient,
    AdminClient,
    DeadlineExceeded,
    InvalidArgument,
    LocalPolicy,
    PolicyClientError,
    PreconditionFailed,
    RetryPolicy,
    Unavailable,
)
from policy_service.addresses import Address
from policy_service.domain.decide import Reason
from policy_service.services.auth import hash_token, new_token
from policy_service.v1 import access_pb2 as pb
from policy_service.v1.resources_pb2 import Member, MemberLimits, ModelScope, Team
from tests.security.certificates import Pki
from tests.support.keys import key_pair
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

WAIT_S = 60.0
NOWHERE = "grpc://127.0.0.1:1"
QUESTION = ("support", "sam", "fast")


@pytest.fixture
async def authority(start_server: StartServer) -> RunningServer:
    """A server with a team `support`, in it `sam` who may use `gpt-4o-mini` and the alias `fast`."""
    server = await start_server()
    async with AdminClient(server.target) as admin:
        await admin.create_team(
            Team(
                id="support",
                models=ModelScope(models=["gpt-*"]),
                model_aliases={"fast": "gpt-4o-mini"},
                default_team_member_models=ModelScope(models=["gpt-4o-mini"]),
                default_member_limits=MemberLimits(rpm_limit=60),
            ),
            [Member(user="sam"), Member(user="ann")],
        )
    return server


@pytest.fixture
async def admin(authority: RunningServer) -> AsyncIterator[AdminClient]:
    async with AdminClient(authority.target) as admin:
        yield admin


@pytest.fixture
async def policy(authority: RunningServer) -> AsyncIterator[LocalPolicy]:
    """One that is fresh."""
    async with following(authority) as policy:
        await policy.wait_until_fresh(WAIT_S)
        yield policy


def following(server: RunningServer, **options: Any) -> LocalPolicy:
    return LocalPolicy(f"grpc://{server.target}", **{"revision_wait_s": WAIT_S} | options)


async def is_stale(policy: LocalPolicy) -> bool:
    return str(policy.condition) == "STALE"


# Answers


async def test_check(policy: LocalPolicy) -> None:
    allowed = await policy.check(*QUESTION)
    assert (allowed.allowed, allowed.reason) == (True, pb.ALLOWED_BY_MEMBER_SCOPE)
    assert (allowed.resolved_model, allowed.limits.rpm_limit) == ("gpt-4o-mini", 60)
    assert (allowed.revision, allowed.stale) == (policy.revision, False)
    denied = await policy.check("support", "sam", "gpt-4o")
    assert (denied.allowed, denied.reason) == (False, pb.MODEL_NOT_IN_MEMBER_SCOPE)
    assert (await policy.check("support", "", "gpt-4o")).reason == pb.NOT_A_MEMBER
    assert (await policy.check("nobody", "sam", "gpt-4o")).reason == pb.TEAM_NOT_FOUND


async def test_a_check_is_answered_as_the_service_does(policy: LocalPolicy, authority: RunningServer) -> None:
    async with AccessClient(authority.target) as access:
        for user in ("sam", "ann", "eve", ""):
            for model in ("fast", "gpt-4o-mini", "gpt-4o", "o1"):
                assert await policy.check("support", user, model) == await access.check("support", user, model)


async def test_decide(policy: LocalPolicy) -> None:
    decision = policy.decide(*QUESTION)
    assert (decision.allowed, decision.reason) == (True, Reason.ALLOWED_BY_MEMBER_SCOPE)
    assert decision.resolved_model == "gpt-4o-mini"
    assert not policy.decide("support", "sam", "gpt-4o").allowed


async def test_it_follows(policy: LocalPolicy, admin: AdminClient) -> None:
    for blocked in (True, False):
        change = await admin.update_member(Member(team="support", user="sam", blocked=blocked))
        answer = await policy.check(*QUESTION, at_least_revision=change.revision)
        assert (answer.allowed, answer.revision) == (not blocked, change.revision)
        assert policy.revision == change.revision


async def test_a_revocation_is_seen_by_who_names_its_revision(policy: LocalPolicy, admin: AdminClient) -> None:
    for _ in range(100):
        removed = await admin.remove_member("support", "ann")
        assert not (await policy.check("support", "ann", "fast", at_least_revision=removed.revision)).allowed
        added = await admin.add_member(Member(team="support", user="ann"))
        assert (await policy.check("support", "ann", "fast", at_least_revision=added.revision)).allowed


async def test_how_it_is(policy: LocalPolicy, authority: RunningServer) -> None:
    assert str(policy.condition) == "FRESH"
    assert policy.age_s is not None
    assert 0 <= policy.age_s < WAIT_S
    assert policy.last_error == ""
    async with AccessClient(authority.target) as access:
        assert policy.revision == (await access.check(*QUESTION)).revision


# A revision that is not there


async def test_a_revision_that_does_not_come_is_no_reason_to_fail_open(authority: RunningServer) -> None:
    async with following(authority, revision_wait_s=0.05) as policy:
        await policy.wait_until_fresh(WAIT_S)
        epoch, _, number = policy.revision.partition(".")
        for wanted in (f"{epoch}.{int(number) + 1}", "another.1"):
            with pytest.raises(PreconditionFailed) as caught:
                await policy.check(*QUESTION, at_least_revision=wanted)
            assert (caught.value.reason, caught.value.may_fail_open) == ("REVISION_NOT_REACHED", False)
            assert caught.value.metadata == {"current_revision": policy.revision}
            assert caught.value.preconditions[0].subject == wanted


async def test_the_error_is_that_of_a_remote_check(policy: LocalPolicy, authority: RunningServer) -> None:
    epoch, _, number = policy.revision.partition(".")
    async with AccessClient(authority.target) as access:
        for wanted in (f"{epoch}.{int(number) + 1}", "no revision"):
            errors = []
            for client in (policy, access):
                with pytest.raises(PolicyClientError) as caught:
                    await client.check(*QUESTION, at_least_revision=wanted, timeout_s=0.3)
                errors.append(vars(caught.value) | {"class": type(caught.value), "rpc": ""})
            assert errors[0] == errors[1]


async def test_a_timeout_bounds_the_wait_for_a_revision(policy: LocalPolicy) -> None:
    """With a wait that outlasts the test."""
    with pytest.raises(PreconditionFailed):
        await policy.check(*QUESTION, at_least_revision="another.1", timeout_s=0.2)


# Where the local policy cannot be used


async def test_without_a_policy_it_is_unavailable() -> None:
    async with LocalPolicy(NOWHERE) as policy:
        for call in (lambda: policy.check(*QUESTION), lambda: policy.check(*QUESTION, at_least_revision="a.1")):
            with pytest.raises(Unavailable, match="no policy yet") as caught:
                await call()
            assert caught.value.may_fail_open
        with pytest.raises(Unavailable, match="no policy yet"):
            policy.decide(*QUESTION)
        assert (policy.condition, policy.revision, policy.age_s) == ("SYNCING", "", None)


async def test_waiting_for_one_that_does_not_come_says_why() -> None:
    async with LocalPolicy(NOWHERE) as policy:

        async def failed() -> bool:
            return bool(policy.last_error)

        await until(failed, "it says why")
        with pytest.raises(DeadlineExceeded, match=rf"the policy is SYNCING after 0\.05 s: {NOWHERE}: UNAVAILABLE"):
            await policy.wait_until_fresh(0.05)


async def test_a_remote_is_asked_without_a_policy(authority: RunningServer) -> None:
    async with AccessClient(authority.target) as remote, LocalPolicy(NOWHERE, remote=remote) as policy:
        answer = await policy.check(*QUESTION)
        assert answer == await remote.check(*QUESTION)
        again = await policy.check(*QUESTION, at_least_revision=answer.revision, timeout_s=WAIT_S)
        assert again == answer
        with pytest.raises(InvalidArgument):
            await policy.check("", "sam", "fast")
        await policy.close()
        assert await policy.check(*QUESTION) == answer, "also when it is closed"


async def test_a_remote_is_asked_for_a_revision_that_is_not_reached(start_server: StartServer, tmp_path: Path) -> None:
    """It follows another authority than the remote is."""
    other = await start_server(database=tmp_path / "other.db")
    newer = await start_server(database=tmp_path / "newer.db")
    async with AccessClient(newer.target) as remote, following(other, remote=remote, revision_wait_s=0.0) as policy:
        await policy.wait_until_fresh(WAIT_S)
        answer = await remote.check(*QUESTION)
        assert (await policy.check(*QUESTION, at_least_revision=answer.revision)).revision == answer.revision
        assert (await policy.check(*QUESTION)).revision == policy.revision != answer.revision


async def test_a_remote_that_does_not_answer_turns_no_deny_into_fail_open(authority: RunningServer) -> None:
    retry = RetryPolicy(attempts=1)
    async with AccessClient("127.0.0.1:1", retry=retry) as remote:
        async with following(authority, remote=remote, revision_wait_s=0.0) as policy:
            await policy.wait_until_fresh(WAIT_S)
            with pytest.raises(PreconditionFailed) as caught:
                await policy.check(*QUESTION, at_least_revision="another.1")
            assert not caught.value.may_fail_open
        async with LocalPolicy(NOWHERE, remote=remote) as policy:
            with pytest.raises(Unavailable):
                await policy.check(*QUESTION)


async def test_a_remote_gets_what_is_left_of_the_time(authority: RunningServer) -> None:
    asked: list[float | None] = []

    class Remote(AccessClient):
        async def check(self, *args: Any, timeout_s: float | None = None, **kwargs: Any) -> Any:
            asked.append(timeout_s)
            return pb.CheckModelAccessResponse()

    async with Remote(authority.target) as remote, following(authority, remote=remote) as policy:
        await policy.wait_until_fresh(WAIT_S)
        for timeout_s in (0.5, 0.01):
            await policy.check(*QUESTION, at_least_revision="another.1", timeout_s=timeout_s)
    async with Remote(authority.target) as remote, LocalPolicy(NOWHERE, remote=remote) as policy:
        await policy.check(*QUESTION)
    assert asked[0] is not None
    assert asked[1] is not None
    assert 0 < asked[0] <= 0.11
    assert 0 < asked[1] <= 0.01
    assert asked[2] is None


@pytest.mark.parametrize("refuse", [False, True], ids=["serve", "refuse"])
async def test_stale(authority: RunningServer, refuse: bool) -> None:
    async with following(authority, max_staleness_s=1.0, refuse_when_stale=refuse) as policy:
        await policy.wait_until_fresh(WAIT_S)
        revision = policy.revision
        await authority.stop()
        await until(lambda: is_stale(policy), "it is stale")
        assert policy.age_s is not None
        assert policy.age_s > 1
        if refuse:
            for call in (lambda: policy.check(*QUESTION), lambda: policy.check(*QUESTION, at_least_revision=revision)):
                with pytest.raises(Unavailable, match="stale"):
                    await call()
            with pytest.raises(Unavailable, match="stale"):
                policy.decide(*QUESTION)
        else:
            answer = await policy.check(*QUESTION, at_least_revision=revision)
            assert (answer.allowed, answer.stale, answer.revision) == (True, True, revision)
            assert policy.decide(*QUESTION).allowed
        with pytest.raises(DeadlineExceeded, match=r"the policy is STALE after 0\.01 s: grpc://127"):
            await policy.wait_until_fresh(0.01)


async def test_a_policy_that_is_too_old_is_not_used(authority: RunningServer) -> None:
    async with following(authority, max_staleness_s=1.0, max_policy_age_s=1.0) as policy:
        await policy.wait_until_fresh(WAIT_S)
        await authority.stop()
        await until(lambda: is_stale(policy), "it is stale")
        with pytest.raises(Unavailable, match="older than it may be"):
            policy.decide(*QUESTION)


async def test_it_catches_up_with_an_authority_that_comes_back(
    start_server: StartServer, authority: RunningServer
) -> None:
    async with following(authority, max_staleness_s=1.0) as policy:
        await policy.wait_until_fresh(WAIT_S)
        await authority.stop()
        await until(lambda: is_stale(policy), "it is stale")
        assert policy.last_error
        back = await start_server(listen=Address(authority.target))
        async with AdminClient(back.target) as admin:
            change = await admin.remove_member("support", "sam")
        answer = await policy.check(*QUESTION, at_least_revision=change.revision)
        assert not answer.allowed
        await policy.wait_until_fresh(WAIT_S)

        async def forgotten() -> bool:
            return not policy.last_error

        await until(forgotten, "what went wrong is forgotten")


# The state cache


async def test_a_state_cache_serves_at_once(authority: RunningServer, tmp_path: Path) -> None:
    cache = tmp_path / "gateway.cache"
    async with following(authority, state_cache=str(cache)) as policy:
        await policy.wait_until_fresh(WAIT_S)
        revision = policy.revision
    assert cache.exists()
    async with LocalPolicy(NOWHERE, state_cache=cache) as policy:
        assert (policy.condition, policy.revision, policy.age_s) == ("STALE", revision, None)
        answer = await policy.check(*QUESTION)
        assert (answer.allowed, answer.stale) == (True, True)
    async with following(authority, state_cache=cache) as policy:
        await policy.wait_until_fresh(WAIT_S)
        assert not (await policy.check(*QUESTION)).stale


# What it does not take

BAD_OPTIONS: dict[str, tuple[str, dict[str, Any], str]] = {
    "no scheme": ("127.0.0.1:50051", {}, "is none of redis"),
    "another scheme": ("http://127.0.0.1:50051", {}, "is none of redis"),
    "no port": ("grpc://localhost", {}, "no address"),
    "nothing": ("", {}, "is none of redis"),
    "Redis without a key": ("redis://127.0.0.1:6379", {}, "could write policy"),
    "two authorities": (NOWHERE, {"authority": "127.0.0.1:2"}, "the authority is what is followed"),
    "trust in no Redis": (NOWHERE, {"trust_redis": True}, "--trust-redis goes with a Redis"),
    "a token for nobody": ("redis://127.0.0.1:6379", {"trust_redis": True, "token": "x"}, "for the authority"),
    "TLS with nobody": ("redis://127.0.0.1:6379", {"trust_redis": True, "tls": TLS()}, "for the authority"),
    "another machine in plain text": ("grpc://policy.acme.example:1", {}, "is another machine: give tls"),
    "a token for another machine": ("grpc://policy.acme.example:1", {"token": "x"}, "is another machine"),
    "an empty token": (NOWHERE, {"token": ""}, "the token is empty"),
    "half a certificate": (NOWHERE, {"tls": TLS(cert=b"x")}, "needs both cert and key"),
    "stale too soon": (NOWHERE, {"max_staleness_s": 0.5}, "less than 1 s"),
    "a staleness that is none": (NOWHERE, {"max_staleness_s": float("nan")}, "less than 1 s"),
    "too old before it is stale": (NOWHERE, {"max_policy_age_s": 5}, "give at least as much"),
    "an age that is none": (NOWHERE, {"max_policy_age_s": float("nan")}, "give at least as much"),
    "a wait below 0": (NOWHERE, {"revision_wait_s": -1}, "less than 0"),
    "a wait that is none": (NOWHERE, {"revision_wait_s": float("nan")}, "less than 0"),
}


@pytest.mark.parametrize(("follow", "options", "words"), BAD_OPTIONS.values(), ids=BAD_OPTIONS)
def test_bad_options(follow: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LocalPolicy(follow, **options)


async def test_a_key_that_cannot_be_used(tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path)
    for key in (private, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match="verify-key"):
            await LocalPolicy(NOWHERE, verify_key=key).start()


def test_a_tls_file_that_is_not_there() -> None:
    with pytest.raises(OSError, match="/nowhere/ca"):
        LocalPolicy(NOWHERE, tls=TLS(ca="/nowhere/ca"))


BAD_REQUESTS = [
    ("", "sam", "fast"),
    ("support", "sam", ""),
    ("support", "sam", "a,b"),
    ("support", " sam", "fast"),
    ("x" * 257, "sam", "fast"),
    ("support", "\ud800", "fast"),
    ("support", "sam", "\udfff"),
]


@pytest.mark.parametrize("asked", BAD_REQUESTS, ids=ascii)
async def test_bad_requests(policy: LocalPolicy, authority: RunningServer, asked: tuple[str, str, str]) -> None:
    """Refused before anything else, and as the service does."""
    with pytest.raises(InvalidArgument) as local:
        await policy.check(*asked)
    with pytest.raises(InvalidArgument):
        policy.decide(*asked)
    async with AccessClient(authority.target) as access:
        with pytest.raises(InvalidArgument) as remote:
            await access.check(*asked)
    if remote.value.violations:  # what is no Unicode never gets that far
        assert local.value.violations == remote.value.violations
        assert (local.value.reason, local.value.message) == (remote.value.reason, remote.value.message)
    assert local.value.violations


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
async def test_a_timeout_that_is_none(policy: LocalPolicy, timeout_s: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        await policy.check(*QUESTION, timeout_s=timeout_s)


# Who it is


async def test_tls_and_a_token(start_server: StartServer, tmp_path: Path) -> None:
    token, pki, file = new_token(), Pki(tmp_path), tmp_path / "credentials.yaml"
    principal = {"name": "gateway", "token_sha256": hash_token(token), "permissions": ["replicate"]}
    file.write_text(yaml.safe_dump({"principals": [principal]}))
    server = await start_server(credentials=file, **pki.tls)
    async with following(server, token=token, tls=TLS(ca=pki.client_ca)) as policy:
        await policy.wait_until_fresh(WAIT_S)
    async with following(server, token="wrong", tls=TLS(ca=pki.client_ca)) as policy:

        async def told() -> bool:
            return "UNAUTHENTICATED: the token is not known" in policy.last_error

        await until(told, "it says that the token is wrong")
        with pytest.raises(DeadlineExceeded, match=r"SYNCING.*the token is not known"):
            await policy.wait_until_fresh(0.01)


# Its life


async def use(server: RunningServer, **options: Any) -> LocalPolicy:
    """One that was used and closed."""
    async with following(server, **options) as policy:
        await policy.wait_until_fresh(WAIT_S)
        assert (await policy.check(*QUESTION)).allowed
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(policy.check(*QUESTION, at_least_revision="another.1"), 0.01)
    await policy.close()
    return policy


def of_the_library() -> list[str]:
    """The tasks that are its own, not the server's in this process."""
    running = [task.get_coro() for task in asyncio.all_tasks()]
    names = [coroutine.cr_code.co_filename for coroutine in running if asyncio.iscoroutine(coroutine)]
    return [name for name in names if "policy_client" in name or "/replication/" in name]


def connections(target: str) -> int:
    """How many are open to this port."""
    port = f":{int(target.rpartition(':')[2]):04X}"
    tables = [Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(remote.endswith(port) and state == "01" for _, _, remote, state, *_ in lines)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_it_leaves_nothing_behind(authority: RunningServer, tmp_path: Path) -> None:
    """No task, thread or socket, and no complaint of anything that was not closed or awaited."""
    kept = [await use(authority, state_cache=tmp_path / "cache")]  # gRPC keeps some things for the process
    tasks, threads, files = len(asyncio.all_tasks()), len(threading.enumerate()), open_files()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            kept.append(await use(authority, state_cache=tmp_path / "cache"))
            assert of_the_library() == []
        gc.collect()

    async def gone() -> bool:
        is_quiet = len(asyncio.all_tasks()) <= tasks and len(threading.enumerate()) <= threads
        return is_quiet and open_files() <= files and connections(authority.target) == 0

    await until(gone, "what it used is gone")


async def test_two_at_once(authority: RunningServer, admin: AdminClient) -> None:
    """They share nothing: one goes on when the other is closed."""
    async with following(authority) as first, following(authority) as second:
        for policy in (first, second):
            await policy.wait_until_fresh(WAIT_S)
        await first.close()
        change = await admin.remove_member("support", "sam")
        assert not (await second.check(*QUESTION, at_least_revision=change.revision)).allowed


@pytest.mark.parametrize("began", [False, True], ids=["never started", "started"])
async def test_after_the_end_it_is_unavailable(authority: RunningServer, began: bool) -> None:
    policy = following(authority)
    if began:
        await policy.start()
        await policy.wait_until_fresh(WAIT_S)
    for _ in range(2):
        await policy.close()
    for call in (
        lambda: policy.check(*QUESTION),
        lambda: policy.check(*QUESTION, at_least_revision="a.1"),
        lambda: policy.wait_until_fresh(WAIT_S),
    ):
        with pytest.raises(Unavailable, match="not started, or closed"):
            await call()
    with pytest.raises(Unavailable, match="not started, or closed"):
        policy.decide(*QUESTION)


async def test_before_the_start_it_is_unavailable(authority: RunningServer) -> None:
    policy = following(authority)
    assert (policy.condition, policy.revision, policy.age_s, policy.last_error) == ("SYNCING", "", None, "")
    with pytest.raises(Unavailable, match="not started, or closed"):
        policy.decide(*QUESTION)
    for _ in range(2):
        await policy.start()
    await policy.wait_until_fresh(WAIT_S)
    assert policy.decide(*QUESTION).allowed
    await policy.close()
    assert of_the_library() == []


async def test_the_hosts_garbage_collector_is_its_own(authority: RunningServer, tmp_path: Path) -> None:
    before = gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()
    seen = set()
    for _ in range(2):
        async with following(authority, state_cache=tmp_path / "cache") as policy:
            while str(policy.condition) != "FRESH":
                seen.add((gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()))
                await asyncio.sleep(0)
    assert seen <= {before}
    assert (gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()) == before
