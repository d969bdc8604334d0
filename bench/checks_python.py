"""What Python itself does for a check of the data plane: its ASGI application in this process, without Envoy and
without an event loop."""

from __future__ import annotations

import statistics
import time
from collections.abc import MutableMapping, Sequence
from contextlib import nullcontext
from typing import Any

from bench.alone import Still, now
from bench.mix import Asked
from bench.peers.ours import check_call
from bench.report import Cell, Table, percentile
from policy_service.dataplane.grpc_asgi import GrpcApplication
from policy_service.domain.state import State
from policy_service.ext_authz.settings import Settings
from policy_service.reads import Reads
from policy_service.services.unary import Guard, unary_rpcs

ROUNDS, CHECKS = 30, 1_000
NOTES = f"""Everything from the frame of the request to the frame of the answer: metadata, decoding, the caller, the
decision, encoding. {ROUNDS} rounds of {CHECKS:,} checks of the mix, each with texts of its own, by the processor time
of the thread; what the loop around them takes is in it. *Best tenth* of the rounds: those that a busy machine
disturbed least."""
_HEADERS = [
    (b":authority", b"127.0.0.1"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
    (b"user-agent", b"grpc-python-asyncio/1.80.0"),
]


class Timed:
    """Microseconds of a check, by round."""

    def __init__(self, rounds_us: list[float]) -> None:
        self.typical_us, self.best_us = statistics.median(rounds_us), percentile(rounds_us, 10)

    def table(self) -> Table:
        rows: list[list[Cell]] = [["framing, decode, decide, encode", self.typical_us, self.best_us]]
        return Table("The check's own Python", ("what", "µs", "best tenth µs"), rows, NOTES)


def time_python(state: State, asked: Sequence[Asked]) -> Timed:
    application, reads = GrpcApplication(lambda _: nullcontext()), Reads(Still(state), Settings())
    guard = Guard(lambda: None, trusted=True)
    application.offer(rpc for offer in reads.offers for rpc in unary_rpcs(offer, guard))
    rounds_us = []
    for number in range(ROUNDS):
        some = asked[number * CHECKS : (number + 1) * CHECKS]
        calls = [_call(state, found) for found in some]
        answers: list[bytes] = []
        rounds_us.append(_time(application, calls, answers))
        for (_, _, expected), answer in zip(calls, answers, strict=True):
            if not answer[5:].startswith(expected):
                raise RuntimeError(f"{answer!r} where {expected!r} was expected")
    reads.close()
    return Timed(rounds_us)


def _call(state: State, found: Asked) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    call = check_call(state, found.check, found.decision.allowed)
    scope = {
        "type": "http",
        "http_version": "2",
        "method": "POST",
        "scheme": "http",
        "path": call.path.decode(),
        "raw_path": call.path,
        "query_string": b"",
        "headers": list(_HEADERS),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 50_051),
        "extensions": {"http.response.trailers": {}},
    }
    body = b"\0" + len(call.message).to_bytes(4) + call.message
    return scope, {"type": "http.request", "body": body, "more_body": False}, call.expected


def _time(
    application: GrpcApplication, calls: list[tuple[dict[str, Any], dict[str, Any], bytes]], answers: list[bytes]
) -> float:
    event: dict[str, Any] = {}

    async def receive() -> MutableMapping[str, Any]:
        return event

    async def send(sent: MutableMapping[str, Any]) -> None:
        if sent["type"] == "http.response.body":
            answers.append(sent["body"])

    began = time.thread_time()
    for scope, event, _ in calls:  # noqa: B007 - `receive` gives it
        now(application(scope, receive, send))
    return (time.thread_time() - began) / len(calls) * 1e6
