"""Random mutations through AdminService out of few names: they collide, and some are refused."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, NamedTuple

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    DeleteAccessGroupRequest,
    DeleteModelsRequest,
    DeleteTeamRequest,
    RemoveMemberRequest,
    ReseedMembersRequest,
    SetAccessGroupRequest,
    UpdateMemberRequest,
    UpdateTeamRequest,
    UpsertModelsRequest,
)
from policy_service.v1.resources_pb2 import AccessGroup, Member, MemberLimits, Model, ModelScope, Team
from tests.support.rpc import Rpc, number_of

TEAMS = ("ops", "é", "null", "t: 1", "😀")
USERS = ("ann", "bob", "cat", "1_0", "- dan", "eve@x.example", "ÿ", "~")
NAMES = ("a", "b", "p/a", "on", "0x1f")
GROUPS = ("g", "h", "on")
ENTRIES = (*NAMES, *GROUPS, "p/*", "*", "c #d")
TEAM_PATHS = (
    *("display_name", "default_team_member_models", "model_aliases", "blocked", "unlisted_users", "labels"),
    *("default_member_limits.tpm_limit", "default_member_limits.max_budget_in_team", "default_member_limits"),
)
MEMBER_PATHS = ("role", "allowed_models", "limits", "limits.tpm_limit", "limits.rpm_limit", "blocked", "labels")


class Sent(NamedTuple):
    """A mutation that was accepted, and the number of the revision it made."""

    number: int
    rpc: str
    request: Message


class Mutator:
    """Sends one mutation after the other; the same seed gives the same ones. `sent` has those that were accepted."""

    def __init__(self, rpc: Rpc, seed: int) -> None:
        self._rpc, self._chance = rpc, Random(seed)
        self.sent: list[Sent] = []

    async def send(self, count: int = 1) -> None:
        """Sends random mutations, of which some are refused."""
        for _ in range(count):
            try:
                await self.mutate(self._request())
            except grpc.aio.AioRpcError as error:
                assert error.code() is not grpc.StatusCode.INTERNAL

    async def mutate(self, request: Message) -> None:
        """Sends this one."""
        rpc = type(request).__name__.removesuffix("Request")
        answer = await self._rpc.call(rpc, request)
        self.sent.append(Sent(number_of(answer.revision), rpc, request))

    def _request(self) -> Message:
        chance, team, user = self._chance, self._one(TEAMS), self._one(USERS)
        match chance.randrange(20):
            case 0 | 1 | 2:
                members = [self._member(name) for name in chance.sample(USERS, chance.randrange(5))]
                return CreateTeamRequest(team=self._team(team), members=members)
            case 3 | 4 | 5:
                patch, paths = self._team(team), chance.sample(TEAM_PATHS, chance.randrange(3))
                return UpdateTeamRequest(team=patch, update_mask=FieldMask(paths=paths))
            case 6:
                return DeleteTeamRequest(team=team, force=True)
            case 7 | 8:
                return AddMemberRequest(member=self._member(user, team=team))
            case 9 | 10:
                members = [self._member(name) for name in chance.sample(USERS, 2)]
                return BatchAddMembersRequest(team=team, members=members)
            case 11 | 12 | 13 | 14:
                return self._update_of_a_member(team, user)
            case 15:
                return RemoveMemberRequest(team=team, user=user, force=True)
            case 16:
                return ReseedMembersRequest(team=team)
            case 17:
                return SetAccessGroupRequest(group=AccessGroup(name=self._one(GROUPS), models=self._some(ENTRIES)))
            case 18:
                models = [Model(name=name, provider="p", labels=self._labels()) for name in chance.sample(NAMES, 2)]
                return UpsertModelsRequest(models=models)
            case _:
                if chance.random() < 0.5:
                    return DeleteAccessGroupRequest(name=self._one(GROUPS), force=True)
                return DeleteModelsRequest(names=[self._one(NAMES)], force=True)

    def _update_of_a_member(self, team: str, user: str) -> Message:
        paths = self._chance.sample(MEMBER_PATHS, self._chance.randrange(3))
        member = self._member(user, team=team)
        if "allowed_models" in paths and self._chance.random() < 0.7:
            member.ClearField("allowed_models")  # seeded again
        if self._chance.random() < 0.7:
            member.ClearField("limits")  # those that the mask names are unset
        return UpdateMemberRequest(member=member, update_mask=FieldMask(paths=paths))

    def _team(self, name: str) -> Team:
        made = Team(
            id=name, models=self._scope(ModelScope.ALL), default_team_member_models=self._scope(ModelScope.INHERIT)
        )
        made.default_member_limits.CopyFrom(self._limits())
        made.labels.update(self._labels())
        if self._chance.random() < 0.5:
            made.display_name = self._one(("", "A: b", "#1"))
        for alias in self._chance.sample(NAMES, self._chance.randrange(2)):
            made.model_aliases[alias] = self._one(NAMES)
        made.blocked = self._chance.random() < 0.2
        made.unlisted_users = self._chance.choice((1, 2))
        return made

    def _member(self, user: str, **fields: Any) -> Member:
        made = Member(user=user, labels=self._labels(), role=self._chance.choice((0, 1, 2)), **fields)
        made.limits.CopyFrom(self._limits())
        if self._chance.random() < 0.4:
            made.allowed_models.CopyFrom(self._scope(ModelScope.INHERIT))
        if self._chance.random() < 0.3:
            made.blocked = True
        return made

    def _scope(self, widest: int) -> ModelScope:
        mode = self._chance.choice((widest, ModelScope.NONE, ModelScope.ONLY, ModelScope.ONLY))
        models = self._some(ENTRIES) if mode == ModelScope.ONLY else []
        return ModelScope(mode=mode, models=models, excluded_models=self._some(ENTRIES)[: self._chance.randrange(2)])

    def _limits(self) -> MemberLimits:
        given = {
            "tpm_limit": 5,
            "rpm_limit": 0,
            "max_budget_in_team": self._one((0.1, 1e22, 1e-7)),
            "budget_duration": "1d",
        }
        return MemberLimits(**{name: value for name, value in given.items() if self._chance.random() < 0.4})

    def _labels(self) -> dict[str, str]:
        return {key: self._one(("", "yes", "2026-01-01")) for key in self._chance.sample(("k", "~"), 1)}

    def _some(self, names: tuple[str, ...]) -> list[str]:
        return self._chance.sample(names, 1 + self._chance.randrange(2))

    def _one(self, values: tuple[Any, ...]) -> Any:
        return self._chance.choice(values)


async def send_again(rpc: Rpc, sent: Iterable[Sent], up_to: int) -> None:
    """Sends the same mutations to an empty server, up to that revision: it gets the same policy."""
    for number, name, request in sent:
        if number <= up_to:
            answer = await rpc.call(name, request)
            assert number_of(answer.revision) == number
