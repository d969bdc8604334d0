"""The file that `policy-service apply` reads: models, access groups, and teams with their members.

The keys are the fields of the API's messages that an administrator sets; a team lists its members under `members`. A
section (`models`, `groups`, `teams`) or a team's `members` that the file leaves out is not managed by it: apply does
not look at it, not even to prune it. An empty list says that there shall be none.

Of a member, what the file leaves out is the team's to seed. `scope_source: SEEDED` beside `allowed_models` is a member
that was seeded once, from a default that the team may no longer have; a limit that is null shall not be set.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

import yaml

from policy_service.domain.records import AccessGroup, Member, Model, ScopeSource, Team
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.domain.validation import Problems, check_group, check_member, check_model, check_team
from policy_service.services import convert
from policy_service.v1 import resources_pb2 as pb
from policy_service.yaml_messages import NULL_TAG, Reader, YamlError, compose

SECTIONS = ("models", "groups", "teams")
MODEL_KEYS = ("name", "provider", "labels")
GROUP_KEYS = ("name", "models", "excluded_models")
TEAM_KEYS = (
    "id",
    "display_name",
    "models",
    "default_team_member_models",
    "default_member_limits",
    "model_aliases",
    "blocked",
    "unlisted_users",
    "labels",
)
MEMBER_KEYS = ("user", "role", "allowed_models", "scope_source", "limits", "blocked", "labels")
MAX_PROBLEMS_SHOWN = 20
_T = TypeVar("_T")
_Read = Callable[[yaml.Node, str], _T | None]


class ManifestError(Exception):
    """The file cannot be applied. The message has a line `file:line: what to change` for every problem."""

    def __init__(self, file: str, problems: Iterable[tuple[int, str]]) -> None:
        lines = [f"{file}:{line}: {message}" for line, message in sorted(set(problems))]
        rest = len(lines) - MAX_PROBLEMS_SHOWN
        super().__init__("\n".join(lines[:MAX_PROBLEMS_SHOWN] + ([f"and {rest} more problems"] if rest > 0 else [])))


class MemberEntry(NamedTuple):
    """A member. Without `has_scope` it is SEEDED, and its `allowed_models` here mean nothing: the team's default
    counts. A limit that is not set is the team's to seed, unless `unset_limits` has it."""

    member: Member
    has_scope: bool
    unset_limits: frozenset[str] = frozenset()


class TeamEntry(NamedTuple):
    """A team, and its members unless the file leaves them out."""

    team: Team
    members: tuple[MemberEntry, ...] | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the file says; None for a section that it leaves out."""

    models: tuple[Model, ...] | None
    groups: tuple[AccessGroup, ...] | None
    teams: tuple[TeamEntry, ...] | None


def parse_manifest(content: bytes, file: str) -> Manifest:
    """Reads a manifest. Raises ManifestError with all that is wrong with it; `file` is its name in the messages."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ManifestError(file, [(line, "this is not UTF-8; save the file in that encoding")]) from None
    reader = _ManifestReader()
    try:
        with _no_collection():
            manifest = reader.manifest(compose(text))
    except YamlError as error:
        raise ManifestError(file, [(error.line, str(error))]) from None
    if reader.problems:
        raise ManifestError(file, reader.problems)
    return manifest


@contextmanager
def _no_collection() -> Iterator[None]:
    """Of a large file millions of objects are made, and kept: to look among them for garbage takes half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _ManifestReader(Reader):
    """Reads the sections: of each item first the shape, then, if that is right, what the domain says of it."""

    def __init__(self) -> None:
        super().__init__()
        self._first_paths: dict[tuple[str, str], str] = {}
        self._group_names: frozenset[str] = frozenset()

    def manifest(self, root: yaml.Node) -> Manifest:
        """The document; `problems` says whether it can be used."""
        sections = self.mapping(root, "", SECTIONS)
        if not sections and not self.problems:
            self.problem(1, "", f"there is nothing in it; give at least one of {', '.join(SECTIONS)}")
        groups = self._section(sections, "groups", self._group)
        self._group_names = frozenset(group.name for group in groups or ())
        models = self._section(sections, "models", self._model)
        return Manifest(models=models, groups=groups, teams=self._section(sections, "teams", self._team))

    def _section(self, sections: Mapping[str, yaml.Node], name: str, read: _Read[_T]) -> tuple[_T, ...] | None:
        return self._list(sections[name], name, read) if name in sections else None

    def _list(self, node: yaml.Node, path: str, read: _Read[_T]) -> tuple[_T, ...]:
        found = [read(item, item_path) for item, item_path in self.items(node, path)]
        return tuple(item for item in found if item is not None)

    def _model(self, node: yaml.Node, path: str) -> Model | None:
        before = len(self.problems)
        message = self.message(self.mapping(node, path, MODEL_KEYS, ("name", "provider")), path, pb.Model)
        if len(self.problems) > before:
            return None
        model, problems = convert.model_of(message), Problems()
        check_model(problems, path, model)
        self._check_no_group(problems, f"{path}.name", model.name)
        self._check_first(problems, "model", model.name, f"{path}.name")
        self._add(problems)
        return model

    def _group(self, node: yaml.Node, path: str) -> AccessGroup | None:
        before = len(self.problems)
        message = self.message(self.mapping(node, path, GROUP_KEYS, ("name", "models")), path, pb.AccessGroup)
        if len(self.problems) > before:
            return None
        group, problems = convert.group_of(message), Problems()
        check_group(problems, path, group)
        self._check_first(problems, "group", group.name, f"{path}.name")
        self._add(problems)
        return group

    def _team(self, node: yaml.Node, path: str) -> TeamEntry | None:
        before = len(self.problems)
        nodes = self.mapping(node, path, (*TEAM_KEYS, "members"), ("id", "models"))
        members_node = nodes.pop("members", None)
        message = self.message(nodes, path, pb.Team)
        sound = len(self.problems) == before
        members: tuple[MemberEntry, ...] | None = None
        if members_node is not None:
            members = self._list(members_node, f"{path}.members", partial(self._member, message.id))
        if not sound:
            return None
        problems = Problems()
        team = convert.team_of(problems, path, message)
        check_team(problems, path, team, self._group_names)
        for alias in team.model_aliases:
            self._check_no_group(problems, f"{path}.model_aliases[{alias!r}]", alias)
        self._check_first(problems, "team", team.id, f"{path}.id")
        self._add(problems)
        return TeamEntry(team, members)

    def _member(self, team: str, node: yaml.Node, path: str) -> MemberEntry | None:
        before = len(self.problems)
        nodes = self.mapping(node, path, MEMBER_KEYS, ("user",))
        unset = _without_nulls(nodes, "limits")
        message = self.message(nodes, path, pb.Member)
        if len(self.problems) > before:
            return None
        message.team = team
        problems = Problems()
        member = convert.member_of(problems, path, message)
        check_member(problems, path, member, self._group_names)
        self._check_first(problems, f"member of team {team!r}", member.user, f"{path}.user")
        has_scope = message.HasField("allowed_models")
        if message.scope_source == pb.SEEDED:
            member = replace(member, scope_source=ScopeSource.SEEDED)
        elif message.scope_source == pb.EXPLICIT and not has_scope:
            problems.add(f"{path}.scope_source", "EXPLICIT needs allowed_models; give them, or leave this out")
        self._add(problems, known=f"{path}.team")
        return MemberEntry(member, has_scope, unset)

    def _check_no_group(self, problems: Problems, path: str, name: str) -> None:
        if name in self._group_names:
            problems.add(path, f"{name!r} is also the name of a group; choose another")

    def _check_first(self, problems: Problems, kind: str, name: str, path: str) -> None:
        first = self._first_paths.setdefault((kind, name), path)
        if first != path:
            problems.add(path, f"{kind} {name!r} is here twice; it is already on line {self.lines[first]}")

    def _add(self, problems: Problems, known: str = "") -> None:
        # What is wrong with a team's identifier (`known`) was said once, it is not repeated for each member.
        for path, words in problems.violations:
            if path != known:
                self.problem(self._line_of(path), path, words)

    def _line_of(self, path: str) -> int:
        # What is missing has no line of its own, but what should hold it has one.
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def _without_nulls(nodes: dict[str, yaml.Node], key: str) -> frozenset[str]:
    """Takes the limits that are null out of the mapping under the key, and returns their names."""
    node = nodes.get(key)
    if not isinstance(node, yaml.MappingNode):
        return frozenset()
    names = [name.value for name, _ in node.value]  # texts, and whatever else somebody wrote there
    once = [limit for limit in LIMIT_NAMES if names.count(limit) == 1]  # what is there twice stays, and is refused
    unset = [limit for limit in once if node.value[names.index(limit)][1].tag == NULL_TAG]
    if unset:
        kept = [(name, value) for name, value in node.value if name.value not in unset]
        nodes[key] = yaml.MappingNode(node.tag, kept, node.start_mark, node.end_mark)
    return frozenset(unset)
