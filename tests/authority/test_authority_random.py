"""Random mutations: SQLite, the memory store, the live state and one rebuilt from the change log stay equal."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import Phase, given, settings

from policy_service.authority.authority import REQUESTS_KEPT
from policy_service.domain.changes import key_of
from policy_service.domain.decide import decide
from policy_service.domain.records import Team
from policy_service.domain.state import State
from policy_service.errors import InvalidArgument, PolicyError, RequestIdReused
from policy_service.store.memory import MemoryStore
from policy_service.store.sqlite import SqliteStore
from tests.authority.calls import Admin, Answer, Call, Clock, decode
from tests.authority.worlds import BEGINNING, QUESTIONS, Again, Restart, Sent, Step, Wait, steps
from tests.store.audit import anchor_of, problems, rebuilt, state_of, whole_log
from tests.store.support import all_records, dump, loaded

REUSED = (RequestIdReused, "REQUEST_ID_REUSED")


class Recorded(NamedTuple):
    """What must be answered to a request_id."""

    sent: Sent
    answer: Answer
    time: datetime


@settings(max_examples=30, deadline=None, database=None, phases=(Phase.generate, Phase.shrink))
@given(steps)
def test_random_mutations_keep_everything_equal(chosen: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "policy.db", chosen))


async def play(path: Path, chosen: Iterable[Step]) -> None:
    pair = await Pair.start(path)
    try:
        for call in BEGINNING:
            await pair.send(Sent(call))
        assert pair.memory.revision == len(BEGINNING)
        for step in chosen:
            await pair.play(step)
            assert dump(pair.sqlite.state) == dump(pair.memory.state)
        await pair.check()
    finally:
        await pair.stop()


class Pair:
    """An authority on SQLite and one in memory, at one time and in one epoch, to which the same is sent."""

    def __init__(self, path: Path, sqlite: Admin, memory: Admin) -> None:
        self.path, self.sqlite, self.memory = path, sqlite, memory
        self.clock = memory.clock
        self.sent: list[Sent] = []
        self.recorded: dict[tuple[str, str], Recorded] = {}

    @classmethod
    async def start(cls, path: Path) -> Pair:
        clock, sqlite, memory = Clock(), await SqliteStore.open(path), MemoryStore()
        memory._anchor = await sqlite.position()
        return cls(path, await Admin.start(sqlite, clock), await Admin.start(memory, clock))

    async def stop(self) -> None:
        for admin in (self.sqlite, self.memory):
            await admin.stop()
            await admin.store.close()

    async def play(self, step: Step) -> None:
        match step:
            case Sent():
                await self.send(step._replace(call=await self.with_etag(step.call)))
            case Again(back=back):
                await self.send(self.sent[-back])
            case Wait(hours=hours):
                self.clock.advance(hours=hours)
            case Restart():
                await self.sqlite.stop()
                await self.sqlite.store.close()
                self.sqlite = await Admin.start(await SqliteStore.open(self.path), self.clock)

    async def with_etag(self, call: Call) -> Call:
        """The call with the etag that its record has, where it asks for the current one."""
        arguments, store = call.arguments, self.memory.store
        wanted = arguments["group"].etag if call.rpc == "SetAccessGroup" else arguments.get("etag")
        if wanted != "current":
            return call
        record: Any
        match call.rpc:
            case "SetAccessGroup":
                record = await store.group(arguments["group"].name)
                return replace(
                    call, arguments={"group": replace(arguments["group"], etag=record.etag if record else "")}
                )
            case "DeleteAccessGroup":
                record = await store.group(arguments["name"])
            case "UpdateTeam" | "DeleteTeam":
                record = await store.team(arguments["team_id"])
            case _:
                record = await store.member(arguments["team_id"], arguments["user"])
        return replace(call, arguments=arguments | {"etag": record.etag if record else ""})

    async def send(self, sent: Sent) -> None:
        """Both must answer the same, and what the contract says of it."""
        self.sent.append(sent)
        could, revision = allowed(self.memory.state), self.memory.revision
        no_models = set(self.memory.state.groups)
        answer, answer_in_memory = await result(self.sqlite, sent), await result(self.memory, sent)
        assert answer == answer_in_memory
        recorded = self.recorded.get((sent.call.rpc, sent.request_id)) if sent.request_id else None
        if recorded is not None:
            assert answer == recorded.answer if sent == recorded.sent else answer[:2] == REUSED
        if recorded is not None or sent.validate_only or not isinstance(answer, Answer):
            assert self.memory.revision == revision
        else:
            self.note(sent, answer, self.memory.revision - revision)
            if sent.call.rpc.startswith(("Remove", "Delete")) and not sent.call.arguments.get("force"):
                can = {asked for asked in allowed(self.memory.state) if asked[2] not in no_models}
                assert not can - could, "a removal without force allows more"

    def note(self, sent: Sent, answer: Answer, moved: int) -> None:
        assert moved in (0, 1)
        assert answer.revision == self.memory.state.revision
        if moved or sent.request_id:  # a commit drops what is too old
            kept_from = self.clock.now - REQUESTS_KEPT
            self.recorded = {key: kept for key, kept in self.recorded.items() if kept.time >= kept_from}
        if sent.request_id:
            self.recorded[sent.call.rpc, sent.request_id] = Recorded(sent, answer, self.clock.now)

    async def check(self) -> None:
        """Records, logs, recorded requests and states are equal, however they are come by."""
        live = dump(self.memory.state)
        records, log = await all_records(self.memory.store), await whole_log(self.memory.store)
        assert await all_records(self.sqlite.store) == records
        assert await whole_log(self.sqlite.store, limit=3) == log
        for admin in (self.sqlite, self.memory):
            assert dump(await loaded(admin.store)) == live
            assert await admin.store.position() == admin.state.position
            assert list(problems(await anchor_of(admin.store), log)) == []
            for (rpc, request_id), expected in self.recorded.items():
                found = await admin.store.recorded_request(rpc, request_id)
                assert found is not None
                assert (comparable(rpc, found.response), found.time) == (expected.answer, expected.time)
        for record, count in records:
            assert count == (len(self.memory.state.teams[record.id].members) if isinstance(record, Team) else 0)

        history = list(rebuilt(log))
        assert [entry.digest for entry, _ in history] == [
            state_of(then.values(), entry.position).digest for entry, then in history
        ]
        last_entry, last = history[-1]
        assert last == {key_of(record): record for record, _ in records}
        assert dump(state_of(last.values(), last_entry.position)) == live


def comparable(rpc: str, answer: bytes) -> Answer:
    """An answer. Which of several scopes it names as listing a group, and in which order, is the store's choice."""
    decoded = decode(answer)
    return decoded._replace(warnings=("",) * len(decoded.warnings)) if rpc == "SetAccessGroup" else decoded


async def result(admin: Admin, sent: Sent) -> Any:
    """The answer, or what must be the same of an error: of several scopes its words may name others."""
    try:
        return comparable(sent.call.rpc, await admin.send(sent.call, sent.request_id, sent.validate_only))
    except PolicyError as error:
        violations = error.violations if isinstance(error, InvalidArgument) else ()
        return type(error), error.reason, getattr(error, "subject", ""), violations


def allowed(state: State) -> set[tuple[str, str, str]]:
    """The questions that are answered with an allow."""
    return {asked for asked in QUESTIONS if decide(state, *asked).allowed}
