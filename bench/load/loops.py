"""When calls are sent: as soon as one before them is answered (closed), or when they are due (open)."""

from __future__ import annotations

import ctypes
import os
import select
import time
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

from bench.load.connection import LIMIT_S, Connection, WrongAnswer

_PR_SET_TIMERSLACK = 29
_LEAD_S = 0.02  # between the making of a timetable and its first call


class Spacing(StrEnum):
    """How the calls of an open loop follow each other."""

    EVEN = "evenly"
    POISSON = "Poisson"


class Closed(NamedTuple):
    """What a closed loop came to; processor time of the generator and of each process of the server."""

    answers: int
    seconds: float
    own_cpu_s: float
    cpu_s: list[float]

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


class Open(NamedTuple):
    """What an open loop came to. Latencies from the moment that a call was due, to that when its answer was read; late:
    how much after that moment it was sent."""

    rate: float
    latencies_ms: list[float]
    late_ms: list[float]
    answers: int
    own_cpu_s: float
    cpu_s: list[float]


def closed_loop(
    connections: Sequence[Connection], streams: int, warm_up_s: float, seconds: float, pids: Sequence[int]
) -> Closed:
    """Keeps so many calls in flight on each connection."""
    poll = select.epoll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number, connection in by_number.items():
        poll.register(number, select.EPOLLIN)
        connection.send(streams)
    _answer(poll, by_number, time.perf_counter() + warm_up_s)
    cpu_before, own_before, began = _cpu_s(pids), time.process_time(), time.perf_counter()
    answers = _answer(poll, by_number, began + seconds)
    elapsed, own = time.perf_counter() - began, time.process_time() - own_before
    cpu = [now - before for now, before in zip(_cpu_s(pids), cpu_before, strict=True)]
    _drain(poll, by_number)
    poll.close()
    return Closed(answers, elapsed, own, cpu)


def _answer(poll: select.epoll, by_number: dict[int, Connection], ends: float) -> int:
    """Sends a call for each that is answered, until a time. Returns how many were."""
    answers = 0
    while time.perf_counter() < ends:
        ready = poll.poll(LIMIT_S)
        if not ready:
            raise WrongAnswer(f"no answer in {LIMIT_S:g} s")
        for number, _ in ready:
            connection = by_number[number]
            done = len(connection.receive())
            answers += done
            connection.send(done)
    return answers


def _drain(poll: select.epoll, by_number: dict[int, Connection]) -> None:
    """Waits for the answers that are still to come."""
    while any(connection.sent > connection.answered for connection in by_number.values()):
        ready = poll.poll(LIMIT_S)
        if not ready:
            raise WrongAnswer(f"no answer in {LIMIT_S:g} s")
        for number, _ in ready:
            by_number[number].receive()


def open_loop(
    connections: Sequence[Connection],
    rate: float,
    warm_up_s: float,
    seconds: float,
    spacing: Spacing,
    pids: Sequence[int],
) -> Open:
    """Sends calls at a rate, each connection in turn, whatever the answers do."""
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)  # else each sleep is up to 50 µs longer
    timetable = _timetable(rate, warm_up_s + seconds, spacing)
    cpu_before, own_before = _cpu_s(pids), time.process_time()
    began = time.perf_counter() + _LEAD_S
    due = [began + offset for offset in timetable]
    latencies_ms, late_ms = _send_when_due(connections, due)
    own = time.process_time() - own_before
    cpu = [now - before for now, before in zip(_cpu_s(pids), cpu_before, strict=True)]
    warm = sum(offset < warm_up_s for offset in timetable)
    return Open(rate, latencies_ms[warm:], late_ms[warm:], len(due), own, cpu)


def _timetable(rate: float, seconds: float, spacing: Spacing) -> list[float]:
    count = int(rate * seconds)
    if spacing is Spacing.EVEN:
        return [at / rate for at in range(count)]
    chance = Random(0)
    return list(accumulate(chance.expovariate(rate) for _ in range(count)))


def _send_when_due(connections: Sequence[Connection], due: list[float]) -> tuple[list[float], list[float]]:
    """The latency of each call and how late it was sent, in milliseconds."""
    count, total = len(connections), len(due)
    by_number = {connection.fileno(): (at, connection) for at, connection in enumerate(connections)}
    firsts = [
        connection.sent for connection in connections
    ]  # call `firsts[c] + n` of connection c is due[c + n * count]
    numbers, latencies, late = list(by_number), [0.0] * total, [0.0] * total
    sent = answered = 0
    clock, wait = time.perf_counter, select.select
    while answered < total:
        now = clock()
        first = sent
        while sent < total and due[sent] <= now:
            late[sent] = (now - due[sent]) * 1e3
            sent += 1
        for at in range(first, min(sent, first + count)):
            connections[at % count].send((sent - at - 1) // count + 1)
        now = clock()
        pause_s = max(0.0, due[sent] - now) if sent < total else LIMIT_S
        ready, _, _ = wait(numbers, (), (), pause_s)
        if not ready and sent == total:
            raise WrongAnswer(f"no answer in {LIMIT_S:g} s")
        for number in ready:
            at, connection = by_number[number]
            done, now = connection.receive(), clock()
            for call in done:
                which = at + (call - firsts[at]) * count
                latencies[which] = (now - due[which]) * 1e3
            answered += len(done)
    return latencies, late


def _cpu_s(pids: Sequence[int]) -> list[float]:
    """Processor time of each process so far."""
    ticks_a_second = os.sysconf("SC_CLK_TCK")
    found = []
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        found.append((int(fields[11]) + int(fields[12])) / ticks_a_second)
    return found
