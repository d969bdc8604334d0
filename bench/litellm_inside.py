"""What a chat completion's checks take inside LiteLLM's process: its own of team and member, and the gate's.

    python -m bench.litellm_inside AUTHORITY RESULT

by LiteLLM's Python. AUTHORITY has the policy of litellm_world.py; RESULT is a file, which gets a Rounds as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import litellm
from litellm import Router
from litellm.proxy import proxy_server
from litellm.proxy._types import (
    LiteLLM_BudgetTable,
    LiteLLM_TeamMembership,
    LiteLLM_TeamTable,
    ProxyException,
    UserAPIKeyAuth,
)
from litellm.proxy.auth.auth_checks import _check_team_member_model_access, can_team_access_model
from litellm.types.utils import CallTypes

from bench.litellm_rounds import HOOKS, LOCAL, OWN, REMOTE, REMOTE_REQUESTS, REQUESTS, ROUNDS, Rounds
from bench.litellm_world import (
    ALLOWED,
    JSON,
    KINDS,
    TEAMS,
    Ask,
    asks,
    callers,
    chat,
    deployments,
    member_lists,
    team_id,
    team_lists,
    user_id,
)
from policy_client.litellm.gate import PolicyGate
from policy_client.litellm.refusal import GateRefusal
from policy_client.litellm.settings import Settings

ROUTE = "/v1/chat/completions"
KEPT_S = 3_600  # far longer than a run; the proxy's own cache forgets after a minute
_DATABASE: Any = object()  # has to be there, and is not asked


class Call(NamedTuple):
    """A request as the proxy has it when it asks: the key, what the first hook gets, what the last one gets."""

    ask: Ask
    key: UserAPIKeyAuth
    data: JSON
    kwargs: JSON


class Way(Protocol):
    async def allows(self, call: Call) -> bool:
        """All checks of the request, and whether they let it through."""


class Own:
    """LiteLLM's check of a request with a key of a team, as `common_checks` makes it. Memberships are in the proxy's
    cache, so that no database is asked."""

    def __init__(self) -> None:
        models = {team_id(team): team_lists(team).entries for team in range(TEAMS)}
        self._teams = {team: LiteLLM_TeamTable(team_id=team, models=listed) for team, listed in models.items()}

    async def fill(self) -> None:
        for team, member in callers():
            row = LiteLLM_TeamMembership(
                user_id=user_id(team, member),
                team_id=team_id(team),
                litellm_budget_table=LiteLLM_BudgetTable(allowed_models=member_lists(team, member).entries),
            )
            await proxy_server.user_api_key_cache.async_set_cache(
                key=f"team_membership:{row.user_id}:{row.team_id}",
                value=row,
                model_type=LiteLLM_TeamMembership,
                ttl=KEPT_S,
            )

    async def allows(self, call: Call) -> bool:
        team, router = self._teams[call.ask.team], proxy_server.llm_router
        try:
            await can_team_access_model(
                model=call.ask.model,
                team_object=team,
                llm_router=router,
                team_model_aliases=call.key.team_model_aliases,
            )
            await _check_team_member_model_access(
                model=call.ask.model,
                team_object=team,
                valid_token=call.key,
                llm_router=router,
                prisma_client=_DATABASE,
                user_api_key_cache=proxy_server.user_api_key_cache,
                proxy_logging_obj=proxy_server.proxy_logging_obj,
            )
        except ProxyException:
            return False
        return True


class Gate:
    """The hooks of the gate that one chat completion runs, in LiteLLM's order and with its arguments."""

    def __init__(self, settings: Settings) -> None:
        self._gate = PolicyGate(settings)

    def switch_on(self) -> None:
        litellm.callbacks = [self._gate]

    async def limits(self, call: Call) -> None:
        await litellm.callbacks[0].async_pre_call_hook(
            user_api_key_dict=call.key, cache=None, data=call.data, call_type="acompletion"
        )

    async def before(self, call: Call) -> None:
        await self._gate.async_pre_call_hook(
            user_api_key_dict=call.key, cache=None, data=call.data, call_type="acompletion"
        )

    async def choosing(self, call: Call) -> None:
        await self._gate.async_filter_deployments(
            model=call.ask.model,
            healthy_deployments=[],
            messages=call.data["messages"],
            request_kwargs=call.data,
            parent_otel_span=None,
        )

    async def calling(self, call: Call) -> None:
        await self._gate.async_pre_call_deployment_hook(call.kwargs, CallTypes.acompletion)

    async def allows(self, call: Call) -> bool:
        try:
            await self.limits(call)
            await self.before(call)
            await self.choosing(call)
            await self.calling(call)
        except GateRefusal:
            return False
        return True

    def hooks(self) -> dict[str, Callable[[Call], Awaitable[None]]]:
        return dict(zip(HOOKS, (self.limits, self.before, self.choosing, self.calling), strict=True))


def prepared(ask: Ask) -> Call:
    """As the proxy makes it of the request's body and its key."""
    key = UserAPIKeyAuth(
        api_key=f"{ask.team}/{ask.user}", team_id=ask.team, user_id=ask.user, request_route=ROUTE, metadata={}
    )
    body, metadata = chat(ask.model), _metadata(key)
    noted = {"url": f"http://127.0.0.1:4000{ROUTE}", "method": "POST", "headers": metadata["headers"], "body": body}
    data = {**body, "metadata": metadata, "proxy_server_request": noted, "litellm_call_id": "c", "secret_fields": {}}
    deployment = f"openai/{ask.model}"
    routed = {**metadata, "model_group": ask.model, "deployment": deployment, "model_info": {"id": "d"}}
    return Call(ask, key, data, {**data, "model": deployment, "metadata": routed, "api_key": "none", "max_retries": 0})


def _metadata(key: UserAPIKeyAuth) -> JSON:
    """Of the fifty fields that LiteLLM puts there those with something in them."""
    headers = {"host": "127.0.0.1:4000", "user-agent": "OpenAI/Python 2.8.1", "content-type": "application/json"}
    return {
        "headers": headers,
        "requester_metadata": {},
        "user_api_key": key.api_key,
        "user_api_key_hash": key.token,
        "user_api_key_team_id": key.team_id,
        "user_api_key_user_id": key.user_id,
        "user_api_key_request_route": ROUTE,
        "user_api_key_metadata": {},
        "user_api_key_auth_metadata": {},
        "user_api_key_auth": key,
        "endpoint": f"http://127.0.0.1:4000{ROUTE}",
        "requester_ip_address": "127.0.0.1",
        "queue_time_seconds": 0.004,
    }


async def timed(way: Way, asked: Sequence[Ask], allowed: bool) -> tuple[float, float]:
    """Microseconds of a request: of a processor, and by the clock. Raises RuntimeError for a wrong answer."""
    calls = [prepared(ask) for ask in asked]
    gc.collect()
    began, began_cpu = time.perf_counter(), time.process_time()
    for call in calls:
        if await way.allows(call) is not allowed:
            raise RuntimeError(f"{type(way).__name__} {'denies' if allowed else 'allows'} {call.ask}")
    taken_cpu, taken = time.process_time() - began_cpu, time.perf_counter() - began
    return taken_cpu / len(calls) * 1e6, taken / len(calls) * 1e6


async def timed_hooks(gate: Gate, asked: Sequence[Ask]) -> dict[str, float]:
    """Microseconds of each hook by the clock, one after the other as in a request; the median of the requests."""
    calls, hooks = [prepared(ask) for ask in asked], gate.hooks()
    taken: dict[str, list[float]] = {name: [] for name in hooks}
    gc.collect()
    for call in calls:
        for name, hook in hooks.items():
            began = time.perf_counter()
            await hook(call)
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) * 1e6 for name, times in taken.items()}


async def measured(authority: str) -> Rounds:
    proxy_server.llm_router = Router(model_list=deployments())
    own, gates = Own(), {LOCAL: Gate(Settings(follow=f"grpc://{authority}")), REMOTE: Gate(Settings(server=authority))}
    await own.fill()
    ways: dict[str, Way] = {OWN: own, **gates}
    for gate in gates.values():  # which start now
        gate.switch_on()
        await timed(gate, asks(ALLOWED, 20, -1), allowed=True)
    gc.collect()
    gc.freeze()
    found = Rounds(
        version("litellm"),
        {kind: {way: [] for way in ways} for kind in KINDS},
        {kind: {way: [] for way in ways} for kind in KINDS},
        {way: {hook: [] for hook in HOOKS} for way in gates},
    )
    for number in range(ROUNDS):
        await _round(found, ways, number)
    return found


async def _round(found: Rounds, ways: dict[str, Any], number: int) -> None:
    for name, way in ways.items():
        count = REMOTE_REQUESTS if name == REMOTE else REQUESTS
        if isinstance(way, Gate):
            way.switch_on()
            await timed(way, asks(ALLOWED, 1, number), allowed=True)  # so that it has taken its places
            for hook, taken in (await timed_hooks(way, asks(ALLOWED, count, number))).items():
                found.hooks_us[name][hook].append(taken)
        for kind in KINDS:
            cpu_us, wall_us = await timed(way, asks(kind, count, number), allowed=kind == ALLOWED)
            found.cpu_us[kind][name].append(cpu_us)
            found.wall_us[kind][name].append(wall_us)


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(asyncio.run(measured(sys.argv[1]))._asdict()))
