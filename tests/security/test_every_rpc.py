"""Every RPC of every service against every kind of caller: who is refused, how, and that nothing changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse

from .certificates import Pki
from .conftest import Connect, Photograph, build_world
from .principals import ADMIN, ALMIGHTY, CHECKER, EVERYBODY, PERMISSIONS, bearer, sha256, with_san, with_token
from .principals import write_credentials as write
from .table import ANY, NOTHING, RPCS, SERVICES, UNLISTED, Metadata, Rpc, call, checks_alone, codes, passed, refused
from .waiting import eventually

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
UNAUTHENTICATED, PERMISSION_DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
GATEWAY = "gateway.acme.example"
IDS = [rpc.path for rpc in RPCS]

NOT_CREDENTIALS: dict[str, Metadata] = {
    "nothing": [],
    "wrong token": bearer("ps_wrong-token"),
    "no scheme": [("authorization", ALMIGHTY)],
    "another scheme": [("authorization", f"Basic {ALMIGHTY}")],
    "scheme alone": [("authorization", "Bearer")],
    "empty token": [("authorization", "Bearer ")],
    "empty header": [("authorization", "")],
    "the right header twice": bearer(ALMIGHTY) * 2,
    "right, then wrong": bearer(ALMIGHTY) + bearer("wrong"),
    "wrong, then right": bearer("wrong") + bearer(ALMIGHTY),
    "two tokens in one header": [("authorization", f"Bearer {ALMIGHTY}, Bearer {ALMIGHTY}")],
    "two tokens, one scheme": bearer(f"{CHECKER},{ADMIN}"),
    "space before the token": bearer(f" {ALMIGHTY}"),
    "space after the token": bearer(f"{ALMIGHTY} "),
    "other case": bearer(ALMIGHTY.upper()),
    "a part of the token": bearer(ALMIGHTY[:-1]),
    "the hash for the token": bearer(sha256(ALMIGHTY)),
    "quoted token": bearer(f'"{ALMIGHTY}"'),
    "the principal's name": bearer("the-almighty"),
    "binary header": [("authorization-bin", f"Bearer {ALMIGHTY}".encode())],
    "other headers": [(key, f"Bearer {ALMIGHTY}") for key in ("x-authorization", "cookie", "token", "user", "x-actor")],
}


async def test_the_table_has_every_service(
    start_server: Any, connect: Connect, everybody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: set[str] = set()
    make = grpc.aio.server

    def recording(*args: Any, **kwargs: Any) -> grpc.aio.Server:
        server = make(*args, **kwargs)
        add = server.add_generic_rpc_handlers

        def adding(handlers: Any) -> None:
            registered.update(handler.service_name() for handler in handlers)
            add(handlers)

        monkeypatch.setattr(server, "add_generic_rpc_handlers", adding)
        return server

    monkeypatch.setattr(grpc.aio, "server", recording)
    server = await start_server(credentials=everybody)
    assert registered == SERVICES.keys()
    channel = connect(server.target)
    for rpc in RPCS:
        if rpc.needs == ANY:
            answer = ServerReflectionResponse.FromString((await call(channel, rpc, bearer(CHECKER))).response)
            listed = {service.name for service in answer.list_services_response.service}
            assert listed | UNLISTED == SERVICES.keys()


@pytest.mark.parametrize("metadata", NOT_CREDENTIALS.values(), ids=NOT_CREDENTIALS)
async def test_who_shows_no_known_token_is_unauthenticated(
    start_server: Any, connect: Connect, everybody: Path, photograph: Photograph, metadata: Metadata
) -> None:
    channel = connect((await start_server(credentials=everybody)).target)
    await build_world(channel, bearer(ADMIN))
    before = await photograph()
    assert await codes(channel, metadata) == refused(UNAUTHENTICATED)
    assert await photograph() == before


async def test_a_revoked_token_is_unauthenticated_on_the_channel_it_was_good_for(
    start_server: Any, connect: Connect, everybody: Path, photograph: Photograph
) -> None:
    channel = connect((await start_server(credentials=everybody)).target)
    await build_world(channel, bearer(ALMIGHTY))
    before = await photograph()
    write(everybody, *EVERYBODY[:-1])
    (example,) = (rpc for rpc in RPCS if rpc.method.name == "GetTeam")

    async def gone() -> bool:
        return (await call(channel, example, bearer(ALMIGHTY))).code == UNAUTHENTICATED

    await eventually(gone, "the token is refused")
    assert await codes(channel, bearer(ALMIGHTY)) == refused(UNAUTHENTICATED)
    assert (await call(channel, example, bearer(ADMIN))).code == OK
    assert await photograph() == before


async def test_a_token_without_the_permission_is_denied(
    start_server: Any, connect: Connect, tmp_path: Path, photograph: Photograph
) -> None:
    others = {needed: [other for other in PERMISSIONS if other != needed] for needed in PERMISSIONS}
    lacking = [with_token(f"all-but-{needed}", f"all-but-{needed}", *others[needed]) for needed in PERMISSIONS]
    file = write(tmp_path / "credentials.yaml", *lacking, *EVERYBODY)
    channel = connect((await start_server(credentials=file)).target)
    await build_world(channel, bearer(ADMIN))
    before = await photograph()
    for rpc in RPCS:
        if rpc.needs in PERMISSIONS:
            assert (await call(channel, rpc, bearer(f"all-but-{rpc.needs}"))).code == PERMISSION_DENIED, rpc.path
        else:
            assert [(await call(channel, rpc, bearer(f"all-but-{p}"))).code for p in PERMISSIONS] == [OK] * 3
    assert await photograph() == before


@pytest.mark.parametrize("rpc", RPCS, ids=IDS)
async def test_the_permission_alone_is_enough(start_server: Any, connect: Connect, tmp_path: Path, rpc: Rpc) -> None:
    needed = rpc.needs if rpc.needs in PERMISSIONS else "replicate"
    entries = [with_token("just-this", "just-this", needed), with_token("admin", ADMIN, "admin")]
    file = write(tmp_path / "credentials.yaml", *entries)
    channel = connect((await start_server(credentials=file, database=None)).target)
    await build_world(channel, bearer(ADMIN))
    metadata = [] if rpc.needs == NOTHING else bearer("just-this")
    assert (await call(channel, rpc, metadata)).code == OK


async def test_a_principal_with_every_permission_passes_and_every_mutation_changes_something(
    start_server: Any, connect: Connect, everybody: Path, photograph: Photograph
) -> None:
    channel = connect((await start_server(credentials=everybody)).target)
    await build_world(channel, bearer(ALMIGHTY))
    outcomes: dict[str, grpc.StatusCode] = {}
    for rpc in RPCS:
        before = await photograph()
        outcome = await call(channel, rpc, bearer(ALMIGHTY))
        outcomes[rpc.path] = outcome.code
        assert (await photograph() != before) == rpc.is_mutation, rpc.path
        if rpc.is_mutation:
            response: Any = GetMessageClass(rpc.method.output_type).FromString(outcome.response)
            assert response.revision, rpc.path
    assert outcomes == passed()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(
    start_server: Any, connect: Connect, everybody: Path, scheme: str
) -> None:
    channel = connect((await start_server(credentials=everybody)).target)
    await build_world(channel, bearer(ALMIGHTY))
    assert await codes(channel, [("authorization", f"{scheme} {ALMIGHTY}")]) == passed()


# Certificates


@pytest.fixture
async def mutual(start_server: Any, connect: Connect, pki: Pki, tmp_path: Path, photograph: Photograph) -> str:
    """The address of a server that wants certificates, with a world in it."""
    gateway = with_san("gateway", GATEWAY, *PERMISSIONS)
    file = write(tmp_path / "credentials.yaml", gateway, with_san("checker", "checker", "check"), *EVERYBODY)
    server = await start_server(credentials=file, **pki.mutual_tls)
    await build_world(connect(server.target, pki.caller(pki.certificate(GATEWAY))))
    return str(server.target)


def _failing_handshakes(pki: Pki) -> dict[str, grpc.ChannelCredentials | None]:
    return {
        "no certificate": pki.caller(),
        "another authority": pki.caller(pki.certificate(GATEWAY, ca=pki.other_ca)),
        "expired": pki.caller(pki.certificate(GATEWAY, expired=True)),
        "no TLS": None,
    }


@pytest.mark.parametrize("who", ["no certificate", "another authority", "expired", "no TLS"])
async def test_without_a_certificate_of_the_authority_there_is_no_connection(
    mutual: str, connect: Connect, pki: Pki, photograph: Photograph, who: str
) -> None:
    before = await photograph()
    channel = connect(mutual, _failing_handshakes(pki)[who])
    assert await codes(channel, bearer(ALMIGHTY)) == dict.fromkeys(passed(), UNAVAILABLE)
    assert await photograph() == before


UNKNOWN_NAMES: dict[str, dict[str, Any]] = {
    "another name": {"sans": ["other.acme.example"]},
    "the name as CN alone": {"sans": [], "cn": GATEWAY},
    "the name as CN beside another": {"sans": ["other.acme.example"], "cn": GATEWAY},
    "other case": {"sans": [GATEWAY.upper()]},
    "wildcard": {"sans": ["*.acme.example"]},
    "longer at the end": {"sans": [f"{GATEWAY}.evil.example"]},
    "longer at the start": {"sans": [f"evil-{GATEWAY}"]},
    "trailing dot": {"sans": [f"{GATEWAY}."]},
    "the principal's name": {"sans": ["gateway"]},
}


@pytest.mark.parametrize("names", UNKNOWN_NAMES.values(), ids=UNKNOWN_NAMES)
async def test_a_certificate_with_an_unknown_name_is_unauthenticated(
    mutual: str, connect: Connect, pki: Pki, photograph: Photograph, names: dict[str, Any]
) -> None:
    before = await photograph()
    certificate = pki.certificate(*names["sans"], cn=names.get("cn", "someone"))
    assert await codes(connect(mutual, pki.caller(certificate))) == refused(UNAUTHENTICATED)
    assert await photograph() == before


async def test_a_certificate_does_not_save_a_wrong_token(
    mutual: str, connect: Connect, pki: Pki, photograph: Photograph
) -> None:
    before = await photograph()
    channel = connect(mutual, pki.caller(pki.certificate(GATEWAY)))
    assert await codes(channel, bearer("ps_wrong-token")) == refused(UNAUTHENTICATED)
    assert await photograph() == before


async def test_a_certificate_without_the_permission_is_denied(
    mutual: str, connect: Connect, pki: Pki, photograph: Photograph
) -> None:
    before = await photograph()
    assert await codes(connect(mutual, pki.caller(pki.certificate("checker")))) == checks_alone()
    assert await photograph() == before


@pytest.mark.parametrize("sans", [[GATEWAY], ["unknown", GATEWAY], [GATEWAY, GATEWAY]], ids=str)
async def test_a_known_name_passes(mutual: str, connect: Connect, pki: Pki, sans: list[str]) -> None:
    assert await codes(connect(mutual, pki.caller(pki.certificate(*sans)))) == passed()


async def test_a_token_passes_beside_an_unknown_certificate(mutual: str, connect: Connect, pki: Pki) -> None:
    channel = connect(mutual, pki.caller(pki.certificate("unknown")))
    assert await codes(channel, bearer(ALMIGHTY)) == passed()


async def test_tls_without_a_client_authority_asks_for_no_certificate(
    start_server: Any, connect: Connect, pki: Pki, tmp_path: Path
) -> None:
    file = write(tmp_path / "credentials.yaml", with_san("gateway", GATEWAY, *PERMISSIONS), *EVERYBODY)
    server = await start_server(credentials=file, **pki.tls)
    channel = connect(server.target, pki.caller(pki.certificate(GATEWAY)))
    assert await codes(channel) == refused(UNAUTHENTICATED)
    await build_world(channel, bearer(ALMIGHTY))
    assert await codes(channel, bearer(ALMIGHTY)) == passed()
