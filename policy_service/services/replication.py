"""ReplicationService: the authority's log for followers, and the status of this instance."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

from policy_service.domain.changes import Position
from policy_service.domain.feed import Head
from policy_service.errors import FeedUnavailable, PolicyError, PreconditionFailed, RevisionCompacted, TooManyWatchers
from policy_service.replication.log_feed import LogFeed
from policy_service.replication.messages import head_message, manifest_message, part_message
from policy_service.services.caller import Caller
from policy_service.v1 import replication_pb2 as pb

MAX_WATCHERS = 1_000

Status = Callable[[], pb.GetStatusResponse]


class ReplicationService:
    """On an authority. `status` tells how it is, but for the watchers."""

    def __init__(self, feed: LogFeed, status: Status) -> None:
        self._feed, self._status = feed, status
        self._watchers = 0
        self._ended = False

    def end(self) -> None:
        """Ends every watch, so that the server can drain."""
        self._ended = True
        self._feed.wake()

    async def Watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncGenerator[pb.WatchResponse, None]:
        """A snapshot when the follower needs one, then change sets and bookmarks."""
        if self._watchers >= MAX_WATCHERS:
            raise TooManyWatchers(f"{MAX_WATCHERS} followers watch already; follow another way, or try again later")
        self._watchers += 1
        try:
            position: Position | None = Position(request.epoch, request.revision, request.hash, "")
            while True:
                if position is None or not position.epoch:
                    snapshot = await self._feed.snapshot()
                    yield pb.WatchResponse(snapshot=manifest_message(snapshot.manifest))
                    async for chunk in snapshot.chunks:
                        self._refuse_when_ended()
                        yield pb.WatchResponse(chunk=pb.SnapshotChunk(payload=chunk))
                    position = snapshot.manifest.position
                with contextlib.suppress(RevisionCompacted):
                    async with contextlib.aclosing(self._changes(position)) as events:
                        async for event in events:
                            self._refuse_when_ended()
                            yield event
                position = None
        finally:
            self._watchers -= 1

    def _refuse_when_ended(self) -> None:
        if self._ended:
            raise FeedUnavailable("the authority is shutting down")

    async def _changes(self, position: Position) -> AsyncGenerator[pb.WatchResponse, None]:
        async with contextlib.aclosing(self._feed.changes(position)) as items:
            async for item in items:
                if isinstance(item, Head):
                    bookmark = pb.Bookmark(head=head_message(item))
                    bookmark.time.GetCurrentTime()
                    yield pb.WatchResponse(bookmark=bookmark)
                else:
                    yield pb.WatchResponse(changes=part_message(item))

    async def GetHead(self, request: pb.GetHeadRequest, caller: Caller) -> pb.GetHeadResponse:
        """Where the log stands."""
        return pb.GetHeadResponse(head=head_message(self._feed.head_now()))

    async def GetStatus(self, request: pb.GetStatusRequest, caller: Caller) -> pb.GetStatusResponse:
        """How this instance is."""
        status = self._status()
        status.watchers = self._watchers
        return status


class NotTheAuthority:
    """What a replica serves in place of what only the authority can do: every RPC is refused, and says where to go."""

    def __init__(self, authority: str) -> None:
        self._authority = authority

    def __getattr__(self, rpc: str) -> Callable[..., object]:
        return self._refuse

    async def _refuse(self, request: object, caller: Caller) -> object:
        raise self._error()

    def _error(self) -> PolicyError:
        where = f"send it to the authority at {self._authority}" if self._authority else "send it to the authority"
        return PreconditionFailed("NOT_THE_AUTHORITY", self._authority, f"this instance is a replica; {where}")


class ReplicaReplicationService:
    """On a replica: nobody follows it; it tells how it is."""

    def __init__(self, authority: str, status: Status) -> None:
        self._refusal, self._status = NotTheAuthority(authority), status

    async def Watch(self, request: pb.WatchRequest, caller: Caller) -> AsyncGenerator[pb.WatchResponse, None]:
        """Refused."""
        raise self._refusal._error()
        yield  # makes it a stream

    async def GetHead(self, request: pb.GetHeadRequest, caller: Caller) -> pb.GetHeadResponse:
        """Refused."""
        raise self._refusal._error()

    async def GetStatus(self, request: pb.GetStatusRequest, caller: Caller) -> pb.GetStatusResponse:
        """How this instance is."""
        return self._status()
