"""Every store: the requests that succeeded under a request_id, and how they expire."""

from __future__ import annotations

from datetime import timedelta

import pytest

from policy_service.store.protocol import Commit, RecordedRequest, Store
from tests.store.support import START, Ledger, model

HOUR = timedelta(hours=1)


def request(request_id: str, rpc: str = "AddMember", hours: int = 0) -> RecordedRequest:
    return RecordedRequest(rpc, request_id, b"\0hash\xff", b"\0answer\xff", START + hours * HOUR)


async def left(store: Store, ids: list[str]) -> list[str]:
    return [request_id for request_id in ids if await store.recorded_request("AddMember", request_id)]


async def test_a_request_is_recorded_with_the_entry(store: Store, ledger: Ledger) -> None:
    await ledger.put(model("m"), request=request("1"))
    assert await store.recorded_request("AddMember", "1") == request("1")


async def test_a_request_is_recorded_without_an_entry(store: Store) -> None:
    await store.commit(Commit(request=request("é😀")))
    assert await store.recorded_request("AddMember", "é😀") == request("é😀")
    assert (await store.position()).revision == 0


async def test_an_answer_may_be_empty(store: Store) -> None:
    await store.commit(Commit(request=request("1")._replace(response=b"", request_hash=b"")))
    assert await store.recorded_request("AddMember", "1") == request("1")._replace(response=b"", request_hash=b"")


async def test_requests_are_kept_by_rpc_and_exact_id(store: Store) -> None:
    await store.commit(Commit(request=request("1", "AddMember")))
    await store.commit(Commit(request=request("1", "DeleteTeam")._replace(response=b"other")))
    found = await store.recorded_request("DeleteTeam", "1")
    assert found is not None
    assert found.response == b"other"
    assert await store.recorded_request("AddMember", "1") == request("1")
    for rpc, request_id in (("addMember", "1"), ("AddMember", "01"), ("AddMember", "")):
        assert await store.recorded_request(rpc, request_id) is None


@pytest.mark.parametrize("with_entry", [True, False])
async def test_a_request_older_than_asked_is_dropped_and_no_other(
    store: Store, ledger: Ledger, with_entry: bool
) -> None:
    for hour in range(5):
        await store.commit(Commit(request=request(str(hour), hours=hour)))
    before = START + 3 * HOUR
    if with_entry:
        await ledger.put(model("m"), forget_requests_before=before)
    else:
        await store.commit(Commit(forget_requests_before=before))
    assert await left(store, list("01234")) == ["3", "4"]


async def test_without_being_asked_a_commit_drops_none(store: Store, ledger: Ledger) -> None:
    await store.commit(Commit(request=request("1", hours=-10_000)))
    await ledger.put(model("m"), request=request("2"))
    assert await left(store, ["1", "2"]) == ["1", "2"]


async def test_one_commit_drops_a_bounded_number_and_the_oldest_first(store: Store) -> None:
    ids = [f"{number:03}" for number in range(250)]
    for number, request_id in enumerate(ids):
        recorded = request(request_id)._replace(time=START + timedelta(seconds=number))
        await store.commit(Commit(request=recorded))
    for kept in (ids[100:], ids[200:], []):
        await store.commit(Commit(forget_requests_before=START + HOUR))
        assert await left(store, ids) == kept
