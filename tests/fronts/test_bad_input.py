"""What is wrong with a request is said by every front alike: the same code, the same words, the same details."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from tests.support.fronts import AUTHORITY, DATA_PLANE, FRONTS, REPLICA, Fleet, Refusal, that_can
from tests.support.messages import check

from .bad_questions import TABLES, bad_items

pytestmark = pytest.mark.asyncio(loop_scope="module")
MAX_MESSAGE_BYTES = 1_000  # a client refuses a status of more than 8 KiB


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
async def test_refused(fleet: Fleet, table: Callable[[], Iterator[Message]], front: str) -> None:
    """As the grpcio server of the authority does. In the same process nothing has to fit a status: there the words may
    go on."""
    for request in table():
        if front not in that_can(request):
            continue
        refusal, wanted = await fleet[front].ask(request), await fleet[AUTHORITY].ask(request)
        shown = f"{type(request).__name__} {str(request)[:200]}"
        assert isinstance(wanted, Refusal), shown
        assert wanted.code is grpc.StatusCode.INVALID_ARGUMENT
        assert wanted.reason == "INVALID_ARGUMENT"
        assert wanted.violations, shown
        assert len(wanted.message.encode()) <= MAX_MESSAGE_BYTES
        assert refusal == wanted, shown


async def test_errors_in_a_batch(fleet: Fleet) -> None:
    request = bad_items()
    answers: list[Any] = [await fleet[front].ask(request) for front in that_can(request)]
    assert len(answers) == len([AUTHORITY, REPLICA, DATA_PLANE])
    for answer in answers:
        assert answer == answers[0]
        kinds = [result.WhichOneof("result") for result in answer.results]
        assert kinds == ["decision", "error"] * (len(kinds) // 2)


async def test_all_go_on(fleet: Fleet) -> None:
    asked = check("ml", "ann", "gpt-4o-mini")
    answers: list[Any] = [await fleet[front].ask(asked) for front in that_can(asked)]
    assert {answer.allowed for answer in answers[1:]} == {True}
