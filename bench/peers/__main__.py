"""`python -m bench.peers NAME ...`: starts each of the peers with the world, asks it some checks of the mix one by one,
and says how many of its answers are ours."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

import grpc

from bench.load.call import Call, Where
from bench.mix import loaded, mix
from bench.peers.subject import Subject
from bench.world import KEPT, Check, World
from policy_service.domain.decide import Decision, decide
from policy_service.domain.state import State

WORLD = World(members=1_000_000, teams=10_000)
COUNT = 1_000  # checks of the mix, and as many others
BLOCKED = range(999, WORLD.members, 10_000)  # some members who are
SHOWN = 5  # of the wrong answers
TIMEOUT_S = 10.0

Question = tuple[Check, Decision]


async def prove(names: list[str], folder: Path) -> None:
    questions = _questions(await loaded(await WORLD.database(folder)))
    for name in names:
        peer = import_module(f"bench.peers.{name}")
        if lacking := peer.missing():
            print(f"{name}: {lacking}")
            continue
        began = time.perf_counter()
        async with peer.running(folder, WORLD) as subject:
            print(f"{subject.name}: started in {time.perf_counter() - began:.1f} s")
            await _compare(subject, questions)


def _questions(state: State) -> list[Question]:
    """Those of the mix, then what it lacks: aliases, and members who are blocked."""
    checks = [asked.check for asked in mix(WORLD, state, COUNT)]
    checks += WORLD.checks(COUNT, seed=6)
    checks += [(*WORLD.member_of(place), "gpt-5") for place in BLOCKED]
    return [(check, decide(state, *check)) for check in checks]


async def _compare(subject: Subject, questions: list[Question]) -> None:
    asked, wrong = 0, []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{subject.port}") as channel:
        for check, decision in questions:
            call = subject.call(check, decision.allowed)
            if call is None:
                continue
            asked += 1
            answer = await _answer(channel, call, subject.token)
            if not _right(call, answer):
                wrong.append(f"  {check}, {decision.reason}: {answer!r}")
    print(f"  of {len(questions):,} checks it can be asked {asked:,}; {asked - len(wrong):,} answers are ours")
    for line in wrong[:SHOWN]:
        print(line)


async def _answer(channel: grpc.aio.Channel, call: Call, token: str) -> bytes | str:
    """The message, or the error."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.path.decode())
    try:
        return await ask(call.message, timeout=TIMEOUT_S, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"


def _right(call: Call, answer: bytes | str) -> bool:
    if call.where is Where.STATUS:
        return True
    if isinstance(answer, str):
        return False
    match call.where:
        case Where.START:
            return answer.startswith(call.expected)
        case Where.WHOLE:
            return answer == call.expected
        case _:
            return call.expected in answer


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=KEPT, prefix="run-") as scratch:
        asyncio.run(prove(sys.argv[1:], Path(scratch)))
