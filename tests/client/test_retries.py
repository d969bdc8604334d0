"""Deadlines, retries, cancellation and lifetimes, against real servers with scripted answers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo

from policy_client import (
    AccessClient,
    AdminClient,
    DeadlineExceeded,
    PolicyClientError,
    RetryPolicy,
    Unavailable,
)
from policy_service.v1.access_pb2 import CheckModelAccessResponse
from policy_service.v1.admin_pb2 import AddMemberResponse
from policy_service.v1.resources_pb2 import Member, Team

from .scripted import Refusal, Script, serving

ALLOWED = CheckModelAccessResponse(allowed=True, resolved_model="gpt-4o", revision="e.1")
UNAVAILABLE = Refusal(grpc.StatusCode.UNAVAILABLE, "starting")
QUICK = RetryPolicy(initial_delay_s=0.001)


async def hang(_: Any) -> Message:
    await asyncio.sleep(60)
    raise AssertionError


def retry_after(delay_s: float) -> Refusal:
    info = RetryInfo(retry_delay=Duration(seconds=int(delay_s), nanos=int(delay_s % 1 * 1e9)))
    return Refusal(grpc.StatusCode.UNAVAILABLE, "later", (info,))


async def test_unavailable_is_tried_again() -> None:
    script = Script([UNAVAILABLE, UNAVAILABLE, ALLOWED])
    async with serving(script) as target, AccessClient(target, retry=QUICK) as access:
        assert (await access.check("support", "sam", "gpt-4o")).allowed
    assert len(script.requests) == 3


async def test_it_gives_up_after_the_last_attempt() -> None:
    script = Script([UNAVAILABLE])
    async with serving(script) as target, AccessClient(target, retry=QUICK) as access:
        with pytest.raises(Unavailable, match="starting"):
            await access.check("support", "sam", "gpt-4o")
    assert len(script.requests) == 4


@pytest.mark.parametrize(
    "code",
    [c for c in grpc.StatusCode if c not in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)],
    ids=lambda code: code.name,
)
async def test_nothing_else_is_tried_again(code: grpc.StatusCode) -> None:
    script = Script([Refusal(code)])
    async with serving(script) as target, AccessClient(target, retry=QUICK) as access:
        with pytest.raises(PolicyClientError):
            await access.check("support", "sam", "gpt-4o")
    assert len(script.requests) == 1


async def test_the_server_may_ask_for_a_longer_wait() -> None:
    script = Script([retry_after(0.3), ALLOWED])
    async with serving(script) as target, AccessClient(target, retry=QUICK) as access:
        await access.check("support", "sam", "gpt-4o")
    assert script.times_s[1] - script.times_s[0] >= 0.3


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    script = Script([retry_after(60), ALLOWED])
    async with serving(script) as target, AccessClient(target, retry=QUICK) as access:
        started = time.monotonic()
        with pytest.raises(Unavailable, match="later"):
            await access.check("support", "sam", "gpt-4o", timeout_s=20)
        assert time.monotonic() - started < 10
    assert len(script.requests) == 1


async def test_a_check_has_a_deadline_of_a_second() -> None:
    async with serving(Script([hang])) as target, AccessClient(target) as access:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await access.check("support", "sam", "gpt-4o")
        assert 0.9 < time.monotonic() - started < 5


async def test_the_deadline_covers_all_attempts() -> None:
    script = Script([UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, hang])
    retry = RetryPolicy(attempts=1_000, initial_delay_s=0.05)
    async with serving(script) as target, AccessClient(target, retry=retry) as access:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await access.check("support", "sam", "gpt-4o", timeout_s=0.5)
        assert 0.4 < time.monotonic() - started < 5


async def test_retries_end_at_the_deadline() -> None:
    retry = RetryPolicy(attempts=1_000, initial_delay_s=0.05)
    async with serving(Script([UNAVAILABLE])) as target, AccessClient(target, retry=retry) as access:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            await access.check("support", "sam", "gpt-4o", timeout_s=0.5)
        assert time.monotonic() - started < 5


async def test_a_mutation_is_retried_under_one_request_id() -> None:
    script = Script([UNAVAILABLE, UNAVAILABLE, AddMemberResponse(), AddMemberResponse()])
    async with serving(script) as target, AdminClient(target, retry=QUICK) as admin:
        await admin.add_member(Member(team="support", user="sam"))
        await admin.add_member(Member(team="support", user="sam"))
        await admin.add_member(Member(team="support", user="sam"), request_id="mine")
    ids = [request.request_id for request in script.requests]
    assert len(ids[0]) >= 32
    assert ids[0] == ids[1] == ids[2] != ids[3]
    assert ids[4] == "mine"


async def test_mutation_options_reach_the_server() -> None:
    script = Script([AddMemberResponse()])
    async with serving(script) as target, AdminClient(target) as admin:
        await admin.add_member(Member(team="support", user="sam"), validate_only=True)
        await admin.add_member(Member(team="support", user="sam"))
    assert [request.validate_only for request in script.requests] == [True, False]


async def test_cancellation_passes_through_and_ends_the_call() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: Any) -> Message:
        started.set()
        try:
            return await hang(_)
        finally:
            ended.set()

    async with serving(Script([wait])) as target, AccessClient(target) as access:
        task = asyncio.create_task(access.check("support", "sam", "gpt-4o", timeout_s=30))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_callers_own_timeout_passes_through() -> None:
    async with serving(Script([hang])) as target, AccessClient(target) as access:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await access.check("support", "sam", "gpt-4o", timeout_s=30)


async def test_closing_the_client_ends_its_calls_with_an_error_not_a_cancellation() -> None:
    started = asyncio.Event()

    async def wait(context: Any) -> Message:
        started.set()
        return await hang(context)

    async with serving(Script([wait])) as target:
        access = AccessClient(target)
        task = asyncio.create_task(access.check("support", "sam", "gpt-4o", timeout_s=30))
        await started.wait()
        await access.close()
        with pytest.raises(PolicyClientError, match="closed during the call") as caught:
            await task
        assert not caught.value.may_fail_open


async def test_a_closed_client_says_so() -> None:
    async with serving(Script([ALLOWED])) as target:
        used, unused = AccessClient(target), AccessClient(target)
        await used.check("support", "sam", "gpt-4o")
        for access in (used, unused):
            await access.close()
            await access.close()
            with pytest.raises(PolicyClientError, match="the client is closed"):
                await access.check("support", "sam", "gpt-4o")


async def test_a_channel_that_was_given_stays_open() -> None:
    async with serving(Script([ALLOWED])) as target, grpc.aio.insecure_channel(target) as channel:
        async with AccessClient(channel=channel) as access:
            assert (await access.check("support", "sam", "gpt-4o")).allowed
        async with AccessClient(channel=channel) as access:
            assert (await access.check("support", "sam", "gpt-4o")).allowed


async def test_a_given_channel_that_its_owner_closed_is_an_error_of_the_library() -> None:
    channel = grpc.aio.insecure_channel("127.0.0.1:1")
    async with AccessClient(channel=channel) as access:
        await channel.close()
        with pytest.raises(PolicyClientError, match="closed") as caught:
            await access.check("support", "sam", "gpt-4o")
        assert not caught.value.may_fail_open


async def test_nobody_there_is_unavailable() -> None:
    async with AccessClient("127.0.0.1:1") as access:
        with pytest.raises(Unavailable) as caught:
            await access.check("support", "sam", "gpt-4o")
    assert caught.value.may_fail_open


async def test_a_client_survives_restarts_of_its_server() -> None:
    script = Script([ALLOWED])
    async with serving(script) as target:
        access = AccessClient(target)
        await access.check("support", "sam", "gpt-4o")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await access.check("support", "sam", "gpt-4o")
        async with serving(script, target):
            assert (await _eventually(access)).allowed
    await access.close()


async def test_a_mutation_outlasts_a_restart_by_itself() -> None:
    script = Script([AddMemberResponse()])
    async with serving(script) as target:
        admin = AdminClient(target)
        await admin.add_member(Member(team="support", user="sam"))
    retry = asyncio.create_task(admin.add_member(Member(team="support", user="sue")))
    await asyncio.sleep(0.1)
    async with serving(script, target):
        await retry
    await admin.close()
    assert [request.member.user for request in script.requests] == ["sam", "sue"]


async def test_an_answer_may_be_large() -> None:
    team = Team(id="support", labels={str(n): "x" * 250 for n in range(40_000)})
    assert team.ByteSize() > 10 << 20
    async with serving(Script([team])) as target, AdminClient(target) as admin:
        assert await admin.get_team("support") == team


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
async def test_a_deadline_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        AccessClient("127.0.0.1:1", timeout_s=timeout_s)
    async with AccessClient("127.0.0.1:1") as access:
        with pytest.raises(ValueError, match="more than 0 seconds"):
            await access.check("support", "sam", "gpt-4o", timeout_s=timeout_s)


def test_the_waits_grow_are_random_and_bounded() -> None:
    policy = RetryPolicy(initial_delay_s=0.1, max_delay_s=0.5)
    for retry, ceiling in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (50, 0.5)):
        delays = [policy.delay_s(retry, None) for _ in range(500)]
        assert 0 <= min(delays) < ceiling * 0.1
        assert ceiling * 0.9 < max(delays) <= ceiling
        assert 2 <= policy.delay_s(retry, 2) <= 2 + ceiling


def test_a_policy_that_makes_no_sense_is_refused() -> None:
    for bad in ({"attempts": 0}, {"initial_delay_s": -1.0}, {"max_delay_s": -1.0}):
        with pytest.raises(ValueError, match="at least 1 attempt"):
            RetryPolicy(**bad)


async def _eventually(access: AccessClient) -> CheckModelAccessResponse:
    async with asyncio.timeout(5):
        while True:
            try:
                return await access.check("support", "sam", "gpt-4o")
            except Unavailable:
                await asyncio.sleep(0.05)
