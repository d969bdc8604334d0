"""The connection under a client: the channel, the token, deadlines and retries."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc

from policy_client.errors import InvalidArgument, PolicyClientError, Unavailable, error_of

MAX_RESPONSE_BYTES = 16 << 20
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Source = bytes | str | os.PathLike[str]
_CHANNEL_OPTIONS: Mapping[str, int] = {
    "grpc.enable_retries": 0,  # the only retries are those of Connection.call
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 5_000,  # how long an attempt to connect may take
    "grpc.max_reconnect_backoff_ms": 1_000,  # a server that restarts is found again within about a second
    # A peer that vanished without a word is given up within 15 s, in the middle of calls.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.ping_timeout_ms": 5_000,  # while one of gRPC's own pings is out, keepalive sends none
    "grpc.max_receive_message_length": MAX_RESPONSE_BYTES,
}


@dataclass(frozen=True, slots=True)
class TLS:
    """How to talk TLS. Each of `ca`, `cert` and `key` is PEM as bytes, or the path of a file with it.

    Without `ca` the certificate authorities that come with gRPC are trusted. `cert` with `key` is the client's own
    certificate (mutual TLS). `server_name` is the name to expect in the server's certificate in place of the target's.
    """

    ca: _Source | None = None
    cert: _Source | None = None
    key: _Source | None = field(default=None, repr=False)
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """gRPC's credentials. Raises OSError for a file that cannot be read, ValueError for what cannot be used."""
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both cert and key; give both, or neither")
        ca, cert, key = _pem("ca", self.ca), _pem("cert", self.cert), _pem("key", self.key)
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried while the server is UNAVAILABLE, and how long it waits in between.

    The wait before retry n is random between 0 and `initial_delay_s` * 2**(n-1), at most `max_delay_s` (exponential
    backoff with full jitter), on top of what the server asks for in RetryInfo. It never outlasts the deadline.
    """

    attempts: int = 4
    initial_delay_s: float = 0.05
    max_delay_s: float = 1.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.initial_delay_s < 0 or self.max_delay_s < 0:
            raise ValueError("a RetryPolicy needs at least 1 attempt and delays of 0 or more")

    def delay_s(self, retry: int, asked_for_s: float | None) -> float:
        """The wait before the retry of this number, the first being 1."""
        ceiling: float = min(self.max_delay_s, self.initial_delay_s * 2 ** (retry - 1))
        return (asked_for_s or 0.0) + random.uniform(0, ceiling)  # noqa: S311 - it spreads load, it hides nothing


class Connection:
    """A channel with a token and a retry policy. Opened on first use, so that a client can be made before the loop
    runs; closed only when it was opened here. `metadata` goes along with every call."""

    def __init__(
        self,
        target: str | None,
        *,
        token: str | None,
        tls: TLS | None,
        channel: grpc.aio.Channel | None,
        retry: RetryPolicy,
        timeout_s: float,
    ) -> None:
        if (target is None) == (channel is None):
            raise ValueError("give either a target or a channel")
        if channel is not None and tls is not None:
            raise ValueError("a channel brings its own security; leave tls out, or give a target")
        if target is not None:
            _check_target(target, secret=token is not None, tls=tls)
        self._target = target
        self._channel = channel
        self._owned = channel is None
        self._closed = False
        self._credentials = tls.credentials() if tls is not None else None
        self._server_name = tls.server_name if tls is not None else None
        self.metadata = None if token is None else (("authorization", f"Bearer {_checked_token(token)}"),)
        self._retry = retry
        self._timeout_s = checked_timeout(timeout_s)

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel, opened now if it was not. Raises PolicyClientError when the client is closed."""
        if self._closed:
            raise _closed("the client is closed")
        if self._channel is None:
            assert self._target is not None  # noqa: S101 - __init__ saw to it
            self._channel = _open(self._target, self._credentials, self._server_name)
        return self._channel

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        timeout_s: float | None,
    ) -> _Response:
        """Calls until there is an answer, an error that a retry cannot mend, the last attempt or the deadline.

        `timeout_s` covers all attempts; None is the client's default. Raises PolicyClientError.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self._timeout_s if timeout_s is None else checked_timeout(timeout_s))
        attempt = 1
        while True:
            try:
                return await self._attempt(method, request, deadline - loop.time())
            except Unavailable as error:
                delay_s = self._retry.delay_s(attempt, error.retry_delay_s)
                if attempt == self._retry.attempts or loop.time() + delay_s >= deadline:
                    raise
            await asyncio.sleep(delay_s)
            attempt += 1

    async def _attempt(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[_Request, _Response],
        request: _Request,
        timeout_s: float,
    ) -> _Response:
        rpc = _rpc_of(type(request))
        if self._closed:
            raise _closed("the client is closed", rpc)
        try:
            return await method(request, timeout=timeout_s, metadata=self.metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of(rpc, error) from None
        except grpc.aio.UsageError as error:
            raise _closed(str(error), rpc) from None
        except asyncio.CancelledError:
            # gRPC also reports a channel that was closed during the call like this, though nobody cancelled the task.
            task = asyncio.current_task()
            if task is not None and task.cancelling() == 0:
                raise _closed("the channel was closed during the call", rpc) from None
            raise

    async def close(self) -> None:
        """Ends the calls that run and closes the channel, if it was opened here. May be called twice."""
        self._closed = True
        if self._owned and self._channel is not None:
            await self._channel.close()


def build(message: type[_Request], **fields: Any) -> _Request:
    """A message of the fields. Raises InvalidArgument for what no request can carry: text that is not Unicode, numbers
    out of range. Such values reach a gateway from outside, so they get the error that every bad request gets."""
    try:
        return message(**fields)
    except ValueError as error:
        text = f"the request cannot be written: {error}"
        raise InvalidArgument(grpc.StatusCode.INVALID_ARGUMENT, text, rpc=_rpc_of(message)) from None


def _rpc_of(request: type[object]) -> str:
    return request.__name__.removesuffix("Request")


def _closed(message: str, rpc: str = "") -> PolicyClientError:
    return PolicyClientError(grpc.StatusCode.CANCELLED, message, rpc=rpc)


def _open(target: str, credentials: grpc.ChannelCredentials | None, server_name: str | None) -> grpc.aio.Channel:
    options: list[tuple[str, int | str]] = list(_CHANNEL_OPTIONS.items())
    if _is_local(target):
        # A proxy of the environment would carry what never should leave this machine.
        options.append(("grpc.enable_http_proxy", 0))
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    if credentials is None:
        return grpc.aio.insecure_channel(target, options)
    return grpc.aio.secure_channel(target, credentials, options)


def _check_target(target: str, *, secret: bool, tls: TLS | None) -> None:
    if not target.startswith("unix") and not re.search(r":\d+$", target):
        raise ValueError(f"the target {target!r} has no port; give host:port, or unix:path")
    if secret and tls is None and not _is_local(target):
        raise ValueError(
            f"a token would go to {target!r} in plain text, for anyone on the way to read; "
            "give tls, or use a loopback address or a Unix socket"
        )


def _is_local(target: str) -> bool:
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = re.sub(r"^(dns:///|ipv4:|ipv6:)", "", target).rpartition(":")[0].strip("[]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked_token(token: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ValueError("the token is empty, or holds white space or characters other than printable ASCII")
    return token


def checked_timeout(timeout_s: float) -> float:
    if not timeout_s > 0:
        raise ValueError(f"timeout_s is {timeout_s}; give more than 0 seconds")
    return timeout_s


def _pem(name: str, source: _Source | None) -> bytes | None:
    if source is None:
        return None
    pem = source if isinstance(source, bytes) else Path(source).read_bytes()
    # gRPC would call a server unavailable, and the gateway might fail open, for a mistake of its own.
    if (b"PRIVATE KEY-----" if name == "key" else b"-----BEGIN CERTIFICATE-----") not in pem:
        where = "" if isinstance(source, bytes) else f" in {os.fspath(source)!r}"
        raise ValueError(f"the {name}{where} is not PEM; give {'a private key' if name == 'key' else 'certificates'}")
    return pem
