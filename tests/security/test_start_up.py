"""The real command: it refuses with one clear line and exit status 2, and reads its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

from .certificates import Pki
from .conftest import Connect
from .principals import ADMIN, CHECKER, bearer, overwrite, sha256
from .processes import run, serving
from .table import RPCS, Metadata, call
from .waiting import eventually

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
SECRET = "ps_recognisable-secret"
KEPT = "credentials not read again; the former ones hold"
GET_HEALTH = next(rpc for rpc in RPCS if rpc.path == "/grpc.health.v1.Health/Check")
LIST_TEAMS = next(rpc for rpc in RPCS if rpc.method.name == "ListTeams")

REFUSED: dict[str, tuple[list[str], str]] = {
    "exposed": (["--listen", "0.0.0.0:0"], "0.0.0.0:0 is reached from other machines and needs --credentials"),
    "exposed admin": (
        ["--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0", "--insecure-listen"],
        "0.0.0.0:0 is reached from other machines and needs --credentials and --tls-cert and --tls-key, since Admin",
    ),
    "no address": (["--listen", "localhost"], "'localhost' is no address; give HOST:PORT, [IPv6]:PORT or unix:PATH"),
    "wrong credentials": (["--credentials", "{wrong}"], "principals[0]: token_sha256 is not 64 hexadecimal digits"),
    "wrong key": (["--tls-cert", "{pki.cert}", "--tls-key", "{pki.client_ca}"], "check that they belong together"),
}


@pytest.mark.parametrize(("arguments", "words"), REFUSED.values(), ids=REFUSED)
async def test_a_refusal_is_one_line_and_exit_status_2(
    pki: Pki, tmp_path: Path, arguments: list[str], words: str
) -> None:
    wrong, database = tmp_path / "wrong.yaml", tmp_path / "policy.db"
    wrong.write_text(f"principals: [{{name: gw, token_sha256: {SECRET}, permissions: [check]}}]")
    given = [argument.format(pki=pki, wrong=wrong) for argument in arguments]
    listen = [] if "--listen" in given else ["--listen", "127.0.0.1:0"]
    ended = await run("serve", "--database", str(database), *listen, *given)
    _assert_one_line(ended, words)
    assert SECRET not in ended.stderr
    assert not database.exists() or "belong together" in words  # TLS files are read when the store is open


def _assert_one_line(ended: Any, words: str) -> None:
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith("policy-service: ")
    assert words in ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr


async def test_a_port_in_use_is_refused_and_its_server_goes_on(server: Any, connect: Connect) -> None:
    ended = await run("serve", "--listen", server.target, "--in-memory")
    assert ended.status == 2
    assert f"policy-service: cannot listen on {server.target}: the address is in use" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (await call(connect(server.target), GET_HEALTH)).code == OK


async def test_a_port_in_use_is_refused_with_one_line(server: Any) -> None:
    ended = await run("serve", "--listen", server.target, "--in-memory")
    _assert_one_line(ended, "the address is in use")


async def test_a_refusal_after_the_credentials_were_read_is_one_line(pki: Pki, everybody: Path) -> None:
    files = ["--tls-cert", str(pki.cert), "--tls-key", str(pki.cert), "--credentials", str(everybody)]
    ended = await run("serve", "--listen", "127.0.0.1:0", "--in-memory", *files)
    _assert_one_line(ended, "check that they belong together")


# Options by environment variable


async def _admin_answers(connect: Connect, target: str, metadata: Metadata = ()) -> grpc.StatusCode:
    return (await call(connect(target), LIST_TEAMS, metadata)).code


async def test_listen_by_environment(tmp_path: Path, connect: Connect) -> None:
    address = f"unix:{tmp_path}/p.sock"
    async with serving(tmp_path, "--in-memory", POLICY_SERVICE_LISTEN=address) as server:
        assert server.target == address
        assert await _admin_answers(connect, address) == OK


async def test_database_by_environment(tmp_path: Path) -> None:
    database = tmp_path / "somewhere.db"
    listen = {"POLICY_SERVICE_LISTEN": "127.0.0.1:0"}
    async with serving(tmp_path, POLICY_SERVICE_DATABASE=str(database), **listen) as server:
        assert database.exists()
        assert f"database={database}" in server.output
    assert not (tmp_path / "policy-service.db").exists()


async def test_credentials_by_environment(tmp_path: Path, everybody: Path, connect: Connect) -> None:
    listen = ["--listen", "127.0.0.1:0", "--in-memory"]
    async with serving(tmp_path, *listen, POLICY_SERVICE_CREDENTIALS=str(everybody)) as server:
        assert await _admin_answers(connect, server.target) == UNAUTHENTICATED
        assert await _admin_answers(connect, server.target, bearer(ADMIN)) == OK


async def test_insecure_listen_by_environment_can_say_no() -> None:
    ended = await run("serve", "--in-memory", "--listen", "0.0.0.0:0", POLICY_SERVICE_INSECURE_LISTEN="false")
    _assert_one_line(ended, "is reached from other machines")


# Secrets


async def test_neither_tokens_nor_their_hashes_nor_requests_are_logged(
    tmp_path: Path, everybody: Path, connect: Connect
) -> None:
    arguments = ["--in-memory", "--listen", "127.0.0.1:0", "--credentials", str(everybody)]
    bad = "ps_bad-token"
    async with serving(tmp_path, *arguments, GRPC_VERBOSITY="info") as server:
        channel = connect(server.target)
        for metadata in (*map(bearer, (ADMIN, CHECKER, bad)), [("authorization", bad)], bearer(bad) * 2):
            for rpc in RPCS:
                await call(channel, rpc, metadata)
        for text in (f"principals: [{SECRET}, ", f"{SECRET}: {sha256(SECRET)}", f"principals: !!int {SECRET}"):
            overwrite(everybody, text)
            reported = server.output.count(KEPT) + 1

            async def reported_again(expected: int = reported) -> bool:
                return server.output.count(KEPT) == expected

            await eventually(reported_again, "the broken file is reported")
    output = server.output
    assert " info stopped" in output
    for secret in (ADMIN, CHECKER, bad, SECRET):
        assert secret not in output
        assert sha256(secret) not in output
    for content in ("new-team", "new-user", "Acme", "old-model"):
        assert content not in output
