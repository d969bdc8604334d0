"""Why LiteLLM and this service answer differently: the rows of the contract's table "Where this departs from LiteLLM",
and, apart, what lies beyond it.

A row claims a disagreement when two things hold, neither of which asks the decision: the world has what the row is
about (`sides`, which also says who is going to allow more), and LiteLLM's own rules, changed in this one place
(`reading`), answer as this service does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from .reading import AS_LITELLM, Case, Reading, allows, literally, regularly

LITELLM, HERE = "LiteLLM", "this service"
MOST_AT_ONCE = 3  # differences that meet in one question


@dataclass(frozen=True)
class Row:
    """A difference. `findings`: the codes of which the import reports one; none when it cannot see it."""

    text: str
    findings: tuple[str, ...]
    sides: Callable[[Case], set[str]]  # who may allow by this what the other denies
    readings: tuple[dict[str, Any], ...]  # the changes to LiteLLM's rules; of several one has to do
    decides: bool = False  # whether nothing else can turn the answer around again
    adds: bool = False  # whether it is about what the import adds to a team's models

    def claims(self, case: Case) -> bool:
        """Whether this difference alone turns LiteLLM's answer around."""
        return bool(self.sides(case)) and any(_turns(case, change) for change in self.readings)


def _turns(case: Case, *changes: dict[str, Any]) -> bool:
    reading = AS_LITELLM
    for change in changes:
        reading = replace(reading, **change)
    return allows(case, reading) != case.litellm


def _names(case: Case) -> Iterator[str]:
    """All by which the lists may be asked: what was asked for, and what the aliases make of it."""
    for name in case.asked:
        yield from {name, case.proxied(name), case.targets.get(name, name)}


def _patterns(case: Case) -> Iterable[str]:
    return [entry for entry in (*case.team.models, *case.own) if "*" in entry]


def _is_comma_list(case: Case) -> set[str]:
    return {LITELLM} if "," in case.question.model else set()


def _is_no_member(case: Case) -> set[str]:
    return {LITELLM} if case.outsider and not case.own else set()


def _has_only_a_membership(case: Case) -> set[str]:
    return {LITELLM} if case.outsider and case.own else set()


def _is_read_as_regular_expression(case: Case) -> set[str]:
    """An entry matches in one way of reading and not in the other, or cannot be read as LiteLLM does."""
    sides = set()
    for name in set(_names(case)):
        spellings = {name, case.names[name]["by_provider"] or name, case.by_catalogue(name) or name}
        for entry, spelling in ((entry, spelling) for entry in _patterns(case) for spelling in spellings):
            try:
                there = regularly(entry, spelling)
            except re.error:
                sides.add(HERE)
                continue
            if there != literally(entry, spelling):
                sides.add(LITELLM if there else HERE)
    return sides


def _has_or_is_a_target(case: Case) -> set[str]:
    """The import adds the target to the team's models, so that it is in scope; a group cannot be one."""
    targets = case.targets
    is_target = any(name in targets.values() and name not in targets for name in case.asked)
    has_group = any(case.has_no_target(name) for name in case.asked)
    return ({HERE} if is_target else set()) | ({LITELLM} if has_group else set())


def _is_a_groups_name(case: Case) -> set[str]:
    return {LITELLM} if any(name in case.groups for name in case.asked) else set()


def _is_of_another_provider(case: Case) -> set[str]:
    """LiteLLM's own list of known models, and the deployments, say different providers of a name."""
    sides = set()
    for name in set(_names(case)):
        there, here = case.names[name]["by_provider"], case.by_catalogue(name)
        if there != here:
            sides |= {LITELLM} if there is not None and _may_match(case, there) else set()
            sides |= {HERE} if here is not None and _may_match(case, here) else set()
    return sides


def _may_match(case: Case, spelling: str) -> bool:
    return any(literally(entry, spelling) or _regularly(entry, spelling) for entry in _patterns(case))


def _regularly(entry: str, spelling: str) -> bool:
    try:
        return regularly(entry, spelling)
    except re.error:
        return False


def _is_in_a_group_by_wildcard(case: Case) -> set[str]:
    entries = {*case.team.models, *case.own}
    sides = set()
    for name in set(_names(case)):
        there = case.groups_of(name, AS_LITELLM) & entries
        by_name = case.groups_of(name, Reading(groups_by_name=True)) & entries
        by_pattern = case.groups_of(name, Reading(groups_by_pattern=True)) & entries
        sides |= ({LITELLM} if there - by_name else set()) | ({HERE} if by_pattern - there else set())
    return sides


def _is_the_proxys_target(case: Case) -> set[str]:
    return {HERE} if any(name in case.world.proxy_aliases.values() for name in case.asked) else set()


def _is_a_teams_alias_by_the_proxys(case: Case) -> set[str]:
    """The proxy makes of the name another, which is one of the team's aliases."""
    return (
        {LITELLM}
        if any(name not in case.targets and case.proxied(name) in case.targets for name in case.asked)
        else set()
    )


def _is_an_alias_for_a_member(case: Case) -> set[str]:
    return {HERE} if case.own and any(name in case.targets for name in case.asked) else set()


EXPRESSIONS_AND_LISTS = "wildcards are unescaped regular expressions; a comma list is split"
# What a check can show, as the contract words it. The first two are halves of one row.
TABLE = (
    Row(f"{EXPRESSIONS_AND_LISTS} [list]", (), _is_comma_list, ({"one_name": True},), decides=True),
    Row(
        f"{EXPRESSIONS_AND_LISTS} [expression]",
        ("PATTERN_IS_LITERAL",),
        _is_read_as_regular_expression,
        ({"literal": True},),
    ),
    Row(
        "a non-member or a key without user passes on the team check alone",
        ("OPEN_DOOR_CLOSED",),
        _is_no_member,
        ({"members_only": True},),
        decides=True,
    ),
    Row(
        "a team alias is allowed without looking at its target",
        ("ALIAS_TARGET_ADDED", "ALIAS_LEFT_OUT"),
        _has_or_is_a_target,
        ({"team_targets": True},),
        adds=True,
    ),
    Row(
        "a group's name asked for as a model is allowed",
        ("GROUP_AS_MODEL",),
        _is_a_groups_name,
        ({"no_group_names": True},),
    ),
)
# The other rows of the table: why no check shows them.
NOT_SEEN_IN_A_CHECK = {
    "`[]` means all models": "the import says so by a mode, and the answers are the same",
    "`/v1/models` ignores the member scope": "it is about a list",
    "member scope changes are not audited": "it is about a change",
    "a member update by id can create a phantom membership": "it is about a change",
    "caches with a time to live serve revoked grants": "the functions are asked without a cache",
    "no exclusions": "no proxy has any; those that the import makes are of groups with wildcards, see GROUP_WILDCARD",
}
# Differences that the table does not have; docs/litellm.md has them, by these codes.
BEYOND_THE_TABLE = (
    Row("PROVIDER_FROM_CATALOGUE", ("PROVIDER_FROM_CATALOGUE",), _is_of_another_provider, ({"by_catalogue": True},)),
    Row(
        "GROUP_WILDCARD",
        ("GROUP_WILDCARD", "GROUP_INLINED"),
        _is_in_a_group_by_wildcard,
        ({"groups_by_name": True}, {"groups_by_pattern": True}),
    ),
    Row("ALIAS_FOR_MEMBERS", ("ALIAS_FOR_MEMBERS",), _is_an_alias_for_a_member, ({"aliases_for_members": True},)),
    Row("ALIAS_TARGET_ADDED", ("ALIAS_TARGET_ADDED",), _is_the_proxys_target, ({"proxy_targets": True},), adds=True),
    Row("GROUP_ALIAS", ("GROUP_ALIAS",), _is_a_teams_alias_by_the_proxys, ({"aliases_apart": True},)),
    Row(
        "MEMBERSHIP_WITHOUT_MEMBER",
        ("MEMBERSHIP_WITHOUT_MEMBER",),
        _has_only_a_membership,
        ({"members_only": True},),
        decides=True,
    ),
)
ROWS = TABLE + BEYOND_THE_TABLE


def explanation(case: Case) -> tuple[Row, ...]:
    """The first row that claims the disagreement, else the fewest that do together; empty: there is none.

    A target that other rows put in scope is not added by the import, so those go first."""
    concerned = [row for row in sorted(ROWS, key=lambda row: not row.decides) if row.sides(case)]
    for rows in ([row for row in concerned if not row.adds], concerned):
        for count in range(1, MOST_AT_ONCE + 1):
            for some in combinations(rows, count):
                if _turn_together(case, some):
                    return some
    return ()


def _turn_together(case: Case, rows: Iterable[Row]) -> bool:
    changes: list[tuple[dict[str, Any], ...]] = [()]
    for row in rows:
        changes = [(*before, change) for before in changes for change in row.readings]
    return any(_turns(case, *each) for each in changes)


def problems(case: Case) -> Iterator[str]:
    """What is wrong with the answers to a question; nothing when they agree or a row says why they do not."""
    if allows(case) != case.litellm:
        yield "reading.py does not read as LiteLLM does"
    if case.litellm == case.here:
        yield from (f"{row.text!r} claims it" for row in ROWS if row.decides and row.claims(case))
        return
    rows = explanation(case)
    if not rows:
        yield "no row says why"
    for row in rows:
        if (LITELLM if case.litellm else HERE) not in row.sides(case):
            yield f"{row.text!r} has it the other way around"
        if row.findings and case.reported.isdisjoint(row.findings):
            yield f"the import did not report {' or '.join(row.findings)}"
