"""The feed that asks the authority itself, through ReplicationService."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Head, HeardHead, Manifest, Snapshot
from policy_service.errors import FeedUnavailable, Malformed, RevisionCompacted
from policy_service.replication.messages import head_of, manifest_of, part_of
from policy_service.v1 import replication_pb2 as pb
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub

if TYPE_CHECKING:
    from policy_service.v1.replication_pb2_grpc import ReplicationServiceAsyncStub

HEAD_TIMEOUT_S = 5.0
EVENT_TIMEOUT_S = 10.0  # bookmarks come more often; without one the connection is dead
SNAPSHOT_TIMEOUT_S = 120.0  # until the authority has made it

Metadata = Sequence[tuple[str, str]] | None


class GrpcFeed:
    """Implements Feed over a channel, which stays the caller's. `metadata` goes along with every call."""

    authoritative = True

    def __init__(self, channel: grpc.aio.Channel, location: str, metadata: Metadata = None) -> None:
        self.location = location
        self._stub: ReplicationServiceAsyncStub = ReplicationServiceStub(channel)
        self._metadata = metadata

    async def head(self) -> HeardHead:
        with self._failures():
            answer = await self._stub.GetHead(pb.GetHeadRequest(), timeout=HEAD_TIMEOUT_S, metadata=self._metadata)
        return HeardHead(head_of(answer.head), 0.0)

    async def snapshot(self) -> Snapshot:
        events = self._events(pb.WatchRequest(), SNAPSHOT_TIMEOUT_S)
        try:
            first = await anext(events, None)
            if first is None or first.WhichOneof("event") != "snapshot":
                raise Malformed(f"{self.location} did not begin with a snapshot")
            manifest = manifest_of(first.snapshot)
        except BaseException:
            await events.aclose()
            raise
        return Snapshot(manifest, _chunks(events, manifest))

    async def changes(self, after: Position) -> AsyncGenerator[ChangePart | Head, None]:
        request = pb.WatchRequest(epoch=after.epoch, revision=after.revision, hash=after.hash)
        async with contextlib.aclosing(self._events(request, EVENT_TIMEOUT_S)) as events:
            async for event in events:
                kind = event.WhichOneof("event")
                if kind == "changes":
                    yield part_of(event.changes)
                elif kind == "bookmark":
                    yield head_of(event.bookmark.head)
                elif kind == "snapshot":
                    raise RevisionCompacted(f"the authority's log does not go on from revision {after.token}")
        raise FeedUnavailable(f"{self.location} ended the stream")

    async def _events(self, request: pb.WatchRequest, first_timeout_s: float) -> AsyncGenerator[pb.WatchResponse, None]:
        with self._failures():
            call = self._stub.Watch(request, metadata=self._metadata)
        timeout_s = first_timeout_s
        try:
            while True:
                with self._failures():
                    event = await self._read(call, timeout_s)
                if event is grpc.aio.EOF:
                    return
                yield event
                timeout_s = EVENT_TIMEOUT_S
        finally:
            call.cancel()

    async def _read(self, call: Any, timeout_s: float) -> Any:
        try:
            async with asyncio.timeout(timeout_s):
                return await call.read()
        except TimeoutError:
            raise FeedUnavailable(f"{self.location} said nothing for {timeout_s:g} s") from None

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """What goes wrong in a call, as FeedUnavailable."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise FeedUnavailable(f"{self.location}: {error.code().name}: {error.details()}") from None
        except grpc.aio.UsageError as error:
            raise FeedUnavailable(f"{self.location}: {error}") from None
        except asyncio.CancelledError:
            # gRPC also reports a channel that was closed during the call like this, though nobody cancelled the task.
            if _is_cancelling():
                raise
            raise FeedUnavailable(f"the channel to {self.location} was closed") from None

    async def close(self) -> None:
        """The channel is its owner's to close."""


async def _chunks(events: AsyncGenerator[pb.WatchResponse, None], manifest: Manifest) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(events):
        for _ in manifest.checksums:
            event = await anext(events, None)
            if event is None or event.WhichOneof("event") != "chunk":
                raise Malformed("the snapshot ended before its last chunk")
            yield event.chunk.payload


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
