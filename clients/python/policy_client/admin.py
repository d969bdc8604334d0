"""The client of AdminService, for provisioning. The resources are the generated messages of `policy_service.v1`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypedDict, TypeVar, Unpack
from uuid import uuid4

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from policy_client.connection import TLS, Connection, RetryPolicy, build
from policy_service.v1 import admin_pb2 as pb
from policy_service.v1 import resources_pb2 as resources
from policy_service.v1.admin_pb2_grpc import AdminServiceStub

if TYPE_CHECKING:
    from policy_service.v1.admin_pb2_grpc import AdminServiceAsyncStub

PAGE_SIZE = 1_000
# A person or a job waits, not a gateway: slow enough to outlast a server that restarts.
DEFAULT_RETRY = RetryPolicy(initial_delay_s=0.5, max_delay_s=4.0)
ANY_SOURCE = resources.SCOPE_SOURCE_UNSPECIFIED


class MutationOptions(TypedDict, total=False):
    """What every mutation takes besides its own arguments.

    `request_id` (1 to 128 bytes) makes a repetition safe for at least 24 hours; without one, each call makes its own,
    which its retries share. `validate_only` does everything but commit. `timeout_s` is the deadline over all attempts.
    """

    request_id: str
    validate_only: bool
    timeout_s: float | None


class _Mutation(Protocol):
    request_id: str
    validate_only: bool


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


_MutationT = TypeVar("_MutationT", bound=_Mutation)
_PageRequestT = TypeVar("_PageRequestT", bound=_PageRequest)
_PageT = TypeVar("_PageT", bound=_Page)
_Response = TypeVar("_Response")


class AdminClient:
    """Keeps teams, members, access groups and models. An async context manager.

    The options are those of AccessClient. Each `list_*` is an async iterator over all pages, the default deadline being
    for a page. Every call raises PolicyClientError: InvalidArgument with `violations`, NotFound, AlreadyExists, Aborted
    when an `etag` moved on, PreconditionFailed when `force` is needed or a name is taken, Unauthenticated,
    PermissionDenied, Unavailable, DeadlineExceeded.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | None = None,
        tls: TLS | None = None,
        channel: grpc.aio.Channel | None = None,
        timeout_s: float = 10.0,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        self._connection = Connection(target, token=token, tls=tls, channel=channel, retry=retry, timeout_s=timeout_s)

    @cached_property
    def _stub(self) -> AdminServiceAsyncStub:
        return AdminServiceStub(self._connection.channel)

    # Teams

    async def create_team(
        self, team: resources.Team, members: Iterable[resources.Member] = (), **options: Unpack[MutationOptions]
    ) -> pb.CreateTeamResponse:
        """Creates a team with its first members (at most 500), seeded as by `add_member`."""
        request = build(pb.CreateTeamRequest, team=team, members=members)
        return await self._mutate(self._stub.CreateTeam, request, options)

    async def get_team(self, team: str, *, timeout_s: float | None = None) -> resources.Team:
        """Returns a team."""
        request = build(pb.GetTeamRequest, team=team)
        return await self._connection.call(self._stub.GetTeam, request, timeout_s)

    async def list_teams(self) -> AsyncIterator[resources.Team]:
        """The teams, by identifier in byte order."""
        request = pb.ListTeamsRequest(page_size=PAGE_SIZE)
        async for page in self._pages(self._stub.ListTeams, request):
            for team in page.teams:
                yield team

    async def update_team(
        self, team: resources.Team, update_mask: Iterable[str] = (), **options: Unpack[MutationOptions]
    ) -> pb.UpdateTeamResponse:
        """Changes a team; its `etag`, if set, is a precondition.

        Without a mask the fields present in `team` change and limits merge field by field. With one (paths such as
        `default_member_limits.tpm_limit`) exactly the named fields change, and one that is absent is cleared.
        """
        request = build(pb.UpdateTeamRequest, team=team, update_mask=_mask(update_mask))
        return await self._mutate(self._stub.UpdateTeam, request, options)

    async def delete_team(
        self, team: str, *, force: bool = False, etag: str = "", **options: Unpack[MutationOptions]
    ) -> pb.DeleteTeamResponse:
        """Deletes a team; with `force` its members too."""
        request = build(pb.DeleteTeamRequest, team=team, force=force, etag=etag)
        return await self._mutate(self._stub.DeleteTeam, request, options)

    # Members

    async def add_member(self, member: resources.Member, **options: Unpack[MutationOptions]) -> pb.AddMemberResponse:
        """Adds a user to a team; without `allowed_models` the team's default is copied."""
        request = build(pb.AddMemberRequest, member=member)
        return await self._mutate(self._stub.AddMember, request, options)

    async def batch_add_members(
        self, team: str, members: Iterable[resources.Member], **options: Unpack[MutationOptions]
    ) -> pb.BatchAddMembersResponse:
        """Adds 1 to 500 users to a team, all or none."""
        request = build(pb.BatchAddMembersRequest, team=team, members=members)
        return await self._mutate(self._stub.BatchAddMembers, request, options)

    async def get_member(self, team: str, user: str, *, timeout_s: float | None = None) -> resources.Member:
        """Returns a member."""
        request = build(pb.GetMemberRequest, team=team, user=user)
        return await self._connection.call(self._stub.GetMember, request, timeout_s)

    async def list_members(
        self, *, team: str = "", user: str = "", scope_source: resources.ScopeSource.ValueType = ANY_SOURCE
    ) -> AsyncIterator[resources.Member]:
        """The members of a team, or the memberships of a user, by team and user in byte order. One is required."""
        request = build(pb.ListMembersRequest, team=team, user=user, scope_source=scope_source, page_size=PAGE_SIZE)
        async for page in self._pages(self._stub.ListMembers, request):
            for member in page.members:
                yield member

    async def update_member(
        self, member: resources.Member, update_mask: Iterable[str] = (), **options: Unpack[MutationOptions]
    ) -> pb.UpdateMemberResponse:
        """Changes a member, as `update_team` does a team. `allowed_models` named in the mask but absent is seeded."""
        request = build(pb.UpdateMemberRequest, member=member, update_mask=_mask(update_mask))
        return await self._mutate(self._stub.UpdateMember, request, options)

    async def remove_member(
        self, team: str, user: str, *, force: bool = False, etag: str = "", **options: Unpack[MutationOptions]
    ) -> pb.RemoveMemberResponse:
        """Removes a user from a team; with `force` even one who may use more without being a member."""
        request = build(pb.RemoveMemberRequest, team=team, user=user, force=force, etag=etag)
        return await self._mutate(self._stub.RemoveMember, request, options)

    async def reseed_members(self, team: str, **options: Unpack[MutationOptions]) -> pb.ReseedMembersResponse:
        """Copies the team's default scope (never limits) to the members whose scope is still seeded."""
        request = build(pb.ReseedMembersRequest, team=team)
        return await self._mutate(self._stub.ReseedMembers, request, options)

    # Access groups

    async def set_access_group(
        self, group: resources.AccessGroup, **options: Unpack[MutationOptions]
    ) -> pb.SetAccessGroupResponse:
        """Creates an access group or replaces it whole; its `etag`, if set, is a precondition."""
        request = build(pb.SetAccessGroupRequest, group=group)
        return await self._mutate(self._stub.SetAccessGroup, request, options)

    async def get_access_group(self, name: str, *, timeout_s: float | None = None) -> resources.AccessGroup:
        """Returns an access group."""
        request = build(pb.GetAccessGroupRequest, name=name)
        return await self._connection.call(self._stub.GetAccessGroup, request, timeout_s)

    async def list_access_groups(self) -> AsyncIterator[resources.AccessGroup]:
        """The access groups, by name in byte order."""
        request = pb.ListAccessGroupsRequest(page_size=PAGE_SIZE)
        async for page in self._pages(self._stub.ListAccessGroups, request):
            for group in page.groups:
                yield group

    async def delete_access_group(
        self, name: str, *, force: bool = False, etag: str = "", **options: Unpack[MutationOptions]
    ) -> pb.DeleteAccessGroupResponse:
        """Deletes an access group; with `force` even one that a scope lists."""
        request = build(pb.DeleteAccessGroupRequest, name=name, force=force, etag=etag)
        return await self._mutate(self._stub.DeleteAccessGroup, request, options)

    # The catalogue and the audit log

    async def upsert_models(
        self, models: Iterable[resources.Model], **options: Unpack[MutationOptions]
    ) -> pb.UpsertModelsResponse:
        """Puts 1 to 1,000 models into the catalogue; each replaces the one of its name whole."""
        request = build(pb.UpsertModelsRequest, models=models)
        return await self._mutate(self._stub.UpsertModels, request, options)

    async def list_models(self) -> AsyncIterator[resources.Model]:
        """The catalogue, by name in byte order."""
        request = pb.ListModelsRequest(page_size=PAGE_SIZE)
        async for page in self._pages(self._stub.ListModels, request):
            for model in page.models:
                yield model

    async def delete_models(
        self, names: Iterable[str], *, force: bool = False, **options: Unpack[MutationOptions]
    ) -> pb.DeleteModelsResponse:
        """Takes 1 to 1,000 models out of the catalogue, all or none; with `force` even if an exclusion needs them."""
        request = build(pb.DeleteModelsRequest, names=names, force=force)
        return await self._mutate(self._stub.DeleteModels, request, options)

    async def list_audit_events(
        self, *, team: str = "", start_time: datetime | None = None, end_time: datetime | None = None
    ) -> AsyncIterator[pb.AuditEvent]:
        """The audit log, the oldest first: of a team (if given), from `start_time` to before `end_time`.

        An event too large for a page comes in parts under one revision; `first_change` says where a part begins.
        Raises ValueError for a time without a time zone.
        """
        request = build(
            pb.ListAuditEventsRequest,
            team=team,
            start_time=_timestamp(start_time),
            end_time=_timestamp(end_time),
            page_size=PAGE_SIZE,
        )
        async for page in self._pages(self._stub.ListAuditEvents, request):
            for event in page.events:
                yield event

    async def _mutate(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[_MutationT, _Response],
        request: _MutationT,
        options: MutationOptions,
    ) -> _Response:
        # Once a call, not once an attempt: the server answers a repetition with what the first one did.
        request.request_id = options.get("request_id") or str(uuid4())
        request.validate_only = options.get("validate_only", False)
        return await self._connection.call(method, request, options.get("timeout_s"))

    async def _pages(
        self, method: grpc.aio.UnaryUnaryMultiCallable[_PageRequestT, _PageT], request: _PageRequestT
    ) -> AsyncIterator[_PageT]:
        while True:
            page = await self._connection.call(method, request, None)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def close(self) -> None:
        """Ends the calls that run and closes the channel, unless it was given. May be called twice."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _mask(paths: Iterable[str]) -> FieldMask | None:
    return FieldMask(paths=listed) if (listed := list(paths)) else None


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"the time {time} has no time zone; give it one, such as datetime.UTC")
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
