"""Random worlds out of few names, built through AdminService, so that names, groups, aliases and patterns collide."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from policy_service.v1.admin_pb2 import CreateTeamRequest, SetAccessGroupRequest, UpsertModelsRequest
from policy_service.v1.resources_pb2 import AccessGroup, Member, MemberLimits, Model, ModelScope, Team, UnlistedUsers
from tests.support.rpc import Rpc

NAMES = ("a", "A", "ab", "b", "p/a", "P/A", "q/a", "q/p/a", "p/ab", "é")
PATTERNS = ("*", "a*", "*b", "p/*", "*/a", "q/*")
PROVIDERS = ("p", "q", "P")
GROUPS = ("g", "h")
ALIASES = ("fast", "q/fast", "ab")
TEAMS = ("t", "u", "v")
MEMBERS = ("ann", "bob", "cat")
USERS = ("", *MEMBERS, "zoe")


@dataclass
class RandomWorld:
    """What was built, for a test that works out by itself what a list has to hold."""

    models: list[Model] = field(default_factory=list)
    groups: list[AccessGroup] = field(default_factory=list)
    teams: dict[str, Team] = field(default_factory=dict)
    members: dict[tuple[str, str], Member] = field(default_factory=dict)

    async def build(self, rpc: Rpc) -> None:
        if self.models:
            await rpc.admin.UpsertModels(UpsertModelsRequest(models=self.models))
        for group in self.groups:
            await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group))
        for name, team in self.teams.items():
            members = [member for (in_team, _), member in self.members.items() if in_team == name]
            await rpc.admin.CreateTeam(CreateTeamRequest(team=team, members=members))

    def known_names(self, team: str, user: str) -> set[str]:
        """Every catalogue name, alias and wildcard-free entry of the scopes and of the groups that they list."""
        if team not in self.teams:
            return set()
        scopes = [self.teams[team].models]
        if (team, user) in self.members:
            scopes.append(self.members[team, user].allowed_models)
        names = {model.name for model in self.models} | set(self.teams[team].model_aliases)
        entries = {entry for scope in scopes for entry in scope.models}
        for group in self.groups:
            if group.name in entries:
                entries |= set(group.models)
        return names | {entry for entry in entries if "*" not in entry}


def random_world(chance: Random) -> RandomWorld:
    world = RandomWorld()
    world.models = [Model(name=n, provider=chance.choice(PROVIDERS)) for n in chance.sample(NAMES, 5)]
    for name in chance.sample(GROUPS, chance.randrange(3)):
        world.groups.append(AccessGroup(name=name, models=_entries(chance, 3), excluded_models=_exclusions(chance)))
    taken = {group.name for group in world.groups}
    for name in TEAMS:
        aliases = {alias: chance.choice(NAMES) for alias in chance.sample(ALIASES, 2) if alias not in taken}
        world.teams[name] = Team(
            id=name,
            models=_scope(chance, ("ONLY", "ONLY", "ONLY", "ALL", "ALL", "NONE")),
            model_aliases=aliases,
            blocked=chance.random() < 0.1,
            unlisted_users=chance.choice((UnlistedUsers.DENY, UnlistedUsers.TEAM_SCOPE)),
            default_member_limits=MemberLimits(rpm_limit=chance.randrange(3)),
        )
        for user in chance.sample(MEMBERS, 2):
            scope = _scope(chance, ("ONLY", "ONLY", "ONLY", "INHERIT", "INHERIT", "NONE"))
            world.members[name, user] = Member(user=user, allowed_models=scope, blocked=chance.random() < 0.1)
    return world


def _entries(chance: Random, most: int) -> list[str]:
    choices = (*NAMES, *PATTERNS, *GROUPS, *ALIASES)
    return [chance.choice(choices) for _ in range(1 + chance.randrange(most))]


def _exclusions(chance: Random) -> list[str]:
    return _entries(chance, 2) if chance.random() < 0.4 else []


def _scope(chance: Random, modes: tuple[str, ...]) -> ModelScope:
    mode = chance.choice(modes)
    models = _entries(chance, 4) if mode == "ONLY" else []
    return ModelScope(mode=ModelScope.Mode.Value(mode), models=models, excluded_models=_exclusions(chance))
