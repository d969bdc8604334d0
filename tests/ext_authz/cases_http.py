"""Targets, methods and headers that an upstream could take for others than they look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.ext_authz.cases_shape import JSON, MULTIPART, UPGRADE, Case, Pairs, bare_cases, json_cases

CHAT, CHAT_ROUTE = "/v1/chat/completions", "openai.chat.completions"
GPT = b'{"model": "gpt-4o"}'
EVIL = b'{"model": "evil"}'  # for what Envoy may put right: nobody may use this model
ANY = b"{}"
TYPE = ("content-type", JSON)


def _paths(code: str, paths: Mapping[str, str], *, envoy: Iterable[str] = (), method: str = "POST") -> list[Case]:
    """Chat completions sent elsewhere. `envoy`: which of them Envoy answers or changes itself."""
    body, headers = (EVIL, (TYPE,)) if method in ("POST", "PUT", "PATCH") else (b"", ())
    return [
        Case(f"path: {what}", method, path, headers, body, (), code, "", what in envoy) for what, path in paths.items()
    ]


def _queries(code: str, queries: Mapping[str, str], route: str, *, envoy: Iterable[str] = ()) -> list[Case]:
    body = EVIL if code == "malformed_query" else GPT
    return [
        Case(f"query: {what}", "POST", f"{CHAT}?{query}", (TYPE,), body, (), code, route, what in envoy)
        for what, query in queries.items()
    ]


def _headers(code: str, headers: Mapping[str, Pairs], route: str = CHAT_ROUTE, *, envoy: bool = False) -> list[Case]:
    body = EVIL if envoy else GPT
    return [
        Case(f"header: {what}", "POST", CHAT, pairs, body, (), code, route, envoy) for what, pairs in headers.items()
    ]


def _agreeing(what: str, path: str, *headers: tuple[str, str]) -> Case:
    return Case(what, "POST", path, (TYPE, *headers), GPT, ("gpt-4o",), "", CHAT_ROUTE)


def _typed(what: str, content_type: str) -> Case:
    return Case(f"header: {what}", "POST", CHAT, (("content-type", content_type),), GPT, ("gpt-4o",), "", CHAT_ROUTE)


_ARN = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile"

_PATH_CASES = (
    *_paths(
        "malformed_path",
        {
            "an empty segment": "/v1//chat/completions",
            "two slashes first": "//v1/chat/completions",
            "a trailing slash": "/v1/chat/completions/",
            "a dot segment": "/v1/./chat/completions",
            "a parent segment": "/v1/models/../chat/completions",
            "an encoded parent segment": "/v1/models/%2e%2e/chat/completions",
            "a half-encoded parent segment": "/v1/models/.%2E/chat/completions",
            "a parent segment at the end": "/v1/chat/completions/..",
            "an encoded slash": "/v1/chat%2Fcompletions",
            "an encoded letter": "/v1/chat/%63ompletions",
            "an encoded letter, twice": "/v1/chat/%2563ompletions",
            "an encoded NUL": "/v1/chat/completions%00",
            "an encoded space": "/v1/chat/completions%20",
            "an encoded question mark": "/v1/chat/completions%3Fmodel=evil",
            "an encoded backslash": "/v1%5Cchat%5Ccompletions",
            "a path parameter": "/v1/chat/completions;model=evil",
            "a path parameter in the middle": "/v1/chat;x/completions",
            "backslashes": "/v1\\chat\\completions",
            "a fragment": "/v1/chat/completions#x",
            "the absolute form": "http://upstream/v1/chat/completions",
            "no slash": "v1/chat/completions",
            "an asterisk": "*",
            "the root": "/",
            "nothing": "",
            "a space": "/v1/chat/completions /x",
            "a letter that is not ASCII": "/v1/chat/completiöns",
            "angle brackets": "/v1/chat/<completions>",
        },
        envoy=(
            *(
                "an empty segment",
                "two slashes first",
                "a dot segment",
                "a parent segment",
                "an encoded parent segment",
            ),
            *("a half-encoded parent segment", "a parent segment at the end", "an encoded letter", "backslashes"),
            *(
                "an encoded slash",
                "an encoded backslash",
                "an encoded NUL",
                "a fragment",
                "the absolute form",
                "no slash",
            ),
            *("an asterisk", "nothing", "a space", "a letter that is not ASCII", "angle brackets", "a trailing slash"),
        ),
    ),
    *_paths(
        "unknown_route",
        {
            "in capital letters": "/V1/Chat/Completions",
            "with an extension": "/v1/chat/completions.json",
            "of another version": "/v2/chat/completions",
            "without a version": "/chat/completions",
            "engines": "/v1/engines/gpt-4o/completions",
            "edits": "/v1/edits",
            "assistants": "/v1/assistants",
            "runs": "/v1/threads/thread_1/runs",
            "evals": "/v1/evals",
            "conversations": "/v1/conversations",
            "graders": "/v1/fine_tuning/alpha/graders/run",
            "Azure's extensions": "/openai/deployments/gpt-4o/extensions/chat/completions",
            "managed agents": "/v1/agents",
            "a tuned model": "/v1beta/tunedModels/t1:generateContent",
            "a dynamic model": "/v1beta/dynamic/d1:generateContent",
            "an unknown verb": "/v1beta/models/gemini:destroy",
            "a verb in other letters": "/v1beta/models/gemini:GenerateContent",
            "a verb of gRPC": "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent",
            "an endpoint of Vertex": "/v1/projects/p/locations/l/endpoints/1:generateContent",
            "a plain ARN": "/model/arn:aws:bedrock:eu-west-1:1:inference-profile/nova/invoke",
            "async-invoke": "/async-invoke",
            "an unknown verb of Bedrock": "/model/nova/optimize",
            "generate of Cohere": "/v1/generate",
            "LiteLLM's management": "/model/new",
        },
    ),
    *_paths("unknown_route", {"PUT": CHAT}, method="PUT"),
    *_paths("unknown_route", {"PATCH": CHAT}, method="PATCH"),
    *_paths("unknown_route", {"OPTIONS": CHAT}, method="OPTIONS"),
    *_paths("unknown_route", {"HEAD": CHAT}, method="HEAD"),
    *_paths("unknown_route", {"GET": "/v1/embeddings"}, method="GET"),
    *_paths("unknown_route", {"a method of one's own": CHAT}, method="CHAT", envoy=["a method of one's own"]),
    *_paths("unknown_route", {"a method in small letters": CHAT}, method="post", envoy=["a method in small letters"]),
)

_IN_A_SEGMENT = (
    *json_cases(
        "bedrock.invoke",
        "a slash in an ARN",
        ANY,
        ("arn:aws:bedrock:eu-west-1:1:inference-profile/nova",),
        f"/model/{_ARN}%2Fnova/invoke",
    ),
    *json_cases("bedrock.invoke", "an encoded letter", ANY, ("nova",), "/model/n%6Fva/invoke"),
    *json_cases(
        "gemini.generate", "two verbs", ANY, ("a:countTokens",), "/v1beta/models/a:countTokens:generateContent"
    ),
    *(
        case
        for what, segment in {
            "a model encoded twice": "n%256Fva",
            "a slash encoded twice": f"{_ARN}%252Fnova",
            "a parent in the model": "x%2F..%2Fevil",
            "an encoded NUL in the model": "nova%00",
            "an encoded line end in the model": "nova%0A",
            "an encoded question mark in the model": "nova%3Fx",
            "a comma in the model": "nova,evil",
            "an asterisk in the model": "nova*",
            "a slash first in the model": "%2Fevil",
            "a space after the model": "nova%20",
        }.items()
        for case in json_cases("bedrock.invoke", what, ANY, (), f"/model/{segment}/invoke", refusal="model_malformed")
    ),
    *(
        case
        for what, segment in {
            "bytes that are no UTF-8 in the model": "nova%FF",
            "an overlong slash in the model": "x%C0%AFevil",
            "a percent sign alone": "nova%",
            "a percent sign with one digit": "nova%2",
            "a percent sign without digits": "nova%zz",
        }.items()
        for case in json_cases("bedrock.invoke", what, ANY, (), f"/model/{segment}/invoke", refusal="malformed_path")
    ),
    *_paths(
        "malformed_path",
        {
            "a semicolon in the model": "/model/nova;evil/invoke",
            "an encoded verb": "/v1beta/models/gemini%3AgenerateContent",
            "an encoded segment of Vertex": "/v1/projects/p%2Fq/locations/l/publishers/google/models/g:predict",
            "an encoded segment before the model": "/v1/%6Dodels/gpt-4o",
        },
        envoy=["an encoded segment before the model"],
    ),
    Case(
        "path: a deleted model encoded twice",
        "DELETE",
        "/v1/models/a%252Fb",
        (),
        b"",
        (),
        "model_malformed",
        "openai.models",
    ),
)

_QUERY_CASES = (
    _agreeing("query: the same model", f"{CHAT}?model=gpt-4o"),
    _agreeing("query: the same model, encoded", f"{CHAT}?%6d%6Fdel=gpt%2D4o"),
    _agreeing("query: something else", f"{CHAT}?beta=true&x=%7B%7D&y&models=z"),
    _agreeing("query: empty", f"{CHAT}?"),
    *_queries(
        "models_disagree",
        {
            "another model": "model=evil",
            "another model, its name encoded": "%6dodel=evil",
            "another model, in other letters": "model=GPT-4o",
            "another model, after others": "a=b&model=evil",
            "a model that is empty": "model=",
            "a model without a value": "model",
            "a model encoded twice": "model=gpt%252D4o",
            "a comma list": "model=gpt-4o,evil",
        },
        CHAT_ROUTE,
    ),
    *_queries(
        "repeated_key",
        {
            "model twice": "model=gpt-4o&model=evil",
            "model twice, the same": "model=gpt-4o&model=gpt-4o",
            "model twice, once encoded": "model=gpt-4o&mode%6C=evil",
        },
        "",
    ),
    *_queries(
        "similar_key",
        {
            "Model": "Model=evil",
            "MODEL besides": "model=gpt-4o&MODEL=evil",
            "%4Dodel": "%4Dodel=evil",
            "model[]": "model[]=evil",
            "model[0]": "model%5B0%5D=evil",
            "model[x]": "model[x]=evil",
            "[model]": "%5Bmodel%5D=evil",
            "mo-del": "mo-del=evil",
        },
        "",
    ),
    *_queries(
        "field_refused",
        {"a deployment": "deployment_id=evil", "an engine": "x&engine=evil", "Azure's deployment": "deployment=evil"},
        "",
    ),
    *_queries(
        "method_override",
        {
            "another method": "_method=DELETE",
            "Google's method": "x=1&$httpMethod=GET",
            "Google's headers": "%24httpHeaders=x",
            "Google's body": "$ct=application/x-protobuf&$req=AAAA",
        },
        "",
    ),
    *_queries(
        "malformed_query",
        {
            "a semicolon": "x=1;model=evil",
            "a backslash": "x=\\",
            "a byte that is no UTF-8": "model=%FF",
            "a percent sign with one digit": "model=gpt%2",
            "a percent sign without digits": "mod%zzel=evil",
            "a name encoded twice": "mod%2565l=evil",
            "too long": "x=" + "y" * 8_192,
            "a space": "x= ",
            "a letter that is not ASCII": "x=ä",
            "a fragment": "x=1#model",
        },
        "",
        envoy=("a backslash", "a space", "a letter that is not ASCII", "a fragment"),
    ),
    Case(
        "query: a model for realtime encoded twice",
        "GET",
        "/v1/realtime?model=gpt%252Drealtime",
        UPGRADE,
        b"",
        (),
        "model_malformed",
        "openai.realtime",
    ),
    Case("query: realtime without model", "GET", "/v1/realtime", UPGRADE, b"", (), "model_missing", "openai.realtime"),
    Case(
        "query: realtime for transcription",
        "GET",
        "/v1/realtime?intent=transcription",
        UPGRADE,
        b"",
        (),
        "model_missing",
        "openai.realtime",
    ),
    Case(
        "query: Azure's deployment for realtime",
        "GET",
        "/openai/v1/realtime?deployment=gpt-realtime",
        UPGRADE,
        b"",
        (),
        "field_refused",
    ),
)

_CONTENT = (
    _typed("a charset", "application/json; charset=utf-8"),
    _typed("a charset in other letters", 'application/json;charset="UTF-8"'),
    _agreeing("header: identity", CHAT, ("content-encoding", "identity")),
    *_headers(
        "body_encoded",
        {
            name: (TYPE, ("content-encoding", name))
            for name in ("gzip", "br", "deflate", "zstd", "gzip, identity", "identity, gzip", "x-unknown")
        },
    ),
    *_headers("body_encoded", {"transfer-encoding gzip": (TYPE, ("transfer-encoding", "gzip, chunked"))}, envoy=True),
    *_headers(
        "wrong_charset",
        {
            charset: (("content-type", f"application/json; charset={charset}"),)
            for charset in ("utf-16", "iso-8859-1", "utf-7", '"utf-32"')
        },
    ),
    *_headers(
        "wrong_content_type",
        {
            "no content-type": (),
            "text/plain": (("content-type", "text/plain"),),
            "a form": (("content-type", "application/x-www-form-urlencoded"),),
            "multipart for a JSON route": (("content-type", MULTIPART),),
            "application/x-ndjson": (("content-type", "application/x-ndjson"),),
            "application/vnd.api+json": (("content-type", "application/vnd.api+json"),),
            "application/jsonp": (("content-type", "application/jsonp"),),
            "two charsets": (("content-type", "application/json; charset=utf-8; charset=utf-16"),),
            "another parameter": (("content-type", "application/json; profile=x"),),
            "a parameter that is empty": (("content-type", "application/json;"),),
            "two types": (("content-type", "application/json, text/plain"),),
            "content-type twice": (TYPE, ("content-type", "text/plain")),
        },
    ),
    *_headers("body_truncated", {"a partial body": (TYPE, ("x-envoy-auth-partial-body", "true"))}, "", envoy=True),
    *_headers("body_truncated", {"a longer content-length": (TYPE, ("content-length", "1000"))}, "", envoy=True),
    *_headers(
        "malformed_header",
        {
            "a shorter content-length": (TYPE, ("content-length", "1")),
            "a content-length with a sign": (TYPE, ("content-length", "+17")),
            "content-length twice": (TYPE, ("content-length", "17"), ("content-length", "2")),
        },
        "",
        envoy=True,
    ),
)

_OTHER_HEADERS = (
    *(
        _agreeing(f"header: {name} agrees", CHAT, (name, "gpt-4o"))
        for name in ("x-ai-eg-model", "x-gateway-model-name")
    ),
    *_headers(
        "models_disagree",
        {
            "x-ai-eg-model": (TYPE, ("x-ai-eg-model", "evil")),
            "x-gateway-model-name": (TYPE, ("x-gateway-model-name", "evil")),
            "both model headers": (TYPE, ("x-ai-eg-model", "gpt-4o"), ("x-gateway-model-name", "evil")),
            "x-ai-eg-model twice": (TYPE, ("x-ai-eg-model", "gpt-4o"), ("x-ai-eg-model", "evil")),
            "x-ai-eg-model that is empty": (TYPE, ("x-ai-eg-model", "")),
            "x-ai-eg-model in other letters": (TYPE, ("x-ai-eg-model", "GPT-4O")),
        },
    ),
    *_headers(
        "method_override",
        {
            name: (TYPE, (name, value))
            for name, value in (
                ("x-http-method-override", "GET"),
                ("x-http-method", "GET"),
                ("x-method-override", "DELETE"),
                ("x-original-url", "/v1/batches"),
                ("x-rewrite-url", "/v1/batches"),
                ("x-original-method", "GET"),
            )
        },
        "",
    ),
    *_headers("method_override", {"x_http_method_override": (TYPE, ("x_http_method_override", "GET"))}, "", envoy=True),
    Case(
        "header: a model for a list",
        "GET",
        "/v1/models",
        (("x-ai-eg-model", "evil"),),
        b"",
        (),
        "field_refused",
        "openai.models.list",
    ),
    Case(
        "query: a model for a list", "GET", "/v1/models?model=evil", (), b"", (), "field_refused", "openai.models.list"
    ),
    *json_cases(
        "openai.chat.completions.update",
        "with a model",
        {"model": "evil", "messages": []},
        (),
        "/v1/chat/completions/x",
        refusal="field_refused",
    ),
)

_OTHER_HEADERS += tuple(
    _headers(
        "field_refused",
        {
            name: (TYPE, (name, "evil"))
            for name in (
                "x-ms-oai-image-generation-deployment",
                "azureml-model-deployment",
                "x-litellm-model",
                "model-override",
            )
        },
        "",
    )
)


def _upgrades(code: str, method: str, path: str, headers: Pairs, what: str, route: str = "") -> Case:
    return Case(f"upgrade: {what}", method, path, headers, b"", (), code, route, envoy=True)


_WEBSOCKETS = (
    *bare_cases(
        "openai.realtime",
        "in other letters",
        "GET",
        ("gpt-realtime",),
        "/v1/realtime?model=gpt-realtime",
        headers=(("connection", "upgrade"), ("upgrade", "WebSocket"), *UPGRADE[2:]),
    ),
    _upgrades("wrong_upgrade", "GET", "/v1/realtime?model=evil", (), "realtime without one"),
    _upgrades("wrong_upgrade", "POST", CHAT, UPGRADE, "a chat completion"),
    _upgrades("wrong_upgrade", "GET", "/v1/models", UPGRADE, "a list"),
    _upgrades("wrong_upgrade", "GET", "/v1/models/evil", (("upgrade", ""),), "to nothing"),
    _upgrades(
        "wrong_upgrade", "GET", "/v1/realtime?model=evil", (("connection", "Upgrade"), ("upgrade", "h2c")), "to HTTP/2"
    ),
    _upgrades(
        "wrong_upgrade", "POST", CHAT, (("connection", "Upgrade"), ("upgrade", "h2c")), "a chat completion to HTTP/2"
    ),
    _upgrades(
        "wrong_upgrade",
        "GET",
        "/v1/realtime?model=evil",
        (("connection", "Upgrade"), ("upgrade", "websocket, h2c")),
        "to either",
    ),
    _upgrades("unknown_route", "POST", "/v1/realtime?model=evil", (), "a POST to realtime"),
    _upgrades("unknown_route", "GET", "/v1/live", UPGRADE, "an unknown path"),
)

_NO_BODY = (
    *(
        Case(f"body: {what}", method, path, (TYPE,), b'{"model": "evil"}', (), "body_unexpected", route)
        for what, method, path, route in (
            ("of a list", "GET", "/v1/models", "openai.models.list"),
            ("of a GET", "GET", "/v1/models/gpt-4o", "openai.models"),
            ("of a DELETE", "DELETE", "/v1/models/gpt-4o", "openai.models"),
            ("of a stored completion", "GET", "/v1/chat/completions/chatcmpl-1", "openai.chat.completions.stored"),
            ("of a cancellation", "POST", "/v1/responses/resp_1/cancel", "openai.responses.cancel"),
        )
    ),
    Case(
        "body: of an upgrade",
        "GET",
        "/v1/realtime?model=gpt-realtime",
        (TYPE, *UPGRADE),
        b'{"model": "evil"}',
        (),
        "body_unexpected",
        "openai.realtime",
        envoy=True,
    ),
)

HTTP_CASES: tuple[Case, ...] = (
    *_PATH_CASES,
    *_IN_A_SEGMENT,
    *_QUERY_CASES,
    *_CONTENT,
    *_OTHER_HEADERS,
    *_WEBSOCKETS,
    *_NO_BODY,
)
