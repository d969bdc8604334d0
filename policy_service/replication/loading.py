"""Building a state from a snapshot and change sets, in slices that leave the event loop free."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Snapshot
from policy_service.domain.records import Kind
from policy_service.domain.state import Prepared, State
from policy_service.domain.transfer import Unpacker
from policy_service.errors import DigestMismatch, Malformed, PolicyError, RevisionCompacted
from policy_service.slices import in_slices

FULL_COLLECTION_EVERY = 1_000  # collections of the middle generation: some millions of new objects; Python: 10


async def load_snapshot(snapshot: Snapshot) -> State:
    """The state of a snapshot whose manifest is trusted. Raises Malformed, DigestMismatch and what the feed does."""
    manifest = snapshot.manifest
    state = State(manifest.position.epoch)
    try:
        await _load_chunks(state, snapshot)
        check_digest(state.digest, manifest.position)
    except PolicyError:
        await in_slices(state.dissolve())
        raise
    state.move_to(manifest.position)
    state.ancestors = manifest.ancestors
    return state


async def _load_chunks(state: State, snapshot: Snapshot) -> None:
    manifest, unpacker, index = snapshot.manifest, Unpacker(state), 0
    async with contextlib.aclosing(snapshot.chunks) as chunks:
        async for chunk in chunks:
            await in_slices(_load_chunk(state, unpacker, manifest.check(index, chunk)))
            index += 1
    if index < len(manifest.checksums):
        raise Malformed(f"the snapshot of revision {manifest.position.token} ends after {index} chunks")


def _load_chunk(state: State, unpacker: Unpacker, chunk: bytes) -> Iterator[None]:
    for items in unpacker.read(chunk):
        with _decoding():
            for key, value in items:
                state.put(key, value)
        yield


class Taker:
    """Takes the parts of change sets in order, and applies a set with its last part, in one go."""

    def __init__(self, state: State) -> None:
        self.parts: list[ChangePart] = []
        self._state = state
        self._prepared = Prepared(state)
        self._unpacker = Unpacker(state)

    async def take(self, part: ChangePart) -> bool:
        """Whether a set was applied; `parts` are those of it then. A repetition is passed over.

        Raises RevisionCompacted for a part that does not continue the state, Malformed and DigestMismatch.
        """
        position, former = part.position, self._state.position
        if part.part == 0:
            self.parts, self._prepared, self._unpacker = [], Prepared(self._state), Unpacker(self._state)
        if position == former or (position.epoch == former.epoch and position.revision < former.revision):
            return False
        goes_on = position.epoch == former.epoch and position.revision == former.revision + 1
        is_next = part.part == len(self.parts) and all(one.position == position for one in self.parts[:1])
        if not goes_on or part.previous_hash != former.hash or not is_next:
            raise RevisionCompacted(f"part {part.part} of revision {position.token} does not go on from {former.token}")
        self.parts.append(part)
        await in_slices(self._unpack(part.payload))
        if not part.last:
            return False
        await in_slices(self._prepared.rewrite())
        check_digest(self._prepared.digest, position)
        dropped = {key.team for key, value in self._prepared.steps if key.kind is Kind.TEAM and value is None}
        if dropped & self._prepared.members.keys():
            raise Malformed(f"the set of revision {position.token} drops a team and names members of it")
        self._state.apply(self._prepared, position)
        return True

    def _unpack(self, payload: bytes) -> Iterator[None]:
        for items in self._unpacker.read(payload):
            with _decoding():
                for key, value in items:
                    self._prepared.put(key, value)
            yield


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    """What decodes may still be no policy."""
    try:
        yield
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Malformed(f"a payload is no policy ({type(error).__name__})") from error


def check_digest(digest: str, position: Position) -> None:
    """Raises DigestMismatch."""
    if digest != position.digest:
        raise DigestMismatch(f"the state at revision {position.token} has digest {digest}, not {position.digest}")


@contextlib.contextmanager
def collector_paused(owns_process: bool) -> Iterator[None]:
    """No garbage collection while a state is built, none of what was built ever after, and seldom a full one: it would
    keep everybody waiting, most of all in the middle of a large change. Only in a process of our own, never in one that
    somebody else's program shares."""
    if not owns_process:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION_EVERY)
        gc.enable()
