"""What a replica makes of an authority that is not there yet, is there, goes away and comes back: one table, over the
grpcio server and the data plane of a replica, and a local replica."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

import policy_service.dataplane.supervisor
from policy_client import LocalPolicy
from policy_service.addresses import Address
from policy_service.envoy_v3.external_auth_pb2 import CheckResponse
from policy_service.replication.replica import Condition
from tests.ext_authz.asking import chat, no_answer
from tests.support import examples
from tests.support.fronts import DATA_PLANE, LOCAL, REPLICA, Front, Local, Outcome, Refusal, Served, that_can
from tests.support.messages import check
from tests.support.replicas import FRESH, STALE, SYNCING, following, status
from tests.support.rpc import ACCESS, Rpc, connect
from tests.support.waiting import until

from .bad_questions import at_least

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
FRONTS = (REPLICA, DATA_PLANE, LOCAL)


class Wanted(NamedTuple):
    """What a replica says then: answers that say whether they are stale, or `refused`, words of a refusal. Whoever
    refuses does not serve."""

    state: int
    stale: bool = False
    refused: str = ""


NO_POLICY = Wanted(SYNCING, refused="no policy yet")
IS_FRESH = Wanted(FRESH)

# With these options, what a replica says while the authority is gone.
GONE: Mapping[str, tuple[dict[str, Any], Wanted]] = {
    "stale, served": ({}, Wanted(STALE, stale=True)),
    "stale, refused": ({"refuse_when_stale": True}, Wanted(STALE, refused="stale, and it is configured to refuse")),
    "too old": ({"max_policy_age_s": 1.0}, Wanted(STALE, refused="older than it may be at all")),
    "too old, and refused anyhow": (
        {"max_policy_age_s": 1.0, "refuse_when_stale": True},
        Wanted(STALE, refused="older than it may be at all"),
    ),
}


class Replicas(NamedTuple):
    """The fronts of replicas with the same options, and the health of the two that are served."""

    fronts: Mapping[str, Front]
    listener: Rpc
    data_plane: Rpc
    policy: LocalPolicy


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@asynccontextmanager
async def replicas(start_server: Any, target: str, ext_authz: Path, **options: Any) -> AsyncIterator[Replicas]:
    running = await start_server(
        database=None,
        data_plane=Address("127.0.0.1:0"),
        follow=following(target, max_staleness_s=1.0, **options),
        ext_authz_config=ext_authz,
    )
    async with (
        connect(running.target) as listener,
        connect(running.server.data_plane, use_local_subchannel_pool=1) as data_plane,
        LocalPolicy(f"grpc://{target}", max_staleness_s=1.0, revision_wait_s=60, **options) as policy,
    ):
        fronts = {REPLICA: Served(listener), DATA_PLANE: Served(data_plane), LOCAL: Local(policy)}
        yield Replicas(fronts, listener, data_plane, policy)


async def in_state(found: Replicas, wanted: Wanted) -> None:
    """Waits until all three are, by their health or by what they say of themselves."""
    serving = NOT_SERVING if wanted.refused else SERVING
    follower = SERVING if wanted.state == FRESH else NOT_SERVING
    expected = {"": serving, ACCESS.full_name: serving, "follower": follower}

    async def healthy(rpc: Rpc) -> bool:
        asked = [rpc.health.Check(HealthCheckRequest(service=name), wait_for_ready=True) for name in expected]
        return [answer.status for answer in await asyncio.gather(*asked)] == list(expected.values())

    async def listener_says_so() -> bool:
        name = HealthCheckRequest(service="data_plane")
        plane = (await found.listener.health.Check(name)).status
        return plane == serving and (await status(found.listener)).state == wanted.state

    async def local_says_so() -> bool:
        return found.policy.condition is Condition[{SYNCING: "SYNCING", FRESH: "FRESH", STALE: "STALE"}[wanted.state]]

    await until(lambda: healthy(found.listener), f"the listener's health is {expected}")
    await until(lambda: healthy(found.data_plane), f"the data plane's health is {expected}")
    await until(listener_says_so, f"the listener says that it is {wanted}")
    await until(local_says_so, f"the local replica is {wanted}")
    if wanted.refused:
        await until(lambda: _refuses(found.fronts[LOCAL], wanted), f"the local replica refuses: {wanted.refused}")


async def _refuses(front: Front, wanted: Wanted) -> bool:
    answer = await front.ask(check("other", "ann", "m"))
    return isinstance(answer, Refusal) and wanted.refused in answer.message


def assert_says(name: str, question: Message, answer: Outcome, wanted: Wanted) -> None:
    """An answer of AccessService; `stale` is in the decision of an explanation."""
    shown = f"{name}, {type(question).__name__}, {wanted}: {answer}"
    if wanted.refused:
        assert isinstance(answer, Refusal), shown
        assert (answer.code, answer.reason) == (UNAVAILABLE, "UNAVAILABLE"), shown
        assert wanted.refused in answer.message, shown
        assert name == LOCAL or answer.retry_delay_s == 1, shown
        return
    assert not isinstance(answer, Refusal), shown
    told: Any = answer
    assert (told.decision if hasattr(told, "decision") else told).stale is wanted.stale, shown


async def assert_answers(found: Replicas, wanted: Wanted, revision: str) -> None:
    """Every RPC, with and without a revision that is reached; Envoy's, too, which is given an HTTP response where
    there is no policy to decide by."""
    for name, front in found.fronts.items():
        for question in (*at_least(""), *at_least(revision)):
            if name in that_can(question):
                assert_says(name, question, await front.ask(question), wanted)
        authorized = chat({"model": "gpt-4o"}, ("x-team", "other"))
        if not front.cannot(authorized):
            answer = await front.ask(authorized)
            assert isinstance(answer, CheckResponse)
            if wanted.refused:
                no_answer(answer)
            else:
                assert answer.status.code in (0, 7, 16)


@pytest.mark.parametrize("gone", GONE)
async def test_an_outage(start_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gone: str) -> None:
    """The authority is not there, comes, goes, and comes back."""
    monkeypatch.setattr(policy_service.dataplane.supervisor, "START_S", 0.1)  # it cannot serve before it has a policy
    options, wanted = GONE[gone]
    target = f"127.0.0.1:{free_port()}"
    configuration = tmp_path / "ext-authz.yaml"
    configuration.write_text("identity: {headers: {team: x-team}}\n")
    async with replicas(start_server, target, configuration, **options) as found, connect(target) as authority:
        await in_state(found, NO_POLICY)
        await assert_answers(found, NO_POLICY, "e.1")

        main = await start_server(listen=Address(target))
        await examples.build(authority)
        await in_state(found, IS_FRESH)
        revision = await authority.head()
        await assert_answers(found, IS_FRESH, revision)

        await main.stop()
        await in_state(found, wanted)
        await assert_answers(found, wanted, revision)

        await start_server(listen=Address(target))
        await in_state(found, IS_FRESH)
        await assert_answers(found, IS_FRESH, await authority.head())
        assert found.fronts.keys() == set(FRONTS)
