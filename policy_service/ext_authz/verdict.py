"""From who asks for what to what becomes of the request: `decide` for every model, on one state of the policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from policy_service.domain.decide import Reason, admission, decide
from policy_service.domain.records import MemberLimits
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.domain.source import Reading
from policy_service.ext_authz.answer import POLICY_HEADERS, Allowed, Denied
from policy_service.ext_authz.asked import Asked
from policy_service.ext_authz.bodies import Kind
from policy_service.ext_authz.http_request import dashed
from policy_service.ext_authz.identity import Identity
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.ext_authz.routes import Access, Route
from policy_service.ext_authz.words import decision_code, decision_words

NO_ROUTE = Route(name="")
ROUTE_ALLOWED = "ROUTE_ALLOWED"  # no model was asked for


class Dossier:
    """What is known of a request so far; all of it goes into Envoy's dynamic metadata."""

    def __init__(self, denied_status: int) -> None:
        self.route = NO_ROUTE
        self.api = NO_ROUTE.api
        self.headers: Iterable[str] = ()  # the names of the request's
        self.facts: dict[str, Any] = {"allowed": False}
        self._denied_status = denied_status

    def deny(self, kind: Kind, code: str, message: str, *, reason: str = "", status: int = 0) -> Denied:
        """The request ends. `reason`: where it is not the code."""
        self.facts["reason"] = reason or code
        return Denied(kind, code, message, status or self._denied_status, self.api, self.facts)

    def allow(self, reason: str, set_headers: dict[str, str]) -> Allowed:
        """The request goes on; headers with a name of ours are ours."""
        self.facts |= {"allowed": True, "reason": reason}
        spoofed = [name for name in self.headers if dashed(name).startswith(POLICY_HEADERS) and name not in set_headers]
        return Allowed(set_headers, spoofed, self.facts)


def judge(reading: Reading, identity: Identity, asked: Asked, dossier: Dossier) -> Allowed | Denied:
    """Raises Refused for an alias that the upstream would not resolve."""
    (state, stale), (team, user) = reading, identity
    dossier.facts |= {"revision": state.revision, "stale": stale}
    headers = {"x-policy-team": team, "x-policy-revision": state.revision} | ({"x-policy-user": user} if user else {})
    reason: Reason | None
    if dossier.route.access is Access.TEAM:
        reason = admission(state, team, user)
        return _denied(dossier, reason, team) if reason else dossier.allow(ROUTE_ALLOWED, headers)
    for model in asked.models:
        decision = decide(state, team, user, model)
        if not decision.allowed:
            return _denied(dossier, decision.reason, team, model)
        if decision.resolved_model != model and not (dossier.route.obeys_policy_model and model == asked.primary):
            words = f"{model!r} is another name of {decision.resolved_model!r}; ask for that one"
            raise Refused(Code.ALIAS_NOT_REWRITTEN, words)
        if model == asked.primary:
            headers["x-policy-model"] = decision.resolved_model
    limits = _limits(decision.limits)
    if limits:
        dossier.facts["limits"] = limits
    return dossier.allow(decision.reason, headers)


def _denied(dossier: Dossier, reason: Reason, team: str, model: str = "") -> Denied:
    words = decision_words(reason, team, model)
    return dossier.deny(Kind.DECISION, decision_code(reason), words, reason=reason)


def _limits(limits: MemberLimits | None) -> dict[str, Any]:
    """Those that are set."""
    if limits is None:
        return {}
    return {name: value for name in LIMIT_NAMES if (value := getattr(limits, name)) is not None}
