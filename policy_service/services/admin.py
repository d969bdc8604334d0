"""AdminService: the administration point. Mutations go through the authority's writer, lists come from the store."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from policy_service.authority import mutations
from policy_service.authority.authority import Authority, Mutation
from policy_service.authority.mutations import Plan, World
from policy_service.domain.changelog import LogSlice
from policy_service.domain.names import identifier_problem, request_id_problem
from policy_service.domain.records import AccessGroup, Member, Model, Team
from policy_service.domain.validation import MAX_BATCH_MEMBERS, MAX_BATCH_MODELS, Problems, check_batch_size
from policy_service.errors import NotFound
from policy_service.services import convert
from policy_service.services.caller import Caller
from policy_service.services.masks import member_patch, team_patch
from policy_service.services.paging import MAX_PAGE_SIZE, page_size, read_token, write_token
from policy_service.slices import each_in_slices
from policy_service.store.protocol import LogFilter, Store
from policy_service.v1 import admin_pb2 as pb
from policy_service.v1 import resources_pb2 as resources

DEFAULT_PAGE_SIZE = 100
MAX_NAMED_USERS = 1_000


P = TypeVar("P", bound=Message)


class AdminService:
    """Takes and returns messages; raises the errors of policy_service.errors."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    @property
    def _store(self) -> Store:
        return self._authority.store

    # Teams

    async def CreateTeam(self, request: pb.CreateTeamRequest, caller: Caller) -> pb.CreateTeamResponse:
        """Creates a team with its first members."""
        check_batch_size("members", len(request.members), 0, MAX_BATCH_MEMBERS)
        problems = Problems()
        team = convert.team_of(problems, "team", request.team)
        members = _members_of(problems, request.members)
        plan = partial(mutations.create_team, team=team, members=members, problems=problems)

        def answer(plan: Plan) -> pb.CreateTeamResponse:
            created, *added = plan.records
            return pb.CreateTeamResponse(
                team=convert.team_message(cast(Team, created)),
                members=[convert.member_message(cast(Member, member)) for member in added],
            )

        return await self._mutate(request, caller, plan, pb.CreateTeamResponse, answer)

    async def GetTeam(self, request: pb.GetTeamRequest, caller: Caller) -> resources.Team:
        """Returns a team."""
        _check_identifiers(team=request.team)
        team = await self._store.team(request.team)
        if team is None:
            raise NotFound("team", request.team)
        return convert.team_message(team)

    async def ListTeams(self, request: pb.ListTeamsRequest, caller: Caller) -> pb.ListTeamsResponse:
        """A page of teams."""
        problems = Problems()
        limit, (after,) = _page(problems, request, "ListTeams", (), [""])
        problems.raise_any()
        teams, more = await self._store.teams(after, limit)
        return pb.ListTeamsResponse(
            teams=await each_in_slices(convert.team_message, teams),
            next_page_token=write_token("ListTeams", (), [teams[-1].id]) if more else "",
        )

    async def UpdateTeam(self, request: pb.UpdateTeamRequest, caller: Caller) -> pb.UpdateTeamResponse:
        """Changes the named or present fields of a team."""
        problems = Problems()
        problems.add("team.id", identifier_problem(request.team.id))
        patch = team_patch(problems, request.team, request.update_mask.paths)
        problems.raise_any()
        plan = partial(mutations.update_team, team_id=request.team.id, etag=request.team.etag, patch=patch)

        def answer(plan: Plan) -> pb.UpdateTeamResponse:
            return pb.UpdateTeamResponse(team=convert.team_message(cast(Team, plan.records[0])))

        return await self._mutate(request, caller, plan, pb.UpdateTeamResponse, answer)

    async def DeleteTeam(self, request: pb.DeleteTeamRequest, caller: Caller) -> pb.DeleteTeamResponse:
        """Deletes a team, with `force` and its members."""
        _check_identifiers(team=request.team)
        plan = partial(mutations.delete_team, team_id=request.team, etag=request.etag, force=request.force)
        return await self._mutate(request, caller, plan, pb.DeleteTeamResponse)

    # Members

    async def AddMember(self, request: pb.AddMemberRequest, caller: Caller) -> pb.AddMemberResponse:
        """Adds a member, seeded."""
        problems = Problems()
        member = convert.member_of(problems, "member", request.member)
        plan = partial(
            mutations.add_members, team_id=member.team, members=[member], problems=problems, field_of="member"
        )

        def answer(plan: Plan) -> pb.AddMemberResponse:
            return pb.AddMemberResponse(member=convert.member_message(cast(Member, plan.records[0])))

        return await self._mutate(request, caller, plan, pb.AddMemberResponse, answer)

    async def BatchAddMembers(self, request: pb.BatchAddMembersRequest, caller: Caller) -> pb.BatchAddMembersResponse:
        """Adds members, all or none."""
        check_batch_size("members", len(request.members), 1, MAX_BATCH_MEMBERS)
        problems = Problems()
        members = _members_of(problems, request.members)
        plan = partial(mutations.add_members, team_id=request.team, members=members, problems=problems)

        def answer(plan: Plan) -> pb.BatchAddMembersResponse:
            added = [convert.member_message(cast(Member, member)) for member in plan.records]
            return pb.BatchAddMembersResponse(members=added)

        return await self._mutate(request, caller, plan, pb.BatchAddMembersResponse, answer)

    async def GetMember(self, request: pb.GetMemberRequest, caller: Caller) -> resources.Member:
        """Returns a member."""
        _check_identifiers(team=request.team, user=request.user)
        member = await self._store.member(request.team, request.user)
        if member is None:
            raise NotFound("member", f"{request.team}/{request.user}")
        return convert.member_message(member)

    async def ListMembers(self, request: pb.ListMembersRequest, caller: Caller) -> pb.ListMembersResponse:
        """A page of a team's members, or of a user's memberships."""
        problems = Problems()
        team, user = request.team, request.user
        if not team and not user:
            problems.add("team", "is empty, and so is user; give one of them")
        problems.add("team", identifier_problem(team) if team else None)
        problems.add("user", identifier_problem(user) if user else None)
        source = convert.source_filter_of(problems, "scope_source", request.scope_source)
        filters = (team, user, request.scope_source)
        limit, (last_team, last_user) = _page(problems, request, "ListMembers", filters, ["", ""])
        problems.raise_any()
        members, more = await self._store.members(team, user, source, (last_team, last_user), limit)
        last = [members[-1].team, members[-1].user] if more else []
        return pb.ListMembersResponse(
            members=await each_in_slices(convert.member_message, members),
            next_page_token=write_token("ListMembers", filters, last) if more else "",
        )

    async def UpdateMember(self, request: pb.UpdateMemberRequest, caller: Caller) -> pb.UpdateMemberResponse:
        """Changes the named or present fields of a member."""
        problems = Problems()
        member = request.member
        problems.add("member.team", identifier_problem(member.team))
        problems.add("member.user", identifier_problem(member.user))
        patch = member_patch(problems, member, request.update_mask.paths)
        problems.raise_any()
        plan = partial(mutations.update_member, team_id=member.team, user=member.user, etag=member.etag, patch=patch)

        def answer(plan: Plan) -> pb.UpdateMemberResponse:
            return pb.UpdateMemberResponse(member=convert.member_message(cast(Member, plan.records[0])))

        return await self._mutate(request, caller, plan, pb.UpdateMemberResponse, answer)

    async def RemoveMember(self, request: pb.RemoveMemberRequest, caller: Caller) -> pb.RemoveMemberResponse:
        """Removes a member."""
        team, user = request.team, request.user
        _check_identifiers(team=team, user=user)
        plan = partial(mutations.remove_member, team_id=team, user=user, etag=request.etag, force=request.force)
        return await self._mutate(request, caller, plan, pb.RemoveMemberResponse)

    async def ReseedMembers(self, request: pb.ReseedMembersRequest, caller: Caller) -> pb.ReseedMembersResponse:
        """Copies the team's default scope to its seeded members."""
        _check_identifiers(team=request.team)

        def answer(plan: Plan) -> pb.ReseedMembersResponse:
            users = [cast(Member, member).user for member in plan.records[:MAX_NAMED_USERS]]
            return pb.ReseedMembersResponse(reseeded_count=len(plan.records), users=users)

        plan = partial(mutations.reseed_members, team_id=request.team)
        return await self._mutate(request, caller, plan, pb.ReseedMembersResponse, answer)

    # Groups and models

    async def SetAccessGroup(self, request: pb.SetAccessGroupRequest, caller: Caller) -> pb.SetAccessGroupResponse:
        """Creates a group or replaces it whole."""

        def answer(plan: Plan) -> pb.SetAccessGroupResponse:
            return pb.SetAccessGroupResponse(group=convert.group_message(cast(AccessGroup, plan.records[0])))

        plan = partial(mutations.set_group, group=convert.group_of(request.group))
        return await self._mutate(request, caller, plan, pb.SetAccessGroupResponse, answer)

    async def GetAccessGroup(self, request: pb.GetAccessGroupRequest, caller: Caller) -> resources.AccessGroup:
        """Returns a group."""
        _check_identifiers(name=request.name)
        group = await self._store.group(request.name)
        if group is None:
            raise NotFound("group", request.name)
        return convert.group_message(group)

    async def ListAccessGroups(
        self, request: pb.ListAccessGroupsRequest, caller: Caller
    ) -> pb.ListAccessGroupsResponse:
        """A page of groups."""
        problems = Problems()
        limit, (after,) = _page(problems, request, "ListAccessGroups", (), [""])
        problems.raise_any()
        groups, more = await self._store.groups(after, limit)
        return pb.ListAccessGroupsResponse(
            groups=[convert.group_message(group) for group in groups],
            next_page_token=write_token("ListAccessGroups", (), [groups[-1].name]) if more else "",
        )

    async def DeleteAccessGroup(
        self, request: pb.DeleteAccessGroupRequest, caller: Caller
    ) -> pb.DeleteAccessGroupResponse:
        """Deletes a group."""
        _check_identifiers(name=request.name)
        plan = partial(mutations.delete_group, name=request.name, etag=request.etag, force=request.force)
        return await self._mutate(
            request, caller, plan, pb.DeleteAccessGroupResponse, lambda _: pb.DeleteAccessGroupResponse()
        )

    async def UpsertModels(self, request: pb.UpsertModelsRequest, caller: Caller) -> pb.UpsertModelsResponse:
        """Puts models into the catalogue."""
        check_batch_size("models", len(request.models), 1, MAX_BATCH_MODELS)

        def answer(plan: Plan) -> pb.UpsertModelsResponse:
            return pb.UpsertModelsResponse(models=[convert.model_message(cast(Model, m)) for m in plan.records])

        plan = partial(mutations.upsert_models, models=[convert.model_of(model) for model in request.models])
        return await self._mutate(request, caller, plan, pb.UpsertModelsResponse, answer)

    async def ListModels(self, request: pb.ListModelsRequest, caller: Caller) -> pb.ListModelsResponse:
        """A page of the catalogue."""
        problems = Problems()
        limit, (after,) = _page(problems, request, "ListModels", (), [""], MAX_PAGE_SIZE)
        problems.raise_any()
        models, more = await self._store.models(after, limit)
        return pb.ListModelsResponse(
            models=[convert.model_message(model) for model in models],
            next_page_token=write_token("ListModels", (), [models[-1].name]) if more else "",
        )

    async def DeleteModels(self, request: pb.DeleteModelsRequest, caller: Caller) -> pb.DeleteModelsResponse:
        """Takes models out of the catalogue."""
        check_batch_size("names", len(request.names), 1, MAX_BATCH_MODELS)
        plan = partial(mutations.delete_models, names=list(request.names), force=request.force)
        return await self._mutate(request, caller, plan, pb.DeleteModelsResponse)

    # The audit log

    async def ListAuditEvents(self, request: pb.ListAuditEventsRequest, caller: Caller) -> pb.ListAuditEventsResponse:
        """A page of the audit log."""
        problems = Problems()
        problems.add("team", identifier_problem(request.team) if request.team else None)
        start = _time_of(problems, "start_time", request, request.start_time)
        end = _time_of(problems, "end_time", request, request.end_time)
        filters = (request.team, str(start), str(end))
        limit, (revision, change) = _page(problems, request, "ListAuditEvents", filters, [0, 0])
        problems.raise_any()
        slices, more = await self._store.log(LogFilter(request.team, start, end), (revision, change), limit)
        token = ""
        if more:
            last = slices[-1]
            key = [last.entry.revision, last.first_change + len(last.images) - 1]
            token = write_token("ListAuditEvents", filters, key)
        return pb.ListAuditEventsResponse(events=[_event(found) for found in slices], next_page_token=token)

    async def _mutate(
        self,
        request: Any,
        caller: Caller,
        plan: Callable[[World], Awaitable[Plan]],
        response_class: type[P],
        answer: Callable[[Plan], P] | None = None,
    ) -> P:
        """Runs a mutation. `answer` makes the response, but for the revision and the warnings (None: these alone).
        What is returned is what was recorded for the request_id, so that a retry hears the same."""
        problems = Problems()
        problems.add("request_id", request_id_problem(request.request_id))
        problems.raise_any()
        content = type(request)()
        content.CopyFrom(request)
        content.ClearField("request_id")

        def encode(done: Plan, revision: str) -> bytes:
            response: Any = answer(done) if answer else response_class()
            response.revision = revision
            response.warnings.extend(done.warnings)
            return cast(bytes, response.SerializeToString())

        encoded = await self._authority.mutate(
            Mutation(
                rpc=type(request).DESCRIPTOR.name.removesuffix("Request"),
                actor=caller.name,
                peer=caller.peer(),
                plan=plan,
                encode=encode,
                request_id=request.request_id,
                request_hash=hashlib.sha256(content.SerializeToString(deterministic=True)).digest(),
                validate_only=request.validate_only,
            )
        )
        return response_class.FromString(encoded)


def _members_of(problems: Problems, members: Sequence[resources.Member]) -> list[Member]:
    return [convert.member_of(problems, f"members[{index}]", member) for index, member in enumerate(members)]


def _check_identifiers(**fields: str) -> None:
    problems = Problems()
    for field, value in fields.items():
        problems.add(field, identifier_problem(value))
    problems.raise_any()


def _page(
    problems: Problems,
    request: Any,
    rpc: str,
    filters: Sequence[Any],
    first_key: Sequence[Any],
    default_size: int = DEFAULT_PAGE_SIZE,
) -> tuple[int, list[Any]]:
    """The page's size and the key it goes on after."""
    return (
        page_size(problems, request.page_size, default_size),
        read_token(problems, request.page_token, rpc, filters, first_key),
    )


def _time_of(problems: Problems, field: str, request: Message, value: Timestamp) -> datetime | None:
    if not request.HasField(field):
        return None
    try:
        return value.ToDatetime(UTC)
    except (ValueError, OverflowError):
        problems.add(field, "is no time between the years 1 and 9999")
        return None


def _event(found: LogSlice) -> pb.AuditEvent:
    entry = found.entry
    changes = [
        pb.AuditEvent.Change(kind=key.kind.value, name=str(key), before_json=before, after_json=after)
        for key, before, after in found.images
    ]
    return pb.AuditEvent(
        revision=entry.position.token,
        time=convert.timestamp(entry.time),
        actor=entry.actor,
        peer=entry.peer,
        rpc=entry.rpc,
        changes=changes,
        change_count=entry.change_count,
        first_change=found.first_change,
        digest=entry.digest,
        format=entry.format,
        previous_hash=entry.previous_hash,
        hash=entry.hash,
    )
