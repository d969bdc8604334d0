"""Replicas of an authority: how they are configured here, and when they are as far as it is."""

from __future__ import annotations

from typing import Any

from policy_service.replication.following import Follow
from policy_service.v1.replication_pb2 import GetStatusRequest, GetStatusResponse
from tests.support.rpc import Rpc
from tests.support.waiting import until

SYNCING, FRESH, STALE = GetStatusResponse.SYNCING, GetStatusResponse.FRESH, GetStatusResponse.STALE


def following(target: str, **fields: Any) -> Follow:
    """The `follow` of a Config. It waits for a revision as long as the caller does."""
    return Follow.of(f"grpc://{target}", authority=None, **{"revision_wait_s": 60.0} | fields)


async def status(rpc: Rpc, metadata: Any = None) -> GetStatusResponse:
    answer: GetStatusResponse = await rpc.replication.GetStatus(GetStatusRequest(), metadata=metadata)
    return answer


async def in_state(rpc: Rpc, state: int) -> GetStatusResponse:
    """Waits until the replica is in this state."""

    async def asked() -> GetStatusResponse | None:
        found = await status(rpc)
        return found if found.state == state else None

    found = await until(asked, f"the replica is {GetStatusResponse.State.Name(state)}")
    assert found is not None
    return found


async def equal(replica: Rpc, authority: Rpc, revisions_repeat: bool = False) -> GetStatusResponse:
    """Waits until the replica is fresh, at the authority's revision; its digest is then the authority's. But where
    revisions repeat, since the authority was put back behind everybody's back: there it waits for the digest, too."""

    async def asked() -> GetStatusResponse | None:
        theirs, found = await status(authority), await status(replica)
        is_there = found.state == FRESH and found.revision == theirs.revision
        is_same = found.digest == theirs.digest
        assert is_same or revisions_repeat or not is_there
        return found if is_there and is_same else None

    found = await until(asked, "the replica is where the authority is")
    assert found is not None
    return found
