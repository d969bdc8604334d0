"""The messages are Envoy's: compared with Envoy's own classes, which live in an environment of their own since they
would overwrite files of other packages."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict

from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.answer import Allowed, Denied, answer
from policy_service.ext_authz.bodies import Api, Kind

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "build" / "xds-protos" / "bin" / "python"
OURS = "envoy.service.auth.v3."
# Messages that Envoy has in other packages.
ELSEWHERE = {
    "Metadata": "envoy.config.core.v3.Metadata",
    "Metadata.FilterMetadataEntry": "envoy.config.core.v3.Metadata.FilterMetadataEntry",
    "HeaderMap": "envoy.config.core.v3.HeaderMap",
    "HeaderValue": "envoy.config.core.v3.HeaderValue",
    "HeaderValueOption": "envoy.config.core.v3.HeaderValueOption",
    "HttpStatus": "envoy.type.v3.HttpStatus",
}
INTEGERS = (3, 5, 14)  # int64, int32, enum: the same bytes
FACTS = {"allowed": True, "reason": "x", "models": ["a", "b"], "limits": {"rpm_limit": 5}}
ANSWERS = [
    answer(Allowed({"x-policy-team": "ml"}, ["x-policy-other"], FACTS)),
    *(answer(Denied(kind, "code", "words", 403, Api.OPENAI, FACTS)) for kind in Kind),
]


def messages(descriptors: Any) -> Iterator[Descriptor]:
    for descriptor in descriptors:
        yield descriptor
        yield from messages(descriptor.nested_types)


MESSAGES = {message.full_name: message for message in messages(pb.DESCRIPTOR.message_types_by_name.values())}


def envoys_name(name: str) -> str:
    return ELSEWHERE.get(name.removeprefix(OURS), name)


@pytest.fixture(scope="module")
def told() -> Any:
    """What Envoy's own classes say."""
    asked = {
        "messages": [envoys_name(name) for name in MESSAGES],
        "responses": [base64.b64encode(made.SerializeToString()).decode() for made in ANSWERS],
    }
    script = Path(__file__).with_name("envoys_messages.py")
    done = subprocess.run(
        [PYTHON, script], input=json.dumps(asked), capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_field_is_envoys(told: Any, name: str) -> None:
    theirs = told["fields"][envoys_name(name)]
    for field in MESSAGES[name].fields:
        number, kind, repeated = theirs[field.name]
        assert (field.number, field.is_repeated) == (number, repeated), field.full_name
        assert field.type == kind or {field.type, kind} <= set(INTEGERS), field.full_name


def test_envoy_reads_our_answers(told: Any) -> None:
    assert told["responses"] == [MessageToDict(made, use_integers_for_enums=True) for made in ANSWERS]


def test_we_read_envoys_request(told: Any) -> None:
    request = pb.CheckRequest.FromString(base64.b64decode(told["request"]))
    attributes, http = request.attributes, request.attributes.request.http
    assert (http.method, http.path, http.size, http.raw_body) == ("POST", "/v1/x?a=b", 5, b"\xff{}")
    assert dict(http.headers) == {"x-a": "b,c"}
    assert [(header.key, header.raw_value) for header in http.header_map.headers] == [("x-a", b"\xff")]
    assert attributes.source.principal == "spiffe://acme.example/x"
    assert dict(attributes.context_extensions) == {"team": "ml"}
    claims = attributes.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"].fields["payload"]
    assert claims.struct_value.fields["team"].string_value == "ml"
