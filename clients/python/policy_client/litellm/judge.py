"""From a call of LiteLLM to what may be called: who asks, for which models, and what the policy says of each."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
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
_ANY_MODEL = "any"  # asked for where only the team's and the user's part of the verdict counts


class Judged(NamedTuple):
    """A call that may be made. `asked` is the model as the client named it, `model` what to call instead of what
    LiteLLM would; either may be empty. `verdict` is None for a call without a model, and where there is no policy."""

    identity: Identity
    asked: str
    model: str
    verdict: Verdict | None


class Judge:
    """Decides by one policy, whatever hook asks."""

    def __init__(self, settings: Settings, policy: Policy) -> None:
        self._policy = policy
        self._source = settings.identity
        self._reader = Reader(settings.prompts, settings.keys)
        self._apis = default_table()
        self._unseen = frozenset(settings.without_model)
        self._open = settings.without_policy is Otherwise.ALLOW
        self._trouble = ""

    async def call(self, key: Any, data: Mapping[str, Any], call_type: str, router: Any) -> Judged:
        """Judges a call with all models that it names. Raises GateRefusal."""
        route = getattr(key, "request_route", None) or ""
        unseen = call_type in self._unseen or _covers(self._unseen, route)
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
        verdict = verdicts[first]
        if asked.fixed and verdict.resolved_model != first:
            words = f"the path names {first!r}, which stands for {verdict.resolved_model!r}; name that"
            raise _forbidden(Code.MODELS_DISAGREE, words)
        if asked.called and verdict.resolved_model == asked.requested:
            verdict = verdicts[asked.called]  # no alias of the policy: what LiteLLM made of the name counts
        return Judged(identity, first, verdict.resolved_model, verdict)

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
        verdicts = await self._allowed(identity, dict.fromkeys(models.values()))
        targets = {alias_target(router, verdict.resolved_model) for verdict in verdicts.values()}
        await self._allowed(identity, targets - {verdict.resolved_model for verdict in verdicts.values()})
        return {name: verdicts[model] for name, model in models.items()} if verdicts else {}

    async def listed(self, identity: Identity, names: Collection[str]) -> list[str]:
        """The names that may be used. Raises GateRefusal where there is no policy."""
        known = [name for name in names if "*" not in name]
        verdicts = await self._check(identity, known) if known else []
        return [name for name, verdict in zip(known, verdicts, strict=False) if verdict.allowed] if verdicts else []

    async def _allowed(self, identity: Identity, names: Collection[str]) -> dict[str, Verdict]:
        asked = list(names)
        verdicts = dict(zip(asked, await self._check(identity, asked), strict=False)) if asked else {}
        for name, verdict in verdicts.items():
            if not verdict.allowed:
                raise _denied(identity, name, verdict)
        return verdicts

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


def _denied(identity: Identity, name: str, verdict: Verdict) -> GateRefusal:
    fields = {"model": name, "revision": verdict.revision}
    return GateRefusal(
        FORBIDDEN, decision_code(verdict.reason), decision_words(verdict.reason, identity.team, name), fields
    )


def _covers(unseen: Collection[str], route: str) -> bool:
    """Whether the configuration lists the route, or a path above it, as `/assemblyai/*`."""
    return route in unseen or any(
        pattern.endswith("/*") and route.startswith(pattern[:-1]) for pattern in unseen if pattern.startswith("/")
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
