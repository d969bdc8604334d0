"""`policy-service check`: exit statuses and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
import yaml

from policy_client import AdminClient
from policy_service.services.auth import hash_token, new_token
from policy_service.v1.resources_pb2 import AccessGroup, Member, ModelScope, Team

from .commands import run

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer


@pytest.fixture
async def target(server: RunningServer) -> str:
    """A server where sam of support may use `gpt-4o-mini` and its alias `fast`."""
    async with AdminClient(server.target) as admin:
        await admin.set_access_group(AccessGroup(name="cheap", models=["gpt-4o-mini"]))
        team = Team(id="support", models=ModelScope(models=["gpt-*"]), model_aliases={"fast": "gpt-4o-mini"})
        await admin.create_team(team, [Member(user="sam", allowed_models=ModelScope(models=["cheap"]))])
    return server.target


async def test_allowed_is_0(target: str) -> None:
    ended = await run("check", "support", "sam", "fast", "--server", target)
    assert (ended.status, ended.err) == (0, "")
    assert ended.lines == [
        "allowed: In team 'support' user 'sam' may use model 'fast'. (ALLOWED_BY_MEMBER_SCOPE; model gpt-4o-mini)"
    ]


async def test_denied_is_1(target: str) -> None:
    ended = await run("check", "support", "sam", "gpt-4o", "--server", target)
    assert (ended.status, ended.err) == (1, "")
    (line,) = ended.lines
    assert line.startswith("denied: ")
    assert line.endswith("(MODEL_NOT_IN_MEMBER_SCOPE; model gpt-4o)")


async def test_a_user_may_be_empty(target: str) -> None:
    ended = await run("check", "support", "", "gpt-4o", "--server", target)
    assert (ended.status, "NOT_A_MEMBER" in ended.out) == (1, True)


async def test_explain_an_allow(target: str) -> None:
    ended = await run("check", "support", "sam", "fast", "--explain", "--server", target)
    assert ended.status == 0
    assert [line.split()[0] for line in ended.lines] == [
        "allowed:",
        "TEAM",
        "MEMBERSHIP",
        "ALIAS",
        "TEAM_SCOPE",
        "MEMBER_SCOPE",
    ]


async def test_explain_a_deny(target: str) -> None:
    ended = await run("check", "support", "sam", "gpt-4o", "--explain", "--server", target)
    assert ended.status == 1
    assert "  MEMBER_SCOPE  NOT_GRANTED " in ended.out
    assert "What would allow it:\n  UpdateMember: " in ended.out
    assert '"models":["cheap","gpt-4o"]' in ended.out
    assert ended.lines[-1].startswith("Allowed models with a similar name: gpt-4o-mini")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("support", "sam", "a,b"), "model: holds one of"),
        (("", "sam", "gpt-4o"), "team: is empty"),
        (("support", "sam"), "Missing argument"),
        (("support", "sam", "gpt-4o", "--nonsense"), "No such option"),
        (("support", "sam", "gpt-4o", "--token-file", "/nowhere/token"), "/nowhere/token"),
        (("support", "sam", "gpt-4o", "--token-file", "/dev/null"), "the token is empty"),
        (("support", "sam", "gpt-4o", "--tls-ca", "/dev/null"), "the ca in '/dev/null' is not PEM"),
        (("support", "sam", "gpt-4o", "--tls-cert", "/dev/null"), "needs both cert and key"),
        (("support", "sam", "gpt-4o", "--server", "localhost"), "has no port; give host:port"),
        (("support", "sam", "gpt-4o", "--server", "127.0.0.1:1"), "no answer from 127.0.0.1:1"),
    ],
)
async def test_what_cannot_be_answered_is_2(target: str, arguments: tuple[str, ...], words: str) -> None:
    ended = await run("check", *arguments, POLICY_SERVICE_SERVER=target)
    assert (ended.status, ended.out) == (2, "")
    assert words in ended.err
    assert "Traceback" not in ended.err


async def test_credentials_and_tls(start_server: StartServer, tmp_path: Path) -> None:
    token, authority = new_token(), trustme.CA()
    issued, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("gateway@acme.example")
    for name, pem in {
        "ca": authority.cert_pem.bytes(),
        "server-cert": issued.cert_chain_pems[0].bytes(),
        "server-key": issued.private_key_pem.bytes(),
        "client-cert": client.cert_chain_pems[0].bytes(),
        "client-key": client.private_key_pem.bytes(),
        "token": f"{token}\n".encode(),
    }.items():
        (tmp_path / name).write_bytes(pem)
    principals = [
        {"name": "cron", "token_sha256": hash_token(token), "permissions": ["check"]},
        {"name": "gateway", "san": "gateway@acme.example", "permissions": ["check"]},
    ]
    (tmp_path / "credentials").write_text(yaml.safe_dump({"principals": principals}))
    common = {
        "credentials": tmp_path / "credentials",
        "tls_cert": tmp_path / "server-cert",
        "tls_key": tmp_path / "server-key",
        "database": None,
    }
    by_token = (await start_server(**common)).target
    by_certificate = (await start_server(**common, tls_client_ca=tmp_path / "ca")).target
    question = ("check", "support", "sam", "gpt-4o")
    ca, shown = ("--tls-ca", f"{tmp_path}/ca"), ("--token-file", f"{tmp_path}/token")
    pair = ("--tls-cert", f"{tmp_path}/client-cert", "--tls-key", f"{tmp_path}/client-key")
    environment = {
        "POLICY_SERVICE_SERVER": by_token,
        "POLICY_SERVICE_TLS_CA": f"{tmp_path}/ca",
        "POLICY_SERVICE_TOKEN_FILE": f"{tmp_path}/token",
    }
    assert (await run(*question, "--server", by_token, *ca, *shown)).status == 1
    assert (await run(*question, **environment)).status == 1
    assert (await run(*question, "--server", by_certificate, *ca, *pair)).status == 1
    assert (await run(*question, "--server", by_token)).status == 2
    nobody = await run(*question, "--server", by_token, *ca)
    assert (nobody.status, "--token-file" in nobody.err) == (2, True)
    (tmp_path / "empty.yaml").write_text("models: []")
    refused = await run("apply", "-f", f"{tmp_path}/empty.yaml", **environment)
    assert (refused.status, "needs the permission admin" in refused.err) == (2, True)
