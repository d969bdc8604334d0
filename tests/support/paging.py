"""Lists, page by page: every RPC that has a `page_token`, what its items are, and page tokens that nobody wrote."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from policy_service.v1.access_pb2 import ListAccessibleModelsRequest
from policy_service.v1.admin_pb2 import (
    ListAccessGroupsRequest,
    ListAuditEventsRequest,
    ListMembersRequest,
    ListModelsRequest,
    ListTeamsRequest,
)
from tests.support.rpc import METHODS, Rpc


@dataclass(frozen=True)
class Listing:
    """A list RPC with its filter; `filters` is what its tokens are bound to, `key` the shape of a last key."""

    rpc: str
    request: Message
    items: str
    name: Callable[[Any], str]
    default: int
    filters: Sequence[Any]
    key: Sequence[Any]

    async def page(self, rpc: Rpc, size: int = 0, token: str = "") -> Any:
        request: Any = type(self.request)()
        request.CopyFrom(self.request)
        request.page_size, request.page_token = size, token
        return await rpc.call(self.rpc, request)

    def names(self, page: Any) -> list[str]:
        return [self.name(item) for item in getattr(page, self.items)]

    async def pages(self, rpc: Rpc, size: int = 0) -> AsyncIterator[Any]:
        """Every page. A list that never ends fails."""
        token, tokens = "", set()
        while True:
            page = await self.page(rpc, size, token)
            yield page
            token = page.next_page_token
            if not token:
                return
            assert token not in tokens, "the list goes round in circles"
            tokens.add(token)

    async def all(self, rpc: Rpc, size: int = 0) -> list[str]:
        return [name for page in [page async for page in self.pages(rpc, size)] for name in self.names(page)]


def accessible(team: str, user: str) -> Listing:
    request = ListAccessibleModelsRequest(team=team, user=user)
    return Listing("ListAccessibleModels", request, "models", str, 1_000, (team, user), [""])


def audit(team: str = "") -> Listing:
    request = ListAuditEventsRequest(team=team)
    filters = (team, "None", "None")
    return Listing("ListAuditEvents", request, "events", lambda event: event.revision, 100, filters, [0, 0])


def members(team: str = "", user: str = "") -> Listing:
    request = ListMembersRequest(team=team, user=user)
    name = lambda member: f"{member.team}/{member.user}"  # noqa: E731
    return Listing("ListMembers", request, "members", name, 100, (team, user, 0), ["", ""])


TEAMS = Listing("ListTeams", ListTeamsRequest(), "teams", lambda team: team.id, 100, (), [""])
GROUPS = Listing("ListAccessGroups", ListAccessGroupsRequest(), "groups", lambda group: group.name, 100, (), [""])
MODELS = Listing("ListModels", ListModelsRequest(), "models", lambda model: model.name, 1_000, (), [""])
PAGED = {name for name, method in METHODS.items() if "page_token" in method.input_type.fields_by_name}
assert {
    "ListAccessibleModels",
    "ListAuditEvents",
    "ListMembers",
    "ListTeams",
    "ListAccessGroups",
    "ListModels",
} == PAGED


def forged(listing: Listing, key: bytes) -> str:
    """A token with the right checksum for any bytes: the checksum is no secret."""
    bound = json.dumps([listing.rpc, list(listing.filters)], ensure_ascii=False).encode()
    checksum = hashlib.blake2b(bound + b"\0" + key, digest_size=8).digest()
    return base64.urlsafe_b64encode(checksum + key).decode().rstrip("=")
