"""What a denied caller reads: what to do, and nothing of what others may use."""

from __future__ import annotations

from policy_service.domain.decide import Reason

# Whether a team exists is nobody's business who is no member of it.
_CODES = {
    Reason.TEAM_NOT_FOUND: "membership_denied",
    Reason.NOT_A_MEMBER: "membership_denied",
    Reason.TEAM_BLOCKED: "team_blocked",
    Reason.MEMBER_BLOCKED: "member_blocked",
    Reason.MODEL_NOT_IN_TEAM_SCOPE: "team_model_access_denied",
    Reason.MODEL_NOT_IN_MEMBER_SCOPE: "member_model_access_denied",
}
_WORDS = {
    "membership_denied": "You are not a member of team {team!r}. Ask its administrator to add you.",
    "team_blocked": "Team {team!r} is blocked. Ask an administrator of the gateway.",
    "member_blocked": "Your membership of team {team!r} is blocked. Ask its administrator.",
    "team_model_access_denied": "Team {team!r} may not use model {model!r}. Use another model, or ask an administrator "
    "of the gateway to allow it to the team.",
    "member_model_access_denied": "In team {team!r} you may not use model {model!r}. Use another model, or ask the "
    "team's administrator to allow it to you.",
}


def decision_code(reason: Reason) -> str:
    """A deny's machine-readable reason for the HTTP client."""
    return _CODES[reason]


def decision_words(reason: Reason, team: str, model: str = "") -> str:
    """A deny as a sentence for the caller."""
    return _WORDS[_CODES[reason]].format(team=team, model=model)
