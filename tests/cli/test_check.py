"""`policy-service check`: exit statuses and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
import yaml

from policy_client import AdminClient
from policy_service.services.auth import hash_token, new_token
from policy_service.v1.resources_pb2 import AccessGroup, Member, MemberLimits, ModelScope, Team
from tests.support.replicas import STALE, equal, following, in_state
from tests.support.rpc import connect

from .commands import Cli, invoke, run

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

QUESTION = ("check", "support", "sam", "fast")


@pytest.fixture
async def cli(server: RunningServer) -> Cli:
    """Where sam of support may use `gpt-4o-mini` and its alias `fast`."""
    async with AdminClient(server.target) as admin:
        await admin.set_access_group(AccessGroup(name="cheap", models=["gpt-4o-mini"]))
        team = Team(id="support", models=ModelScope(models=["gpt-*"]), model_aliases={"fast": "gpt-4o-mini"})
        sam = Member(user="sam", allowed_models=ModelScope(models=["cheap"]), limits=MemberLimits(rpm_limit=9))
        await admin.create_team(team, [sam])
    return Cli(server.target)


async def test_allowed_is_0(cli: Cli) -> None:
    ended = await run(*QUESTION, "--server", cli.target)
    assert (ended.status, ended.err) == (0, "")
    assert ended.lines == [
        "allowed: In team 'support' user 'sam' may use model 'fast'. (ALLOWED_BY_MEMBER_SCOPE; model gpt-4o-mini)"
    ]


async def test_denied_is_1(cli: Cli) -> None:
    ended = await run("check", "support", "sam", "gpt-4o", "--server", cli.target)
    assert (ended.status, ended.err) == (1, "")
    (line,) = ended.lines
    assert line.startswith("denied: ")
    assert line.endswith("(MODEL_NOT_IN_MEMBER_SCOPE; model gpt-4o)")


async def test_a_user_may_be_empty(cli: Cli) -> None:
    ended = await cli("check", "support", "", "gpt-4o")
    assert (ended.status, "NOT_A_MEMBER" in ended.out) == (1, True)


async def test_json_and_yaml(cli: Cli) -> None:
    allowed = await cli.json(*QUESTION)
    assert await cli.yaml(*QUESTION) == allowed
    assert allowed == {
        "allowed": True,
        "reason": "ALLOWED_BY_MEMBER_SCOPE",
        "message": "In team 'support' user 'sam' may use model 'fast'.",
        "resolved_model": "gpt-4o-mini",
        "limits": {"rpm_limit": 9},
        "revision": await cli.revision(),
        "stale": False,
    }
    ended = await cli("check", "support", "sam", "o1", "--output", "json")
    denied = json.loads(ended.out)
    assert (ended.status, denied["allowed"], denied["reason"]) == (1, False, "MODEL_NOT_IN_TEAM_SCOPE")
    assert denied.keys() == allowed.keys() - {"limits"}


async def test_an_answer_that_may_be_out_of_date_says_so(
    cli: Cli, server: RunningServer, start_server: StartServer
) -> None:
    running = await start_server(follow=following(server.target, max_staleness_s=1.0))
    async with connect(server.target) as authority, connect(running.target) as replica:
        await equal(replica, authority)
        await server.stop()
        await in_state(replica, STALE)
        stale = Cli(running.target)
        ended = await stale(*QUESTION)
        assert (ended.status, ended.lines[0].endswith("; may be out of date)")) == (0, True)
        ended = await stale("models", "support", "sam")
        assert (ended.status, ended.lines) == (0, ["fast", "gpt-4o-mini"])
        assert ended.err == "may be out of date\n"
        ended = await stale("check", "--batch", "-", text="support,sam,fast")
        assert (ended.status, ended.err) == (0, "may be out of date\n")


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
    assert (await invoke(*question, "--server", by_token, *ca, *shown)).status == 1
    assert (await invoke(*question, **environment)).status == 1
    assert (await invoke(*question, "--server", by_certificate, *ca, *pair)).status == 1
    named = {"POLICY_SERVICE_CLIENT_CERT": pair[1], "POLICY_SERVICE_CLIENT_KEY": pair[3]}
    assert (await invoke(*question, "--server", by_certificate, *ca, **named)).status == 1
    # The server's own certificate, by the names that `serve` reads, is not shown to another server.
    own = {"POLICY_SERVICE_TLS_CERT": pair[1], "POLICY_SERVICE_TLS_KEY": pair[3]}
    assert (await invoke(*question, "--server", by_certificate, *ca, **own)).status != 1
    assert (await invoke(*question, "--server", by_token)).status == 5
    nobody = await invoke(*question, "--server", by_token, *ca)
    assert (nobody.status, "--token-file" in nobody.err) == (2, True)
    (tmp_path / "empty.yaml").write_text("models: []")
    refused = await invoke("apply", "-f", f"{tmp_path}/empty.yaml", **environment)
    assert (refused.status, "needs the permission admin" in refused.err) == (2, True)
