"""JSON bodies that two parsers could read differently, or in which a model hides."""

from __future__ import annotations

from collections.abc import Mapping

from tests.ext_authz.cases_shape import JSON, UPGRADE, Case, json_cases, multipart_cases

CHAT, CHAT_ROUTE = "/v1/chat/completions", "openai.chat.completions"
RESPONSES, RESPONSES_ROUTE = "/v1/responses", "openai.responses"
MESSAGES, MESSAGES_ROUTE = "/v1/messages", "anthropic.messages"
BATCHES, BATCHES_ROUTE = "/v1/messages/batches", "anthropic.messages.batches"
GEMINI, GEMINI_ROUTE = "/v1beta/models/gemini:generateContent", "gemini.generate"
COUNT, COUNT_ROUTE = "/v1beta/models/gemini:countTokens", "gemini.countTokens"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/gemini:generateContent"
CONVERSE, CONVERSE_ROUTE = "/model/nova/converse", "bedrock.converse"


def _raw(code: str, bodies: Mapping[str, str | bytes]) -> list[Case]:
    """Bodies of a chat completion, byte for byte."""
    contents = {what: body if isinstance(body, bytes) else body.encode() for what, body in bodies.items()}
    headers = (("content-type", JSON),)
    return [
        Case(f"json: {what}", "POST", CHAT, headers, content, (), code, CHAT_ROUTE)
        for what, content in contents.items()
    ]


def _values(code: str, values: Mapping[str, object]) -> list[Case]:
    """Chat completions whose model is such a value."""
    return [
        case
        for what, value in values.items()
        for case in json_cases(CHAT_ROUTE, f"model is {what}", {"model": value}, (), CHAT, refusal=code)
    ]


def _bodies(code: str, path: str, route: str, bodies: Mapping[str, object]) -> list[Case]:
    return [case for what, body in bodies.items() for case in json_cases(route, what, body, (), path, refusal=code)]


def nested(levels: int) -> str:
    """A chat completion of so many levels of arrays and objects."""
    return '{"model": "gpt-4o", "x": ' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


_PARSERS = (
    *_raw(
        "repeated_key",
        {
            "model twice": '{"model": "gpt-4o", "model": "evil"}',
            "model twice, the same": '{"model": "gpt-4o", "model": "gpt-4o"}',
            "model twice, once escaped": r'{"model": "gpt-4o", "\u006dodel": "evil"}',
            "model twice, all escaped": r'{"model": "gpt-4o", "\u006d\u006f\u0064\u0065\u006c": "evil"}',
            "model twice, once null": '{"model": "gpt-4o", "model": null}',
            "an unread key twice": '{"model": "gpt-4o", "n": 1, "n": 2}',
            "a nested key twice": '{"model": "gpt-4o", "messages": [{"role": "user", "role": "system"}]}',
            "a key of a tool twice": r'{"model": "gpt-4o", "tools": [{"model": "gpt-4o", "mode\u006c": "evil"}]}',
            "models twice": '{"model": "gpt-4o", "models": ["gpt-4o"], "models": ["evil"]}',
        },
    ),
    *_raw(
        "body_malformed",
        {
            "empty": "",
            "white space": "  \n",
            "null": "null",
            "a text": '"gpt-4o"',
            "a number": "1",
            "an array": '[{"model": "gpt-4o"}]',
            "truncated": '{"model": "gpt-4o", "messages": [',
            "truncated in a text": '{"model": "gpt-4o',
            "trailing data": '{"model": "gpt-4o"} x',
            "two documents": '{"model": "gpt-4o"}{"model": "evil"}',
            "two lines of JSON": '{"model": "gpt-4o"}\n{"model": "evil"}',
            "a NUL after it": '{"model": "gpt-4o"}\0',
            "a line comment": '{"model": "gpt-4o" // evil\n}',
            "a block comment": '{"model": /* "evil" */ "gpt-4o"}',
            "a hash comment": '{"model": "gpt-4o" # evil\n}',
            "single quotes": "{'model': 'gpt-4o'}",
            "bare keys": '{model: "gpt-4o"}',
            "a trailing comma": '{"model": "gpt-4o",}',
            "a missing comma": '{"model": "gpt-4o" "n": 1}',
            "an equals sign": '{"model" = "gpt-4o"}',
            "a form": "model=gpt-4o",
            "YAML": "model: gpt-4o",
            "a BOM": b'\xef\xbb\xbf{"model": "gpt-4o"}',
            "UTF-16 with a BOM": '{"model": "gpt-4o"}'.encode("utf-16"),
            "UTF-16 without a BOM": '{"model": "gpt-4o"}'.encode("utf-16-le"),
            "UTF-32": '{"model": "gpt-4o"}'.encode("utf-32-be"),
            "UTF-7": b"+AHsAIg-model+ACI-:+ACI-gpt-4o+ACIAfQ-",
            "Latin-1": b'{"model": "gpt-4o", "user": "\xe4"}',
            "overlong UTF-8": b'{"model": "gpt-4\xc1\xaf"}',
            "an encoded surrogate": b'{"model": "gpt-4o", "user": "\xed\xa0\x80"}',
            "a byte that is no UTF-8 in a key": b'{"model": "gpt-4o", "model\xff": "evil"}',
            "a lone surrogate": r'{"model": "gpt-4o", "user": "\ud800"}',
            "a lone surrogate in a key": r'{"model": "gpt-4o", "\udc00": 1}',
            "surrogates the wrong way round": r'{"model": "gpt-4o", "user": "\ude00\ud83d"}',
            "a bad escape": r'{"model": "gpt-4\x6f"}',
            "a short escape": r'{"model": "gpt-4\u006"}',
            "a raw line end in a text": '{"model": "gpt-4o", "user": "a\nb"}',
            "a raw NUL in a text": '{"model": "gpt-4o", "user": "a\0b"}',
            "NaN": '{"model": "gpt-4o", "temperature": NaN}',
            "Infinity": '{"model": "gpt-4o", "temperature": -Infinity}',
            "a number out of range": '{"model": "gpt-4o", "temperature": 1e999}',
            "a number of 65 digits": '{"model": "gpt-4o", "seed": ' + "1" * 65 + "}",
            "a number of 100,000 digits": '{"model": "gpt-4o", "seed": ' + "1" * 100_000 + "}",
            "a leading zero": '{"model": "gpt-4o", "seed": 01}',
            "a plus sign": '{"model": "gpt-4o", "seed": +1}',
            "a hexadecimal number": '{"model": "gpt-4o", "seed": 0x1}',
            "a number without a whole": '{"model": "gpt-4o", "temperature": .5}',
            "a number without a fraction": '{"model": "gpt-4o", "temperature": 1.}',
            "True": '{"model": "gpt-4o", "stream": True}',
            "a no-break space": '{"model":\u00a0"gpt-4o"}',
            "a form feed": '{"model":\f"gpt-4o"}',
        },
    ),
    *_raw(
        "body_too_deep",
        {
            "101 levels": nested(101),
            "100,000 levels": nested(100_000),
            "100,000 levels that never end": '{"model": "gpt-4o", "x": ' + "[" * 100_000,
            "100,000 levels of objects": '{"model": "gpt-4o", "x": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
        },
    ),
    Case(
        "json: 100 levels", "POST", CHAT, (("content-type", JSON),), nested(100).encode(), ("gpt-4o",), "", CHAT_ROUTE
    ),
    *json_cases(CHAT_ROUTE, "is read as it is", {"model": "gpt‑4o Ünï"}, ("gpt‑4o Ünï",), CHAT),
    *json_cases(CHAT_ROUTE, "model escaped", rb'{"\u006dodel": "gpt-4\u006f"}', ("gpt-4o",), CHAT),
    *json_cases(CHAT_ROUTE, "model deep down", {"model": "gpt-4o", "x": {"model": "evil"}}, ("gpt-4o",), CHAT),
    *json_cases(CHAT_ROUTE, "empty lists", {"model": "gpt-4o", "models": [], "tools": []}, ("gpt-4o",), CHAT),
    *json_cases(CHAT_ROUTE, "null is absent", {"model": "gpt-4o", "models": None, "preset": None}, ("gpt-4o",), CHAT),
)

_MODELS = (
    *_values("model_missing", {"null": None}),
    *_bodies("model_missing", CHAT, CHAT_ROUTE, {"no model": {"messages": []}, "nothing": {}}),
    *_values(
        "model_malformed",
        {
            "a number": 4,
            "true": True,
            "a list": ["gpt-4o"],
            "an object": {"id": "gpt-4o"},
            "empty": "",
            "a comma list": "gpt-4o,evil",
            "a pattern": "gpt-*",
            "a query": "gpt-4o?x=1",
            "a fragment": "gpt-4o#evil",
            "percent-encoded": "gpt%2D4o",
            "backslashed": "open\\evil",
            "padded": " gpt-4o",
            "padded with a line end": "gpt-4o\n",
            "ended by a NUL": "gpt-4o\0",
            "decorated with a zero-width space": "gpt-4o\u200b",
            "turned right to left": "\u202egpt-4o",
            "not in NFC": "u\u0308ni",
            "a parent directory": "open/../evil",
            "an empty segment": "open//evil",
            "absolute": "/evil",
            "too long": "x" * 257,
            "too long in UTF-8": "ü" * 129,
        },
    ),
)

_KEYS = (
    *_bodies(
        "similar_key",
        CHAT,
        CHAT_ROUTE,
        {
            "Model": {"Model": "gpt-4o"},
            "Model besides": {"model": "gpt-4o", "Model": "evil"},
            "MODEL besides": {"model": "gpt-4o", "MODEL": "evil"},
            "mOdEl besides": {"model": "gpt-4o", "mOdEl": None},
            "long s in models": {"model": "gpt-4o", "model\u017f": ["evil"]},
            "Kelvin sign in fallbacks": {"model": "gpt-4o", "fallbac\u212as": ["evil"]},
            "Models": {"model": "gpt-4o", "Models": ["evil"]},
            "providerOptions in another case": {
                "model": "gpt-4o",
                "provideroptions": {"gateway": {"models": ["evil"]}},
            },
            "provider_options": {"model": "gpt-4o", "provider_options": {"gateway": {"models": ["evil"]}}},
            "dataSources": {"model": "gpt-4o", "dataSources": []},
            "Preset": {"model": "gpt-4o", "Preset": "evil"},
            "userConfig": {"model": "gpt-4o", "userConfig": {}},
            "a tool's Model": {"model": "gpt-4o", "tools": [{"type": "x", "Model": "evil"}]},
            "Tools": {"model": "gpt-4o", "Tools": [{"model": "evil"}]},
        },
    ),
    *_bodies(
        "similar_key",
        RESPONSES,
        RESPONSES_ROUTE,
        {
            "a tool's Type": {"model": "gpt-4o", "tools": [{"Type": "image_generation"}]},
            "a prompt's ID": {"model": "gpt-4o", "prompt": {"ID": "pmpt_unknown"}},
        },
    ),
    *_bodies(
        "similar_key",
        GEMINI,
        GEMINI_ROUTE,
        {"CachedContent": {"CachedContent": "x"}, "cached-content": {"cached-content": "x"}},
    ),
    *_bodies(
        "similar_key",
        BATCHES,
        BATCHES_ROUTE,
        {
            "Params": {"requests": [{"params": {"model": "claude"}, "Params": {"model": "evil"}}]},
            "Model in params": {"requests": [{"params": {"model": "claude", "Model": "evil"}}]},
        },
    ),
)

# Whatever may bring in other models.
_EVERYWHERE = ("user_config", "router_settings_override", "model_list", "context_window_fallbacks")
_EVERYWHERE += ("content_policy_fallbacks", "target_model_names", "preset", "route", "engine", "deployment_id")
_EVERYWHERE += ("custom_llm_provider", "api_base", "base_url", "headers", "extra_headers", "extra_body")
_EVERYWHERE += ("lora_path", "tensorzero::variant_name")
# These, too, but where a route reads them.
_READ_BY_SOME: Mapping[str, object] = {
    "models": [{"model": "evil"}],
    "fallbacks": [{"model": "evil"}],
    "plugins": [{"id": "fusion"}],
}
# What could name models again in an object of `fallbacks`.
_AGAIN = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "extra_body", "deployment_id")
_AGAIN += ("custom_llm_provider", "tools")
_COUNT_CLAUDE = "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict"

_REFUSED = (
    *_bodies("field_refused", CHAT, CHAT_ROUTE, {key: {"model": "gpt-4o", key: {"a": "evil"}} for key in _EVERYWHERE}),
    *_bodies("field_refused", MESSAGES, MESSAGES_ROUTE, {key: {"model": "x", key: "evil"} for key in _EVERYWHERE[:4]}),
    *_bodies(
        "field_refused",
        CHAT,
        CHAT_ROUTE,
        {key: {"model": "gpt-4o", key: value} for key, value in _READ_BY_SOME.items()},
    ),
    *(
        case
        for path, route in (
            ("/v1/moderations", "openai.moderations"),
            ("/v1/images/edits", "openai.images.edits"),
            ("/v1/videos", "openai.videos"),
            ("/v1/realtime/sessions", "openai.realtime.sessions"),
            ("/openai/deployments/x/embeddings", "azure.deployments"),
            (GEMINI.replace("gemini", "x"), GEMINI_ROUTE),
            ("/v1beta/openai/chat/completions", "gemini.openai"),
            ("/v1/projects/p/locations/l/publishers/google/models/x:generateContent", "vertex.generate"),
            ("/v1/projects/p/locations/l/endpoints/openapi/chat/completions", "vertex.openai"),
            ("/v2/chat", "cohere.chat"),
            ("/v2/embed", "cohere.embed"),
        )
        for case in _bodies("field_refused", path, route, {key: {"model": "x", key: ["x"]} for key in _READ_BY_SOME})
    ),
    *_bodies(
        "field_refused",
        BATCHES,
        BATCHES_ROUTE,
        {
            f"{key} in params": {"requests": [{"params": {"model": "x", key: ["x"]}}]}
            for key in (*_EVERYWHERE, "models", "plugins")
        },
    ),
    *(
        case
        for path, route, body in (
            (_COUNT_CLAUDE, "vertex.anthropic.count_tokens", lambda fallback: {"model": "x", "fallbacks": [fallback]}),
            (
                "/v1/projects/p/locations/l/publishers/anthropic/models/x:rawPredict",
                "vertex.predict",
                lambda fallback: {"fallbacks": [fallback]},
            ),
            ("/model/x/invoke", "bedrock.invoke", lambda fallback: {"fallbacks": [fallback]}),
            (
                CONVERSE,
                CONVERSE_ROUTE,
                lambda fallback: {"additionalModelRequestFields": {"fallbacks": [fallback]}},
            ),
            (
                "/model/x/count-tokens",
                "bedrock.count_tokens",
                lambda fallback: {"input": {"converse": {"additionalModelRequestFields": {"fallbacks": [fallback]}}}},
            ),
            (
                BATCHES,
                BATCHES_ROUTE,
                lambda fallback: {"requests": [{"params": {"model": "x", "fallbacks": [fallback]}}]},
            ),
        )
        for case in _bodies(
            "field_refused", path, route, {f"{key} in a fallback": body({"model": "x", key: ["x"]}) for key in _AGAIN}
        )
    ),
    *_bodies(
        "field_refused",
        "/v1/realtime/client_secrets",
        "openai.realtime.client_secrets",
        {"models of the session": {"session": {"model": "gpt-realtime", "models": ["evil"]}}},
    ),
    *(
        case
        for path, route in (
            ("/v1beta/cachedContents", "gemini.cachedContents"),
            ("/v1/projects/p/locations/l/cachedContents", "vertex.cachedContents"),
        )
        for case in _bodies(
            "field_refused",
            path,
            route,
            {
                f"ranking: {store}, {config}": {
                    "model": "models/gemini",
                    "tools": [{"retrieval": {store: {config: {"ranking": {"llmRanker": {"modelName": "evil"}}}}}}],
                }
                for store in ("vertexRagStore", "vertex_rag_store")
                for config in ("ragRetrievalConfig", "rag_retrieval_config")
            },
        )
    ),
    *_bodies(
        "field_refused",
        COUNT,
        COUNT_ROUTE,
        {
            f"{key}: {request}, {config}": {request: {config: {key: {"manualMode": {"modelName": "evil"}}}}}
            for request in ("generateContentRequest", "generate_content_request")
            for config in ("generationConfig", "generation_config")
            for key in ("routingConfig", "modelConfig")
        },
    ),
    *_bodies(
        "similar_key",
        COUNT,
        COUNT_ROUTE,
        {
            key: {"generateContentRequest": {"generationConfig": {key: {}}}}
            for key in ("routing_config", "model_config")
        },
    ),
    *_bodies(
        "field_refused",
        VERTEX,
        "vertex.generate",
        {key: {key: {"model": "models/evil"}} for key in ("generateContentRequest", "generate_content_request")},
    ),
    *(
        case
        for route, path, codes in (
            ("openai.images.edits", "/v1/images/edits", ("model_malformed", "similar_key", "similar_key")),
            (
                "azure.deployments.multipart",
                "/openai/deployments/x/images/edits",
                ("field_refused", "similar_key", "similar_key"),
            ),
        )
        for field, code in zip(("svg", "svg[model]", "svg.model"), codes, strict=True)
        for case in multipart_cases(route, f"the field {field}", {"model": "x", field: "evil"}, (), path, refusal=code)
    ),
    *_bodies(
        "field_refused",
        CHAT,
        CHAT_ROUTE,
        {
            "compound_custom": {"model": "gpt-4o", "compound_custom": {"models": {"answering_model": "evil"}}},
            "fallbacks that are objects": {"model": "gpt-4o", "fallbacks": [{"model": "gpt-4o", "extra_body": {}}]},
            "models that are objects": {"model": "gpt-4o", "models": [{"model": "evil"}]},
            "fusion": {"model": "gpt-4o", "plugins": [{"id": "web"}, {"id": "fusion"}]},
            "tools of an advisor": {"model": "gpt-4o", "tools": [{"parameters": {"tools": [{"type": "x"}]}}]},
            "an endpoint of one's own": {
                "model": "gpt-4o",
                "data_sources": [
                    {"parameters": {"embedding_dependency": {"type": "endpoint", "endpoint": "https://x"}}}
                ],
            },
        },
    ),
    *_bodies(
        "field_refused",
        MESSAGES,
        MESSAGES_ROUTE,
        {f"{key} in a fallback": {"model": "x", "fallbacks": [{"model": "x", key: ["x"]}]} for key in _AGAIN},
    ),
    *_bodies(
        "field_refused",
        MESSAGES,
        MESSAGES_ROUTE,
        {
            "fallbacks within fallbacks": {"model": "x", "fallbacks": [{"model": "x", "fallbacks": ["evil"]}]},
            "a body within fallbacks": {"model": "x", "fallbacks": [{"model": "x", "extra_body": {"model": "evil"}}]},
            "tools within fallbacks": {"model": "x", "fallbacks": [{"model": "x", "tools": [{"model": "evil"}]}]},
            "plugins": {"model": "x", "plugins": [{"id": "fusion"}]},
        },
    ),
    *_bodies(
        "field_refused",
        "/v1/fine_tuning/jobs",
        "openai.fine_tuning.jobs",
        {
            "multi grader": {
                "model": "x",
                "method": {"reinforcement": {"grader": {"graders": {"a": {"model": "evil"}}}}},
            }
        },
    ),
    *_bodies(
        "field_refused",
        GEMINI,
        GEMINI_ROUTE,
        {
            "routingConfig": {"generationConfig": {"routingConfig": {"manualMode": {"modelName": "evil"}}}},
            "modelConfig": {"generation_config": {"modelConfig": {"featureSelectionPreference": "BALANCED"}}},
        },
    ),
    *_bodies(
        "similar_key",
        GEMINI,
        GEMINI_ROUTE,
        {
            "routing_config": {"generation_config": {"routing_config": {"auto_mode": {}}}},
            "Generationconfig": {"Generationconfig": {"routingConfig": {"autoMode": {}}}},
        },
    ),
    *_bodies(
        "field_refused",
        VERTEX,
        "vertex.generate",
        {
            "ranking": {
                "tools": [
                    {
                        "retrieval": {
                            "vertexRagStore": {"ragRetrievalConfig": {"ranking": {"llmRanker": {"modelName": "evil"}}}}
                        }
                    }
                ]
            },
            "ranking in snake_case": {
                "tools": [
                    {"retrieval": {"vertex_rag_store": {"rag_retrieval_config": {"ranking": {"llm_ranker": {}}}}}}
                ]
            },
        },
    ),
    *_bodies(
        "field_refused",
        "/v1beta/interactions",
        "gemini.interactions",
        {
            "agent": {"model": "gemini", "agent": "deep-research"},
            "agent_config": {"model": "gemini", "agent_config": {}},
        },
    ),
    *_bodies("model_missing", "/v1beta/interactions", "gemini.interactions", {"only an input": {"input": "Hi"}}),
)

_PLACES = (
    *_bodies(
        "model_missing",
        RESPONSES,
        RESPONSES_ROUTE,
        {
            "image tool without model": {"model": "gpt-4o", "tools": [{"type": "image_generation"}]},
            "image tool with null": {"model": "gpt-4o", "tools": [{"type": "image_generation", "model": None}]},
            "only a stored prompt": {"prompt": {"id": "pmpt_known"}},
        },
    ),
    *_bodies(
        "model_malformed",
        RESPONSES,
        RESPONSES_ROUTE,
        {
            "tools as an object": {"model": "gpt-4o", "tools": {"type": "image_generation"}},
            "tools as a text": {"model": "gpt-4o", "tools": '[{"type": "image_generation"}]'},
            "a tool that is a text": {"model": "gpt-4o", "tools": ["image_generation"]},
            "a prompt that is a text": {"model": "gpt-4o", "prompt": "pmpt_unknown"},
            "a prompt's id that is a number": {"model": "gpt-4o", "prompt": {"id": 1}},
        },
    ),
    *_bodies(
        "unknown_stored_model",
        RESPONSES,
        RESPONSES_ROUTE,
        {"stored prompt that is unknown": {"model": "gpt-4o", "prompt": {"id": "pmpt_unknown"}}},
    ),
    *_bodies(
        "model_malformed",
        CHAT,
        CHAT_ROUTE,
        {
            "models as a text": {"model": "gpt-4o", "models": "evil"},
            "models as an object": {"model": "gpt-4o", "models": {"0": "evil"}},
            "models with a number": {"model": "gpt-4o", "models": [1]},
            "models with null": {"model": "gpt-4o", "models": [None]},
            "models within models": {"model": "gpt-4o", "models": [["evil"]]},
            "models with a comma list": {"model": "gpt-4o", "models": ["gpt-4o,evil"]},
            "moderation as a text": {"model": "gpt-4o", "moderation": "evil"},
        },
    ),
    *_bodies("model_missing", CHAT, CHAT_ROUTE, {"only models": {"models": ["gpt-4o"]}}),
    *_bodies(
        "model_missing",
        CHAT,
        CHAT_ROUTE,
        {"fallbacks by model": {"model": "gpt-4o", "fallbacks": [{"gpt-4o": ["evil"]}]}},
    ),
    *_bodies(
        "model_malformed", MESSAGES, MESSAGES_ROUTE, {"default fallbacks": {"model": "x", "fallbacks": "default"}}
    ),
    *_bodies(
        "model_missing", MESSAGES, MESSAGES_ROUTE, {"a fallback without model": {"model": "x", "fallbacks": [{}]}}
    ),
    *_bodies(
        "model_malformed",
        MESSAGES,
        MESSAGES_ROUTE,
        {"a tool's model is a list": {"model": "x", "tools": [{"model": ["a"]}]}},
    ),
    *_bodies(
        "model_missing",
        BATCHES,
        BATCHES_ROUTE,
        {
            "no requests": {"requests": []},
            "requests missing": {},
            "requests null": {"requests": None},
            "a request without params": {"requests": [{"params": {"model": "claude"}}, {"custom_id": "2"}]},
            "a request without model": {"requests": [{"params": {"model": "claude"}}, {"params": {}}]},
            "model beside the requests": {"model": "claude", "requests": [{"params": {}}]},
        },
    ),
    *_bodies(
        "model_malformed",
        BATCHES,
        BATCHES_ROUTE,
        {
            "requests as an object": {"requests": {"params": {"model": "claude"}}},
            "params as a list": {"requests": [{"params": [{"model": "claude"}]}]},
        },
    ),
    *_bodies(
        "models_disagree",
        GEMINI,
        GEMINI_ROUTE,
        {
            "another model in the body": {"model": "models/evil"},
            "another model, bare": {"model": "evil"},
            "a tuned model in the body": {"model": "tunedModels/gemini"},
        },
    ),
    *_bodies(
        "unknown_stored_model",
        GEMINI,
        GEMINI_ROUTE,
        {
            "cachedContent that is unknown": {"cachedContent": "cachedContents/unknown"},
            "cached_content that is unknown": {"cached_content": "cachedContents/unknown"},
            "both spellings": {"cachedContent": "cachedContents/known", "cached_content": "cachedContents/unknown"},
        },
    ),
    *_bodies(
        "unknown_stored_model",
        COUNT,
        COUNT_ROUTE,
        {"cachedContent that is unknown": {"generateContentRequest": {"cachedContent": "cachedContents/unknown"}}},
    ),
    *_bodies(
        "models_disagree",
        CONVERSE,
        CONVERSE_ROUTE,
        {"another model in the body": {"model": "evil", "messages": []}},
    ),
    *json_cases(
        CONVERSE_ROUTE,
        "a model among the additional fields",
        {"additionalModelRequestFields": {"model": "evil"}},
        ("nova", "evil"),
        CONVERSE,
    ),
    *_bodies(
        "models_disagree",
        "/openai/deployments/gpt-4o/chat/completions",
        "azure.chat.completions",
        {"another model in the body": {"model": "evil"}},
    ),
    *_bodies(
        "model_missing",
        "/v1/realtime/client_secrets",
        "openai.realtime.client_secrets",
        {
            "no session": {"expires_after": {"seconds": 60}},
            "a session without model": {"session": {"type": "transcription"}},
            "model beside the session": {"model": "gpt-realtime", "session": {}},
        },
    ),
    *_bodies(
        "model_missing",
        "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
        "vertex.anthropic.count_tokens",
        {"no model": {"messages": []}},
    ),
    *(
        case
        for path, route in (
            ("/v1/embeddings", "openai.embeddings"),
            ("/v1/images/generations", "openai.images.generations"),
            ("/v1/moderations", "openai.moderations"),
            ("/v1/videos", "openai.videos"),
            ("/v1/responses/input_tokens", "openai.responses"),
            ("/v1/chat", "cohere.chat"),
            ("/v1/embed", "cohere.embed"),
            ("/v1/rerank", "cohere.rerank"),
        )
        for case in _bodies(
            "model_missing", path, route, {f"no model to {path}": {"input": "the upstream has a default"}}
        )
    ),
)

_IN_THE_INPUT = (
    *json_cases(
        RESPONSES_ROUTE,
        "tools in the input",
        {
            "model": "gpt-4o",
            "input": [
                {"role": "user", "content": "Hello"},
                {"type": "additional_tools", "tools": [{"type": "image_generation", "model": "one"}, {"model": "two"}]},
                {"type": "tool_search_output", "tools": [{"type": "image_generation", "model": "three"}]},
            ],
        },
        ("gpt-4o", "one", "two", "three"),
        RESPONSES,
    ),
    *_bodies(
        "model_missing",
        RESPONSES,
        RESPONSES_ROUTE,
        {
            f"image tool without model in {kind}": {
                "model": "gpt-4o",
                "input": [{"type": kind, "tools": [{"type": "image_generation"}]}],
            }
            for kind in ("additional_tools", "tool_search_output")
        },
    ),
    *_bodies(
        "similar_key",
        RESPONSES,
        RESPONSES_ROUTE,
        {"an item's Type": {"model": "gpt-4o", "input": [{"Type": "additional_tools", "tools": []}]}},
    ),
    *_bodies(
        "model_missing",
        CHAT,
        CHAT_ROUTE,
        {
            f"a tool without model: {kind}": {"model": "gpt-4o", "tools": [{"type": f"openrouter:{kind}", **more}]}
            for kind, more in (
                ("advisor", {}),
                ("subagent", {"parameters": {}}),
                ("image_generation", {"parameters": None}),
            )
        },
    ),
    *_bodies(
        "field_refused",
        CHAT,
        CHAT_ROUTE,
        {"a tool of many models": {"model": "gpt-4o", "tools": [{"type": "openrouter:fusion"}]}},
    ),
)

_IN_MESSAGES = (
    *_bodies(
        "model_malformed",
        MESSAGES,
        MESSAGES_ROUTE,
        {
            "a tool's model in messages is a list": {
                "model": "x",
                "messages": [{"content": [{"tool": {"definition": {"model": ["evil"]}}}]}],
            }
        },
    ),
    *_bodies(
        "similar_key",
        MESSAGES,
        MESSAGES_ROUTE,
        {
            "Messages": {"model": "x", "Messages": []},
            "Content": {"model": "x", "messages": [{"Content": [{"tool": {"definition": {"model": "evil"}}}]}]},
            "toolChanges": {"model": "x", "messages": [{"content": [{"toolChanges": []}]}]},
            "Definition": {"model": "x", "messages": [{"content": [{"tool": {"Definition": {"model": "evil"}}}]}]},
        },
    ),
    *_bodies(
        "unknown_stored_model",
        BATCHES,
        BATCHES_ROUTE,
        {"stored prompt that is unknown": {"requests": [{"params": {"model": "x", "prompt_id": "pmpt_unknown"}}]}},
    ),
)

# What makes things that models are used with later, or names the model where it is not read.
_NOT_KNOWN = (
    *(
        Case(f"path: {path} is not known", "POST", path, (("content-type", JSON),), b"{}", (), "unknown_route", "")
        for path in (
            "/openai/v1/conversations",
            "/v1/conversations/conv_1",
            "/v1/conversations/conv_1/items",
            "/v1/vector_stores",
            "/v1/vector_stores/vs_1/search",
            "/v1/vector_stores/vs_1/files",
            "/v1/uploads",
            "/v1/uploads/upload_1/complete",
        )
    ),
    Case(
        "path: realtime of Azure, whose query names the deployment",
        "GET",
        "/openai/realtime?api-version=2025-04-01-preview",
        UPGRADE,
        b"",
        (),
        "unknown_route",
        "",
    ),
)

JSON_CASES: tuple[Case, ...] = (
    *(*_PARSERS, *_MODELS, *_KEYS, *_REFUSED, *_PLACES, *_IN_THE_INPUT, *_IN_MESSAGES, *_NOT_KNOWN),
)
