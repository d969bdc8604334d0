"""What a real client gets from our fronts: the whole answer to some checks of the mix, and to batches under load."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence

from bench.load.generator import Generator
from bench.load.loops import Closed
from bench.mix import Asked
from bench.peers.ours import Ours, batch_call
from bench.peers.subject import Subject
from bench.report import Cell, Table
from policy_client import AccessClient
from policy_service.answers import limits_message
from policy_service.domain.state import State
from policy_service.v1 import access_pb2 as pb

SAMPLE, AT_ONCE, TIMEOUT_S = 2_000, 16, 10.0
BATCH, BATCHES, BATCHES_IN_FLIGHT = 100, 500, 4  # in flight: on each connection
ROUNDS, ROUND_S = 3, 1.0
TARGET = "127.0.0.1:{port}"

SAMPLED = """Asked with the client library, over grpcio: whether the answer allows, the reason, the resolved model and
the limits are what `decide` says on the same policy."""
BATCHED = f"""`BatchCheckModelAccess` with {BATCH} checks of the mix, {BATCHES} different ones. Closed loop,
{BATCHES_IN_FLIGHT} batches in flight on each connection, medians of {ROUNDS} rounds. Every answer is compared as a
whole, to the last byte, with what it has to be."""


async def verify(ours: Ours, asked: Sequence[Asked]) -> Table:
    """Raises RuntimeError for an answer that is wrong."""
    rows: list[Sequence[Cell]] = []
    for front in ours.fronts:
        left = iter(asked[:SAMPLE])

        async def ask(client: AccessClient) -> None:
            for found in left:  # noqa: B023 - those who ask have ended when it changes
                _compare(found, await client.check(*found.check))

        async with AccessClient(TARGET.format(port=front.port), timeout_s=TIMEOUT_S) as client:
            await asyncio.gather(*(ask(client) for _ in range(AT_ONCE)))
        rows.append((front.name, SAMPLE, 0))
    return Table("A real client", ("front", "checks", "wrong"), rows, SAMPLED)


def _compare(found: Asked, answer: pb.CheckModelAccessResponse) -> None:
    allowed, reason, resolved_model, limits = found.decision
    expected = pb.CheckModelAccessResponse(
        allowed=allowed,
        reason=pb.Reason.Value(reason.value),
        resolved_model=resolved_model,
        limits=None if limits is None else limits_message(limits),
        message=answer.message,
        revision=answer.revision,
    )
    if answer != expected or not answer.message or not answer.revision:
        raise RuntimeError(f"a wrong answer to {found}: {answer}")


class Batches:
    """Answers to batches, by front."""

    def __init__(self, found: dict[str, list[Closed]]) -> None:
        self._found = found

    def rate(self, front: str) -> float:
        """Decisions a second."""
        return BATCH * statistics.median(found.rate for found in self._found[front])

    def cpu_us(self, front: str) -> float:
        """Processor time of a decision."""
        return statistics.median(sum(found.cpu_s) / found.answers / BATCH for found in self._found[front]) * 1e6

    def table(self) -> Table:
        rows = [(front, self.rate(front), self.cpu_us(front)) for front in self._found]
        return Table("Batches", ("front", "decisions a second", "CPU µs of a decision"), rows, BATCHED)


async def measure_batches(generator: Generator, ours: Ours, state: State, asked: Sequence[Asked]) -> Batches:
    revision = await _revision(ours.grpcio, asked[0])
    checks = [found.check for found in asked]
    calls = [batch_call(state, checks[at * BATCH : (at + 1) * BATCH], revision) for at in range(BATCHES)]
    loads = {front.name: await generator.load(front.port, calls) for front in ours.fronts}
    found: dict[str, list[Closed]] = {front.name: [] for front in ours.fronts}
    for _ in range(ROUNDS):
        for front in ours.fronts:
            load = loads[front.name]
            found[front.name].append(await load.closed(ROUND_S, front.pids(), streams=BATCHES_IN_FLIGHT))
    for load in loads.values():
        await load.forget()
    return Batches(found)


async def _revision(front: Subject, found: Asked) -> str:
    async with AccessClient(TARGET.format(port=front.port), timeout_s=TIMEOUT_S) as client:
        return (await client.check(*found.check)).revision
