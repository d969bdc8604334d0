"""Run with a Python that has xds-protos: reads our messages from standard input with Envoy's own classes and writes
them, and a request of its own, as JSON. Nothing of the project is imported here."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2  # type: ignore[import-not-found]
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict


def fields(name: str) -> dict[str, list[Any]]:
    """Number, type and whether it is repeated, by the name of a message's field."""
    message = descriptor_pool.Default().FindMessageTypeByName(name)
    return {field.name: [field.number, field.type, field.is_repeated] for field in message.fields}


def request() -> bytes:
    """A request with something in every field that Envoy fills."""
    http = attribute_context_pb2.AttributeContext.HttpRequest(
        id="1",
        method="POST",
        path="/v1/x?a=b",
        host="h",
        scheme="http",
        size=5,
        protocol="HTTP/1.1",
        raw_body=b"\xff{}",
    )
    http.headers["x-a"] = "b,c"
    attributes = attribute_context_pb2.AttributeContext(context_extensions={"team": "ml"})
    attributes.request.http.CopyFrom(http)
    attributes.request.time.GetCurrentTime()
    attributes.source.principal = "spiffe://acme.example/x"
    attributes.source.certificate = "pem"
    attributes.source.address.socket_address.address = "127.0.0.1"
    attributes.destination.labels["a"] = "b"
    attributes.tls_session.sni = "sni"
    attributes.metadata_context.filter_metadata["envoy.filters.http.jwt_authn"].update({"payload": {"team": "ml"}})
    raw = attributes.request.http.header_map.headers.add()
    raw.key, raw.raw_value = "x-a", b"\xff"
    return external_auth_pb2.CheckRequest(attributes=attributes).SerializeToString()


def main() -> None:
    asked = json.load(sys.stdin)
    answers = [external_auth_pb2.CheckResponse.FromString(base64.b64decode(text)) for text in asked["responses"]]
    read = [MessageToDict(answer, use_integers_for_enums=True) for answer in answers]
    told = {
        "fields": {name: fields(name) for name in asked["messages"]},
        "responses": read,
        "request": base64.b64encode(request()).decode(),
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
