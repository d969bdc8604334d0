"""What is shipped in clients/envoy/, before anything is sent through it: it loads, and says what it should."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_service.ext_authz.settings import DEFAULT_MAX_BODY_BYTES, Settings, read_settings
from tests.envoy.certificates import make_certificates
from tests.envoy.stage import ext_authz, filter_of, manager
from tests.support.envoy import CLIENTS, refusal, shipped

BASE = "envoy.yaml"
VARIANTS = ("envoy-fail-open.yaml", "envoy-jwt.yaml", "envoy-mtls.yaml", "envoy-shadow.yaml")
RUNNABLE = (BASE, *VARIANTS)


def parts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every leaf of a configuration and where it is; a thing in a list is known by its name, or what it holds."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from parts(inner, (*path, str(key)))
        if not value:
            yield path, "{}"
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            name = inner["name"] if isinstance(inner, dict) and "name" in inner else str(position)
            yield from parts(inner, (*path, name))
    else:
        yield path, value


def order(configuration: Any) -> list[str]:
    """The names of what comes in an order."""
    hosts = manager(configuration)["route_config"]["virtual_hosts"]
    filters = [entry["name"] for entry in manager(configuration)["http_filters"]]
    return filters + [route["name"] for host in hosts for route in host["routes"]]


def said_to_differ(name: str) -> list[str]:
    """The keys that a variant's own words name."""
    text = (CLIENTS / name).read_text()
    words = text.split("# What differs from envoy.yaml:\n")[1].split("\n#\n")[0].split("\n\n")[0]
    return re.findall(r"^#   ([\w.]+):", words, re.MULTILINE)


@pytest.mark.parametrize("version", ["1.39", "1.40"])
@pytest.mark.parametrize("name", RUNNABLE)
def test_it_loads_as_it_is(name: str, version: str, tmp_path: Path) -> None:
    if name == "envoy-mtls.yaml":
        make_certificates(tmp_path)
    assert refusal(CLIENTS / name, version, tmp_path) == ""


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_where_it_says_and_nowhere_else(name: str) -> None:
    base, variant = shipped(BASE), shipped(name)
    ours, theirs = dict(parts(base)), dict(parts(variant))
    differing = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    keys = said_to_differ(name)
    assert differing
    assert {path for path in differing if not set(keys) & set(path)} == set()
    assert [key for key in keys if not any(key in path for path in differing)] == []
    assert [one for one in order(base) if one in order(variant)] == [
        one for one in order(variant) if one in order(base)
    ]


@pytest.mark.parametrize("name", RUNNABLE)
def test_what_must_not_be_changed(name: str) -> None:
    configuration = shipped(name)
    connections, check = manager(configuration), ext_authz(configuration)
    assert connections["normalize_path"] is connections["merge_slashes"] is True
    assert connections["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    assert "upgrade_configs" not in connections
    assert check["failure_mode_allow"] is (name == "envoy-fail-open.yaml")
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}
    assert check["validate_mutations"] is check["include_peer_certificate"] is True
    assert check["metadata_context_namespaces"] == ["envoy.filters.http.jwt_authn"]
    body = check["with_request_body"]
    assert (body["allow_partial_message"], body["pack_as_bytes"]) == (False, True)
    assert body["max_request_bytes"] <= DEFAULT_MAX_BODY_BYTES
    assert check["grpc_service"]["timeout"] == ("1s" if name == "envoy-fail-open.yaml" else "0.25s")
    assert "allowed_headers" not in check
    assert "disallowed_headers" not in check


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_health_route_alone_has_no_check_and_no_route_asks_for_a_header_that_says_so(name: str) -> None:
    (host,) = manager(shipped(name))["route_config"]["virtual_hosts"]
    unchecked = [route for route in host["routes"] if "typed_per_filter_config" in route]
    assert [(route["match"], "route" in route) for route in unchecked] == [({"path": "/healthz"}, False)]
    to_an_upstream = [route for route in host["routes"] if "route" in route]
    assert not any("headers" in route["match"] for route in to_an_upstream)


@pytest.mark.parametrize("name", RUNNABLE)
def test_who_asks_is_found_out_before_the_check(name: str) -> None:
    names = [entry["name"].rpartition(".")[2] for entry in manager(shipped(name))["http_filters"]]
    first = {"envoy-jwt.yaml": ["jwt_authn"], "envoy-mtls.yaml": []}.get(name, ["api_key_auth"])
    assert names == [*first, "ext_authz", "router"]


@pytest.mark.parametrize("name", RUNNABLE)
def test_websockets_are_upgraded_where_the_service_lets_them_pass_and_nowhere_else(name: str) -> None:
    (host,) = manager(shipped(name))["route_config"]["virtual_hosts"]
    upgraded = [route["match"] for route in host["routes"] if "upgrade_configs" in route.get("route", {})]
    (pattern,) = [match["safe_regex"]["regex"] for match in upgraded]
    table = yaml.safe_load(files("policy_service.ext_authz").joinpath("default_routes.yaml").read_text())["routes"]
    for route in table:
        paths = [route["path"]] if isinstance(route["path"], str) else route["path"]
        passes = route.get("upgrade", False) and route.get("access") != "denied"
        assert {bool(re.fullmatch(pattern, path)) for path in paths} == {passes}, route


def test_a_token_is_required() -> None:
    rules = filter_of(shipped("envoy-jwt.yaml"), "envoy.filters.http.jwt_authn")["rules"]
    assert rules == [{"match": {"prefix": "/"}, "requires": {"provider_name": "acme"}}]


def settings(name: str) -> Settings:
    return read_settings((CLIENTS / name).read_text(), name)


@pytest.mark.parametrize("name", ["ext-authz.yaml", "ext-authz-jwt.yaml", "ext-authz-mtls.yaml"])
def test_the_service_takes_its_settings(name: str) -> None:
    assert settings(name).identity is not None


def kubernetes(name: str) -> dict[str, Any]:
    """The documents of a file, by kind. None is empty: not every tool takes that."""
    documents = list(yaml.safe_load_all((CLIENTS / name).read_text()))
    assert all(document["apiVersion"] for document in documents)
    return {document["kind"]: document for document in documents}


def test_envoy_gateway() -> None:
    found = kubernetes("envoy-gateway.yaml")
    order = found["EnvoyProxy"]["spec"]["filterOrder"]
    assert order == [{"name": "envoy.filters.http.ext_authz", "after": "envoy.filters.http.jwt_authn"}]
    traffic = found["ClientTrafficPolicy"]["spec"]
    assert traffic["path"] == {"escapedSlashesAction": "KeepUnchanged"}
    removed = traffic["headers"]["earlyRequestHeaders"]["removeOnMatch"]
    mutations = manager(shipped(BASE))["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    prefixes = [mutation["remove_on_match"]["key_matcher"]["prefix"] for mutation in mutations]
    assert removed == [{"type": "Prefix", "value": prefix} for prefix in prefixes]
    security = found["SecurityPolicy"]["spec"]
    assert security["targetRefs"] == traffic["targetRefs"] == [found["EnvoyPatchPolicy"]["spec"]["targetRef"]]
    assert security["targetRefs"][0]["kind"] == "Gateway"
    check = security["extAuth"]
    assert check["bodyToExtAuth"]["maxRequestBytes"] <= DEFAULT_MAX_BODY_BYTES
    assert (check["failOpen"], check["statusOnError"], check["timeout"]) == (False, 503, "250ms")
    assert "headersToExtAuth" not in check
    assert security["jwt"]["optional"] is False
    (provider,) = security["jwt"]["providers"]
    jwt = yaml.safe_load((CLIENTS / "ext-authz-jwt.yaml").read_text())["identity"]["jwt"]
    assert provider["name"] == jwt["payload"]


def test_envoy_gateway_is_patched_to_send_bytes() -> None:
    found = kubernetes("envoy-gateway.yaml")
    policy = found["SecurityPolicy"]["metadata"]
    patches = [patch["operation"] for patch in found["EnvoyPatchPolicy"]["spec"]["jsonPatches"]]
    name = f"envoy.filters.http.ext_authz/securitypolicy/{policy['namespace']}/{policy['name']}"
    assert {patch["jsonPath"] for patch in patches} == {f"..http_filters[?@.name == '{name}'].typed_config"}
    assert {patch["path"]: patch["value"] for patch in patches} == {
        "with_request_body/pack_as_bytes": True,
        "metadata_context_namespaces": ["envoy.filters.http.jwt_authn"],
        "validate_mutations": True,
    }


def test_istio() -> None:
    found = kubernetes("istio.yaml")
    mesh = found["IstioOperator"]["spec"]["meshConfig"]
    (provider,) = mesh["extensionProviders"]
    check = provider["envoyExtAuthzGrpc"]
    body = check["includeRequestBodyInCheck"]
    assert (body["allowPartialMessage"], body["packAsBytes"]) == (False, True)
    assert body["maxRequestBytes"] <= DEFAULT_MAX_BODY_BYTES
    assert (check["failOpen"], check["statusOnError"], check["timeout"]) == (False, "503", "0.25s")
    policy = found["AuthorizationPolicy"]["spec"]
    assert policy["action"] == "CUSTOM"
    assert policy["provider"]["name"] == provider["name"]
    assert policy["rules"] == [{}]
    text = found["ConfigMap"]["data"]["ext-authz.yaml"]
    assert read_settings(text, "istio.yaml").identity is not None
    (patch,) = found["EnvoyFilter"]["spec"]["configPatches"]
    merged = patch["patch"]["value"]["typed_config"]["early_header_mutation_extensions"]
    assert merged == manager(shipped(BASE))["early_header_mutation_extensions"]
