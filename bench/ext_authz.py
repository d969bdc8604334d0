"""What ext_authz costs the requests of a gateway: Envoy as in clients/envoy/, with it and without."""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import NamedTuple

from bench.envoy import gateway, upstream
from bench.ext_authz_check import Stages, recorded, time_checks
from bench.http_load import Load, Request, connected
from bench.mix import chosen, loaded
from bench.processes import cpu_s, serving
from bench.report import Cell, Table, percentile
from bench.world import Check, World
from policy_service.domain.decide import Decision, Reason, decide
from policy_service.domain.state import State
from policy_service.ext_authz.settings import read_settings
from policy_service.replication.loading import collector_paused

TITLE = "ext_authz behind Envoy"
WORLD = World(members=100_000, teams=1_000)
REQUESTS = 10_000  # that are different; then they come again
ALLOWED = "allowed"
SHARES = {ALLOWED: 0.8, Reason.MODEL_NOT_IN_TEAM_SCOPE: 0.1, Reason.MODEL_NOT_IN_MEMBER_SCOPE: 0.1}
BODIES = {"small": 300, "64 KiB": 65_536}  # about so many bytes
CONNECTIONS = 32
ROUNDS = 6
WARM_UP_S = 0.1
ROUND_S = {CONNECTIONS: 0.7, 1: 0.4}
SETTINGS = "identity: {headers: {team: x-acme-team, user: x-acme-user}}\n"
TEXT = (
    'Sam\'s report says "costs rose by 4 % in May".\nWhy, and since when? Compare it with the year before, '
    "say what was planned – and what was not – and name the three largest causes. "
)
DIRECT, WITHOUT, WITH, FAST = WAYS = "no gateway", "without ext_authz", "with ext_authz", "with, data plane"
GUARDED = (WITH, FAST)
PROCESSES = ("client", "upstream", "Envoy", "service")

Key = tuple[str, int, str]  # body, connections, way

RATES = f"""{CONNECTIONS} connections, each with one request at a time. {SHARES[ALLOWED]:.0%} of the requests are
allowed, the others are denied by the team or the member, in equal parts, and do not reach the upstream; every status is
checked. Callers are random, of {WORLD.members:,} members. The gateways are clients/envoy/envoy.yaml with one worker and
its access log, but identity from headers, and one of them without the filter. *With ext_authz* they ask the service's
grpcio listener, *with, data plane* its fast data plane. The upstream is one more Envoy, which reads the whole request
and gives a fixed answer: requests are really forwarded, and what that takes is not in the gateway's processor time. *No
gateway*: the client straight at the upstream, the most that this client can do. The ways take turns, {ROUNDS} rounds;
shown are medians. All processes share the cores of this machine: with a core for each, the slowest of them alone would
set the rate."""
LATENCIES = """One connection, one request at a time, in the same rounds; all answers of a way together. *Added*: the
allowed requests with ext_authz against all without."""
TIMES = """Microseconds of a processor for each request, over all rounds. With ext_authz a fifth of the requests does
not reach the upstream."""
CHECKS = """In this process, with the CheckRequests that Envoy sends: *decode* them, *check* them
(`AuthorizationService.Check`), *encode* the answers; medians. *The service*: its processor time of a request, as above;
what is not the check is gRPC and the event loop. Added latency: p50, as above."""


@dataclass
class Tally:
    """What was measured of one body, number of connections and way."""

    rates: list[float] = field(default_factory=list)
    allowed_ms: list[float] = field(default_factory=list)
    denied_ms: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    async def add_round(self, load: Load, seconds: float, clocks: Mapping[str, Callable[[], float]]) -> None:
        before = {name: clock() for name, clock in clocks.items()}
        answers = await load.run(seconds)
        for name, clock in clocks.items():
            self.cpu_s[name] += clock() - before[name]
        self.rates.append(answers.count / answers.seconds)
        self.allowed_ms += answers.allowed_ms
        self.denied_ms += answers.denied_ms

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def p50_ms(self) -> float:
        """Of those that passed."""
        return percentile(self.allowed_ms, 50)

    def cpu_us(self, name: str) -> float:
        return self.cpu_s[name] / (len(self.allowed_ms) + len(self.denied_ms)) * 1e6


class Way(NamedTuple):
    """Where the client sends its requests, and the processor time of everybody who then works."""

    port: int
    clocks: Mapping[str, Callable[[], float]]


async def measure(folder: Path) -> list[Table]:
    database, settings_file = await WORLD.database(folder), folder / "ext-authz.yaml"
    settings_file.write_text(SETTINGS)
    with collector_paused(owns_process=True):  # as in a server
        state = await loaded(database)
        requests = _requests(_chosen(state))
    settings = read_settings(SETTINGS, settings_file.name)
    options = (
        f"--database={database}",
        f"--ext-authz-config={settings_file}",
        "--drain-timeout-s=1",
        "--data-plane=127.0.0.1:0",
    )
    async with upstream(folder) as (behind, port):
        stages = {
            body: time_checks(state, settings, await recorded(folder, port, asked), asked)
            for body, asked in requests.items()
        }
        async with (
            serving(*options) as service,
            gateway(folder, port) as (plain, plain_port),
            gateway(folder, port, await service.target()) as (guarded, guarded_port),
            gateway(folder, port, await service.target("data_plane")) as (fast, fast_port),
        ):
            data_plane = partial(cpu_s, service.children())
            clocks = {"client": time.process_time, "upstream": behind.cpu_s}
            ways = {
                DIRECT: Way(port, clocks),
                WITHOUT: Way(plain_port, clocks | {"Envoy": plain.cpu_s}),
                WITH: Way(guarded_port, clocks | {"Envoy": guarded.cpu_s, "service": service.cpu_s}),
                FAST: Way(fast_port, clocks | {"Envoy": fast.cpu_s, "service": data_plane}),
            }
            tallies = await _tallies(ways, requests)
    return _tables(tallies, stages)


async def _tallies(ways: Mapping[str, Way], requests: Mapping[str, list[Request]]) -> dict[Key, Tally]:
    keys = [(body, connections, way) for body in requests for connections in ROUND_S for way in ways]
    tallies = {key: Tally() for key in keys}
    async with AsyncExitStack() as stack:
        loads = [
            await stack.enter_async_context(
                connected(ways[way].port, connections, cycle(requests[body]), guarded=way in GUARDED)
            )
            for body, connections, way in keys
        ]
        for load in loads:
            await load.run(WARM_UP_S)
        for _ in range(ROUNDS):
            for key, load in zip(keys, loads, strict=True):
                await tallies[key].add_round(load, ROUND_S[key[1]], ways[key[2]].clocks)
    return tallies


def _chosen(state: State) -> list[tuple[Check, bool]]:
    """Random checks in the SHARES, and whether each is allowed. None is by another name of a model: ext_authz refuses
    those."""
    checks = (check for seed in count() for check in WORLD.checks(REQUESTS, seed))
    decided = ((check, decide(state, *check)) for check in checks)
    own_names = ((check, decision) for check, decision in decided if decision.resolved_model == check[2])
    found = chosen(own_names, SHARES, REQUESTS, lambda candidate: _kind(candidate[1]))
    return [(check, decision.allowed) for check, decision in found]


def _kind(decision: Decision) -> str:
    return ALLOWED if decision.allowed else decision.reason


def _requests(checks: Sequence[tuple[Check, bool]]) -> dict[str, list[Request]]:
    """As HTTP, with each of the bodies."""
    models = {check[2] for check, _ in checks}
    requests = {}
    for body, size in BODIES.items():
        chats = {model: _chat(model, size) for model in models}
        requests[body] = [_request(check, chats[check[2]], allowed) for check, allowed in checks]
    return requests


def _request(check: Check, chat: bytes, allowed: bool) -> Request:
    team, user, _ = check
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: gateway.acme.example",
        "user-agent: OpenAI/Python 2.8.1",
        "accept: application/json",
        "content-type: application/json",
        f"content-length: {len(chat)}",
        f"x-acme-team: {team}",
        f"x-acme-user: {user}",
    ]
    return Request("\r\n".join([*lines, "", ""]).encode(), chat, allowed)


def _chat(model: str, size: int) -> bytes:
    """A chat completion."""
    roles = ("system", *("user", "assistant") * 3, "user") if size > 1_000 else ("user",)
    text = TEXT * (size // len(roles) // len(TEXT.encode()))
    messages = [{"role": role, "content": text} for role in roles]
    value = {"model": model, "messages": messages, "temperature": 0.2, "max_tokens": 512, "stream": False}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _tables(tallies: dict[Key, Tally], stages: dict[str, Stages]) -> list[Table]:
    rate_columns = ("body", *(f"{way}, /s" for way in WAYS), *(f"{way} / without" for way in GUARDED))
    latency_columns = (
        *("body", "way", "allowed p50 ms", "p99 ms", "denied p50 ms", "p99 ms", "added p50 ms", "added p99 ms"),
    )
    check_columns = (
        *("body", "decode µs", "check µs", "encode µs", "together µs", "of the service, 32 connections"),
        *("of the service, 1 connection", "of the added latency", "service, of the added latency"),
    )
    time_columns = ("body", "connections", "way", *PROCESSES, "together", "service's share")
    return [
        Table("Requests a second", rate_columns, [_rates(tallies, body) for body in BODIES], RATES),
        Table(
            "Latency", latency_columns, [_latencies(tallies, body, way) for body in BODIES for way in WAYS], LATENCIES
        ),
        Table(
            "Processor time of a request", time_columns, [_times(key, tally) for key, tally in tallies.items()], TIMES
        ),
        Table("The check itself", check_columns, [_checks(tallies, *item) for item in stages.items()], CHECKS),
    ]


def _rates(tallies: dict[Key, Tally], body: str) -> list[Cell]:
    rates = {way: tallies[body, CONNECTIONS, way].rate for way in WAYS}
    return [body, *rates.values(), *(rates[way] / rates[WITHOUT] for way in GUARDED)]


def _latencies(tallies: dict[Key, Tally], body: str, way: str) -> list[Cell]:
    tally, without = tallies[body, 1, way], tallies[body, 1, WITHOUT]
    times = (tally.allowed_ms, tally.denied_ms if way in GUARDED else ())
    shown: list[Cell] = [percentile(found, percent) if found else "" for found in times for percent in (50, 99)]
    added: list[Cell] = ["", ""]
    if way in GUARDED:
        added = [
            percentile(tally.allowed_ms, percent) - percentile(without.allowed_ms, percent) for percent in (50, 99)
        ]
    return [body, way, *shown, *added]


def _times(key: Key, tally: Tally) -> list[Cell]:
    times: list[Cell] = [tally.cpu_us(name) if name in tally.cpu_s else "" for name in PROCESSES]
    together = sum(map(tally.cpu_us, tally.cpu_s))
    share = f"{tally.cpu_us('service') / together:.0%}" if "service" in tally.cpu_s else ""
    return [key[0], str(key[1]), key[2], *times, together, share]


def _checks(tallies: dict[Key, Tally], body: str, stages: Stages) -> list[Cell]:
    many, alone = tallies[body, CONNECTIONS, WITH], tallies[body, 1, WITH]
    added_us = (alone.p50_ms - tallies[body, 1, WITHOUT].p50_ms) * 1e3
    shares = [stages.all / many.cpu_us("service"), stages.all / alone.cpu_us("service")]
    shares += [stages.all / added_us, alone.cpu_us("service") / added_us]
    return [body, *stages, stages.all, *(f"{share:.0%}" for share in shares)]
