"""Which server the recipes talk to, how, and who they say they are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
import yaml

from policy_service.addresses import Address
from policy_service.services.auth import hash_token, new_token
from tests.support.waiting import until

from .recipes import FOLDER, GRPCURL, environment, run, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK = ("audit-week.sh",)
WHY = ("why-denied.sh", "support", "sam", "mini")


class Secured:
    """A server that wants a client certificate and credentials, and the files of who may talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.address, token, authority = folder, "", new_token(), trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        client, stranger = authority.issue_cert("admin@acme.example"), authority.issue_cert("eve@acme.example")
        principals = [
            {"name": "by-token", "token_sha256": hash_token(token), "permissions": ["admin", "check"]},
            {"name": "by-certificate", "san": "admin@acme.example", "permissions": ["admin", "check"]},
        ]
        contents = {
            "ca": authority.cert_pem.bytes(),
            "token": f"{token}\n".encode(),
            "credentials": yaml.safe_dump({"principals": principals}).encode(),
        }
        for name, made in (("server", issued), ("admin", client), ("eve", stranger)):
            contents |= {name: made.cert_chain_pems[0].bytes(), f"{name}-key": made.private_key_pem.bytes()}
        for name, content in contents.items():
            (folder / name).write_bytes(content)

    def known_by(self, certificate: str) -> dict[str, Any]:
        """The connection with a client certificate, as the recipes take it."""
        shown = {"client_cert": self.folder / certificate, "client_key": self.folder / f"{certificate}-key"}
        return shown | {"address": self.address, "tls_ca": self.folder / "ca"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    secured = Secured(tmp_path_factory.mktemp("with a space"))
    files = {"credentials": "credentials", "tls_cert": "server", "tls_key": "server-key", "tls_client_ca": "ca"}
    given: dict[str, Any] = {field: secured.folder / name for field, name in files.items()}
    async with serving(**given) as server:
        secured.address = server.addresses[0]
        yield secured


async def test_a_client_certificate_and_a_token(secured: Secured) -> None:
    assert (await run(*ASK, **secured.known_by("admin"))).status == 0
    stranger = await run(*ASK, **secured.known_by("eve"))
    assert (stranger.status, "no credential" in stranger.err) == (1, True), stranger
    assert (await run(*ASK, **secured.known_by("eve"), token_file=secured.folder / "token")).status == 0
    refused = await run(*ASK, address=secured.address, tls_ca=secured.folder / "ca")
    assert (refused.status, refused.out, "Failed to dial" in refused.err) == (1, "", True)


async def test_two_addresses_one_of_them_a_socket(tmp_path: Path) -> None:
    async with serving(admin_listen=Address(f"unix:{tmp_path}/admin")) as server:
        both = {"address": server.addresses[0], "admin_address": server.addresses[-1]}
        ended = await run("onboard-team.sh", "--model", "mini", "--member", "sam", "--yes", "support", **both)
        assert (ended.status, "Created, in revision" in ended.out) == (0, True), ended
        assert "ALLOWED_BY_TEAM_SCOPE" in (await run(*WHY, **both)).out
        assert (await run(*ASK, address=server.addresses[0])).status != 0
        assert "ALLOWED_BY_TEAM_SCOPE" in (await run(*WHY, server=server.addresses[0])).out


async def test_a_token_goes_nowhere_in_plain_text(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("the-secret")
    elsewhere = ("policy.acme.example:50051", "127.0.0.1.acme.example:50051", "10.0.0.1:50051", "localhost.evil:1")
    for given in [{"address": address} for address in elsewhere] + [{"admin_address": "10.0.0.1:50051"}]:
        refused = await run(*ASK, **given, token_file=token)
        assert (refused.status, "in plain text" in refused.err) == (2, True)
    token.write_text("")
    assert "is empty" in (await run(*ASK, token_file=token)).err
    assert "No such file" in (await run(*ASK, token_file=tmp_path / "none")).err


@pytest.fixture
def silent() -> Iterator[str]:
    """Where connections are taken, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_no_list_of_processes_shows_the_token(silent: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("the-secret")
    process = await asyncio.create_subprocess_exec(
        *(FOLDER / WHY[0], *WHY[1:]),
        stderr=asyncio.subprocess.DEVNULL,
        env=environment({"address": silent, "token_file": tmp_path / "token"}),
        start_new_session=True,
    )
    try:
        lines = await until(lambda: calling_grpcurl(process.pid), "grpcurl runs")
        assert [line for line in lines if "authorization: Bearer ${POLICY_SERVICE_TOKEN}" in line]
        assert not [line for line in lines if "the-secret" in line]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def calling_grpcurl(session: int) -> list[str]:
    """The command lines of all processes of a session, when one of them is grpcurl's."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(folder.name)) == session:
                found.append((folder / "cmdline").read_bytes().decode(errors="replace"))
    return found if any("grpcurl\0-d" in line for line in found) else []


async def test_nobody_is_there() -> None:
    nobody = await run(*WHY, address="127.0.0.1:1")
    assert (nobody.status, "connection refused" in nobody.err) == (1, True)


@pytest.mark.parametrize("missing", ["grpcurl", "python3"])
async def test_what_is_not_installed_is_named(tmp_path: Path, missing: str) -> None:
    tools = {"bash": "/bin/bash", "dirname": "/usr/bin/dirname", "grpcurl": GRPCURL, "python3": sys.executable}
    for name, path in tools.items():
        if name != missing:
            (tmp_path / name).symlink_to(path)
    process = await asyncio.create_subprocess_exec(
        *(FOLDER / WHY[0], *WHY[1:]), stderr=asyncio.subprocess.PIPE, env={"PATH": str(tmp_path)}
    )
    _, err = await process.communicate()
    assert process.returncode != 0
    assert missing in err.decode()
