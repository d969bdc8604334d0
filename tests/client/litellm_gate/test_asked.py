"""Which models a call could make LiteLLM use: every shape in which a request names them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_client.litellm.asked import (
    CALLER_KEYS,
    FALLBACKS,
    MANAGED_IDS,
    MAX_DEPTH,
    MAX_MODELS,
    OTHER_PLACES,
    REFUSED_KEYS,
    Asked,
    Reader,
    client_body,
)
from policy_service.ext_authz.refusal import Code, Refused

MALFORMED, REFUSED, STORED = Code.MODEL_MALFORMED, Code.FIELD_REFUSED, Code.UNKNOWN_STORED_MODEL
READER = Reader()
LENIENT = Reader(prompts=["greeting", "farewell"], keys=["models", "route"])


def data_of(body: Any, **later: Any) -> dict[str, Any]:
    """A call's data as LiteLLM's hooks get it: the body, what came later, and the body as it was noted."""
    return {**body, **later, "proxy_server_request": {"url": "http://proxy/", "method": "POST", "body": body}}


def refusal(body: Any, reader: Reader = READER, *, unseen: bool = False) -> Refused:
    with pytest.raises(Refused) as caught:
        reader.read(data_of(body), unseen=unseen)
    return caught.value


# The model of the request

MODELS: dict[str, tuple[dict[str, Any], Asked]] = {
    "as the client named it": (data_of({"model": "fast"}), Asked("fast", "fast")),
    "rewritten by LiteLLM": (data_of({"model": "fast"}, model="gpt-4o-mini"), Asked("fast", "gpt-4o-mini")),
    "from elsewhere": (data_of({"input": "x"}, model="gpt-4o"), Asked("", "gpt-4o")),
    "only the client's": (data_of({"model": "fast"}, model=None), Asked("fast", "")),
    "none": (data_of({"messages": []}), Asked()),
    "null": (data_of({"model": None}), Asked()),
    "empty": (data_of({"model": ""}), Asked()),
    "an empty body": ({"model": "gpt-4o", "proxy_server_request": {"body": {}}}, Asked("", "gpt-4o")),
    "nothing noted": ({"model": "fast", "fallbacks": ["o1"]}, Asked("fast", "fast", (), ("o1",))),
    "no body noted": ({"model": "fast", "proxy_server_request": {"url": "x"}}, Asked("fast", "fast")),
    "a body of bytes noted": ({"model": "fast", "proxy_server_request": {"body": b"x"}}, Asked("fast", "fast")),
    "what is noted is none": ({"model": "fast", "proxy_server_request": None}, Asked("fast", "fast")),
    "names are not changed": (data_of({"model": " GPT-4o,o1 "}), Asked(" GPT-4o,o1 ", " GPT-4o,o1 ")),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_model(name: str) -> None:
    data, asked = MODELS[name]
    for unseen in (False, True):
        assert READER.read(data, unseen=unseen) == asked


@pytest.mark.parametrize("model", [7, True, ["o1"], {"model": "o1"}, [], 0], ids=repr)
def test_a_model_that_is_no_text(model: Any) -> None:
    """Neither the client's, nor one that LiteLLM is about to call."""
    for data in (data_of({"model": model}), data_of({"model": "o1"}, model=model), {"model": model}):
        with pytest.raises(Refused) as caught:
            READER.read(data)
        assert caught.value.code is MALFORMED
        assert "`model`" in str(caught.value)


def test_client_body() -> None:
    body = {"model": "fast"}
    assert client_body(data_of(body, model="o1")) is body
    assert client_body(body) is body


# Every name, once

ALL = {
    Asked(): (),
    Asked("a"): ("a",),
    Asked("", "b"): ("b",),
    Asked("a", "a", ("a",), ("a",)): ("a",),
    Asked("a", "b", ("c", "a"), ("d", "b", "")): ("a", "b", "c", "d"),
    Asked(targets=("", "c")): ("c",),
}


@pytest.mark.parametrize("asked", ALL)
def test_all(asked: Asked) -> None:
    assert asked.all == ALL[asked]


def test_what_names_a_model() -> None:
    assert Asked("a").names_a_model
    assert Asked("", "a").names_a_model
    assert Asked(targets=("a",)).names_a_model
    assert not Asked(others=("a",)).names_a_model
    assert not Asked(fixed=True).names_a_model


# Others

FALLBACK_SHAPES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "null": (None, ()),
    "none": ([], ()),
    "names": (["a", "b"], ("a", "b")),
    "an object": ([{"model": "a"}], ("a",)),
    "an object with parameters": ([{"model": "a", "temperature": 0, "messages": [{"role": "user"}]}], ("a",)),
    "an object whose model is null": ([{"model": None}], ()),
    "by group": ([{"fast": ["a", "b"]}], ("a", "b")),
    "of two groups": ([{"fast": ["a"], "slow": ["b"]}, {"*": ["c"]}], ("a", "b", "c")),
    "objects by group": ([{"fast": [{"model": "a"}, "b"]}], ("a", "b")),
    "by group, null": ([{"fast": None}], ()),
    "all of them": (["a", {"model": "b"}, {"fast": ["c"]}, {}], ("a", "b", "c")),
    "of a fallback": ([{"model": "a", "fallbacks": ["b", {"model": "c", "fallbacks": ["d"]}]}], ("a", "b", "c", "d")),
    "for long contexts, of a fallback": (
        [{"model": "a", "context_window_fallbacks": [{"a": ["b"]}], "content_policy_fallbacks": [{"a": ["c"]}]}],
        ("a", "b", "c"),
    ),
    "with tools": ([{"model": "a", "tools": [{"type": "x", "model": "b"}]}], ("b", "a")),
    "with settings": ([{"model": "a", "router_settings_override": {"fallbacks": [{"a": ["b"]}]}}], ("a", "b")),
}


@pytest.mark.parametrize("key", FALLBACKS)
@pytest.mark.parametrize("name", FALLBACK_SHAPES)
def test_fallbacks(name: str, key: str) -> None:
    """In the body, or read from elsewhere after it was noted."""
    value, others = FALLBACK_SHAPES[name]
    for data in (data_of({"model": "fast", key: value}), data_of({"model": "fast"}, **{key: value})):
        asked = READER.read(data)
        assert (asked.requested, asked.called, asked.targets) == ("fast", "fast", ())
        assert sorted(asked.others) == sorted(others)


def test_the_clients_fallbacks_count_not_what_became_of_them() -> None:
    """LiteLLM takes what the body has, where it has something."""
    asked = READER.read(data_of({"model": "fast", "fallbacks": ["a"]}, fallbacks=["b"]))
    assert asked.others == ("a",)


BAD_FALLBACKS: dict[str, tuple[Any, Code]] = {
    "a text": ("a", MALFORMED),
    "a mapping": ({"fast": ["a"]}, MALFORMED),
    "a number": (1, MALFORMED),
    "true": (True, MALFORMED),
    "an element that is null": (["a", None], MALFORMED),
    "an element that is a number": ([7], MALFORMED),
    "an element that is a list": ([["a"]], MALFORMED),
    "a group's that are a text": ([{"fast": "a"}], MALFORMED),
    "a group's that are an object": ([{"fast": {"model": "a"}}], MALFORMED),
    "a model that is a list": ([{"model": ["a"]}], MALFORMED),
    "an object whose fallbacks are a text": ([{"model": "a", "fallbacks": "b"}], MALFORMED),
    "a similar key": ([{"model": "a", "Model": "b"}], Code.SIMILAR_KEY),
    "models of another place": ([{"model": "a", "api_base": "http://elsewhere"}], REFUSED),
    "a prompt": ([{"model": "a", "prompt_id": "unknown"}], STORED),
    "a file": ([{"model": "a", "file_id": "f"}], STORED),
}


@pytest.mark.parametrize("key", FALLBACKS)
@pytest.mark.parametrize("name", BAD_FALLBACKS)
def test_fallbacks_that_are_none(name: str, key: str) -> None:
    value, code = BAD_FALLBACKS[name]
    for unseen in (False, True):
        found = refusal({"model": "fast", key: value}, unseen=unseen)
        assert found.code is code
        if name in ("a text", "a number", "an element that is null", "a group's that are a text"):
            assert str(found) == f"`{key}` is not what it has to be; name models by texts, one each"


@pytest.mark.parametrize("key", CALLER_KEYS)
def test_a_fallback_is_no_other_callers(key: str) -> None:
    """At the root these are LiteLLM's own, and a client's metadata is harmless."""
    inner: dict[str, Any] = {"user_api_key_auth": "x"}
    assert READER.read({"model": "a", key: inner, "fallbacks": ["b"]}).all == ("a", "b")
    for body in (
        {"fallbacks": [{"model": "a", key: inner}]},
        {"fallbacks": [{"fast": [{"model": "a", key: inner}]}]},
        {"fallbacks": [{"model": "a", "fallbacks": [{"model": "b", key: inner}]}]},
        {"user_config": {"fallbacks": [{"fast": [{"model": "a", key: inner}]}]}},
    ):
        found = refusal(body)
        assert found.code is REFUSED
        assert f"`{key}`" in str(found)


def nested(depth: int, *, by_group: bool) -> list[Any]:
    """Fallbacks within fallbacks; the innermost is `deep`."""
    value: list[Any] = ["deep"]
    for _ in range(depth):
        value = [{"fast": value}] if by_group else [{"model": "a", "fallbacks": value}]
    return value


@pytest.mark.parametrize("by_group", [False, True])
def test_how_deep_fallbacks_are_read(by_group: bool) -> None:
    deepest = READER.read(data_of({"fallbacks": nested(MAX_DEPTH, by_group=by_group)}))
    assert "deep" in deepest.others
    for depth in (MAX_DEPTH + 1, MAX_DEPTH + 2, 5_000):
        assert refusal({"fallbacks": nested(depth, by_group=by_group)}).code is MALFORMED


SETTINGS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "null": (None, ()),
    "empty": ({}, ()),
    "others": ({"num_retries": 3, "routing_strategy": "x"}, ()),
    "fallbacks": ({"fallbacks": [{"fast": ["a"]}]}, ("a",)),
    "all fallbacks": ({key: [{"fast": [key]}] for key in FALLBACKS}, FALLBACKS),
    "names": ({"default_fallbacks": ["a", "b"]}, ("a", "b")),
    "aliases": ({"model_group_alias": {"fast": "a", "slow": {"model": "b", "hidden": True}}}, ("a", "b")),
    "no aliases": ({"model_group_alias": None, "model_list": None, "fallbacks": None}, ()),
    "deployments": (
        {"model_list": [{"model_name": "a", "litellm_params": {"model": "openai/b", "api_key": "x"}}]},
        ("a", "openai/b"),
    ),
}
BAD_SETTINGS = {
    "a text": ("x", ""),
    "a list": ([], ""),
    "false": (False, ""),
    "fallbacks by a mapping": ({"fallbacks": {"fast": ["a"]}}, ".fallbacks"),
    "fallbacks that are a text": ({"content_policy_fallbacks": "a"}, ".content_policy_fallbacks"),
    "an alias for a list": ({"model_group_alias": {"fast": ["a"]}}, ".model_group_alias"),
    "an alias for nothing": ({"model_group_alias": {"fast": None}}, ".model_group_alias"),
    "an alias without a model": ({"model_group_alias": {"fast": {"hidden": True}}}, ".model_group_alias"),
    "aliases that are a list": ({"model_group_alias": ["a"]}, ".model_group_alias"),
    "deployments that are a mapping": ({"model_list": {"model_name": "a"}}, ".model_list"),
    "a deployment that is a text": ({"model_list": ["a"]}, ".model_list"),
    "a deployment without a name": ({"model_list": [{"litellm_params": {"model": "b"}}]}, ".model_list"),
    "a deployment without a model": ({"model_list": [{"model_name": "a"}]}, ".model_list"),
    "a deployment whose parameters are a text": (
        {"model_list": [{"model_name": "a", "litellm_params": "b"}]},
        ".litellm_params",
    ),
}


@pytest.mark.parametrize("key", ["router_settings_override", "user_config"])
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_a_router(name: str, key: str) -> None:
    value, others = SETTINGS[name]
    assert READER.read(data_of({"model": "fast", key: value})) == Asked("fast", "fast", (), others)


@pytest.mark.parametrize("key", ["router_settings_override", "user_config"])
@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_are_none(name: str, key: str) -> None:
    value, path = BAD_SETTINGS[name]
    found = refusal({"model": "fast", key: value})
    assert found.code is MALFORMED
    assert str(found).startswith(f"`{key}{path}` is not what it has to be")


def test_settings_that_the_client_did_not_send_are_the_proxys() -> None:
    asked = READER.read(data_of({"model": "fast"}, router_settings_override={"fallbacks": [{"fast": ["a"]}]}))
    assert asked.others == ()


TARGETS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "null": (None, ()),
    "empty": ("", ("",)),
    "a text": ("a", ("a",)),
    "commas": ("a,b", ("a", "b")),
    "commas and spaces": (" a , b ", ("a", "b")),
    "a list": (["a", " b"], ("a", "b")),
    "a tuple": (("a", "b"), ("a", "b")),
    "no names": ([], ()),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets_of_a_file(name: str) -> None:
    """In a form they are read after the body was noted."""
    value, targets = TARGETS[name]
    for data in (data_of({"target_model_names": value}), data_of({"purpose": "batch"}, target_model_names=value)):
        asked = READER.read(data)
        assert asked == Asked("", "", targets, ())
        assert asked.names_a_model == bool(targets)
        assert asked.all == tuple(filter(None, targets))


@pytest.mark.parametrize("value", [7, True, {"a": "b"}, [7], [None], [["a"]], ["a", {"model": "b"}]], ids=repr)
def test_targets_that_are_none(value: Any) -> None:
    found = refusal({"target_model_names": value})
    assert (found.code, "`target_model_names`" in str(found)) == (MALFORMED, True)


def at(place: str, value: Any) -> dict[str, Any]:
    """A body with a value at a place."""
    key, _, rest = place.partition(".")
    inner = at(rest, value) if rest else value
    return {key.removesuffix("[]"): [inner]} if key.endswith("[]") else {key: inner}


@pytest.mark.parametrize("place", OTHER_PLACES)
def test_other_places(place: str) -> None:
    body = {"model": "fast", **at(place, "inner")}
    for unseen in (False, True):
        assert READER.read(data_of(body), unseen=unseen) == Asked("fast", "fast", (), ("inner",))
        assert READER.read(data_of({"model": "fast", **at(place, None)}), unseen=unseen).others == ()
        assert refusal({"model": "fast", **at(place, ["x"])}, unseen=unseen).code is MALFORMED
    similar = place.rpartition("model")[0] + "Model"
    assert refusal(at(similar, "x")).code is Code.SIMILAR_KEY


OTHERS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a tool's": ({"tools": [{"type": "image_generation", "model": "a"}, {"type": "function", "name": "x"}]}, ("a",)),
    "a function's parameter": (
        {"tools": [{"type": "function", "function": {"parameters": {"properties": {"model": {"type": "string"}}}}}]},
        (),
    ),
    "a session's": (
        {"session": {"model": "a", "audio": {"input": {"transcription": {"model": "b"}}}, "tools": [{"model": "c"}]}},
        ("a", "b", "c"),
    ),
    "a session's of before": ({"session": {"input_audio_transcription": {"model": "a"}}}, ("a",)),
    "an evaluation's": ({"testing_criteria": [{"model": "a"}, {"model": "b"}], "data_source": {"model": "c"}}, "abc"),
    "a batch's": ({"requests": [{"params": {"model": "a"}}, {"params": {"model": "b"}}]}, ("a", "b")),
    "tools with the input": (
        {"input": [{"type": "message"}, {"type": "additional_tools", "tools": [{"model": "a"}]}], "tools": []},
        ("a",),
    ),
    "an input that is a text": ({"input": "tools"}, ()),
    "an input of texts": ({"input": ["tools", "model"]}, ()),
    "an input of tokens": ({"input": [[1, 2], [3]]}, ()),
    "tools of null": ({"tools": None, "session": None, "svg": None}, ()),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others(name: str) -> None:
    body, others = OTHERS[name]
    assert sorted(READER.read(data_of(body)).others) == sorted(others)


BAD_OTHERS: dict[str, dict[str, Any]] = {
    "tools by a mapping": {"tools": {"model": "a"}},
    "a tool that is a text": {"tools": ["a"]},
    "a session that is a list": {"session": [{"model": "a"}]},
    "tools with the input, by a mapping": {"input": [{"tools": {"model": "a"}}]},
    "a number": {"moderation": {"model": 7}},
}


@pytest.mark.parametrize("name", BAD_OTHERS)
def test_others_that_are_none(name: str) -> None:
    assert refusal(BAD_OTHERS[name]).code is MALFORMED


# What is stored

PROMPT_PLACES = ["prompt_id", "session.prompt.id", "prompt.id"]


@pytest.mark.parametrize("place", PROMPT_PLACES)
def test_a_stored_prompt(place: str) -> None:
    for name in ("greeting", "farewell"):
        assert LENIENT.read(data_of({"model": "a", **at(place, name)})) == Asked("a", "a")
    for reader, name in ((READER, "greeting"), (LENIENT, "other"), (LENIENT, ""), (LENIENT, "Greeting")):
        for unseen in (False, True):
            found = refusal({"model": "a", **at(place, name)}, reader, unseen=unseen)
            assert found.code is STORED
            assert str(found).startswith(f"what is stored as {name!r} may use any model; name the model, or have ")
    assert refusal({"model": "a", **at(place, 7)}, LENIENT).code is MALFORMED


@pytest.mark.parametrize("prompt", [{}, {"id": None}, {"id": ["greeting"]}, {"version": "2"}], ids=repr)
def test_a_prompt_that_does_not_say_which(prompt: Any) -> None:
    assert refusal({"model": "a", "prompt": prompt}, LENIENT).code is MALFORMED


@pytest.mark.parametrize("prompt", ["a cat", ["a", "b"], [[1, 2]], None])
def test_a_prompt_that_is_a_text_is_none_that_is_stored(prompt: Any) -> None:
    assert READER.read(data_of({"model": "a", "prompt": prompt})) == Asked("a", "a")


@pytest.mark.parametrize("key", MANAGED_IDS)
def test_an_id_of_what_litellm_manages(key: str) -> None:
    """Whose model is not seen. With `unseen` the configuration says that this is all right."""
    body = {"model": "a", key: "bGl0ZWxsbV9wcm94eQ"}
    found = refusal(body)
    assert (found.code, "'bGl0ZWxsbV9wcm94eQ'" in str(found)) == (STORED, True)
    assert READER.read(data_of(body), unseen=True) == Asked("a", "a")
    assert refusal({"model": "a", key: ["x"]}).code is MALFORMED
    assert READER.read(data_of({"model": "a", key: None})) == Asked("a", "a")


def test_a_long_id_is_not_shown_whole() -> None:
    found = str(refusal({"prompt_id": "x" * 10_000}))
    assert "x" * 100 in found
    assert "x" * 101 not in found


# What is refused


@pytest.mark.parametrize("value", ["x", ["a"], {"model": "a"}, [], {}, "", False, 0], ids=repr)
@pytest.mark.parametrize("key", REFUSED_KEYS)
def test_a_key_that_is_refused(key: str, value: Any) -> None:
    body = {"model": "a", key: value}
    found = refusal(body)
    assert found.code is REFUSED
    assert str(found) == f"`{key}` can bring in models that are not seen here; leave it out"
    assert READER.read(data_of(body), unseen=True) == Asked("a", "a")
    assert Reader(keys=[key]).read(data_of(body)) == Asked("a", "a")
    assert Reader(keys=[key]).read(data_of({"fallbacks": [{"model": "b", key: value}]})).others == ("b",)
    others = [other for other in REFUSED_KEYS if other != key]
    assert refusal(body, Reader(keys=others)).code is REFUSED


def test_a_setting_allows_its_keys_only() -> None:
    assert LENIENT.read(data_of({"model": "a", "route": "x", "models": ["b"]})).all == ("a",)
    assert refusal({"model": "a", "route": "x", "plugins": []}, LENIENT).code is REFUSED


@pytest.mark.parametrize("key", ["Model", "MODEL", "mo_del", "model[]", "Tools", "promptId", "modelList", "Extra-Body"])
def test_a_key_that_is_like_one(key: str) -> None:
    assert refusal({"model": "a", key: "b"}).code is Code.SIMILAR_KEY


def test_too_many_models() -> None:
    names = [f"m{n}" for n in range(MAX_MODELS)]
    assert READER.read(data_of({"model": "a", "fallbacks": names})).others == tuple(names)
    half = MAX_MODELS // 2
    both = {"model": "a", "fallbacks": names[:half], "target_model_names": names[half:]}
    assert len(READER.read(data_of(both)).all) == MAX_MODELS + 1
    for body in (
        {"fallbacks": [*names, "one more"]},
        {"target_model_names": ",".join([*names, "one more"])},
        {**both, "tools": [{"model": "one more"}]},
        {"fallbacks": ["a"] * (MAX_MODELS + 1)},
    ):
        found = refusal(body)
        assert (found.code, str(MAX_MODELS) in str(found)) == (Code.BODY_TOO_LARGE, True)


# Whatever there is

# Models are called so here, and nothing else that is a value is.
NAMES = st.text("abc-/.1", max_size=3).map("m-{}".format)


def objects(values: dict[str, st.SearchStrategy[Any]], **required: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(required, optional=values)


TOOLS = st.lists(objects({"model": NAMES, "type": st.just("x"), "svg": objects({"model": NAMES})}), max_size=2)
PLAIN = st.one_of(NAMES, objects({"temperature": st.just(0), "tools": TOOLS}, model=NAMES))
SHAPES = st.lists(PLAIN, max_size=2)
for _ in range(MAX_DEPTH):
    groups = st.dictionaries(st.sampled_from(["fast", "*"]), SHAPES, max_size=2)
    SHAPES = st.lists(st.one_of(PLAIN, groups, objects(dict.fromkeys(FALLBACKS, SHAPES), model=NAMES)), max_size=2)
DEPLOYMENTS = st.lists(objects({}, model_name=NAMES, litellm_params=objects({}, model=NAMES)), max_size=2)
ALIASES = st.dictionaries(st.text(max_size=2), st.one_of(NAMES, objects({}, model=NAMES)), max_size=2)
SETTING = objects({**dict.fromkeys(FALLBACKS, SHAPES), "model_list": DEPLOYMENTS, "model_group_alias": ALIASES})
LATER = {
    **dict.fromkeys(FALLBACKS, SHAPES),
    "target_model_names": st.one_of(st.lists(NAMES), st.lists(NAMES, min_size=1).map(", ".join)),
    "model": NAMES,
}
SESSION = objects(
    {
        "model": NAMES,
        "tools": st.lists(objects({"model": NAMES}), max_size=2),
        "input_audio_transcription": objects({"model": NAMES}),
    }
)
BODIES = objects(
    {
        **LATER,
        "tools": TOOLS,
        "input": st.one_of(st.just("x"), st.lists(objects({"tools": TOOLS}), max_size=2)),
        "session": SESSION,
        "requests": st.lists(objects({}, params=objects({"model": NAMES})), max_size=2),
        "router_settings_override": SETTING,
        "user_config": SETTING,
    }
)


def named_in(value: Any) -> set[str]:
    """Every model in it, wherever."""
    if isinstance(value, str):
        return {name for name in value.split(", ") if name.startswith("m-")}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(named_in, inner))


@given(body=BODIES, later=objects(LATER))
def test_every_model_of_a_request_is_read(body: dict[str, Any], later: dict[str, Any]) -> None:
    """And nothing else is taken for one."""
    later = {key: value for key, value in later.items() if key == "model" or key not in body}
    data = data_of(body, **later)
    named = named_in(data)
    try:
        asked = READER.read(data)
    except Refused as error:
        assert error.code is Code.BODY_TOO_LARGE
        assert str(data).count("m-") > MAX_MODELS
    else:
        assert set(asked.all) == named
        assert asked.requested == body.get("model", "")
        assert asked.called == data.get("model", "")


KEYS = st.one_of(
    st.sampled_from(
        [
            *("model", "id", "tools", "svg", "session", "prompt", "prompt_id", "input", "params", "requests", "fast"),
            *("router_settings_override", "user_config", "model_group_alias", "model_name", "litellm_params", "body"),
            *("target_model_names", "transcription", "audio", "proxy_server_request", "file_id", "models", "Model"),
            *FALLBACKS,
            "model_list",
        ]
    ),
    st.text(max_size=5),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=30,
)


@given(data=st.dictionaries(KEYS, JSON, max_size=6), unseen=st.booleans(), reader=st.sampled_from([READER, LENIENT]))
def test_a_body_is_read_or_refused(data: dict[str, Any], unseen: bool, reader: Reader) -> None:
    for given_data in (data, data_of(data)):
        try:
            asked = reader.read(given_data, unseen=unseen)
        except Refused as error:
            assert str(error)
        else:
            assert all(isinstance(name, str) for name in asked.all)
