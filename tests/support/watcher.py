"""A follower that trusts nothing: it keeps the policy from what Watch sends, and checks each event against the last."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import grpc

from policy_service.domain.changes import Position
from policy_service.domain.feed import Snapshot
from policy_service.domain.state import State
from policy_service.replication.loading import Taker, load_snapshot
from policy_service.replication.messages import manifest_of, part_of
from policy_service.v1.replication_pb2 import SnapshotManifest, WatchRequest, WatchResponse
from tests.support.rpc import Rpc


class Watcher:
    """`state` is the policy as far as it came; `kinds` counts events; `revisions` are those that change sets brought,
    in the order in which they came."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.state: State | None = None
        self.kinds: Counter[str] = Counter()
        self.revisions: list[str] = []
        self.ticks: list[int] = []
        self.call: Any = None
        self._manifest: SnapshotManifest | None = None
        self._chunks: list[bytes] = []
        self._parts = 0

    @property
    def position(self) -> Position | None:
        return None if self.state is None else self.state.position

    def open(self, metadata: Any = None) -> Any:
        """Watches from where it stands."""
        at = self.position
        request = WatchRequest() if at is None else WatchRequest(epoch=at.epoch, revision=at.revision, hash=at.hash)
        self._manifest, self._parts = None, 0
        self.call = self.rpc.replication.Watch(request, metadata=metadata)
        self._taker = None if self.state is None else Taker(self.state)
        return self.call

    async def next(self) -> str:
        """Takes an event; its kind. Empty when the stream ended."""
        event = await self.call.read()
        if event is grpc.aio.EOF:
            return ""
        kind = str(event.WhichOneof("event"))
        self.kinds[kind] += 1
        await getattr(self, f"_take_{kind}")(event)
        return kind

    async def take(self, count: int) -> None:
        for _ in range(count):
            assert await self.next()

    async def reach(self, revision: str) -> None:
        """Takes events until a bookmark has this revision."""
        while await self.next() != "bookmark" or self.state is None or self.state.revision != revision:
            pass

    async def _take_snapshot(self, event: WatchResponse) -> None:
        assert self._manifest is None
        assert self._parts == 0
        self._manifest, self._chunks = event.snapshot, []
        assert len(event.snapshot.checksums) > 0

    async def _take_chunk(self, event: WatchResponse) -> None:
        assert self._manifest is not None
        self._chunks.append(event.chunk.payload)
        sums = [hashlib.sha256(chunk).hexdigest() for chunk in self._chunks]
        assert sums == list(self._manifest.checksums)[: len(sums)]
        if len(sums) == len(self._manifest.checksums):

            async def chunks() -> Any:
                for chunk in self._chunks:
                    yield chunk

            self.state = await load_snapshot(Snapshot(manifest_of(self._manifest), chunks()))
            self._taker, self._manifest = Taker(self.state), None

    async def _take_changes(self, event: WatchResponse) -> None:
        part, at = event.changes, self.position
        assert self._manifest is None, "a snapshot is whole"
        assert at is not None
        assert self._taker is not None
        assert (part.epoch, part.revision, part.part) == (at.epoch, at.revision + 1, self._parts), "nothing is missing"
        assert part.previous_hash == at.hash
        assert await self._taker.take(part_of(part)) == part.last
        self._parts = 0 if part.last else self._parts + 1
        if part.last:
            self.revisions.append(f"{part.epoch}.{part.revision}")

    async def _take_bookmark(self, event: WatchResponse) -> None:
        head = event.bookmark.head
        assert self._manifest is None
        assert self._parts == 0
        assert self.position == Position(head.epoch, head.revision, head.hash, head.digest), "all came before it"
        assert event.bookmark.time.seconds > 0
        self.ticks.append(head.tick_ms)
