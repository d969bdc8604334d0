"""The pure parts of gRPC's protocol: frames, deadlines, statuses as trailers."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from urllib.parse import unquote

import grpc
import pytest
from google.rpc.status_pb2 import Status
from hypothesis import example, given
from hypothesis import strategies as st

from policy_service.dataplane.wire import FRAME_BYTES, message_of, timeout_s, trailers_of
from policy_service.errors import NotFound
from policy_service.services.unary import Failed

LARGEST = 300  # bytes of a message, here
UNITS = {"H": 3_600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
PRINTABLE = {code for code in range(0x20, 0x7F) if code != ord("%")}


def failure_of(call: Callable[[], object]) -> Failed | None:
    """What the call raised, if it did; anything else than Failed fails the test."""
    try:
        call()
    except Failed as failed:
        return failed
    return None


messages = st.binary(max_size=LARGEST)
lengths = st.integers(0, 2**32 - 1)
bodies = st.one_of(
    st.binary(max_size=20),
    st.builds(
        lambda flag, length, message: bytes([flag]) + length.to_bytes(4) + message,
        st.integers(0, 255),
        st.one_of(lengths, st.integers(0, LARGEST + 5)),
        st.binary(max_size=LARGEST + 5),
    ),
    st.builds(lambda message, more: b"\0" + len(message).to_bytes(4) + message + more, messages, st.binary(max_size=9)),
)


@given(messages)
def test_a_frame_has_its_message(message: bytes) -> None:
    assert message_of(b"\0" + len(message).to_bytes(4) + message, LARGEST) == message


@given(bodies)
@example(b"")
@example(b"\0\0\0\0\0")
@example(b"\0\0\0\0")
@example(b"\1\0\0\0\0")
@example(b"\0" + (LARGEST + 1).to_bytes(4) + bytes(LARGEST + 1))
def test_nothing_else_is_a_frame(body: bytes) -> None:
    length = int.from_bytes(body[1:5])
    is_frame = body[:1] == b"\0" and len(body) == FRAME_BYTES + length and length <= LARGEST
    if len(body) < FRAME_BYTES or not is_frame:
        failed = failure_of(lambda: message_of(body, LARGEST))
        assert failed is not None
        assert failed.message
        assert failed.code in (
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.UNIMPLEMENTED,
        )
    else:
        assert message_of(body, LARGEST) == body[FRAME_BYTES:]


@pytest.mark.parametrize(("digits", "unit"), list(itertools.product(["0", "1", "00000001", "99999999"], UNITS)))
def test_a_deadline(digits: str, unit: str) -> None:
    assert timeout_s(f"{digits}{unit}".encode()) == int(digits) * UNITS[unit]


@given(st.one_of(st.binary(max_size=12), st.from_regex(rb"[0-9]{0,10}[HMSmunhsU \n]{0,2}", fullmatch=True)))
@example(b"1S\n")
@example("²S".encode())
def test_any_bytes_as_a_deadline(value: bytes) -> None:
    digits, unit = value[:-1], value[-1:]
    is_one = unit.decode("latin-1") in UNITS and 0 < len(digits) <= 8 and all(48 <= byte <= 57 for byte in digits)
    failed = failure_of(lambda: timeout_s(value))
    assert (failed is None) == (is_one and bool(unit))
    assert failed is None or failed.code is grpc.StatusCode.INVALID_ARGUMENT


@given(st.sampled_from(list(grpc.StatusCode)), st.text())
@example(grpc.StatusCode.NOT_FOUND, "100% of é\r\ngrpc-status: 0\0\x7f")
def test_a_status_as_trailers(code: grpc.StatusCode, message: str) -> None:
    """One line of printable ASCII, which reads back as it was."""
    trailers = dict(trailers_of(Failed(code, message)))
    assert trailers[b"grpc-status"] == str(code.value[0]).encode()
    encoded = trailers[b"grpc-message"]
    assert set(encoded) <= PRINTABLE | {ord("%")}
    assert unquote(encoded.decode()) == message
    assert b"grpc-status-details-bin" not in trailers
    assert (b"grpc-accept-encoding" in trailers) == (code is grpc.StatusCode.UNIMPLEMENTED)


def test_details() -> None:
    failed = Failed.of(NotFound("team", "é"))
    encoded = dict(trailers_of(failed))[b"grpc-status-details-bin"]
    status = Status.FromString(base64.b64decode(encoded + b"=="))
    assert (status.code, status.message) == (grpc.StatusCode.NOT_FOUND.value[0], failed.message)
