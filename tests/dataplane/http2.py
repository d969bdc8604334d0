"""An HTTP/2 client frame by frame: it sends what no client of gRPC's would, and shows what came back as it was."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import grpc
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from policy_service.v1.access_pb2 import CheckModelAccessResponse
from tests.support.messages import check

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CHECK = b"/policy_service.v1.AccessService/CheckModelAccess"
LARGEST_FRAME, DEFAULT_WINDOW = 16_384, 65_535
CONNECTION, CANCEL = 0, 8  # as a stream's number; as an error's
LIMIT_S = 60.0  # far more than anything needs

GONE = (ConnectionError, ssl.SSLError)  # how a connection ends that the server ends
CODES = {code.value[0]: code for code in grpc.StatusCode}

Headers = Sequence[tuple[bytes, bytes]]


def request_headers(path: bytes = CHECK, **changed: bytes | None) -> list[tuple[bytes, bytes]]:
    """Those of a call, some changed: `te=None` leaves one out, `_method=b"GET"` is `:method`."""
    headers: dict[bytes, bytes | None] = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": path,
        b":authority": b"localhost",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    for name, value in changed.items():
        key = (":" + name[1:] if name.startswith("_") else name.replace("_", "-")).encode()
        headers[key] = value
    return [(name, value) for name, value in headers.items() if value is not None]


def framed(message: bytes, flag: int = 0, length: int | None = None) -> bytes:
    """A message with gRPC's five bytes before it."""
    return bytes([flag]) + (len(message) if length is None else length).to_bytes(4) + message


class Answer(NamedTuple):
    """What came back on a stream. `blocks` are the headers and, unless it is Trailers-Only, the trailers."""

    blocks: list[dict[bytes, bytes]]
    data: bytes
    reset: int | None  # the code of RST_STREAM, where one came before the end

    @property
    def http_status(self) -> int:
        return int(self.blocks[0][b":status"])

    @property
    def is_trailers_only(self) -> bool:
        """One block of headers, which has the status, and no data."""
        return len(self.blocks) == 1 and b"grpc-status" in self.blocks[0] and not self.data

    @property
    def code(self) -> grpc.StatusCode | None:
        """The status of gRPC; None where there is none."""
        found = self.blocks[-1].get(b"grpc-status") if self.blocks else None
        return None if found is None else CODES[int(found)]

    @property
    def grpc_message(self) -> str:
        return unquote_to_bytes(self.blocks[-1][b"grpc-message"]).decode()

    @property
    def message(self) -> bytes:
        """The one message of the answer."""
        assert self.data[:1] == b"\0"
        assert int.from_bytes(self.data[1:5]) == len(self.data) - 5
        return self.data[5:]


class Stream:
    """What a stream has received so far."""

    def __init__(self) -> None:
        self.blocks: list[dict[bytes, bytes]] = []
        self.data = b""
        self.reset: int | None = None
        self.ended = asyncio.Event()


class Http2:
    """A connection. `goaways` are the last streams that the server's GOAWAYs named."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._encoder, self._decoder = Encoder(), Decoder()
        self._streams: defaultdict[int, Stream] = defaultdict(Stream)
        self._next = 1
        self._credit: defaultdict[int, int] = defaultdict(int, {CONNECTION: DEFAULT_WINDOW})
        self._changed = asyncio.Event()  # something came
        self.goaways: list[int] = []
        self._window = DEFAULT_WINDOW  # of a stream at first; `_credit` has what was added to that, and sent
        self.pongs = 0
        self.told = asyncio.Event()  # a GOAWAY came
        self.closed = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def port(self) -> int:
        """Our end's."""
        port: int = self._writer.get_extra_info("sockname")[1]
        return port

    def send(self, *frames: Frame) -> None:
        self._writer.write(b"".join(frame.serialize() for frame in frames))

    def open(self, headers: Headers, end: bool = False) -> int:
        """Begins a stream; its number."""
        number, self._next = self._next, self._next + 2
        block = self._encoder.encode(headers, huffman=False)
        parts = [block[at : at + LARGEST_FRAME] for at in range(0, len(block), LARGEST_FRAME)]
        frames = [HeadersFrame(number, parts[0]), *(ContinuationFrame(number, part) for part in parts[1:])]
        frames[-1].flags.add("END_HEADERS")
        if end:
            frames[0].flags.add("END_STREAM")
        self.send(*frames)
        return number

    async def write(self, number: int, data: bytes, end: bool = True, pieces: int = LARGEST_FRAME) -> None:
        """Sends data in frames of so many bytes, as the server lets us; `end` with the last. When the server has said
        all, there is nobody to send more to."""
        parts = [data[at : at + pieces] for at in range(0, len(data), pieces)] or [b""]
        for index, part in enumerate(parts, 1):
            if not await self._may_send(number, len(part)):
                self.send(RstStreamFrame(number, error_code=CANCEL))
                return
            frame = DataFrame(number, part)
            if end and index == len(parts):
                frame.flags.add("END_STREAM")
            self.send(frame)
            with suppress(*GONE):  # `closed` says so
                await self._writer.drain()

    async def _may_send(self, number: int, size: int) -> bool:
        """Waits until the server takes so much of the stream and of the connection; whether it takes it at all."""
        stream = self._streams[number]
        async with asyncio.timeout(LIMIT_S):
            while not (stream.ended.is_set() or self.closed.is_set()):
                if self._credit[CONNECTION] >= size and self._window + self._credit[number] >= size:
                    self._credit[CONNECTION] -= size
                    self._credit[number] -= size
                    return True
                self._changed.clear()
                await self._changed.wait()
        return False

    def trailers(self, number: int, headers: Headers) -> None:
        """Ends a request with trailers."""
        frame = HeadersFrame(number, self._encoder.encode(headers, huffman=False))
        frame.flags |= {"END_HEADERS", "END_STREAM"}
        self.send(frame)

    async def answer(self, number: int) -> Answer:
        """What came back, once the server ended the stream, or the connection."""
        stream = self._streams[number]
        async with asyncio.timeout(LIMIT_S):
            while not (stream.ended.is_set() or self.closed.is_set()):
                self._changed.clear()
                await self._changed.wait()
        return Answer(stream.blocks, stream.data, stream.reset)

    async def call(self, body: bytes, headers: Headers | None = None) -> Answer:
        number = self.open(request_headers() if headers is None else headers)
        await self.write(number, body)
        return await self.answer(number)

    async def check(self, team: str, user: str, revision: str = "") -> CheckModelAccessResponse:
        """A check as it should be, answered as it should be."""
        answer = await self.call(framed(check(team, user, "gpt-4o", revision).SerializeToString()))
        assert answer.code is grpc.StatusCode.OK, answer
        return CheckModelAccessResponse.FromString(answer.message)

    async def _read(self) -> None:
        try:
            while True:
                head = await self._reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self._reader.readexactly(length)))
                self._take(frame)
                self._changed.set()
        except (asyncio.IncompleteReadError, *GONE):
            self.closed.set()
            self._changed.set()

    def _take(self, frame: Frame) -> None:
        match frame:
            case SettingsFrame() if "ACK" not in frame.flags:
                self._window = frame.settings.get(SettingsFrame.INITIAL_WINDOW_SIZE, self._window)
                self.send(SettingsFrame(0, flags=["ACK"]))
            case PingFrame():
                self.pongs += 1
            case WindowUpdateFrame():
                self._credit[frame.stream_id] += frame.window_increment
            case GoAwayFrame():
                self.goaways.append(frame.last_stream_id)
                self.told.set()
            case RstStreamFrame():
                stream = self._streams[frame.stream_id]
                if not stream.ended.is_set():
                    stream.reset = frame.error_code
                    stream.ended.set()
            case HeadersFrame() | DataFrame():
                self._take_part(frame)

    def _take_part(self, frame: HeadersFrame | DataFrame) -> None:
        stream = self._streams[frame.stream_id]
        assert not stream.ended.is_set(), "nothing comes after the end"
        if isinstance(frame, HeadersFrame):
            assert "END_HEADERS" in frame.flags
            stream.blocks.append(dict(self._decoder.decode(frame.data, raw=True)))
        else:
            stream.data += frame.data
            if frame.data:
                self.send(WindowUpdateFrame(0, window_increment=len(frame.data)))
                self.send(WindowUpdateFrame(frame.stream_id, window_increment=len(frame.data)))
        if "END_STREAM" in frame.flags:
            stream.ended.set()

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.close()
        with suppress(*GONE):
            await self._writer.wait_closed()


@asynccontextmanager
async def connected(target: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Http2]:
    """A connection whose settings were exchanged."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(
        host.strip("[]"), int(port), ssl=tls, server_hostname=None if tls is None else "localhost"
    )
    connection = Http2(reader, writer)
    writer.write(PREFACE)
    connection.send(SettingsFrame(0))
    try:
        yield connection
    finally:
        await connection.close()


async def what_comes_back(target: str, sent: bytes) -> bytes:
    """All that a server says to these bytes until it ends the connection."""
    host, _, port = target.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    received = b""
    with suppress(*GONE):
        writer.write(sent)
        async with asyncio.timeout(LIMIT_S):
            received = await reader.read()
    writer.close()
    with suppress(*GONE):
        await writer.wait_closed()
    return received
