"""The callback: LiteLLM's hooks, and what each asks the judge."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, NoReturn

import litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy._types import UserAPIKeyAuth

from policy_client.litellm.judge import LOG, Judge, Judged
from policy_client.litellm.member_limits import MemberLimitsHook
from policy_client.litellm.policy import policy_of
from policy_client.litellm.refusal import GateRefusal
from policy_client.litellm.router_names import attempt_metadata, attempted_models
from policy_client.litellm.settings import Mode, Settings
from policy_service.domain.records import MemberLimits
from policy_service.domain.rules import LIMIT_NAMES

EVENT = "policy_service"  # in the metadata of a call, and in the metadata of LiteLLM's spend logs
_LITELLM_DENIES = "_model_access_denied"  # how LiteLLM's types of errors end when its own lists refuse a model
_HEALTH_CHECK = "litellm-internal-health-check"
_CALLED = ContextVar("policy_gate_called", default="")  # the upstream's model, in what serves one request


class PolicyGate(CustomLogger):  # type: ignore[misc] # LiteLLM has no types for it
    """Lets through what the policy allows. Made from `settings`; the policy is followed once an event loop runs.

    Raises SettingsError for settings that cannot be used. It cannot be subclassed: LiteLLM calls only hooks that a
    callback's own class defines, so that a subclass would let everything through.
    """

    enforces_request_content = True  # so that LiteLLM shows it each line of a batch file

    def __init_subclass__(cls, **_: Any) -> NoReturn:
        raise TypeError(
            "PolicyGate cannot be subclassed: LiteLLM would call no hook of a subclass; change its settings"
        )

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._enforces = settings.mode is Mode.ENFORCE
        self._policy = policy_of(settings)
        self._judge = Judge(settings, self._policy)
        self._limits = MemberLimitsHook(self._limits_of)
        self._started: asyncio.Task[None] | None = None
        with contextlib.suppress(RuntimeError):  # no loop yet: the first call starts it
            self._started = asyncio.get_running_loop().create_task(self._start())

    # Before a call

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> dict[str, Any]:
        """Refuses what may not be called, and puts the model to call into `data`."""
        self._take_places()
        await self._ready()
        try:
            judged = await self._judge.call(user_api_key_dict, data, call_type, _router())
        except GateRefusal as refusal:
            self._refused(refusal, user_api_key_dict, data, call_type)
            return data
        _put(data, {"allowed": True, "mode": self._settings.mode, **_event(judged)})
        if judged.model and self._enforces and data.get("model") is not None:
            data["model"] = judged.model
        return data

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: list[Any],
        messages: Any,
        request_kwargs: dict[str, Any] | None = None,
        parent_otel_span: Any = None,
    ) -> list[Any]:
        """Runs for each attempt of the router, fallbacks among them, before a deployment is chosen."""
        await self._attempt(request_kwargs or {}, (model,))
        return healthy_deployments

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """Runs for each call of a deployment, however it was chosen."""
        await self._attempt(kwargs, attempted_models(kwargs, _CALLED.get()))
        _CALLED.set(str(kwargs.get("model")))

    async def _attempt(self, kwargs: dict[str, Any], models: Sequence[str]) -> None:
        metadata = attempt_metadata(kwargs)
        key = metadata.get("user_api_key_auth")
        if not isinstance(key, UserAPIKeyAuth) or _is_health_check(key):  # LiteLLM's own call, nobody asked for it
            return
        await self._ready()
        try:
            await self._judge.models(self._judge.identity(key), models, _router())
        except GateRefusal as refusal:
            if self._enforces or metadata.get(EVENT, {}).get("allowed"):  # in shadow the call itself was noted already
                self._refused(refusal, key, {"model": ", ".join(models)}, "attempt")

    # Lists

    async def async_filter_listed_models(self, user_api_key_dict: Any, model_names: Sequence[str]) -> Sequence[str]:
        """What `/v1/models` shows. Called by LiteLLM 1.104.9 and later."""
        if not self._enforces:
            return model_names
        await self._ready()
        return await self._judge.listed(self._judge.identity(user_api_key_dict), model_names)

    # What LiteLLM refused itself

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, *_: Any, **__: Any
    ) -> None:
        """In shadow, says where LiteLLM's own lists deny what the policy allows."""
        denied = str(getattr(original_exception, "type", "")).endswith(_LITELLM_DENIES)
        if self._enforces or not denied:
            return
        await self._ready()
        try:
            judged = await self._judge.call(user_api_key_dict, request_data, "", _router())
        except GateRefusal:
            return
        if judged.verdict is not None:
            LOG.warning("policy_gate.disagreement %s", _json({"litellm": "deny", **_event(judged)}))

    # Inside

    async def _start(self) -> None:
        try:
            await self._policy.start()
        except ValueError as error:
            LOG.error("policy_gate.not_started %s; every call is refused until the gateway is started again", error)

    async def _ready(self) -> None:
        if self._started is None:
            self._started = asyncio.create_task(self._start())
        if not self._started.done():
            await asyncio.shield(self._started)

    def _take_places(self) -> None:
        """The limits go first, before LiteLLM's limiter; the gate last, so that nobody renames the model after it."""
        callbacks = litellm.callbacks
        if callbacks[-1:] == [self] and callbacks[0] is self._limits:
            return
        others = [callback for callback in callbacks if callback is not self and callback is not self._limits]
        litellm.callbacks = [self._limits, *others, self]  # a new list: others may be walking along the old one

    async def _limits_of(self, key: Any, data: Any) -> MemberLimits | None:
        model = data.get("model") if isinstance(data, dict) else None
        if not self._enforces or not isinstance(model, str) or not isinstance(key, UserAPIKeyAuth):
            return None
        try:
            verdicts = await self._judge.models(self._judge.identity(key), [model], None)
        except GateRefusal:
            return None  # the gate will say so
        return next((verdict.limits for verdict in verdicts.values()), None)

    def _refused(self, refusal: GateRefusal, key: Any, data: dict[str, Any], call_type: str) -> None:
        """Raises the refusal, unless in shadow."""
        event = {
            "team": getattr(key, "team_id", None),
            "user": getattr(key, "user_id", None),
            "model": data.get("model"),
            "reason": refusal.reason,
            "message": refusal.message,
            "call_type": call_type,
        }
        _put(data, {"allowed": False, **event, "mode": self._settings.mode})
        if self._enforces:
            LOG.info("policy_gate.denied %s", _json(event))
            raise refusal
        LOG.warning("policy_gate.disagreement %s", _json({"litellm": "allow", **event}))


def _is_health_check(key: Any) -> bool:
    """Whether it is the key under which LiteLLM asks its deployments how they are. No client can have one like it: an
    alias anybody may choose, but the team only who is in it."""
    return bool(key.key_alias == key.team_id == key.team_alias == _HEALTH_CHECK)


def _router() -> Any:
    """The proxy's router, which a reload of its configuration may replace."""
    return _proxy_server().llm_router


@cache
def _proxy_server() -> Any:
    from litellm.proxy import proxy_server  # importing it earlier would go round in a circle

    return proxy_server


def _event(judged: Judged) -> dict[str, Any]:
    """The decision, as the logs have it."""
    (team, user), asked, model, verdict = judged
    if verdict is None:
        return {"team": team, "user": user, "model": asked, "resolved_model": model}
    _, reason, resolved_model, limits, revision, stale = verdict
    return {
        "team": team,
        "user": user,
        "model": asked,
        "resolved_model": resolved_model,
        "reason": reason.value,
        "revision": revision,
        "stale": stale,
        "limits": None if limits is None else {name: getattr(limits, name) for name in LIMIT_NAMES},
    }


def _put(data: dict[str, Any], event: dict[str, Any]) -> None:
    """Into the metadata that LiteLLM logs, and into that which its spend logs keep."""
    metadata = attempt_metadata(data)
    if metadata:
        kept = metadata.get("spend_logs_metadata")
        metadata[EVENT] = event
        # A new object: that of the team's own settings may be shared by all calls.
        metadata["spend_logs_metadata"] = {**(kept if isinstance(kept, dict) else {}), EVENT: event}


def _json(event: dict[str, Any]) -> str:
    return json.dumps(event, default=str)
