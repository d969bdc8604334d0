"""A decision as the message that a gateway gets. Shared by the service and the client library's local replica."""

from __future__ import annotations

from policy_service.domain.decide import Decision
from policy_service.domain.explain import sentence
from policy_service.domain.records import MemberLimits
from policy_service.v1 import access_pb2 as pb
from policy_service.v1 import resources_pb2 as resources

_REASONS = dict(pb.Reason.items())


def check_response(
    decision: Decision, team: str, user: str, model: str, *, revision: str, stale: bool
) -> pb.CheckModelAccessResponse:
    """The answer to (team, user, model)."""
    return pb.CheckModelAccessResponse(
        allowed=decision.allowed,
        reason=_REASONS[decision.reason],
        message=sentence(decision, team, user, model),
        resolved_model=decision.resolved_model,
        limits=None if decision.limits is None else limits_message(decision.limits),
        revision=revision,
        stale=stale,
    )


def limits_message(limits: MemberLimits) -> resources.MemberLimits:
    return resources.MemberLimits(
        max_budget_in_team=limits.max_budget_in_team,
        budget_duration=limits.budget_duration,
        tpm_limit=limits.tpm_limit,
        rpm_limit=limits.rpm_limit,
    )
