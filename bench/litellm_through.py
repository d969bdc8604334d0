"""Requests a second through LiteLLM's proxy, with the gate and without."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import yaml

from bench.http_load import Request, connected
from bench.litellm_world import ALLOWED, JSON, KINDS, Ask, asks, chat, deployments
from bench.processes import LIMIT_S, cpu_s, free_port
from bench.report import percentile

ROUNDS, ROUND_S, WARM_UP_S, FIRST_S = 30, 2.0, 0.2, 5.0
CONNECTIONS = 8
REQUESTS = 2_000  # that are different; then they come again
SAMPLE = 20  # answers of each kind that are read
GATE = "policy_client.litellm.policy_gate"
KEYS = Path(__file__).with_name("litellm_keys.py")


class Proxy(NamedTuple):
    """A running proxy."""

    port: int
    pid: int


class Through:
    """What was measured of one proxy, by round."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.cpus_us: list[float] = []
        self.took_ms: list[float] = []

    async def add_round(self, proxy: Proxy, requests: Iterator[Request]) -> None:
        # Connections of its own: the proxy closes those that have nothing to do while the other one is measured.
        async with connected(proxy.port, CONNECTIONS, requests, guarded=False) as load:
            await load.run(WARM_UP_S)
            before = cpu_s([proxy.pid])
            answers = await load.run(ROUND_S)
            self.cpus_us.append((cpu_s([proxy.pid]) - before) / answers.count * 1e6)
        self.rates.append(answers.count / answers.seconds)
        self.took_ms += answers.allowed_ms

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def cpu_us(self) -> float:
        return statistics.median(self.cpus_us)

    @property
    def p50_ms(self) -> float:
        return percentile(self.took_ms, 50)


class Outside(NamedTuple):
    """Two proxies without the gate, by which can be seen what chance does, and two with it."""

    without: list[Through]
    gated: list[Through]

    @property
    def rate(self) -> float:
        """Of those without: round by round, since neighbours in time can be compared."""
        return _ratio([one.rates for one in self.gated], [one.rates for one in self.without])

    @property
    def cpu(self) -> float:
        """Processor time of a request, of that without."""
        return _ratio([one.cpus_us for one in self.gated], [one.cpus_us for one in self.without])

    @property
    def chance(self) -> float:
        """The rate of one proxy without the gate, of the other's."""
        first, second = self.without
        return _ratio([second.rates], [first.rates])


def _ratio(ones: list[list[float]], others: list[list[float]]) -> float:
    """Of what several have together in a round; the median of the rounds."""
    sums = zip(map(sum, zip(*ones, strict=True)), map(sum, zip(*others, strict=True)), strict=True)
    return statistics.median(one / other for one, other in sums)


async def through(folder: Path, python: Path, authority: str) -> Outside:
    """Of all four, which are loaded in turn."""
    gate, follow = {"callbacks": GATE}, {"POLICY_GATE_FOLLOW": f"grpc://{authority}"}
    requests = cycle([_request(ask) for ask in asks(ALLOWED, REQUESTS, 0)])
    async with AsyncExitStack() as stack:
        measured: list[tuple[Proxy, Through]] = []
        for name, settings, variables in (
            *(("without", {}, {}), ("with", gate, follow)),
            *(("with-too", gate, follow), ("without-too", {}, {})),
        ):
            one = await stack.enter_async_context(proxy(folder / name, python, settings, variables))
            await asyncio.to_thread(_check_answers, one, gated=bool(settings))
            async with connected(one.port, CONNECTIONS, requests, guarded=False) as load:
                await load.run(FIRST_S)
            measured.append((one, Through()))
        for _ in range(ROUNDS):
            for one, found in measured:
                await found.add_round(one, requests)
            measured.reverse()
    first, *gated, last = (found for _, found in measured)  # the same from either end
    return Outside([first, last], gated)


@asynccontextmanager
async def proxy(folder: Path, python: Path, settings: JSON, variables: Mapping[str, str]) -> AsyncIterator[Proxy]:
    """A proxy of one worker, with these `litellm_settings`, once it answers."""
    _configure(folder, settings)
    port = free_port()
    program, options = python.with_name("litellm"), ("--config=config.yaml", "--host=127.0.0.1", f"--port={port}")
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *options, cwd=folder, stdout=log, stderr=log, env={**environment(), **variables}
        )
    try:
        await _until_it_answers(process, port, folder / "log")
        yield Proxy(port, process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _configure(folder: Path, settings: JSON) -> None:
    folder.mkdir()
    shutil.copy(KEYS, folder / "keys.py")
    general = {"master_key": "sk-bench", "custom_auth": "keys.authenticate"}
    config = {"model_list": deployments(), "litellm_settings": settings, "general_settings": general}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def environment() -> dict[str, str]:
    """For LiteLLM: it asks nobody for prices, and no variable of ours is a setting of the gate."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("POLICY_")}
    return plain | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}


async def _until_it_answers(process: asyncio.subprocess.Process, port: int, log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while process.returncode is None and time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise RuntimeError(f"the proxy does not answer: {await asyncio.to_thread(log.read_text)}")


def _request(ask: Ask) -> Request:
    body = json.dumps(chat(ask.model)).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        "user-agent: OpenAI/Python 2.8.1",
        f"authorization: Bearer {ask.team}/{ask.user}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return Request("\r\n".join([*lines, "", ""]).encode(), body, allowed=True)


def _check_answers(one: Proxy, *, gated: bool) -> None:
    """Raises RuntimeError unless allowed requests are answered by their model, and others only without the gate."""
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=LIMIT_S)
    with contextlib.closing(connection):
        for kind in KINDS:
            for ask in asks(kind, SAMPLE, 1):
                headers = {"authorization": f"Bearer {ask.team}/{ask.user}", "content-type": "application/json"}
                connection.request("POST", "/v1/chat/completions", json.dumps(chat(ask.model)), headers)
                response = connection.getresponse()
                answer = json.loads(response.read())
                expected = 403 if gated and kind != ALLOWED else 200
                if response.status != expected or (expected == 200 and answer["model"] != ask.model):
                    raise RuntimeError(f"{kind}: {ask} got {response.status}: {answer}")
