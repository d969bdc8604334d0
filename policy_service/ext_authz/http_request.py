"""The HTTP request that Envoy asks about, checked for what would make an upstream read another request than we do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.refusal import Code, Refused

PARTIAL_BODY = "x-envoy-auth-partial-body"  # Envoy's own, added for us
# With these some upstreams take another method or path than the one in the request line.
_OVERRIDES = (
    *("x-http-method-override", "x-http-method", "x-method-override"),
    *("x-original-url", "x-rewrite-url", "x-original-method"),
)
# With these some upstreams take models that are not seen here: Azure OpenAI's images, Azure ML, LiteLLM, Onwards, the
# Inference Extension of the Gateway API and llm-d, Portkey, Vercel, Helicone.
_MODELS = (
    *("x-ms-oai-image-generation-deployment", "azureml-model-deployment", "x-litellm-model", "model-override"),
    *("x-gateway-model-name-rewrite", "x-llm-d-model-name-rewrite", "x-gateway-destination-endpoint"),
    *("x-portkey-config", "ai-model-id", "ai-language-model-id", "helicone-fallbacks"),
)
REFUSED_HEADERS = dict.fromkeys(_OVERRIDES, Code.METHOD_OVERRIDE) | dict.fromkeys(_MODELS, Code.FIELD_REFUSED)
_DIGITS = re.compile(r"[0-9]{1,18}")


class HttpRequest(NamedTuple):
    """`headers` by name in small letters; values of a name that came repeatedly are joined by commas. `path` has the
    query, as it was sent. `body` is complete."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def read_http(http: pb.AttributeContext.HttpRequest, max_body_bytes: int) -> HttpRequest:
    """The request. Raises Refused."""
    request = HttpRequest(http.method, http.path, _headers(http), http.raw_body)
    for name in request.headers:
        code = REFUSED_HEADERS.get(dashed(name))
        if code is not None:
            raise Refused(code, f"with the header {name} an upstream may do something else; leave it out")
    if http.body:
        words = "the gateway sends the body as text, which is not exact; set pack_as_bytes: true there"
        raise Refused(Code.BODY_MALFORMED, words)
    if len(request.body) > max_body_bytes:
        raise Refused(Code.BODY_TOO_LARGE, f"the body is larger than {max_body_bytes} bytes; send less at once")
    _check_complete(request, http.size)
    return request


def dashed(header: str) -> str:
    """Another name's spelling to an upstream that speaks CGI or WSGI, where `x_y` and `x-y` are one."""
    return header.replace("_", "-")


def _headers(http: pb.AttributeContext.HttpRequest) -> dict[str, str]:
    if not http.HasField("header_map"):
        sent = http.headers
        return {name.lower(): sent[name] for name in sent}
    if http.headers:
        raise Refused(Code.MALFORMED_HEADER, "the gateway sends the headers twice, as text and as bytes")
    headers: dict[str, str] = {}
    for header in http.header_map.headers:
        name = header.key.lower()
        # As Envoy does when it sends text: nothing that is not UTF-8 gets past a check for exact values.
        value = header.value or header.raw_value.decode(errors="replace").replace("\N{REPLACEMENT CHARACTER}", "!")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _check_complete(request: HttpRequest, received: int) -> None:
    """`received`: bytes of the body that Envoy has got, -1 when it does not know."""
    if request.headers.get(PARTIAL_BODY, "false") != "false" or received > len(request.body):
        raise _truncated()
    length = request.headers.get("content-length")
    if length is not None:
        if not _DIGITS.fullmatch(length) or int(length) < len(request.body):
            raise Refused(Code.MALFORMED_HEADER, "content-length is not the length of the body; correct it")
        if int(length) > len(request.body):
            raise _truncated()


def _truncated() -> Refused:
    return Refused(Code.BODY_TRUNCATED, "only a part of the body was sent to be checked; send a smaller one")
