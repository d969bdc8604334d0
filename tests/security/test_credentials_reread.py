"""The credentials file is read again when it changes; one that is wrong changes nothing and is reported."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from policy_service.server import Server

from .conftest import Connect
from .examples import CHECK
from .principals import bearer, credentials_text, overwrite, with_token
from .waiting import eventually

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
OLD, NEW, SECRET = "ps_old-token", "ps_new-token", "ps_recognisable-secret"
OLD_TEXT = credentials_text(with_token("gateway", OLD, "check"))
NEW_TEXT = credentials_text(with_token("gateway", NEW, "check"))


class Caller:
    """Asks a server what it makes of a token, and how its credentials are."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.check = channel.unary_unary("/policy_service.v1.AccessService/CheckModelAccess")
        self.health = health_pb2_grpc.HealthStub(channel)

    async def code(self, token: str | None = None) -> grpc.StatusCode:
        metadata = [] if token is None else bearer(token)
        try:
            await self.check(CHECK.SerializeToString(), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return OK

    async def knows(self, token: str) -> bool:
        return await self.code(token) == OK

    async def status(self, name: str = "credentials") -> int:
        return (await self.health.Check(health_pb2.HealthCheckRequest(service=name))).status

    async def reports_trouble(self) -> bool:
        return await self.status() == NOT_SERVING


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.yaml"
    path.write_text(OLD_TEXT)
    return path


@pytest.fixture
async def caller(start_server: Any, connect: Connect, file: Path) -> Caller:
    """Of a server with the old token."""
    caller = Caller(connect((await start_server(credentials=file, database=None)).target))
    assert await caller.status() == SERVING
    assert [await caller.code(token) for token in (OLD, NEW)] == [OK, UNAUTHENTICATED]
    return caller


async def test_a_change_counts_after_about_a_second(caller: Caller, file: Path) -> None:
    overwrite(file, NEW_TEXT)
    assert await eventually(lambda: caller.knows(NEW), "the new token is known") < 5
    assert await caller.code(OLD) == UNAUTHENTICATED
    assert await caller.status() == SERVING


def _renamed_over(file: Path, text: str) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(text)
    if file.is_dir():
        file.rmdir()
    beside.rename(file)


def _moved(file: Path, target: Path) -> Path:
    return file.rename(target)


def _same_size_and_time(file: Path, text: str) -> None:
    before = file.stat()
    file.write_text(text)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size


def _another_link(file: Path, text: str) -> None:
    """As Kubernetes does: the path is a symbolic link that gets another target."""
    target = file.with_name("data-2")
    target.write_text(text)
    link = file.with_name("link")
    link.symlink_to(target)
    link.rename(file)


REPLACEMENTS = [overwrite, _renamed_over, _same_size_and_time, _another_link]


@pytest.mark.usefixtures("fast_poll")
@pytest.mark.parametrize("replace", REPLACEMENTS, ids=lambda f: f.__name__)
async def test_any_way_to_replace_the_file_is_noticed(
    caller: Caller, file: Path, replace: Callable[[Path, str], None]
) -> None:
    replace(file, NEW_TEXT)
    await eventually(lambda: caller.knows(NEW), "the new token is known")
    assert await caller.code(OLD) == UNAUTHENTICATED


def _to_noise(file: Path) -> None:
    file.write_bytes(os.urandom(200) + b"\0")


def _to_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _to_a_dangling_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


Spoil = Callable[[Path], None]
BROKEN: dict[str, str | Spoil] = {
    "no YAML": f"principals: [{SECRET}",
    "no credentials": f"principals: {SECRET}",
    "empty": "",
    "a token for its hash": f"principals: [{{name: gateway, token_sha256: {SECRET}, permissions: [check]}}]",
    "noise": _to_noise,
    "removed": Path.unlink,
    "a folder": _to_a_folder,
    "dangling link": _to_a_dangling_link,
    # what PyYAML reports by other errors than its own
    "no such date": f"principals: [{{name: 2024-13-45, san: {SECRET}}}]",
    "no number": f"principals: !!int {SECRET}",
    "very deep": "[" * 500,
}


@pytest.mark.usefixtures("fast_poll")
@pytest.mark.parametrize("spoil", BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_keeps_the_principals_and_is_reported(
    caller: Caller, file: Path, spoil: str | Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    overwrite(file, spoil) if isinstance(spoil, str) else spoil(file)
    await eventually(caller.reports_trouble, "the named health check reports trouble")
    assert [await caller.code(token) for token in (OLD, NEW)] == [OK, UNAUTHENTICATED]
    assert [await caller.status(name) for name in ("", "policy_service.v1.AccessService")] == [SERVING, SERVING]
    (record,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    assert str(file) in record.fields["error"]  # type: ignore[attr-defined]
    assert SECRET not in str(record.__dict__)

    _renamed_over(file, NEW_TEXT)
    await eventually(lambda: caller.knows(NEW), "a file that is right again is read")
    assert await caller.code(OLD) == UNAUTHENTICATED
    assert await caller.status() == SERVING


@pytest.mark.usefixtures("fast_poll")
async def test_a_file_that_comes_back_as_it_was_is_healthy_again(caller: Caller, file: Path) -> None:
    away = _moved(file, file.with_suffix(".away"))
    await eventually(caller.reports_trouble, "the named health check reports trouble")
    _moved(away, file)

    async def healthy() -> bool:
        return await caller.status() == SERVING

    await eventually(healthy, "the named health check is healthy")
    assert await caller.code(OLD) == OK


@pytest.mark.usefixtures("fast_poll")
async def test_anonymous_can_be_opened_and_closed(caller: Caller, file: Path) -> None:
    async def open_to_all() -> bool:
        return await caller.code() == OK

    assert await caller.code() == UNAUTHENTICATED
    overwrite(file, OLD_TEXT + "anonymous: [check]\n")
    await eventually(open_to_all, "checks are open to all")
    overwrite(file, OLD_TEXT)

    async def closed() -> bool:
        return await caller.code() == UNAUTHENTICATED

    await eventually(closed, "checks are closed")


@pytest.mark.usefixtures("fast_poll")
async def test_a_change_while_the_server_starts_is_noticed(
    start_server: Any, connect: Connect, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading a large database takes long enough for a revocation."""
    start_role = Server._start_role

    async def starting(server: Server, owns_process: bool) -> Any:
        overwrite(file, NEW_TEXT)
        return await start_role(server, owns_process)

    monkeypatch.setattr(Server, "_start_role", starting)
    caller = Caller(connect((await start_server(credentials=file, database=None)).target))
    await eventually(lambda: caller.knows(NEW), "the new token is known", deadline_s=2)
    assert await caller.code(OLD) == UNAUTHENTICATED
