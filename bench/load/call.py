"""A gRPC call that is ready to be sent, and what its answer has to be."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Where(IntEnum):
    """Where in the message of an answer the expected bytes are. STATUS: there need be no message at all, and nothing is
    looked at but the HTTP status."""

    START = 0
    WHOLE = 1
    ANYWHERE = 2
    STATUS = 3


class Call(NamedTuple):
    """A unary call. The answer is right when it ended with grpc-status 0 and its message has the expected bytes."""

    path: bytes
    message: bytes  # encoded, without the gRPC frame
    expected: bytes
    where: Where = Where.START
