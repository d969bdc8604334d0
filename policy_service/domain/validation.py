"""The bounds of the contract. A check adds what is wrong to `Problems`, so that a caller hears all of it at once."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from policy_service.domain.names import (
    entry_problem,
    group_name_problem,
    identifier_problem,
    plain_name_problem,
    requested_model_problem,
    text_problem,
)
from policy_service.domain.records import AccessGroup, Member, MemberLimits, Mode, Model, ModelScope, Team
from policy_service.errors import InvalidArgument, Violation

MAX_ENTRIES = 2_000
MAX_PATTERNS = 64
MAX_GROUPS_IN_SCOPE = 64
MAX_ALIASES = 256
MAX_LABELS = 64
MAX_BATCH_MEMBERS = 500
MAX_BATCH_MODELS = 1_000
MAX_INT64 = 2**63 - 1
TEAM_MODES = (Mode.ALL, Mode.NONE, Mode.ONLY)
MEMBER_MODES = (Mode.INHERIT, Mode.NONE, Mode.ONLY)


class Problems:
    """Collects violations; `raise_any` raises them together."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []

    def add(self, field: str, problem: str | None) -> None:
        """Notes the problem, if it is one."""
        if problem is not None:
            self.violations.append(Violation(field, problem))

    def raise_any(self) -> None:
        """Raises InvalidArgument when there was a problem."""
        if self.violations:
            raise InvalidArgument(self.violations)


def check_batch_size(field: str, size: int, least: int, most: int) -> None:
    """Raises InvalidArgument at once: the items of a batch that is too big are not looked at."""
    if not least <= size <= most:
        raise InvalidArgument([Violation(field, f"has {size} items; give {least} to {most}")])


def check_asked(problems: Problems, team: str, user: str, model: str) -> None:
    """What a gateway asks: the user may be empty."""
    problems.add("team", identifier_problem(team))
    problems.add("user", identifier_problem(user) if user else None)
    problems.add("model", requested_model_problem(model))


def check_entries(
    problems: Problems,
    field: str,
    models: Collection[str],
    excluded: Collection[str],
    group_names: Collection[str] = (),
) -> None:
    """The two lists of a scope (`group_names`: those that exist) or of a group (which holds no groups)."""
    for name, entries in (("models", models), ("excluded_models", excluded)):
        for index, entry in enumerate(entries):
            problems.add(f"{field}.{name}[{index}]", entry_problem(entry))
    entries = [*models, *excluded]
    if len(entries) > MAX_ENTRIES:
        problems.add(field, f"has {len(entries)} entries; at most {MAX_ENTRIES}, both lists together")
    if sum("*" in entry for entry in entries) > MAX_PATTERNS:
        problems.add(field, f"has more than {MAX_PATTERNS} entries with '*'")
    if len({entry for entry in entries if entry in group_names}) > MAX_GROUPS_IN_SCOPE:
        problems.add(field, f"lists more than {MAX_GROUPS_IN_SCOPE} access groups")


def check_scope(
    problems: Problems, field: str, scope: ModelScope, modes: Collection[Mode], group_names: Collection[str]
) -> None:
    if scope.mode not in modes:
        problems.add(f"{field}.mode", f"{scope.mode} is not possible here; use {', '.join(modes)}")
    elif scope.mode is Mode.ONLY and not scope.models:
        problems.add(f"{field}.models", "is empty with mode ONLY; list at least one model, or use mode NONE")
    elif scope.mode is not Mode.ONLY and scope.models:
        problems.add(f"{field}.models", f"is not empty with mode {scope.mode}; empty it, or use mode ONLY")
    check_entries(problems, field, scope.models, scope.excluded_models, group_names)


def check_limits(problems: Problems, field: str, limits: MemberLimits) -> None:
    budget = limits.max_budget_in_team
    if budget is not None and not (math.isfinite(budget) and math.copysign(1, budget) > 0):
        problems.add(f"{field}.max_budget_in_team", "is not finite or is negative; give 0 or more")
    if limits.budget_duration is not None:
        problems.add(f"{field}.budget_duration", identifier_problem(limits.budget_duration))
    for name in ("tpm_limit", "rpm_limit"):
        value = getattr(limits, name)
        if value is not None and not 0 <= value <= MAX_INT64:
            problems.add(f"{field}.{name}", "is negative; give 0 or more")


def check_labels(problems: Problems, field: str, labels: Mapping[str, str]) -> None:
    if len(labels) > MAX_LABELS:
        problems.add(field, f"has {len(labels)} labels; at most {MAX_LABELS}")
    for key, value in labels.items():
        problems.add(f"{field}[{key!r}]", identifier_problem(key) or text_problem(value))


def check_team(problems: Problems, field: str, team: Team, group_names: Collection[str]) -> None:
    problems.add(f"{field}.id", identifier_problem(team.id))
    if team.display_name is not None:
        problems.add(f"{field}.display_name", text_problem(team.display_name))
    check_scope(problems, f"{field}.models", team.models, TEAM_MODES, group_names)
    default = team.default_team_member_models
    check_scope(problems, f"{field}.default_team_member_models", default, MEMBER_MODES, group_names)
    check_limits(problems, f"{field}.default_member_limits", team.default_member_limits)
    check_labels(problems, f"{field}.labels", team.labels)
    if len(team.model_aliases) > MAX_ALIASES:
        problems.add(f"{field}.model_aliases", f"has {len(team.model_aliases)} aliases; at most {MAX_ALIASES}")
    for alias, target in team.model_aliases.items():
        problems.add(f"{field}.model_aliases[{alias!r}]", plain_name_problem(alias) or plain_name_problem(target))


def check_member(problems: Problems, field: str, member: Member, group_names: Collection[str]) -> None:
    problems.add(f"{field}.team", identifier_problem(member.team))
    problems.add(f"{field}.user", identifier_problem(member.user))
    check_scope(problems, f"{field}.allowed_models", member.allowed_models, MEMBER_MODES, group_names)
    check_limits(problems, f"{field}.limits", member.limits)
    check_labels(problems, f"{field}.labels", member.labels)


def check_group(problems: Problems, field: str, group: AccessGroup) -> None:
    problems.add(f"{field}.name", group_name_problem(group.name))
    if not group.models:
        problems.add(f"{field}.models", "is empty; list at least one model, or delete the group")
    check_entries(problems, field, group.models, group.excluded_models)


def check_model(problems: Problems, field: str, model: Model) -> None:
    problems.add(f"{field}.name", plain_name_problem(model.name))
    problems.add(f"{field}.provider", plain_name_problem(model.provider))
    check_labels(problems, f"{field}.labels", model.labels)
