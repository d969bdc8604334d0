"""The contract's decision once more, as slowly and plainly as it reads, to compare the engine with.

It walks lists of records and shares no code with the engine but the records themselves.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from policy_service.domain.records import (
    AccessGroup,
    Member,
    MemberLimits,
    Mode,
    Model,
    ModelScope,
    Record,
    Team,
    UnlistedUsers,
)


@dataclass(frozen=True)
class Answer:
    """What a check has to answer."""

    allowed: bool
    reason: str
    resolved_model: str
    limits: MemberLimits | None


@cache
def matches(pattern: str, text: str) -> bool:
    """`*` is any run of characters, all else is literal, anchored at both ends."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return matches(pattern[1:], text) or (text != "" and matches(pattern, text[1:]))
    return text[:1] == pattern[0] and matches(pattern[1:], text[1:])


def ignoring_case(text: str) -> str:
    """The Unicode Standard's canonical caseless form (definition D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


class Reference:
    """A world as lists of records, asked one question at a time."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.teams = [record for record in records if isinstance(record, Team)]
        self.members = [record for record in records if isinstance(record, Member)]
        self.groups = [record for record in records if isinstance(record, AccessGroup)]
        self.models = [record for record in records if isinstance(record, Model)]

    def decide(self, team_id: str, user: str, name: str) -> Answer:
        """The table of the contract, row by row. Whoever may not know a scope learns no alias' target either."""
        team = next((team for team in self.teams if team.id == team_id), None)
        if team is None:
            return Answer(False, "TEAM_NOT_FOUND", name, None)
        if team.blocked:
            return Answer(False, "TEAM_BLOCKED", name, None)
        member = next((m for m in self.members if m.team == team_id and m.user == user), None)
        if member is None and team.unlisted_users is UnlistedUsers.DENY:
            return Answer(False, "NOT_A_MEMBER", name, None)
        if member is not None and member.blocked:
            return Answer(False, "MEMBER_BLOCKED", name, None)

        alias = name if name in team.model_aliases else None
        target = team.model_aliases.get(name, name)
        if not self.grants(team.models, target, alias) or self.excludes(team.models, target, alias):
            return Answer(False, "MODEL_NOT_IN_TEAM_SCOPE", target, None)
        if member is None:
            return Answer(True, "ALLOWED_BY_TEAM_SCOPE", target, team.default_member_limits)
        scope = member.allowed_models
        if scope.mode is Mode.NONE or self.excludes(scope, target, alias):
            return Answer(False, "MODEL_NOT_IN_MEMBER_SCOPE", target, None)
        if scope.mode is Mode.INHERIT:
            return Answer(True, "ALLOWED_BY_TEAM_SCOPE", target, member.limits)
        if self.grants(scope, target, alias) or self.lists_alias(scope, target, alias):
            return Answer(True, "ALLOWED_BY_MEMBER_SCOPE", target, member.limits)
        return Answer(False, "MODEL_NOT_IN_MEMBER_SCOPE", target, None)

    # Grants

    def grants(self, scope: ModelScope, target: str, alias: str | None) -> bool:
        """Whether the scope grants the target; nothing grants a group's name."""
        if self.group(target) is not None or scope.mode is Mode.NONE:
            return False
        if scope.mode is Mode.ALL:
            return True
        for entry in scope.models:
            group = self.group(entry)
            if group is None:
                if self.entry_grants(entry, target):
                    return True
            elif any(self.entry_grants(e, target) for e in group.models) and not self.lifted(group, target, alias):
                return True
        return False

    def lists_alias(self, scope: ModelScope, target: str, alias: str | None) -> bool:
        """Whether the scope, or a group in it, lists the alias verbatim."""
        for entry in scope.models:
            group = self.group(entry)
            if group is None:
                if entry == alias:
                    return True
            elif alias in group.models and not self.lifted(group, target, alias):
                return True
        return False

    def lifted(self, group: AccessGroup, target: str, alias: str | None) -> bool:
        """Whether the group's own exclusions take the model out of what it grants."""
        return any(self.matches_widely(entry, target, alias) for entry in group.excluded_models)

    def entry_grants(self, entry: str, name: str) -> bool:
        if "*" not in entry:
            return entry == name
        if matches(entry, name):
            return True
        for model in self.models:
            if model.name == name and not name.startswith(model.provider + "/"):
                return matches(entry, model.provider + "/" + name)
        return False

    # Exclusions

    def excludes(self, scope: ModelScope, target: str, alias: str | None) -> bool:
        for entry in scope.excluded_models:
            group = self.group(entry)
            if group is None:
                if self.matches_widely(entry, target, alias):
                    return True
            elif self.group_excludes(group, target, alias):
                return True
        return False

    def group_excludes(self, group: AccessGroup, target: str, alias: str | None) -> bool:
        """The target and the alias are tried apart: the group hands back the one that an exclusion of it equals."""
        if target not in group.excluded_models and any(self.catches_target(entry, target) for entry in group.models):
            return True
        return alias not in group.excluded_models and any(self.catches_alias(entry, alias) for entry in group.models)

    def matches_widely(self, exclusion: str, target: str, alias: str | None) -> bool:
        return self.catches_target(exclusion, target) or self.catches_alias(exclusion, alias)

    def catches_target(self, exclusion: str, target: str) -> bool:
        if self.catches_a_spelling(exclusion, target):
            return True
        unknown = "/" not in target and all(model.name != target for model in self.models)
        if unknown and "/" in exclusion:
            return matches(ignoring_case(exclusion.split("/")[-1]), ignoring_case(target))
        return False

    def catches_alias(self, exclusion: str, alias: str | None) -> bool:
        """An alias has no provider that could be unknown: its target's counts."""
        return alias is not None and self.catches_a_spelling(exclusion, alias)

    def catches_a_spelling(self, exclusion: str, name: str) -> bool:
        return any(matches(ignoring_case(exclusion), ignoring_case(spelling)) for spelling in self.spellings(name))

    def spellings(self, name: str) -> Iterator[str]:
        """The name, what follows each of its slashes, and `provider/name`, whatever case the catalogue writes it in."""
        parts = name.split("/")
        for start in range(len(parts)):
            yield "/".join(parts[start:])
        for model in self.models:
            if ignoring_case(model.name) == ignoring_case(name):
                yield model.provider + "/" + name

    def group(self, name: str) -> AccessGroup | None:
        return next((group for group in self.groups if group.name == name), None)
