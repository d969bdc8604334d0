"""Which models a call could make LiteLLM use: all that the client names, wherever LiteLLM looks for names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from policy_service.ext_authz.keys import MODEL, folded
from policy_service.ext_authz.places import Node, Role, tree, walk
from policy_service.ext_authz.refusal import Code, Refused

MAX_MODELS = 100
MAX_DEPTH = 4  # of fallbacks within fallbacks
FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks")
# Where a body names models besides `model`; places.py says how to read these.
OTHER_PLACES = (
    *("tools[].model", "tools[].parameters.model", "tools[].svg.model", "svg.model", "moderation.model"),
    *("session.model", "session.audio.input.transcription.model", "session.input_audio_transcription.model"),
    *("session.tools[].model", "session.tools[].parameters.model", "session.tools[].svg.model"),
    *("audio.input.transcription.model", "input_audio_transcription.model"),
    *("completion.model", "data_source.model", "testing_criteria[].model", "method.reinforcement.grader.model"),
    "requests[].params.model",
)
PROMPTS = ("prompt_id", "session.prompt.id")
# What is stored under these ids says which model is used. It is not seen here.
MANAGED_IDS = (
    *("input_file_id", "file_id", "output_file_id", "batch_id", "fine_tuning_job_id", "training_file"),
    *("validation_file", "video_id", "character_id", "container_id", "assistant_id", "response_id"),
)
# What could bring in a model that is not seen here, or lead past the deployments of the proxy.
REFUSED_KEYS = (
    *("model_list", "models", "deployment_id", "azure", "model_id", "agent", "custom_llm_provider", "api_base"),
    *("base_url", "extra_body", "extra_headers", "extra_query", "preset", "route", "engine", "plugins", "lora_path"),
    *("context_window_fallback_dict", "passthrough_on_no_deployment"),
)
# An object among fallbacks replaces what the request has: with these it would be another caller's.
CALLER_KEYS = ("metadata", "litellm_metadata", "proxy_server_request")
MAX_KEYS = 64  # of a body, and characters of a key, that are remembered
_LATER = (*FALLBACKS, "target_model_names")  # from the query or a form, read after the body was noted
_SPECIAL = frozenset((*_LATER, "router_settings_override", "user_config", "prompt", "input"))


class Asked(NamedTuple):
    """`requested`: the model as the client named it; `called`: the one that LiteLLM is about to call, which may have
    replaced it; `targets`: those that a file is for; `others`: all others. Empty: none. `fixed`: the path names the
    model, so that no other can be called instead."""

    requested: str = ""
    called: str = ""
    targets: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    fixed: bool = False

    @property
    def names_a_model(self) -> bool:
        """Whether it says what is called, and not only what may be used besides."""
        return bool(self.requested or self.called or self.targets)

    @property
    def all(self) -> tuple[str, ...]:
        """Every name, once."""
        first = (self.requested, self.called, *self.targets, *self.others)
        return tuple(dict.fromkeys(name for name in first if name))


def client_body(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the client sent, as LiteLLM noted it before it rewrote the model; what is only passed through, or is a line
    of a batch, is the data itself."""
    noted = data.get("proxy_server_request")
    body = noted.get("body") if isinstance(noted, Mapping) else None
    return body if isinstance(body, Mapping) else data


class Reader:
    """Reads the data of a call as LiteLLM's hooks get it. `prompts`: ids of stored prompts that may be used; `keys`:
    keys that would be refused otherwise."""

    def __init__(self, prompts: Collection[str] = (), keys: Collection[str] = ()) -> None:
        self._prompts = frozenset(prompts)
        refused = [key for key in REFUSED_KEYS if key not in keys]
        self._strict = _places(MANAGED_IDS, refused)
        self._lenient = _places((), ())
        self._fallback = _places(MANAGED_IDS, [*refused, *CALLER_KEYS])
        self._of_interest = lru_cache(maxsize=1_024)(self._interesting)

    def read(self, data: Mapping[str, Any], *, unseen: bool = False) -> Asked:
        """Raises Refused, which says what to change. `unseen`: this call may use models that cannot be seen."""
        body = client_body(data)
        named = self._worth_reading(body)
        for key in _LATER:
            if key in data and key not in body:
                named[key] = data[key]
        others = tuple(self._others(self._lenient if unseen else self._strict, named, 0)) if named else ()
        targets = tuple(_listed(named["target_model_names"])) if "target_model_names" in named else ()
        if len(others) + len(targets) > MAX_MODELS:
            words = f"the request names more than {MAX_MODELS} models besides its own; send less at once"
            raise Refused(Code.BODY_TOO_LARGE, words)
        return Asked(_model(body), _model(data), targets, others)

    def _worth_reading(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body without the keys that no place begins with: of most requests nothing is left. Clients send the same
        keys again and again, so which those are is remembered, if they are few and short."""
        if len(body) > MAX_KEYS or max(map(len, body), default=0) > MAX_KEYS:
            return dict(body)
        return {key: body[key] for key in self._of_interest(tuple(body))}

    def _interesting(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        known, similar = self._strict.children.keys() | _SPECIAL, self._strict.similar
        return tuple(key for key in keys if key != MODEL and (key in known or folded(key) in similar))

    def _others(self, places: Node, body: Mapping[str, Any], depth: int) -> Iterator[str]:
        for part in (body, *_tools_in_input(body)):
            for named in walk(places, part):
                if named.role is Role.STORED:
                    self._check_stored(named.text)
                elif named.role is Role.OTHER or depth:
                    yield named.text
        prompt = body.get("prompt")
        if isinstance(prompt, Mapping):  # of Responses; that of completions and images is a text
            self._check_stored(_text(prompt.get("id"), "prompt.id"))
        for key in FALLBACKS:
            if key in body:
                yield from self._fallbacks(body[key], key, depth)
        for key in ("router_settings_override", "user_config"):
            if key in body:
                yield from self._settings(body[key], key, depth)

    def _check_stored(self, text: str) -> None:
        if text not in self._prompts:
            words = f"what is stored as {text[:100]!r} may use any model; name the model, or have an administrator of "
            raise Refused(Code.UNKNOWN_STORED_MODEL, words + "the gateway allow it")

    def _fallbacks(self, value: object, key: str, depth: int) -> Iterator[str]:
        """Names, objects with a `model` that replace the request's parameters, and {model: fallbacks for it}."""
        if value is None:
            return
        if not isinstance(value, list) or depth > MAX_DEPTH:
            raise _unreadable(key)
        for entry in value:
            if isinstance(entry, str):
                yield entry
            elif isinstance(entry, Mapping) and "model" in entry:
                yield from self._others(self._fallback, entry, depth + 1)
            elif isinstance(entry, Mapping):
                for inner in entry.values():
                    yield from self._fallbacks(inner, key, depth + 1)
            else:
                raise _unreadable(key)

    def _settings(self, value: object, key: str, depth: int) -> Iterator[str]:
        """Settings of a router in the request."""
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise _unreadable(key)
        for inner in FALLBACKS:
            yield from self._fallbacks(value.get(inner), f"{key}.{inner}", depth)
        for target in _mapping(value, "model_group_alias", key).values():
            yield _text(target.get("model") if isinstance(target, Mapping) else target, f"{key}.model_group_alias")
        deployments = value.get("model_list") or ()
        if not isinstance(deployments, (list, tuple)):
            raise _unreadable(f"{key}.model_list")
        for deployment in deployments:
            if not isinstance(deployment, Mapping):
                raise _unreadable(f"{key}.model_list")
            yield _text(deployment.get("model_name"), f"{key}.model_list")
            params = _mapping(deployment, "litellm_params", key)
            yield _text(params.get("model"), f"{key}.model_list")
            for inner in FALLBACKS:
                yield from self._fallbacks(params.get(inner), f"{key}.model_list", depth)


def _places(ids: Collection[str], refused: Collection[str]) -> Node:
    others = [(Role.OTHER, place) for place in OTHER_PLACES]
    return tree((), others + [(Role.STORED, place) for place in (*PROMPTS, *ids)], refused)


def _tools_in_input(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Tools may come with the input of Responses, too."""
    given = body.get("input")
    parts = given if isinstance(given, list) else ()
    return [{"tools": part["tools"]} for part in parts if isinstance(part, Mapping) and "tools" in part]


def _model(data: Mapping[str, Any]) -> str:
    model = data.get("model")
    return "" if model is None else _text(model, "model")


def _listed(value: object) -> Iterator[str]:
    """Names in a list, or in a text with commas."""
    names = value.split(",") if isinstance(value, str) else value or ()
    if not isinstance(names, (list, tuple)):
        raise _unreadable("target_model_names")
    for name in names:
        yield _text(name, "target_model_names").strip()


def _mapping(value: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    inner = value.get(key) or {}
    if not isinstance(inner, Mapping):
        raise _unreadable(f"{path}.{key}")
    return inner


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise _unreadable(key)
    return value


def _unreadable(key: str) -> Refused:
    return Refused(Code.MODEL_MALFORMED, f"`{key}` is not what it has to be; name models by texts, one each")
