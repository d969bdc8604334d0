"""One HTTP/2 connection, as bare as it can be: its streams are numbered 1, 3, 5, ..., each asks the next of a row of
calls, and frames are joined from parts that were made beforehand."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from bench.load.call import Call, Where
from bench.load.heads import AnswerHeads, Head, call_heads

LIMIT_S = 10.0  # longer than any answer takes
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_ENDS = _END_HEADERS | _END_STREAM
_TABLE_SIZE, _PUSH, _MOST_STREAMS, _INITIAL_WINDOW = 1, 2, 3, 4
_FRAME, _FRAME_HEAD = struct.Struct(">HBBBL"), 9
_MESSAGE, _MESSAGE_HEAD = struct.Struct(">BL"), 5
_WINDOW, _LARGEST = 65_535, 2**31 - 1
_TOP_UP = 2**30  # received bytes after which the server may send more again
_RECEIVED_AT_ONCE = 1 << 18


class WrongAnswer(RuntimeError):
    """An answer that is not what it has to be, or none."""


class Asked(NamedTuple):
    """The parts of a call that are the same whichever stream asks it."""

    middle: bytes  # from the stream's number in the HEADERS frame to its number in the DATA frame
    body: bytes  # what the DATA frame holds
    expected: bytes
    where: int
    call: Call


class Row(NamedTuple):
    """Calls of one path, to one server, ready to be asked one after the other, each with the same headers."""

    port: int
    first_head: bytes  # of a connection
    head: bytes  # of all others
    asked: Sequence[Asked]

    @classmethod
    def of(cls, port: int, calls: Sequence[Call], token: str = "") -> Row:
        (path,) = {call.path for call in calls}
        first_head, head = call_heads(path, f"127.0.0.1:{port}".encode(), token)
        return cls(port, first_head, head, [_asked(call, head) for call in calls])

    def every(self, step: int) -> list[Row]:
        """So many rows, which have the calls between them."""
        return [self._replace(asked=self.asked[at::step]) for at in range(step)]

    def after(self, count: int) -> Row:
        """The same, from the call after so many on."""
        first = count % len(self.asked)
        return self._replace(asked=[*self.asked[first:], *self.asked[:first]])


def _asked(call: Call, block: bytes) -> Asked:
    body = _MESSAGE.pack(0, len(call.message)) + call.message
    return Asked(block + _frame_head(len(body), _DATA, _END_STREAM), body, call.expected, int(call.where), call)


def _frame_head(length: int, kind: int, flags: int) -> bytes:
    """Up to the stream's number."""
    return _FRAME.pack(length >> 8, length & 0xFF, kind, flags, 0)[:5]


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _frame_head(len(payload), kind, flags) + stream.to_bytes(4) + payload


class Connection:
    """Asks its calls in turn, and again from the first when there are no more. Raises WrongAnswer."""

    def __init__(self, row: Row) -> None:
        self._calls, self._count = row.asked, len(row.asked)
        self._largest = max(len(call.body) for call in row.asked)
        self.sent = self.answered = self.waiting = 0  # calls; those waiting are not sent: the server takes no more yet
        self._heads = AnswerHeads()
        self._right: set[int] = set()  # streams whose message was right, and whose end is to come
        self._parts: dict[int, bytes] = {}  # of messages that come in several frames
        self._rest = b""  # of a frame
        self._window, self._most_streams, self._received = _WINDOW, _LARGEST, 0
        self._socket = socket.create_connection(("127.0.0.1", row.port), LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._head = _frame_head(len(row.head), _HEADERS, _END_HEADERS)
        self._greet(row)

    def _greet(self, row: Row) -> None:
        """The first call, whose headers go into the table of the connection."""
        settings = b"".join(struct.pack(">HL", *item) for item in ((_PUSH, 0), (_INITIAL_WINDOW, _LARGEST)))
        window = (_LARGEST - _WINDOW).to_bytes(4)
        self._write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))
        call = self._calls[0]
        self._write(_frame(_HEADERS, _END_HEADERS, 1, row.first_head) + _frame(_DATA, _END_STREAM, 1, call.body))
        self.sent, self._window = 1, self._window - len(call.body)
        while not self.answered:
            if not select.select([self._socket], (), (), LIMIT_S)[0]:
                raise WrongAnswer(f"no answer to {call.call} in {LIMIT_S:g} s")
            self.receive()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, count: int) -> None:
        """Asks so many of the next calls, at once or as soon as the server takes them."""
        count += self.waiting
        taken = min(count, self._window // self._largest, self._most_streams - self.sent + self.answered)
        self.waiting = count - taken
        parts: list[bytes] = []
        head, calls, number, size = self._head, self._calls, self.sent, 0
        for at in range(number, number + taken):
            middle, body, _, _, _ = calls[at % self._count]
            stream = (2 * at + 1).to_bytes(4)
            parts += (head, stream, middle, stream, body)
            size += len(body)
        self.sent = number + taken
        self._window -= size
        if parts:
            self._write(b"".join(parts))

    def _write(self, data: bytes) -> None:
        try:
            written = self._socket.send(data)
        except BlockingIOError:
            written = 0
        while written < len(data):
            if not select.select((), [self._socket], (), LIMIT_S)[1]:
                raise WrongAnswer("the server reads nothing")
            written += self._socket.send(data[written:])

    def receive(self) -> list[int]:
        """Reads what has come, and returns the numbers of the calls, in the order they were sent, that are answered."""
        data = self._rest + self._read()
        calls, count, right, known = self._calls, self._count, self._right, self._heads.known
        done: list[int] = []
        at, end = 0, len(data)
        while at + _FRAME_HEAD <= end:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            begin = at + _FRAME_HEAD
            at = begin + (high << 8) + low
            if at > end:
                at = begin - _FRAME_HEAD
                break
            if kind == _HEADERS:
                block = data[begin:at]
                status, grpc_status, _ = head = known.get(block) or self._heads.read(block)
                if flags == _ENDS and grpc_status == "0" and stream in right and status is None:
                    right.remove(stream)
                    done.append(stream >> 1)
                elif flags != _END_HEADERS or status != "200" or grpc_status is not None:
                    self._examine_head(stream, flags, head, done)
            elif kind == _DATA and not flags and at - begin >= _MESSAGE_HEAD:
                _, _, expected, where, _ = calls[(stream >> 1) % count]
                compressed, size = _MESSAGE.unpack_from(data, begin)
                begin += _MESSAGE_HEAD
                if size == at - begin and not (compressed or where) and data.startswith(expected, begin, at):
                    right.add(stream)
                else:
                    self._examine(stream, data[begin - _MESSAGE_HEAD : at])
            else:
                self._handle(kind, flags, stream, data[begin:at], done)
        self._rest = data[at:]
        self.answered += len(done)
        if self.waiting:
            self.send(0)
        return done

    def _read(self) -> bytes:
        data = self._socket.recv(_RECEIVED_AT_ONCE)
        if not data:
            raise WrongAnswer("the server closed the connection")
        self._received += len(data)
        if self._received >= _TOP_UP:
            self._write(_frame(_WINDOW_UPDATE, 0, 0, self._received.to_bytes(4)))
            self._received = 0
        return data

    def _examine(self, stream: int, payload: bytes) -> None:
        """A message, or a part of one, of which the loop above does not know whether it is right."""
        whole = self._parts.pop(stream, b"") + payload
        if len(whole) < _MESSAGE_HEAD or len(whole) < _MESSAGE_HEAD + int.from_bytes(whole[1:_MESSAGE_HEAD]):
            self._parts[stream] = whole
            return
        asked, message = self._calls[(stream >> 1) % self._count], whole[_MESSAGE_HEAD:]
        right = {
            Where.START: message.startswith(asked.expected),
            Where.WHOLE: message == asked.expected,
            Where.ANYWHERE: asked.expected in message,
            Where.STATUS: True,
        }
        if not right[asked.call.where] or whole[0] or len(message) != int.from_bytes(whole[1:_MESSAGE_HEAD]):
            raise self._wrong(stream, f"the message {message!r}")
        self._right.add(stream)

    def _examine_head(self, stream: int, flags: int, head: Head, done: list[int]) -> None:
        """Headers that are wrong, unless the status alone counts."""
        looked_at = self._calls[(stream >> 1) % self._count].call.where
        if looked_at is not Where.STATUS or head.status not in ("200", None) or flags & (_PADDED | _PRIORITY):
            raise self._wrong(stream, f"the headers {head.text!r}{' and no more' if flags & _END_STREAM else ''}")
        if flags & _END_STREAM:
            done.append(stream >> 1)

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes, done: list[int]) -> None:
        """A frame of a kind that seldom comes."""
        if kind == _DATA:
            self._examine(stream, payload)
            if flags & _END_STREAM:
                self._examine_head(stream, flags, Head(None, None, "none after the message"), done)
        elif kind == _SETTINGS and not flags & _ACK:
            for at in range(0, len(payload), 6):
                self._set(*struct.unpack_from(">HL", payload, at))
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            self._window += 0 if stream else int.from_bytes(payload)
        elif kind not in (_SETTINGS, _PING):
            raise self._wrong(stream, f"a frame of kind {kind}: {payload!r}")

    def _set(self, name: int, value: int) -> None:
        """A setting of the server."""
        if name == _MOST_STREAMS:
            self._most_streams = value
        elif value < {_INITIAL_WINDOW: self._largest, _TABLE_SIZE: 4_096}.get(name, 0):
            raise WrongAnswer(f"the server's setting {name} is {value}, which is too little")

    def _wrong(self, stream: int, what: str) -> WrongAnswer:
        asked = self._calls[(stream >> 1) % self._count].call
        return WrongAnswer(f"{what} came where {asked.expected!r} was expected, in answer to {asked}")
