"""The world's policy in terms that any policy engine has: lists of names, providers and groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from bench.world import GROUPS, World
from policy_service.domain.records import AccessGroup, Member, Mode, ModelScope, Team

_STEP = 7_919  # between the users of neighbours, see World.member_of


class Entries(NamedTuple):
    """A scope. It grants what it lists, directly or through a provider's wildcard or a group, but for what it excludes:
    those are all the names in the catalogue that an exclusion means."""

    all: bool
    names: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """A world, as its records say it."""

    world: World

    @cached_property
    def providers(self) -> dict[str, str]:
        """The provider of every model."""
        return {model.name: model.provider for model in self.world.models}

    @cached_property
    def qualified(self) -> dict[str, str]:
        """The name with its provider of every model, which a wildcard may mean, too."""
        return {
            name: name if name.startswith(f"{provider}/") else f"{provider}/{name}"
            for name, provider in self.providers.items()
        }

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """What every access group lists."""
        records = islice(self.world.records(), len(self.world.models) + len(GROUPS))
        return {record.name: record.models for record in records if isinstance(record, AccessGroup)}

    def entries(self, scope: ModelScope) -> Entries:
        if scope.mode is not Mode.ONLY:
            return Entries(all=True)
        wildcards = [entry for entry in scope.models if "*" in entry]
        providers = tuple(entry.removesuffix("/*") for entry in wildcards)
        assert set(providers) <= set(self.providers.values())
        return Entries(
            all=False,
            names=tuple(entry for entry in scope.models if entry not in self.groups and entry not in wildcards),
            providers=providers,
            groups=tuple(entry for entry in scope.models if entry in self.groups),
            excluded=tuple(name for name in self.providers if _excluded(name, scope.excluded_models)),
        )

    def team(self, name: str) -> Team:
        return self.world.team_records[int(name[-5:])]

    def place(self, team: str, user: str) -> int:
        """The number of a member. Who is a member of two teams has two."""
        people = self.world.members * 2 // 3 + 1
        first = int(user[5:12]) * pow(_STEP, -1, people) % people
        return next(at for at in range(first, self.world.members, people) if self.world.member_of(at) == (team, user))

    def member(self, team: str, user: str) -> Member:
        return self.world.member(self.place(team, user))


def _excluded(name: str, exclusions: tuple[str, ...]) -> bool:
    """An exclusion without a provider means the model of every provider."""
    return name in exclusions or name.rpartition("/")[2] in exclusions
