"""The policy in memory at one revision: what `decide` and its answer need, nothing else.

Plain dictionaries of frozen values, owned by one thread. A change costs what it touches, at any number of members.
Equal member policies (scope, limits, blocked) are one shared object.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

from policy_service.domain.changes import NO_HASH, Change, Key, Position, key_of
from policy_service.domain.encoding import canonical, limits_to_json, scope_to_json
from policy_service.domain.matching import Exclusions, exclusions_of, names_of, patterns_of
from policy_service.domain.names import fold
from policy_service.domain.records import (
    AccessGroup,
    Kind,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Team,
    UnlistedUsers,
)

LARGE = 2_000  # members of one team that change at once: more are prepared, and let go, in slices
SLICE = 500  # members that take about a millisecond
_NO_NAMES: frozenset[str] = frozenset()
_DIGEST_BYTES = 16
_DIGEST_MODULUS = 1 << (8 * _DIGEST_BYTES)


def _hash(*parts: str | bytes) -> int:
    encoded = b"\0".join(part.encode() if isinstance(part, str) else part for part in parts)
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest())


class Scope:
    """A scope, ready to be matched. Equal ones of a state are one shared object.

    Which of its entries name groups is not compiled in: `link` finds the groups, and has to be called when `linked_at`
    is not the state's `groups_mark`. So a group that changes costs each scope that is asked later a moment, once.
    """

    __slots__ = (
        "__weakref__",
        "excluding_groups",
        "exclusions",
        "granting_groups",
        "grants_all",
        "is_open",
        "linked_at",
        "mode",
        "names",
        "open_names",
        "patterns",
        "source",
    )

    def __init__(self, source: ModelScope) -> None:
        self.source = source
        self.mode = source.mode
        self.grants_all = source.mode in (Mode.ALL, Mode.INHERIT)
        self.names, self.patterns = names_of(source.models), patterns_of(source.models)
        self.exclusions = exclusions_of(source.excluded_models)
        # Most of the time `decide` need not look any further: what is granted, when nothing is excluded.
        self.is_open = self.grants_all and self.exclusions is None
        self.open_names = self.names if self.exclusions is None else _NO_NAMES
        self.granting_groups: tuple[Group, ...] = ()
        self.excluding_groups: tuple[Group, ...] = ()
        self.linked_at: object = None

    def link(self, state: State) -> None:
        """Finds the groups that the entries name."""
        self.granting_groups = _named(state, self.names)
        self.excluding_groups = _named(state, self.exclusions.plain) if self.exclusions is not None else ()
        self.linked_at = state.groups_mark


def _named(state: State, names: frozenset[str]) -> tuple[Group, ...]:
    return tuple(state.groups[name] for name in sorted(names & state.groups.keys()))


class Policy:
    """What decides about a member; shared by all members with an equal one."""

    __slots__ = ("__weakref__", "blocked", "fingerprint", "inherits", "is_open", "limits", "open_names", "scope")

    def __init__(self, scope: Scope, limits: MemberLimits, blocked: bool) -> None:
        self.scope, self.limits, self.blocked = scope, limits, blocked
        self.inherits, self.is_open, self.open_names = scope.grants_all, scope.is_open, scope.open_names
        encoded = canonical([scope_to_json(scope.source), limits_to_json(limits), blocked])
        self.fingerprint = hashlib.blake2b(encoded.encode(), digest_size=_DIGEST_BYTES).digest()


Value = Team | Policy | AccessGroup | Model | None  # what the state keeps of a record; None drops what is there


class Aliases(dict[str, str]):
    """A team's aliases: name to target. Equal ones of a state are one shared object."""

    __slots__ = ("__weakref__",)


class TeamState:
    """A team with its members. `members_digest` is the sum of their hashes, so that dropping the team costs nothing."""

    __slots__ = (
        "aliases",
        "blocked",
        "digest",
        "is_open",
        "limits",
        "members",
        "members_digest",
        "open_names",
        "scope",
        "unlisted_allowed",
    )

    def __init__(self, team: Team, state: State) -> None:
        self.scope = state.scope_of(team.models)
        self.is_open, self.open_names = self.scope.is_open, self.scope.open_names
        self.aliases = state.aliases_of(team.model_aliases)
        self.blocked = team.blocked
        self.unlisted_allowed = team.unlisted_users is UnlistedUsers.TEAM_SCOPE
        self.limits = team.default_member_limits
        self.members: dict[str, Policy] = {}
        self.digest = team_digest(team)
        self.members_digest = 0


class Group:
    """An access group, ready to grant, and to be excluded."""

    __slots__ = ("digest", "exclusions", "names", "patterns", "source", "wide_entries")

    def __init__(self, group: AccessGroup) -> None:
        self.source = group
        self.names, self.patterns = names_of(group.models), patterns_of(group.models)
        self.exclusions: Exclusions | None = exclusions_of(group.excluded_models)
        self.wide_entries = Exclusions(group.models)
        self.digest = _hash("group", group.name, canonical([group.models, group.excluded_models]))


def team_digest(team: Team) -> int:
    fields: list[Any] = [scope_to_json(team.models), limits_to_json(team.default_member_limits)]
    fields += [dict(team.model_aliases), team.blocked, team.unlisted_users.value]
    return _hash("team", team.id, canonical(fields))


def model_digest(name: str, provider: str) -> int:
    return _hash("model", name, provider)


def member_digest(team: str, user: str, policy: Policy) -> int:
    """As `_hash`, for the many."""
    encoded = b"member\0%b\0%b\0%b" % (team.encode(), user.encode(), policy.fingerprint)
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=_DIGEST_BYTES).digest())


class State:
    """All teams, members, groups and the catalogue, at `position`; `revision` is its token."""

    def __init__(self, epoch: str = "") -> None:
        self.teams: dict[str, TeamState] = {}
        self.groups: dict[str, Group] = {}
        self.groups_mark = object()  # another one whenever a group changed
        self.providers: dict[str, str] = {}  # catalogue name -> provider
        self.provider_names: dict[str, str] = {}  # catalogue name -> provider/name, unless it begins with the provider
        self.spellings: dict[str, dict[str, str]] = {}  # folded name -> catalogue name -> folded provider
        self.folded_provider_names: dict[str, tuple[str, ...]] = {}  # folded name -> provider/name, folded, of these
        self.discarded: list[dict[str, Policy]] = []  # for `discard` to let go of
        self.ancestors: tuple[str, ...] = ()  # the epochs that the position's grew out of, the oldest first
        self._policies: WeakValueDictionary[tuple[ModelScope, MemberLimits, bool], Policy] = WeakValueDictionary()
        self._aliases: WeakValueDictionary[tuple[tuple[str, str], ...], Aliases] = WeakValueDictionary()
        self._scopes: WeakValueDictionary[ModelScope, Scope] = WeakValueDictionary()
        self._digest = 0
        self.move_to(Position(epoch, 0, NO_HASH, self.digest))

    @property
    def digest(self) -> str:
        """The sum of the records' hashes as 32 hexadecimal digits: order-independent, so equal states have equal
        digests. It finds accidents, not enemies."""
        return _digest_text(self._digest)

    def move_to(self, position: Position) -> None:
        """Says which revision the state is at."""
        self.position = position
        self.revision = position.token

    def intern(self, scope: ModelScope, limits: MemberLimits, blocked: bool) -> Policy:
        """The one shared policy that is equal to this."""
        key = (scope, limits, blocked)
        policy = self._policies.get(key)
        if policy is None:
            policy = self._policies[key] = Policy(self.scope_of(scope), limits, blocked)
        return policy

    def scope_of(self, source: ModelScope) -> Scope:
        """The one shared scope that is equal to this."""
        scope = self._scopes.get(source)
        if scope is None:
            scope = self._scopes[source] = Scope(source)
        return scope

    def aliases_of(self, source: Mapping[str, str]) -> Aliases:
        """The one shared map that is equal to this."""
        key = tuple(sorted(source.items()))
        aliases = self._aliases.get(key)
        if aliases is None:
            aliases = self._aliases[key] = Aliases((sys.intern(name), sys.intern(target)) for name, target in key)
        return aliases

    def value_of(self, record: Record | None) -> Value:
        """What the state keeps of a record."""
        if isinstance(record, Member):
            return self.intern(record.allowed_models, record.limits, record.blocked)
        return record

    def load(self, record: Record) -> None:
        """Takes a record into a state that is being built."""
        self.put(key_of(record), self.value_of(record))

    def put(self, key: Key, value: Value) -> None:
        """Takes a value into a state that is being built. Raises KeyError for a member of an unknown team."""
        if key.kind is Kind.MEMBER and isinstance(value, Policy):  # the many
            self.put_member(key.team, key.name, value)
            return
        prepared = Prepared(self)
        prepared.put(key, value)
        self._install(prepared)

    def put_member(self, team_id: str, user: str, policy: Policy) -> None:
        """As `put`, without a key to be made for each of the many."""
        self._install_member(team_id, user, policy, member_digest(team_id, user, policy))

    def apply(self, prepared: Prepared, position: Position) -> None:
        """Makes the prepared changes in one go and moves to the position. Nothing in here can be refused."""
        self._install(prepared)
        self.move_to(position)

    def _install(self, prepared: Prepared) -> None:
        for (kind, team_id, name), value in prepared.steps:
            match kind:
                case Kind.TEAM:
                    self._install_team(team_id, value)
                case Kind.GROUP:
                    _set_or_drop(self.groups, name, value)
                    self.groups_mark = object()
                case Kind.MODEL:
                    self._install_provider(name, value)
        for team_id, changed in prepared.members.items():
            for user, policy, difference in changed:
                self._install_member(team_id, user, policy, difference)
        for team_id, (members, digest) in prepared.rewritten.items():
            team = self.teams[team_id]
            self.discarded.append(team.members)
            team.members, team.members_digest = members, digest
        self._digest = prepared.total

    def _install_team(self, team_id: str, team: TeamState | None) -> None:
        former = self.teams.get(team_id)
        if former is not None and team is not None:
            team.members, team.members_digest = former.members, former.members_digest
        elif former is not None and len(former.members) > LARGE:
            self.discarded.append(former.members)
        _set_or_drop(self.teams, team_id, team)

    def _install_member(self, team_id: str, user: str, policy: Policy | None, difference: int) -> None:
        team = self.teams[team_id]
        _set_or_drop(team.members, user, policy)
        team.members_digest = (team.members_digest + difference) % _DIGEST_MODULUS
        self._digest = (self._digest + difference) % _DIGEST_MODULUS

    def _install_provider(self, name: str, provider: str | None) -> None:
        folded = fold(name)
        alike = self.spellings.setdefault(folded, {})
        _set_or_drop(self.providers, name, provider)
        begins_with_it = provider is None or name.startswith(provider + "/")
        _set_or_drop(self.provider_names, name, None if begins_with_it else f"{provider}/{name}")
        _set_or_drop(alike, name, None if provider is None else fold(provider))
        self.folded_provider_names[folded] = provider_names(folded, alike.values())
        if not alike:
            del self.spellings[folded], self.folded_provider_names[folded]

    def discard(self) -> Iterator[None]:
        """Lets go of what changes left behind, in slices: freeing a million members at once takes long."""
        while self.discarded:
            yield from _emptied(self.discarded.pop())

    def dissolve(self) -> Iterator[None]:
        """Lets go of a whole state that nobody uses any more, in slices."""
        yield from self.discard()
        while self.teams:
            _, team = self.teams.popitem()
            yield from _emptied(team.members)
            yield


def provider_names(folded: str, providers: Iterable[str]) -> tuple[str, ...]:
    """`provider/name` for each of the providers, sorted."""
    return tuple(f"{provider}/{folded}" for provider in sorted(set(providers)))


def _emptied(members: dict[str, Policy]) -> Iterator[None]:
    while members:
        for _ in range(min(SLICE, len(members))):
            members.popitem()
        yield


def _set_or_drop(values: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _digest_text(total: int) -> str:
    return f"{total:0{2 * _DIGEST_BYTES}x}"


class Prepared:
    """Changes compiled and summed up beside a state, so that applying them is short. A caller with many of them may
    add them in slices, and then has to run `rewrite`; the state must not change meanwhile. No two changes have the
    same key, and a set that drops a team names none of its members. Raises KeyError for a member of an unknown team."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.steps: list[tuple[Key, Any]] = []  # of all but members: the compiled value, None to drop
        self.members: dict[str, list[tuple[str, Policy | None, int]]] = {}  # by team, with the change of its digest
        self.rewritten: dict[str, tuple[dict[str, Policy], int]] = {}  # the whole members of a team, their digest
        self.total = state._digest
        self._new_teams: set[str] = set()

    @property
    def digest(self) -> str:
        """The digest that the state will have."""
        return _digest_text(self.total)

    def add(self, change: Change) -> None:
        """Takes a change of a record."""
        self.put(change.key, self.state.value_of(change.after))

    def put(self, key: Key, value: Value) -> None:
        """Takes a value that the state shall have under the key, None to drop what is there."""
        compiled: Any = value
        match value:
            case Policy():
                difference = member_digest(key.team, key.name, value)
            case Team():
                compiled = TeamState(value, self.state)
                difference = compiled.digest
            case AccessGroup():
                compiled = Group(value)
                difference = compiled.digest
            case Model():
                compiled = value.provider
                difference = model_digest(value.name, value.provider)
            case None:
                difference = 0
        difference -= self._old_digest(key, dropped=value is None)
        self.total = (self.total + difference) % _DIGEST_MODULUS
        if key.kind is Kind.MEMBER:
            if key.team not in self._new_teams and key.team not in self.state.teams:
                raise KeyError(key.team)
            self.members.setdefault(key.team, []).append((key.name, compiled, difference))
        else:
            if key.kind is Kind.TEAM and value is not None:
                self._new_teams.add(key.team)
            self.steps.append((key, compiled))

    def rewrite(self) -> Iterator[None]:
        """Where many members of a team change, builds its new members beside the old ones, in slices, so that
        applying is one exchange."""
        for team_id, changed in self.members.items():
            team = self.state.teams.get(team_id)
            if team is None or len(changed) <= LARGE:
                continue
            members: dict[str, Policy] = {}
            digest = team.members_digest
            for at, (user, policy) in enumerate(team.members.items()):
                members[user] = policy
                if at % SLICE == 0:
                    yield
            for at, (user, changed_policy, difference) in enumerate(changed):
                _set_or_drop(members, user, changed_policy)
                digest = (digest + difference) % _DIGEST_MODULUS
                if at % SLICE == 0:
                    yield
            self.rewritten[team_id] = members, digest
            self.members[team_id] = []

    def _old_digest(self, key: Key, dropped: bool) -> int:
        """Of what the state holds under the key, and of what goes with it."""
        kind, team_id, name = key
        team = self.state.teams.get(team_id)
        if kind is Kind.TEAM and team is not None:
            return team.digest + (team.members_digest if dropped else 0)
        if kind is Kind.MEMBER and team is not None and name in team.members:
            return member_digest(team_id, name, team.members[name])
        if kind is Kind.GROUP and name in self.state.groups:
            return self.state.groups[name].digest
        if kind is Kind.MODEL and name in self.state.providers:
            return model_digest(name, self.state.providers[name])
        return 0
