"""The decision cases as plain data, so that every front is tested by one table. Knows nothing of the service.

A world's values are as the file has them, which is the protos' JSON with proto field names: a team's and a group's
fields without their name, a member's without team and user. `{models: [...]}` alone means mode ONLY.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILES = ("decisions.yaml", "more_decisions.yaml")

Fields = dict[str, Any]


@dataclass(frozen=True)
class World:
    """Independent of every other: a server holds one at a time. Load it in this order."""

    name: str
    catalogue: dict[str, str]  # model -> provider
    groups: dict[str, Fields]
    teams: dict[str, Fields]
    members: dict[str, dict[str, Fields]]  # team -> user -> fields; {} is added without a scope, so it is seeded


@dataclass(frozen=True)
class Case:
    """One question to a world. `resolved` and `limits` are None where the case does not say."""

    world: World = field(repr=False)
    team: str
    user: str
    model: str
    allowed: bool
    reason: str
    resolved: str | None = None
    limits: Fields | None = None

    @property
    def id(self) -> str:
        return f"{self.world.name}: {self.team} {self.user or '-'} {self.model}"


def load() -> Iterator[tuple[World, list[Case]]]:
    """Every world with its cases, in the order of the files."""
    for file in FILES:
        for item in yaml.safe_load(Path(__file__).with_name(file).read_text(encoding="utf-8")):
            parts = {part: item.get(part, {}) for part in ("catalogue", "groups", "teams", "members")}
            world = World(item["name"], **parts)
            yield world, [_case(world, *ask) for ask in item["ask"]]


def _case(world: World, asked: list[str], answer: list[Any], more: Fields | None = None) -> Case:
    return Case(world, *asked, *answer, **(more or {}))


WORLDS: list[tuple[World, list[Case]]] = list(load())
CASES: list[Case] = [case for _, cases in WORLDS for case in cases]
