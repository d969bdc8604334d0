"""Random messages for every RPC, from the descriptors: an answer or a decent refusal, and a server that goes on."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.server import Server
from tests.support import examples
from tests.support.audit import read, verify
from tests.support.database import load
from tests.support.examples import EXAMPLES
from tests.support.rpc import METHODS, Failure, Rpc, connect, outcome
from tests.support.strategies import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")
some = settings(
    max_examples=30, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rpc]:
    """A server that takes every message. At the end it still runs, its log verifies, and what is in the database is
    what it decided from."""
    database = tmp_path_factory.mktemp("fuzzed") / "policy.db"
    server = await Server.start(Config(listen=Address("127.0.0.1:0"), database=database))
    try:
        async with connect(server.addresses[0]) as rpc:
            await examples.build(rpc)
            yield rpc
            assert not server.failed.is_set()
            verify(await read(rpc))
            head = await rpc.head()
    finally:
        await server.stop()
    assert (await load(database)).revision == head


@pytest.mark.parametrize("name", METHODS)
async def test_random_messages(fuzzed: Rpc, name: str) -> None:
    """A Failure is checked by its making: never INTERNAL or UNKNOWN, with words, without a trace of the inside."""
    method = METHODS[name]

    @some
    @given(st.lists(messages(method.input_type), min_size=4, max_size=4))
    def batches(found: list) -> None:
        drawn.extend(found)

    drawn: list = []
    batches()
    assert len(drawn) > 100 or not method.input_type.fields
    answers = [await outcome(fuzzed.call(name, request)) for request in drawn]
    assert {type(answer) for answer in answers} <= {Failure, GetMessageClass(method.output_type)}


@pytest.mark.parametrize("name", METHODS)
async def test_damaged_messages(fuzzed: Rpc, name: str) -> None:
    """Good ones with bytes changed, left out and repeated."""
    chance = random.Random(name)
    encoded = EXAMPLES[name].SerializeToString()
    for _ in range(200):
        damaged = bytearray(encoded)
        for _ in range(1 + chance.randrange(4)):
            at = chance.randrange(len(damaged) + 1)
            kind = chance.randrange(3)
            if kind == 0:
                damaged[at:at] = chance.randbytes(1 + chance.randrange(3))
            elif kind == 1:
                del damaged[at : at + 1 + chance.randrange(4)]
            elif damaged:
                damaged[at % len(damaged)] ^= 1 << chance.randrange(8)
        await outcome(fuzzed.send(METHODS[name], bytes(damaged)))
