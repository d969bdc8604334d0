"""Who a caller is: by token, by certificate, anonymous or local; and that the audit log believes nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from policy_service.envoy_v3.external_auth_pb2 import CheckResponse
from policy_service.v1 import admin_pb2, admin_pb2_grpc
from policy_service.v1.resources_pb2 import ModelScope, Team

from .certificates import Pki
from .conftest import Connect
from .principals import ADMIN, ALMIGHTY, bearer, with_san, with_token, write_credentials
from .table import NOTHING, RPCS, Metadata, Rpc, call, checks_alone, codes, refused

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
# Metadata that other systems believe; the last ones are what Envoy and Kubernetes send on.
CLAIMS: Metadata = [
    (key, "mallory")
    for key in ("x-actor", "actor", "user", "x-user", "from", "x-principal", "x-forwarded-user", "x-remote-user")
] + [("x-forwarded-client-cert", "URI=mallory"), ("x-forwarded-for", "203.0.113.9"), ("user-agent", "mallory")]


class Malformed(Rpc):
    """An RPC whose request is no message."""

    request = b"\xff"


async def _audited(channel: grpc.aio.Channel, metadata: Metadata = ()) -> admin_pb2.AuditEvent:
    """Creates a team; what the audit log says of that."""
    admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
    team = Team(id="acme", models=ModelScope(mode=ModelScope.ALL))
    created = await admin.CreateTeam(admin_pb2.CreateTeamRequest(team=team), metadata=metadata)
    log = await admin.ListAuditEvents(admin_pb2.ListAuditEventsRequest(), metadata=metadata)
    (event,) = log.events
    assert event.revision == created.revision
    assert "mallory" not in str(event)
    assert "203.0.113.9" not in str(event)
    return event


async def test_without_credentials_the_actor_is_local(server: Any, connect: Connect) -> None:
    event = await _audited(connect(server.target), [*CLAIMS, ("authorization", "Bearer mallory")])
    assert event.actor == "local"
    assert event.peer.startswith("ipv4:127.0.0.1:")


async def test_the_actor_is_the_principal_of_the_token(start_server: Any, connect: Connect, everybody: Path) -> None:
    server = await start_server(credentials=everybody)
    event = await _audited(connect(server.target), [*CLAIMS, *bearer(ADMIN)])
    assert event.actor == "the-admin"


@pytest.mark.parametrize(("token", "actor"), [(None, "provisioning"), (ALMIGHTY, "someone")])
async def test_the_actor_is_the_principal_of_the_certificate_unless_there_is_a_token(
    start_server: Any, connect: Connect, pki: Pki, tmp_path: Path, token: str | None, actor: str
) -> None:
    entries = [with_san("provisioning", "provisioner.acme.example", "admin"), with_token("someone", ALMIGHTY, "admin")]
    file = write_credentials(tmp_path / "credentials.yaml", *entries)
    server = await start_server(credentials=file, **pki.mutual_tls)
    channel = connect(server.target, pki.caller(pki.certificate("provisioner.acme.example", cn="mallory")))
    event = await _audited(channel, [*CLAIMS, *(bearer(token) if token else [])])
    assert event.actor == actor


async def test_of_several_names_the_first_that_is_known_counts(
    start_server: Any, connect: Connect, pki: Pki, tmp_path: Path
) -> None:
    entries = [with_san("one", "one.example", "admin"), with_san("two", "two.example", "admin")]
    file = write_credentials(tmp_path / "credentials.yaml", *entries)
    server = await start_server(credentials=file, **pki.mutual_tls)
    certificate = pki.certificate("unknown.example", "two.example", "one.example")
    assert (await _audited(connect(server.target, pki.caller(certificate)))).actor == "two"


async def test_anonymous_may_check_and_no_more(start_server: Any, connect: Connect, tmp_path: Path) -> None:
    entries = [with_token("the-almighty", ALMIGHTY, "check", "replicate", "admin")]
    file = write_credentials(tmp_path / "credentials.yaml", *entries, anonymous=["check"])
    channel = connect((await start_server(credentials=file)).target)
    assert await codes(channel) == checks_alone()
    for wrong in (bearer("wrong"), [("authorization", "")], [("authorization", ALMIGHTY)]):
        assert await codes(channel, wrong) == refused(UNAUTHENTICATED)


async def test_a_file_without_principals_lets_nobody_in(start_server: Any, connect: Connect, tmp_path: Path) -> None:
    file = write_credentials(tmp_path / "credentials.yaml")
    server = await start_server(credentials=file)
    assert await codes(connect(server.target)) == refused(UNAUTHENTICATED)


async def test_a_refusal_names_what_is_missing_and_no_other_principal(
    start_server: Any, connect: Connect, everybody: Path
) -> None:
    channel = connect((await start_server(credentials=everybody)).target)
    create = channel.unary_unary("/policy_service.v1.AdminService/CreateTeam")
    words = {}
    for token in ("ps_wrong-token", "ps_check-token"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(b"", metadata=bearer(token))
        words[token] = f"{caught.value.details()} {caught.value.trailing_metadata()}"
        assert token not in words[token]
    assert "token is not known" in words["ps_wrong-token"]
    assert "needs the permission admin" in words["ps_check-token"]
    assert "'the-gateway'" in words["ps_check-token"]
    for text in words.values():
        assert "the-admin" not in text
        assert "the-almighty" not in text


async def test_who_a_caller_is_comes_before_what_it_sends(start_server: Any, connect: Connect, everybody: Path) -> None:
    """Malformed messages tell a stranger nothing."""
    channel = connect((await start_server(credentials=everybody)).target)
    for rpc in RPCS:
        if rpc.needs != NOTHING:
            malformed = Malformed(*rpc)
            assert (await call(channel, malformed)).code == UNAUTHENTICATED, rpc.path
            outcome = await call(channel, malformed, bearer(ALMIGHTY))
            # Envoy gets a denying answer: an error would open a gateway that fails open.
            judged = rpc.service == "envoy.service.auth.v3.Authorization"
            assert outcome.code == (OK if judged else grpc.StatusCode.INVALID_ARGUMENT), rpc.path
            if judged:
                assert CheckResponse.FromString(outcome.response).denied_response.status.code == 403
