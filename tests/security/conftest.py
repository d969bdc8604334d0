"""Fixtures: certificates, channels that get closed, and what a server's store and state look like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

import policy_service.credentials
import policy_service.roles
from policy_service.authority.authority import Authority
from policy_service.store.protocol import LogFilter

from .certificates import Pki
from .examples import WORLD
from .principals import EVERYBODY, write_credentials
from .table import Metadata

Connect = Callable[..., grpc.aio.Channel]
Photograph = Callable[[], Awaitable[list[Any]]]
SERVICE = "/policy_service.v1.AdminService/"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens channels to a target, with TLS when credentials are given, that are closed at the end."""
    async with AsyncExitStack() as stack:
        channels: list[grpc.aio.Channel] = []

        def open_channel(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
            # A connection of its own for each: grpc would share those that look alike.
            options = [("grpc.use_local_subchannel_pool", 1)]
            if credentials is None:
                channels.append(grpc.aio.insecure_channel(target, options))
            else:
                channels.append(grpc.aio.secure_channel(target, credentials, options))
            stack.push_async_callback(channels[-1].close)
            return channels[-1]

        yield open_channel


@pytest.fixture
def everybody(tmp_path: Path) -> Path:
    """A credentials file with the principals of `EVERYBODY`."""
    return write_credentials(tmp_path / "credentials.yaml", *EVERYBODY)


@pytest.fixture
def fast_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials files are looked at often, so that tests are short."""
    monkeypatch.setattr(policy_service.credentials, "POLL_S", 0.05)


@pytest.fixture
def photograph(monkeypatch: pytest.MonkeyPatch) -> Photograph:
    """Takes down all that the servers of this test hold: records, audit log, and the digest of the live state."""
    authorities: list[Authority] = []

    class Seen(Authority):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            authorities.append(self)

    monkeypatch.setattr(policy_service.roles, "Authority", Seen)

    async def take() -> list[Any]:
        assert authorities
        return [await _content(authority) for authority in authorities]

    return take


async def _content(authority: Authority) -> dict[str, Any]:
    store, state = authority.store, authority.state
    return {
        "teams": await store.teams("", 1_000),
        "members": await store.members("acme", "", None, ("", ""), 1_000),
        "groups": await store.groups("", 1_000),
        "models": await store.models("", 1_000),
        "log": await store.log(LogFilter(), (0, 0), 1_000),
        "position": (await store.position(), state.position),
        "digest": state.digest,
    }


async def build_world(channel: grpc.aio.Channel, metadata: Metadata = ()) -> None:
    """Sends the mutations of WORLD."""
    for request in WORLD:
        rpc = type(request).DESCRIPTOR.name.removesuffix("Request")
        await channel.unary_unary(SERVICE + rpc)(request.SerializeToString(), metadata=metadata)
