"""LiteLLM's budgets as limits of members."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from policy_service.cli.litellm.teams import Budget
from policy_service.domain.names import identifier_problem
from policy_service.domain.records import MemberLimits
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.domain.validation import MAX_INT64

Note = Callable[[str, str, str], None]  # (limit, what LiteLLM does, what this service does)


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """A member's limits; `unset` are those that the team's default shall not fill."""

    limits: MemberLimits
    unset: frozenset[str]


def limits_of(budget: Budget | None, note: Note) -> MemberLimits:
    """What can be kept of a budget. `note` is told of every limit that is changed."""
    if budget is None:
        return MemberLimits()
    duration = budget.budget_duration
    problem = identifier_problem(duration) if duration else None
    if problem is not None:
        note("budget_duration", "has a duration", f"has none, as it {problem}")
        duration = None
    return MemberLimits(
        max_budget_in_team=_budget(budget.max_budget, note),
        budget_duration=duration,
        tpm_limit=_rate(budget.tpm_limit, "tpm_limit", note),
        rpm_limit=_rate(budget.rpm_limit, "rpm_limit", note),
    )


def default_limits_of(budget: Budget | None, note: Note) -> MemberLimits:
    """What a team gives to members. In LiteLLM a budget of 0 is none there, though it is one in a member's own row."""
    if budget is not None and budget.max_budget is not None and budget.max_budget <= 0:
        budget = replace(budget, max_budget=None)
    return limits_of(budget, note)


def own_limits(budget: Budget | None, default: MemberLimits, note: Note) -> OwnLimits:
    """What a member has. A member without a budget of its own falls back to the team's, and to nothing else of it."""
    own = limits_of(budget, note)
    has_budget = budget is not None and budget.max_budget is not None  # perhaps one that is not finite: none at all
    falls_back = () if has_budget else ("max_budget_in_team", "budget_duration")
    unset = {name for name in LIMIT_NAMES if getattr(own, name) is None and getattr(default, name) is not None}
    return OwnLimits(own, frozenset(unset.difference(falls_back)))


def _budget(value: float | None, note: Note) -> float | None:
    if value is None:
        return None
    number = float(value) if abs(value) < 1e308 else math.inf  # an integer may be too long for a float
    if math.isnan(number) or number == math.inf:
        note("max_budget", "does not enforce one that is not finite", "has none")
        return None
    if math.copysign(1, number) < 0:
        note("max_budget", "counts a negative one as used up", "has 0")
        return 0.0
    return number


def _rate(value: float | None, name: str, note: Note) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and math.isnan(value):
        note(name, "has a limit that is no number", "has none")
        return None
    kept = min(max(value, 0), MAX_INT64)
    if kept != value or kept != int(kept):
        has = f"{value:.20g}" if abs(value) < 1e308 else "more than a float holds"
        note(name, f"has {has}", f"has {int(kept)}")
    return int(kept)
