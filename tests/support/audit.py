"""The audit log as an auditor reads it: through ListAuditEvents alone, with hashes computed here.

The definition is that of policy_service/domain/changes.py, written again so that a change of it is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from policy_service.v1.admin_pb2 import AuditEvent, ListAuditEventsRequest
from tests.support.rpc import Rpc

NO_HASH = "0" * 64


async def read_slices(rpc: Rpc, size: int = 0, **filters: Any) -> list[AuditEvent]:
    """Every event as the pages have it: one that does not fit goes on in the next."""
    slices: list[AuditEvent] = []
    token = ""
    while True:
        request = ListAuditEventsRequest(page_size=size, page_token=token, **filters)
        page = await rpc.admin.ListAuditEvents(request)
        slices.extend(page.events)
        token = page.next_page_token
        if not token:
            return slices


def joined(slices: Sequence[AuditEvent]) -> list[AuditEvent]:
    """The events, each put together from its slices; no change may be missing or there twice."""
    events: list[AuditEvent] = []
    for part in slices:
        if events and events[-1].revision == part.revision:
            assert part.first_change == len(events[-1].changes)
            events[-1].changes.extend(part.changes)
        else:
            assert part.first_change == 0
            event = AuditEvent()
            event.CopyFrom(part)
            events.append(event)
    for event in events:
        assert len(event.changes) == event.change_count
    return events


async def read(rpc: Rpc, size: int = 0, **filters: Any) -> list[AuditEvent]:
    return joined(await read_slices(rpc, size, **filters))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def hash_of(event: AuditEvent) -> str:
    """What the event's hash has to be."""
    changes = hashlib.sha256()
    for change in event.changes:
        changes.update(_canonical([change.kind, change.name, change.before_json, change.after_json]) + b"\n")
    epoch, _, number = event.revision.rpartition(".")
    micros = f"{event.time.nanos // 1_000:06d}"
    covered = {
        "epoch": epoch,
        "revision": int(number),
        "time": event.time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%S.") + micros + "Z",
        "changes": changes.hexdigest(),
    }
    for name in ("actor", "peer", "rpc", "digest", "previous_hash", "change_count", "format"):
        covered[name] = getattr(event, name)
    return hashlib.sha256(_canonical(covered)).hexdigest()


def verify(events: Sequence[AuditEvent]) -> None:
    """The whole log, from its first event: nothing is missing, nothing was changed."""
    previous = NO_HASH
    for number, event in enumerate(events, 1):
        assert int(event.revision.rpartition(".")[2]) == number
        assert event.previous_hash == previous
        assert event.hash == hash_of(event), event.revision
        previous = event.hash
