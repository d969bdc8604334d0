"""Who asks: each source alone, and what is no identity."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from policy_service.envoy_v3 import external_auth_pb2 as pb
from policy_service.ext_authz.identity import Identity
from policy_service.ext_authz.refusal import Refused
from policy_service.ext_authz.settings import read_settings

JWT = "jwt: {payload: p, team: team, user: sub}"
SPIFFE = "mtls: {pattern: 'spiffe://acme.example/team/{team}/user/{user}'}"
DNS = "mtls: {pattern: '{user}.{team}.clients.acme.example'}"
EXTENSIONS = "context_extensions: {team: team, user: user}"
HEADERS = "headers: {team: x-team, user: x-user}"
HEADER = "header: {name: x-client, pattern: '{team}/{user}'}"
TEAM_HEADER = "headers: {team: x-team}"


def claims(**payload: Any) -> dict[str, Any]:
    return {"metadata_context": {"filter_metadata": {"envoy.filters.http.jwt_authn": {"p": payload}}}}


def principal(name: str) -> dict[str, Any]:
    return {"source": {"principal": name}}


def headers(**values: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return {"request": {"http": {"headers": named}}}


def extensions(**values: str) -> dict[str, Any]:
    return {"context_extensions": values}


ML_ANN = Identity("ml", "ann@acme.example")
MISSING, MALFORMED = "no_identity", "malformed_identity"
# source, what Envoy says, who it is
CASES: list[tuple[str, dict[str, Any], Identity | str]] = [
    (JWT, claims(team="ml", sub="ann@acme.example"), ML_ANN),
    (JWT, claims(team="ml"), MISSING),
    (JWT, claims(sub="ann"), MISSING),
    (JWT, claims(team="", sub="ann"), MISSING),
    (JWT, claims(team="ml", sub=""), MISSING),
    (JWT, claims(team=["ml"], sub="ann"), MALFORMED),
    (JWT, claims(team="ml", sub=7), MALFORMED),
    (JWT, claims(team="ml", sub=None), MALFORMED),
    (JWT, claims(team="ml\n", sub="ann"), MALFORMED),
    (JWT, claims(team="ml", sub="u" * 257), MALFORMED),
    (JWT, {"metadata_context": {"filter_metadata": {"envoy.filters.http.jwt_authn": {"p": "text"}}}}, MISSING),
    (JWT, {"metadata_context": {"filter_metadata": {"envoy.filters.http.jwt_authn": {"q": {"team": "ml"}}}}}, MISSING),
    (JWT, {"metadata_context": {"filter_metadata": {"another": {"p": {"team": "ml", "sub": "ann"}}}}}, MISSING),
    (JWT, {}, MISSING),
    (JWT, headers(x_team="ml", x_user="ann"), MISSING),
    (SPIFFE, principal("spiffe://acme.example/team/ml/user/ann"), Identity("ml", "ann")),
    (SPIFFE, principal("spiffe://evil.example/team/ml/user/ann"), MALFORMED),
    (SPIFFE, principal("spiffe://acme.example.evil/team/ml/user/ann"), MALFORMED),
    (SPIFFE, principal("spiffe://acme-example/team/ml/user/ann"), MALFORMED),
    (SPIFFE, principal("spiffe://acme.example/team/ml/user/ann/more"), MALFORMED),
    (SPIFFE, principal("spiffe://acme.example/team/ml/user/"), MALFORMED),
    (SPIFFE, principal("spiffe://acme.example/team/ml"), MALFORMED),
    (SPIFFE, principal("CN=ann,O=spiffe://acme.example/team/ml/user/ann"), MALFORMED),
    (SPIFFE, principal(""), MISSING),
    (SPIFFE, {}, MISSING),
    (DNS, principal("ann.ml.clients.acme.example"), Identity("ml", "ann")),
    (DNS, principal("x.ann.ml.clients.acme.example"), MALFORMED),
    (DNS, principal("CN=ann.ml.clients.acme.example"), MALFORMED),
    (EXTENSIONS, extensions(team="ml", user="ann@acme.example"), ML_ANN),
    (EXTENSIONS, extensions(team="ml"), MISSING),
    (EXTENSIONS, headers(team="ml", user="ann"), MISSING),
    (HEADERS, headers(x_team="ml", x_user="ann@acme.example"), ML_ANN),
    (HEADERS, headers(x_team="ml,evil", x_user="ann"), MALFORMED),
    (HEADERS, headers(x_team="ml", x_user="ann,root"), MALFORMED),
    (HEADERS, headers(x_team="ml", x_user="an!"), MALFORMED),
    (HEADERS, headers(x_team="ml", x_user=" ann"), MALFORMED),
    (HEADERS, headers(x_team="ml", x_user=""), MISSING),
    (HEADERS, headers(x_team="ml"), MISSING),
    (HEADERS, headers(x_user="ann"), MISSING),
    (HEADERS, claims(team="ml", sub="ann"), MISSING),
    (HEADER, headers(x_client="ml/ann@acme.example"), ML_ANN),
    (HEADER, headers(x_client="ml"), MALFORMED),
    (HEADER, headers(x_client="ml/ann/bob"), MALFORMED),
    (HEADER, headers(x_client="/ann"), MALFORMED),
    (HEADER, headers(x_client="ml/ann,ml/bob"), MALFORMED),
    (HEADER, headers(), MISSING),
    (TEAM_HEADER, headers(x_team="ml", x_user="ann"), Identity("ml", "")),
    (TEAM_HEADER, headers(x_user="ann"), MISSING),
]


@pytest.mark.parametrize(("source", "attributes", "expected"), CASES)
def test_who_asks(source: str, attributes: dict[str, Any], expected: Identity | str) -> None:
    identity = read_settings(f"identity: {{{source}}}", "x.yaml").identity
    assert identity is not None
    said = ParseDict(attributes, pb.AttributeContext())
    try:
        assert identity.read(said, dict(said.request.http.headers)) == expected
    except Refused as refused:
        assert refused.code == expected
