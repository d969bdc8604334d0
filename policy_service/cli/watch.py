"""`policy-service watch`: prints the changes of an authority's policy as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from policy_client.connection import Connection
from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import ERR, OUT, fail
from policy_service.cli.output import Output, OutputOption, print_document
from policy_service.domain.changes import Key, Position
from policy_service.domain.encoding import canonical
from policy_service.domain.feed import ChangePart
from policy_service.domain.state import State, Value
from policy_service.domain.transfer import Unpacker, shown
from policy_service.errors import FeedUnavailable, PolicyError, RevisionCompacted
from policy_service.replication.grpc_feed import GrpcFeed
from policy_service.replication.messages import head_of
from policy_service.v1 import replication_pb2 as pb
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub

RETRY_S = 1.0


@on_server
async def watch(target: Target, output: OutputOption = Output.TEXT) -> None:
    """Print what changes in the policy, from now on, until Ctrl-C. An authority that restarts is waited for.

    Exit status: 0 ended by Ctrl-C, else the authority could not be asked.
    """
    try:
        await _watch(target, output)
    except PolicyError as error:
        fail(str(error))
    except asyncio.CancelledError:  # by Ctrl-C
        return


async def _watch(target: Target, output: Output) -> None:
    connection = target.replication()
    printer = _Printer(output)
    try:
        position: Position | None = await _head(connection)
        feed = GrpcFeed(connection.channel, target.admin_server, connection.metadata)
        while True:
            try:
                position = position or (await feed.head()).head.position
                ERR.print(f"watching {target.admin_server} from revision {position.token} on", style="dim")
                async with contextlib.aclosing(_sets_after(feed, position)) as sets:
                    async for parts in sets:
                        printer.show(parts)
                        position = parts[-1].position
            except FeedUnavailable as error:
                ERR.print(f"{error}; trying again", style="yellow")
                await asyncio.sleep(RETRY_S)
            except RevisionCompacted as error:
                ERR.print(f"{error}; going on from now", style="yellow")
                position = None
    finally:
        await connection.close()


async def _sets_after(feed: GrpcFeed, position: Position) -> AsyncGenerator[list[ChangePart], None]:
    """Whole change sets: one that was cut off comes again."""
    parts: list[ChangePart] = []
    async with contextlib.aclosing(feed.changes(position)) as items:
        async for item in items:
            if isinstance(item, ChangePart):
                parts.append(item)
                if item.last:
                    yield parts
                    parts = []


async def _head(connection: Connection) -> Position:
    stub = ReplicationServiceStub(connection.channel)
    return head_of((await connection.call(stub.GetHead, pb.GetHeadRequest(), None)).head).position


class _Printer:
    """Prints a line for each record of a change set."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def show(self, parts: list[ChangePart]) -> None:
        unpacker = Unpacker(State())
        for part in parts:
            for items in unpacker.read(part.payload):
                for key, value in items:
                    self._print(part.position.token, key, value)

    def _print(self, revision: str, key: Key, value: Value) -> None:
        fields: dict[str, Any] | None = shown(value)
        line = {"revision": revision, "kind": key.kind.value, "team": key.team, "name": key.name, "value": fields}
        if self._output is Output.JSON:
            OUT.print(canonical(line))
        elif self._output is Output.YAML:
            print_document([line], self._output)
        else:
            OUT.print(f"{revision} {key.kind.value} {key}: {'removed' if fields is None else canonical(fields)}")
