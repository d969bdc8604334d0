"""The strict reading itself: what it takes for models, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from policy_service.envoy_v3.external_auth_pb2 import CheckRequest
from tests.domain.reference import Reference
from tests.ext_authz.strict import Setup, judge
from tests.ext_authz.strict_json import Number, Object, Refused, read_json
from tests.ext_authz.strict_multipart import Field, read_boundary, read_multipart
from tests.ext_authz.strict_places import same
from tests.ext_authz.strict_target import match, read_query, split_target
from tests.ext_authz.world import ARN, CONFIGURATIONS, RECORDS

SETUP = Setup.read(CONFIGURATIONS["headers"], "routes: []")
POLICY = Reference(RECORDS)
JSON = {"content-type": "application/json"}


def ask(path: str, body: Any = b"", method: str = "POST", **headers: str) -> set[str] | None:
    """The models that a request of ann's asks for, if it may pass."""
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.path = method, path
    http.raw_body = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"x-acme-team": "ml", "x-acme-user": "ann"} | (JSON if body != b"" else {})
    http.headers.update(given | {name.replace("_", "-"): value for name, value in headers.items()})
    verdict = judge(request, SETUP, POLICY)
    return set(verdict.asked.names) if verdict.may_pass and verdict.asked else None


@pytest.mark.parametrize(
    ("path", "body", "models"),
    [
        ("/acme/chat", {"model": "gpt-4o"}, {"gpt-4o"}),
        ("/acme/chat", b' {"\\u006dodel" : "gpt-4o"}\n', {"gpt-4o"}),
        ("/acme/chat", {"model": "gpt-4o", "models": ["open/x", {"model": "a b"}]}, {"gpt-4o", "open/x", "a b"}),
        ("/acme/chat", {"model": "gpt-4o", "tools": [{}, {"model": "claude-x"}]}, {"gpt-4o", "claude-x"}),
        ("/acme/chat", {"model": "gpt-4o", "sinks": [{"type": "text", "model": "evil"}]}, {"gpt-4o"}),
        ("/acme/chat", {"model": "gpt-4o", "messages": [{"model": "evil"}]}, {"gpt-4o"}),
        ("/acme/chat", {"model": "gpt-4o", "prompt": {"id": "pmpt_good"}}, {"gpt-4o"}),
        ("/acme/chat?model=gpt-4o", {"model": "gpt-4o"}, {"gpt-4o"}),
        ("/acme/batch", {"requests": [{"params": {"model": "a b"}}, {"params": {"model": "ünï"}}]}, {"a b", "ünï"}),
        ("/acme/models/gpt-4o:generate", {"requests": [{"model": "models/claude-x"}]}, {"gpt-4o", "claude-x"}),
        ("/acme/models/gpt-4o:generate", {"model": "models/gpt-4o"}, {"gpt-4o"}),
        (f"/acme/model/{ARN}", b"", {ARN}),
        ("/acme/eu/model/" + ARN.replace("/", "%2F") + "/invoke", {}, {ARN}),
        ("/acme/jobs", {"models": ["evil"]}, set()),
        ("/acme/files/f1", b"\xff", set()),
    ],
)
def test_finds_the_models(path: str, body: Any, models: set[str]) -> None:
    assert ask(path, body) == models


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/acme/chat", {}),
        ("/acme/chat", {"model": "evil"}),
        ("/acme/chat", {"model": "fast"}),
        ("/acme/chat", {"model": None}),
        ("/acme/chat", {"model": ["gpt-4o"]}),
        ("/acme/chat", ["gpt-4o"]),
        ("/acme/chat", b'{"model":"gpt-4o","model":"gpt-4o"}'),
        ("/acme/chat", b'{"model":"gpt-4o","mod\\u0065l":"evil"}'),
        ("/acme/chat", b'{"model":"gpt-4o","x":{"y":1,"y":1}}'),
        ("/acme/chat", {"model": "gpt-4o", "MODEL": "gpt-4o"}),
        ("/acme/chat", {"model": "gpt-4o", "Models": []}),
        ("/acme/chat", {"model": "gpt-4o", "fallbac\u212as": ["gpt-4o"]}),
        ("/acme/chat", {"model": "gpt-4o", "tools": [{"Model": "gpt-4o"}]}),
        ("/acme/chat", {"model": "gpt-4o", "models": "evil"}),
        ("/acme/chat", {"model": "gpt-4o", "models": ["evil"]}),
        ("/acme/chat", {"model": "gpt-4o", "models": [{}]}),
        ("/acme/chat", {"model": "gpt-4o", "sinks": [{"type": "image", "model": "evil"}]}),
        ("/acme/chat", {"model": "gpt-4o", "sinks": [{"config": {}}]}),
        ("/acme/chat", {"model": "gpt-4o", "user_config": {}}),
        ("/acme/chat", {"model": "gpt-4o", "prompt": {"id": "pmpt_evil"}}),
        ("/acme/chat", {"model": "gpt-4o", "prompt": {"id": "pmpt_unknown"}}),
        ("/acme/chat?model=open/x", {"model": "gpt-4o"}),
        ("/acme/chat?model=gpt-4o&model=gpt-4o", {"model": "gpt-4o"}),
        ("/acme/chat?M%6fdel=gpt-4o", {"model": "gpt-4o"}),
        ("/acme/chat?x=1;model=evil", {"model": "gpt-4o"}),
        ("/acme/chat/", {"model": "gpt-4o"}),
        ("/acme//chat", {"model": "gpt-4o"}),
        ("/acme/./chat", {"model": "gpt-4o"}),
        ("/acme/ch%61t", {"model": "gpt-4o"}),
        ("/acme/batch", {"requests": []}),
        ("/acme/batch", {"requests": [{"params": {"model": "gpt-4o"}}, {}]}),
        ("/acme/batch", {"requests": [{"params": {"model": "gpt-4o"}}], "model": "evil"}),
        ("/acme/models/gpt-4o:generate", {"model": "open/x"}),
        ("/acme/models/gpt-4o%253Fx:generate", {}),
        ("/acme/models/gpt-4o;x:generate", {}),
        ("/acme/models/gpt-4o%3Bx:generate", {}),
        ("/acme/model/open/../evil", b""),
        ("/acme/model/open/x", {}),
        ("/acme/jobs", {"job": {"model": "gpt-4o"}}),
        ("/acme/jobs", {"model": "gpt-4o"}),
        ("/acme/files/f1?model=gpt-4o", b""),
        ("/acme/closed", b""),
        ("/acme/nothing", b""),
    ],
)
def test_refuses(path: str, body: Any) -> None:
    assert ask(path, body) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"content_encoding": "gzip"},
        {"content_length": "1"},
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=utf-16"},
        {"upgrade": "websocket"},
        {"x_http_method_override": "PUT"},
        {"x_envoy_auth_partial_body": "true"},
        {"x_ai_eg_model": "open/x"},
        {"x_acme_team": "ml,open"},
        {"x_acme_user": ""},
        {"x_acme_user": "!"},
    ],
    ids=str,
)
def test_refuses_headers(headers: dict[str, str]) -> None:
    body = {"model": "gpt-4o"}
    assert ask("/acme/chat", body, x_ai_eg_model="gpt-4o") == {"gpt-4o"}
    assert ask("/acme/chat", body, **headers) is None


def test_upgrades() -> None:
    assert ask("/acme/realtime?model=gpt-4o", method="GET", upgrade="websocket") == {"gpt-4o"}
    assert ask("/acme/realtime?model=gpt-4o", method="GET") is None
    assert ask("/acme/realtime?model=gpt-4o", method="GET", upgrade="h2c") is None
    assert ask("/acme/realtime", method="GET", upgrade="websocket") is None


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_reads_every_configuration(name: str) -> None:
    assert Setup.read(CONFIGURATIONS[name], "routes: []").routes


# The parts


def test_reads_json() -> None:
    document = read_json(rb' {"a":[1,-0.5e+1,true,null,"\ud83d\ude00\u0041\n\/"],"b":{}} ')
    assert document == Object((("a", [Number("1"), Number("-0.5e+1"), True, None, "😀A\n/"]), ("b", Object(()))))


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"}", b"[1,]", b"[,1]", b'{"a":1,}', b'{"a"}', b"{a:1}", b"{'a':1}", b'{"a" 1}', b"1 1"),
        *(b"01", b"-", b"+1", b".5", b"1.", b"1e", b"1e+", b"0x1", b"NaN", b"Infinity", b"-Infinity", b"True"),
        *(b"1e999", b"-1e999", b"1" * 65, b"tru", b"//x\n1", b"/**/1", b"1\0", b"\xef\xbb\xbf1", b"\x0c1", b"\xa01"),
        *(b'"', b'"\\"', b'"\n"', b'"\\x41"', b'"\\u00"', b'"\\u00g0"', b'"\\u+041"', b'"\\U0041"', b'"\xff"'),
        *(b'"\xed\xa0\x80"', b'"\xc0\x80"', rb'"\ud800"', rb'"\ude00\ud83d"', rb'"\ud800x"', rb'"\ud800\ud800"'),
        *(b"[" * 101 + b"]" * 101, b'{"a":1,"a":1}', rb'{"a":1,"\u0061":1}', '{"a":1}'.encode("utf-16")),
    ],
)
def test_refuses_json(body: bytes) -> None:
    with pytest.raises(Refused):
        read_json(body)


def test_reads_what_json_just_allows() -> None:
    assert read_json(b"[" * 100 + b"]" * 100)
    assert read_json(b"1" * 64) == Number("1" * 64)
    assert read_json(b'{"a":1,"A":{"a":1}}')


GOOD_PART = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o\r\n--b--\r\n'


def test_reads_multipart() -> None:
    file = b'--b\r\ncontent-disposition:form-data;filename="a.png"; name="f"\r\nContent-Type: image/png\r\n\r\n\xff\r\n'
    assert read_multipart(file + GOOD_PART, "b") == [Field("f", None), Field("model", "gpt-4o")]
    assert [read_boundary([text]) for text in (" boundary=b", 'Boundary="b-1"')] == ["b", "b-1"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(
            (b"--b\r\n", b"--b\n"),
            (b"--b--", b"--b"),
            (b"--b--\r\n", b"--b--x"),
            (b"\r\n\r\n", b"\r\n"),
            (b"--b", b"-b"),
        ),
        *((b"gpt-4o\r\n", b"gpt-4o\n"), (b"gpt-4o", b"gpt-4o\n--b\n"), (b"form-data", b"attachment"), (b'"', b"'\"")),
        *((b"form-data; ", b"form-data "), (b"name=", b"name*="), (b"name=", b'name="x"; name='), (b"del", b"d\\el")),
        *((b"Content-D", b"X"), (b'"model"', b'""'), (b'"model"', b'"model" x'), (b"gpt", b"\r\n--bX"), (b"C", b" C")),
        *(
            (b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
            (b"\r\n\r\n", b"\r\nContent-Disposition: x\r\n\r\n"),
            (b"del", b"del\xff"),
        ),
    ],
)
def test_refuses_multipart(old: bytes, new: bytes) -> None:
    body = GOOD_PART.replace(old, new)
    assert body != GOOD_PART
    with pytest.raises(Refused):
        read_multipart(body, "b")


def test_a_field_that_may_be_read_otherwise_has_no_text() -> None:
    for old, new in (
        (b'l"', b'l"; filename="x"'),
        (b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n"),
    ):
        assert read_multipart(GOOD_PART.replace(old, new), "b") == [Field("model", None)]


@pytest.mark.parametrize(
    ("pattern", "path", "model"),
    [
        ("/v1/models", "/v1/models", ""),
        ("/v1/models", "/v1/models/x", None),
        ("/v1/{}/x", "/v1/a/x", ""),
        ("/v1/{model}", "/v1/a", "a"),
        ("/v1/{model}", "/v1/a/b", None),
        ("/v1/{model}:go", "/v1/a:go:go", "a:go"),
        ("/v1/{model}:go", "/v1/:go", None),
        ("/v1/{model+}", "/v1/a/b", "a/b"),
        ("/v1/{model+}", "/v1", None),
    ],
)
def test_matches_paths(pattern: str, path: str, model: str | None) -> None:
    assert match(pattern, path) == model


def test_reads_targets() -> None:
    assert split_target("/a/b?x=/?y") == ("/a/b", "x=/?y")
    assert read_query("a+b=%2B&c") == [("a b", "+"), ("c", "")]
    for target in (
        "",
        "a",
        "*",
        "/",
        "/a/",
        "/a//b",
        "/a/..",
        "/a;b",
        "/a\\b",
        "/a#b",
        "/a?b#c",
        "/a?b;c",
        "/é",
        "/a b",
    ):
        with pytest.raises(Refused):
            split_target(target)


def test_folds_keys() -> None:
    assert all(same("fallbacks", other) for other in ("FALLBACKS", "fallBacks", "fallbac\u212as", "fallback\u017f"))
    assert not same("model", "models")
