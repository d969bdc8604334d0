"""From a call of LiteLLM to what may be called: who asks, for which models, and what the policy says of each."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

from policy_client.litellm.asked import Asked, Reader
from policy_client.litellm.identity import Identity
from policy_client.litellm.pass_through import CALL_TYPE, ROUTED_CALL_TYPE, read_pass_through
from policy_client.litellm.policy import NoAnswer, NoPolicy, Policy, Verdict
from policy_client.litellm.refusal import FORBIDDEN, UNAVAILABLE, GateRefusal
from policy_client.litellm.router_names import alias_target, model_of_deployment
from policy_client.litellm.settings import Otherwise, Settings
from policy_service.domain.decide import Reason
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.ext_authz.settings import default_table
from policy_service.ext_authz.words import decision_code, decision_words

LOG = logging.getLogger("policy_client.litellm")
NOBODY = frozenset((Reason.TEAM_NOT_FOUND, Reason.TEAM_BLOCKED, Reason.NOT_A_MEMBER, Reason.MEMBER_BLOCKED))
REMEMBERED_S = 1.0  # by what a change of the policy may be late within one request, where a server is asked
_ANY_MODEL = "any"  # asked for where only the team's and the user's part of the verdict counts


class Judged(NamedTuple):
    """A call that may be made. `asked` is the model as the client named it, empty for none; `model` what to call
    instead of what LiteLLM would, empty for that. `verdict` is None for a call without a model, and where there is no
    policy."""

    identity: Identity
    asked: str
    model: str
    verdict: Verdict | None


class _Request(NamedTuple):
    """What is known while one request is served. `until` is monotonic time."""

    identity: Identity
    revision: str
    until: float
    verdicts: dict[str, Verdict]


_REQUEST: ContextVar[_Request | None] = ContextVar("policy_gate_request", default=None)


class Judge:
    """Decides by one policy, whatever hook asks."""

    def __init__(self, settings: Settings, policy: Policy) -> None:
        self._policy = policy
        self._source = settings.identity
        self._reader = Reader(settings.prompts, settings.keys)
        self._apis = default_table()
        self._unseen = frozenset(settings.without_model)
        self._unseen_below = tuple(path[:-1] for path in settings.without_model if path.endswith("/*"))
        self._open = settings.without_policy is Otherwise.ALLOW
        self._trouble = ""

    async def call(self, key: Any, data: Mapping[str, Any], call_type: str, router: Any) -> Judged:
        """Judges a call with all models that it names. Raises GateRefusal."""
        route = getattr(key, "request_route", None) or ""
        unseen = call_type in self._unseen or route in self._unseen or route.startswith(self._unseen_below)
        identity = self.identity(key)
        try:
            if call_type in (CALL_TYPE, ROUTED_CALL_TYPE):
                asked = read_pass_through(self._apis, route, data, call_type)
            else:
                asked = self._reader.read(data, unseen=unseen)
        except Refused as error:
            raise _forbidden(error.code, str(error)) from None
        if asked.names_a_model:
            return await self._with_models(identity, asked, router)
        if not unseen:
            raise _forbidden(Code.MODEL_MISSING, _what_to_name(call_type, route))
        await self._without_model(identity, asked, router)
        return Judged(identity, "", "", None)

    async def _with_models(self, identity: Identity, asked: Asked, router: Any) -> Judged:
        verdicts = await self.models(identity, asked.all, router)
        first = asked.requested or asked.called
        if not verdicts or not first:
            return Judged(identity, first, "", None)
        name, verdict = first, verdicts[first]
        if asked.fixed and verdict.resolved_model != first:
            words = f"the path names {first!r}, which stands for {verdict.resolved_model!r}; name that"
            raise _forbidden(Code.MODELS_DISAGREE, words)
        if asked.called and verdict.resolved_model == asked.requested:
            name, verdict = asked.called, verdicts[asked.called]  # no alias of the policy: what LiteLLM made of it
        return Judged(identity, first, "" if verdict.resolved_model == name else verdict.resolved_model, verdict)

    async def _without_model(self, identity: Identity, asked: Asked, router: Any) -> None:
        for verdict in await self._check(identity, [_ANY_MODEL]):
            if verdict.reason in NOBODY:
                raise _denied(identity, "", verdict)
        await self.models(identity, asked.others, router)

    def identity(self, key: Any) -> Identity:
        """Whose key it is. Raises GateRefusal."""
        try:
            return self._source.identity(key)
        except Refused as error:
            raise _forbidden(error.code, str(error)) from None

    async def models(self, identity: Identity, names: Iterable[str], router: Any) -> dict[str, Verdict]:
        """The verdict of each name, all of which allow; none where there is no policy and that is no reason to refuse.
        Raises GateRefusal for the first that is denied.

        What the router will make of a name counts: the model of a deployment's id, and an alias' target beside it.
        """
        models = {name: model_of_deployment(router, name) for name in names}
        verdicts = await self._known(identity, models.values())
        if not verdicts:
            return {}
        found = {name: _allowing(identity, model, verdicts[model]) for name, model in models.items()}
        resolved = [verdict.resolved_model for verdict in found.values()]
        targets = [target for model in resolved if (target := alias_target(router, model)) != model]
        if targets:
            verdicts = await self._known(identity, targets)
            for target in targets if verdicts else ():
                _allowing(identity, target, verdicts[target])
        return found

    async def _known(self, identity: Identity, names: Collection[str]) -> dict[str, Verdict]:
        """Verdicts of these names, and of others that the same request asked for. Its hooks ask for the same names
        again; they need not wait again while the policy is the same, and not for longer than REMEMBERED_S."""
        revision, now = self._policy.revision, time.monotonic()
        request = _REQUEST.get()
        if request is None or request.identity != identity or request.revision != revision or now > request.until:
            request = _Request(identity, revision, now + REMEMBERED_S, {})
            _REQUEST.set(request)
        missing = [name for name in names if name not in request.verdicts]
        if missing:
            asked = list(dict.fromkeys(missing))
            verdicts = await self._check(identity, asked)
            if not verdicts:
                return {}
            request.verdicts.update(zip(asked, verdicts, strict=True))
        return request.verdicts

    async def listed(self, identity: Identity, names: Collection[str]) -> list[str]:
        """The names that may be used. Raises GateRefusal where there is no policy."""
        known = [name for name in names if "*" not in name]
        verdicts = await self._check(identity, known) if known else []
        return [name for name, verdict in zip(known, verdicts, strict=False) if verdict.allowed] if verdicts else []

    async def _check(self, identity: Identity, names: list[str]) -> list[Verdict]:
        """Empty where there is no policy, and that is no reason to refuse."""
        try:
            verdicts = await self._policy.check(identity.team, identity.user, names)
        except Refused as error:
            raise _forbidden(error.code, str(error)) from None
        except NoPolicy as error:
            self._note(str(error))
            if self._open:
                return []
            words = "There is no current policy that says which models may be used. Try again later."
            raise GateRefusal(UNAVAILABLE, "policy_unavailable", words) from None
        except NoAnswer as error:
            self._note(str(error))
            words = "The policy service gives this gateway no answer. Ask an administrator of the gateway."
            raise GateRefusal(UNAVAILABLE, "policy_refused", words) from None
        self._note("")
        return verdicts

    def _note(self, trouble: str) -> None:
        """Logs when it begins and ends, not for every call."""
        if trouble and not self._trouble:
            LOG.error("policy_gate.no_policy %s; calls are %s", trouble, "let through" if self._open else "refused")
        elif self._trouble and not trouble:
            LOG.warning("policy_gate.policy_is_back")
        self._trouble = trouble


def _forbidden(code: Code, words: str) -> GateRefusal:
    return GateRefusal(FORBIDDEN, code, words[0].upper() + words[1:] + ("" if words.endswith(".") else "."))


def _allowing(identity: Identity, name: str, verdict: Verdict) -> Verdict:
    if not verdict.allowed:
        raise _denied(identity, name, verdict)
    return verdict


def _denied(identity: Identity, name: str, verdict: Verdict) -> GateRefusal:
    fields = {"model": name, "revision": verdict.revision}
    return GateRefusal(
        FORBIDDEN, decision_code(verdict.reason), decision_words(verdict.reason, identity.team, name), fields
    )


def _what_to_name(call_type: str, route: str) -> str:
    if call_type in (CALL_TYPE, ROUTED_CALL_TYPE):
        return (
            f"the model of {route or 'this connection'} cannot be seen here; use another way to the model, or have an "
            f"administrator of the gateway list the path in without_model"
        )
    return (
        f"the request names no model; name one. If this kind of call is to be possible without, an administrator of "
        f"the gateway lists {call_type!r} in without_model"
    )
