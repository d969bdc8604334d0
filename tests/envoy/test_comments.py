"""What the comments at the end of envoy.yaml offer, taken from there: several instances, TLS and a token."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
import yaml

from tests.envoy.stage import (
    ALLOWED,
    MEMBER_CODE,
    NOT_MEMBER,
    NOT_TEAM,
    PROGRAM,
    Gateway,
    acme,
    cluster,
    code,
    command_line,
    ext_authz,
    gateway,
    policy_headers,
    running_service,
)
from tests.envoy.test_failures import not_synced
from tests.support.envoy import CLIENTS, LIMIT_S, ROOT

TEXT = (CLIENTS / "envoy.yaml").read_text()
NAME = "policy.acme.example"


class Guarded(NamedTuple):
    """A service with TLS and credentials, and what a gateway needs for it."""

    target: str
    token: str
    ca: Path


def commented(key: str) -> Any:
    """The configuration that a comment has, from this key on."""
    lines = TEXT[TEXT.index(f"#   {key}:") :].splitlines()
    block = [lines[0]]
    for line in lines[1:]:
        if not re.match(r"\s*#    ", line):
            break
        block.append(line)
    return yaml.safe_load("\n".join(re.sub(r"^\s*#   ", "", line) for line in block))[key]


def new_token(name: str, permission: str) -> tuple[str, Any]:
    """A token and its entry for the credentials file."""
    command = [PROGRAM, "credential", "create", name, "--permission", permission, "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    made = yaml.safe_load(done.stdout)
    return made["token"], made["principal"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (token, for_checks), (admins, for_admins) = new_token("gateway", "check"), new_token("admin", "admin")
    (folder / "credentials.yaml").write_text(yaml.safe_dump({"principals": [for_checks, for_admins]}))
    (folder / "admin").write_text(admins)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    server = authority.issue_cert(NAME, "127.0.0.1")
    server.private_key_pem.write_to_path(str(folder / "key.pem"))
    (folder / "cert.pem").write_bytes(b"".join(part.bytes() for part in server.cert_chain_pems))
    with running_service(
        "--in-memory",
        f"--credentials={folder / 'credentials.yaml'}",
        f"--tls-cert={folder / 'cert.pem'}",
        f"--tls-key={folder / 'key.pem'}",
        f"--ext-authz-config={CLIENTS / 'ext-authz.yaml'}",
    ) as service:
        server_options = ["--server", service.target, "--tls-ca", str(folder / "ca.pem")]
        token_option = ["--token-file", str(folder / "admin")]
        command_line("apply", "-f", str(ROOT / "examples" / "acme.yaml"), *server_options, *token_option)
        yield Guarded(service.target, token, folder / "ca.pem")


def connect(configuration: Any, guarded: Guarded, **changed: str) -> None:
    """Does what the comment says, with this authority and token; `name` and `token` may be others."""
    socket = commented("transport_socket")
    validation = socket["typed_config"]["common_tls_context"]["validation_context"]
    validation["trusted_ca"] = {"filename": str(guarded.ca)}
    validation["match_typed_subject_alt_names"][0]["matcher"]["exact"] = changed.get("name", NAME)
    cluster(configuration, "policy_service")["transport_socket"] = socket
    (metadata,) = commented("initial_metadata")
    metadata["value"] = metadata["value"].replace("TOKEN", changed.get("token", guarded.token))
    ext_authz(configuration)["grpc_service"]["initial_metadata"] = [metadata]


def test_with_both_there_are_decisions(guarded: Guarded) -> None:
    with gateway("envoy.yaml", guarded.target, lambda configuration: connect(configuration, guarded)) as started:
        assert started.chat(ALLOWED).status == 200
        assert policy_headers(started.passed())["x-policy-user"] == "sam@acme.example"
        assert code(started.chat(NOT_MEMBER)) == MEMBER_CODE


@pytest.mark.parametrize("changed", [{"token": "wrong"}, {"name": "another.acme.example"}, None])
@pytest.mark.parametrize(("name", "status"), [("envoy.yaml", 503), ("envoy-fail-open.yaml", 200)])
def test_otherwise_there_is_none(guarded: Guarded, name: str, status: int, changed: dict[str, str] | None) -> None:
    def edit(configuration: Any) -> None:
        if changed is not None:
            connect(configuration, guarded, **changed)

    with gateway(name, guarded.target, edit) as started:
        assert started.chat(NOT_TEAM).status == status
        assert started.nothing_passed() == (status == 503)


def statuses(started: Gateway) -> set[int]:
    return {started.chat(ALLOWED).status for _ in range(20)}


def test_an_instance_without_a_policy_is_left_out() -> None:
    with acme() as one, not_synced() as other:

        def both(configuration: Any) -> None:
            (group,) = cluster(configuration, "policy_service")["load_assignment"]["endpoints"]
            host, _, port = other.rpartition(":")
            address = {"socket_address": {"address": host, "port_value": int(port)}}
            group["lb_endpoints"].append({"endpoint": {"address": address}})

        def both_checked(configuration: Any) -> None:
            both(configuration)
            for key in ("common_lb_config", "health_checks"):
                cluster(configuration, "policy_service")[key] = commented(key)

        with gateway("envoy.yaml", one.target, both) as started:
            assert statuses(started) == {200, 503}
        with gateway("envoy.yaml", one.target, both_checked) as started:
            assert statuses(started) == {200}
