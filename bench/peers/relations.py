"""The world's policy as relationships, for engines that follow these from an object to a subject.

A seat is a user in a team. It has the team's scope and one of its own, both of which have to grant the model; scopes
that are equal are one. Asked is whether the model, as the subject, has a relation to the seat, the object: so every
step has a few ways to go on, where the other way round a model would have one for each scope that lists it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from bench.peers.policy import Entries, Policy
from policy_service.domain.records import ModelScope

EVERY = "*"  # as the id of a subject: all of its type


class Relation(NamedTuple):
    """The object has this relation to the subject."""

    object_type: str
    object_id: str
    relation: str
    subject_type: str
    subject_id: str


class Relations:
    """All of them."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._scopes: dict[ModelScope, str] = {}  # their ids

    def target(self, team: str, model: str) -> str:
        """What the team's aliases make of a model: there is no relationship that could."""
        return self._policy.team(team).model_aliases.get(model, model)

    def __iter__(self) -> Iterator[Relation]:
        for group, models in self._policy.groups.items():
            for model in models:
                yield Relation("group", group, "model", "model", model)
        for model, provider in self._policy.providers.items():
            yield Relation("provider", provider, "model", "model", model)
        world = self._policy.world
        for team in world.team_records:
            yield from self._has_scope("team", team.id, team.models)
        for place in range(world.members):
            member = world.member(place)
            seat = seat_id(member.team, member.user)
            yield Relation("seat", seat, "team", "team", member.team)
            yield from self._has_scope("seat", seat, member.allowed_models)
            if member.blocked:
                yield Relation("seat", seat, "blocked", "model", EVERY)

    def _has_scope(self, kind: str, identity: str, scope: ModelScope) -> Iterator[Relation]:
        known = self._scopes.get(scope)
        if known is None:
            known = self._scopes[scope] = str(len(self._scopes))
            yield from _in_scope(known, self._policy.entries(scope))
        yield Relation(kind, identity, "scope", "scope", known)


def _in_scope(scope: str, entries: Entries) -> Iterator[Relation]:
    for model in (EVERY,) if entries.all else entries.names:
        yield Relation("scope", scope, "listed", "model", model)
    for group in entries.groups:
        yield Relation("scope", scope, "group", "group", group)
    for provider in entries.providers:
        yield Relation("scope", scope, "provider", "provider", provider)
    for model in entries.excluded:
        yield Relation("scope", scope, "excluded", "model", model)


def seat_id(team: str, user: str) -> str:
    """Of characters that ids may have everywhere."""
    return f"{team}/{user}".replace("@", "|").replace(".", "=")
