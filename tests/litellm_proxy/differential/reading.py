"""LiteLLM's rules written down once more, with every place replaceable in which this service reads a list otherwise.

Unchanged they have to say what LiteLLM says, of every question: the test asks. What one change turns around is the
work of that difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .worlds import Question, Team, World

EVERYTHING = {"*", "all-proxy-models"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read. As it is made: as LiteLLM does."""

    literal: bool = False  # all but `*` in an entry is what it is, rather than a regular expression
    one_name: bool = False  # a comma makes no list of a name, and nobody has such a name
    members_only: bool = False  # nothing for who is in nobody's `members_with_roles`
    no_group_names: bool = False  # nobody can ask for a model by a group's name
    by_catalogue: bool = False  # a name's provider is that of its deployment, rather than LiteLLM's own knowledge
    groups_by_name: bool = False  # groups hold what is deployed by its name, rather than what is routed to them
    groups_by_pattern: bool = False  # and what the wildcards match that are deployed in them
    team_targets: bool = False  # the targets of the team's aliases may be asked for, and have to be names of models
    proxy_targets: bool = False  # so may those of the proxy's aliases that the team may ask for
    aliases_apart: bool = False  # an alias of the proxy is not looked up among the team's aliases
    aliases_for_members: bool = False  # who may use the target may use a team's alias


AS_LITELLM = Reading()


@dataclass(frozen=True)
class Case:
    """A question with the answers. `names`: what LiteLLM knows of the names in it, see verdicts.py."""

    world: World
    team: Team
    question: Question
    names: Mapping[str, Mapping[str, Any]]
    litellm: bool  # whether LiteLLM allows it
    here: bool  # whether this service does, after the import
    reported: frozenset[str]  # the codes of the findings about the proxy or this team

    @cached_property
    def asked(self) -> list[str]:
        """The names that LiteLLM takes the model for."""
        return [name for name in (part.strip() for part in self.question.model.split(",")) if name]

    @cached_property
    def own(self) -> list[str]:
        """The models of the user's membership; empty: they may use what the team may."""
        return self.team.lists.get(self.question.user) or [] if self.question.user else []

    @property
    def outsider(self) -> bool:
        """Whether the service does not know the user, and has to say no."""
        return self.question.user not in self.team.roles and not self.world.keep_open_door

    @cached_property
    def targets(self) -> dict[str, str]:
        """The team's aliases to what is called in the end: the proxy's aliases are resolved after the team's."""
        return {alias: self.proxied(target) for alias, target in self.team.aliases.items()}

    def proxied(self, name: str) -> str:
        """What the proxy's aliases make of a name."""
        return self.world.proxy_aliases.get(name, name)

    def has_no_target(self, name: str) -> bool:
        """Whether it is an alias of the team for a group, which nothing can be asked for by."""
        return name in self.targets and self.is_group(self.targets[name])

    def judged(self, name: str, reading: Reading) -> list[str]:
        """What LiteLLM looks for in a list: the name, and what the proxy's aliases make of it, even if the team has
        that alias itself."""
        last = name if reading.team_targets and self.has_no_target(name) else self.proxied(name)
        return list(dict.fromkeys((name, last)))

    @cached_property
    def groups(self) -> dict[str, set[str]]:
        """The access groups with the names of their deployments."""
        return self.world.groups()

    def is_group(self, name: str) -> bool:
        """Whether it is the name of a group that is one here, too: a slash in it is not possible."""
        return name in self.groups and "/" not in name

    def by_catalogue(self, name: str) -> str | None:
        """`provider/name` by the deployments: of several providers that which is asked for the name, or the first."""
        deployments = self.world.config["model_list"]
        served = [each["litellm_params"]["model"] for each in deployments if each["model_name"] == name]
        known = sorted((model for model in served if "/" in model), key=lambda model: not model.endswith(f"/{name}"))
        provider = known[0].partition("/")[0] if known else ""
        return f"{provider}/{name}" if provider and not name.startswith(f"{provider}/") else None

    def groups_of(self, name: str, reading: Reading) -> set[str]:
        """The access groups that a name is in."""
        if not (reading.groups_by_name or reading.groups_by_pattern):
            return set(self.names[name]["groups"])
        found = {group for group, held in self.groups.items() if name in held}
        if reading.groups_by_pattern:
            found |= {group for group, held in self.groups.items() if any(self._holds(each, name) for each in held)}
        return found

    def _holds(self, wildcard: str, name: str) -> bool:
        spellings = (name, self.by_catalogue(name))
        return "*" in wildcard and any(each is not None and literally(wildcard, each) for each in spellings)


def literally(entry: str, name: str) -> bool:
    """Whether an entry with `*` matches when all else is what it is."""
    return re.fullmatch(re.escape(entry).replace(r"\*", ".*"), name) is not None


def regularly(entry: str, name: str) -> bool:
    """Whether it does as LiteLLM reads it. Raises re.error when that is not possible."""
    return re.match(f"^{entry.replace('*', '.*')}$", name) is not None


def allows(case: Case, reading: Reading = AS_LITELLM) -> bool:
    """The proxy's answer, read in this way."""
    if case.team.blocked or (reading.one_name and "," in case.question.model):
        return False
    if reading.members_only and case.outsider:
        return False
    try:
        return all(_team(case, name, reading) and _member(case, name, reading) for name in case.asked)
    except re.error:
        return False


def _team(case: Case, name: str, reading: Reading) -> bool:
    if reading.no_group_names and case.is_group(name):
        return False
    added = set(case.targets.values()) if reading.team_targets else set()
    if reading.proxy_targets:
        proxys = case.world.proxy_aliases.items()
        added |= {target for alias, target in proxys if alias not in case.targets and _known(case, alias, reading)}
    return name in added or any(_team_lists(case, each, name, reading) for each in case.judged(name, reading))


def _team_lists(case: Case, name: str, asked: str, reading: Reading) -> bool:
    is_alias = name in case.targets and (name == asked or not reading.aliases_apart)
    if is_alias and not (reading.team_targets and case.has_no_target(name)):
        return True
    return _listed(case, case.team.models, name, reading)


def _known(case: Case, alias: str, reading: Reading) -> bool:
    return alias in case.names and _granted(case, case.team.models, alias, reading)


def _member(case: Case, name: str, reading: Reading) -> bool:
    if not case.own:
        return True
    target = case.targets.get(name)
    if reading.aliases_for_members and target is not None and _listed(case, case.own, target, reading):
        return True
    return _granted(case, case.own, name, reading)


def _granted(case: Case, entries: list[str], name: str, reading: Reading) -> bool:
    """Whether a list grants a name, or what the proxy's alias makes of it."""
    return any(_listed(case, entries, each, reading) for each in case.judged(name, reading))


def _listed(case: Case, entries: list[str], name: str, reading: Reading) -> bool:
    if not case.groups_of(name, reading).isdisjoint(entries):
        return True
    patterns = [entry for entry in entries if "*" in entry]
    matches = literally if reading.literal else regularly
    by_provider = case.by_catalogue(name) if reading.by_catalogue else case.names[name]["by_provider"]
    if any(matches(entry, name) for entry in patterns):
        return True
    if by_provider is not None and any(matches(entry, by_provider) for entry in patterns):
        return True
    if not entries or not EVERYTHING.isdisjoint(entries):
        return True
    return name in entries and not (reading.no_group_names and name in case.groups)
