"""A server for all tests of a module; each test has teams of its own there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.rpc import Rpc, connect

from .recipes import ROOT, Admin, serving

EXT_AUTHZ = ROOT / "clients" / "envoy" / "ext-authz.yaml"  # who asks says the header x-policy-client: TEAM/USER


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target() -> AsyncIterator[str]:
    """Where a server without credentials listens."""
    async with serving(ext_authz_config=EXT_AUTHZ) as server:
        yield server.addresses[0]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rpc(target: str) -> AsyncIterator[Rpc]:
    async with connect(target) as rpc:
        yield rpc


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(target: str) -> Admin:
    return Admin(target)
