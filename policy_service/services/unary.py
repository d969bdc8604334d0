"""A unary RPC, whatever transport brings it: who calls, whether they may, what they ask, and the answer or the status.

It is no interceptor: the check path has one function between a transport and the service.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from policy_service.errors import InvalidArgument, MessageTooLarge, PolicyError, Violation
from policy_service.services.auth import ANONYMOUS, LOCAL, Credentials, Permission, Principal, authorize
from policy_service.services.caller import Caller
from policy_service.services.status import status_of

log = logging.getLogger(__name__)

Method = Callable[[Any, Caller], Awaitable[Message | bytes]]  # bytes: the message, encoded already
Undecodable = Callable[[], Message]

MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # of a request, as grpc has it


class Evidence(NamedTuple):
    """What a caller shows: its `authorization` headers, and the names of the certificate that it proved to have."""

    authorization: Sequence[str]
    sans: Iterable[str]


class Call(Protocol):
    """What a transport knows of a call, found out only when it is asked for."""

    def evidence(self) -> Evidence:
        """What the caller shows."""

    def peer(self) -> str:
        """The address it comes from: `ipv4:HOST:PORT`."""

    def remaining_s(self) -> float | None:
        """Seconds until its deadline; None when it has none."""


class Failed(Exception):
    """An RPC ends with this status. `details` is an encoded google.rpc.Status; empty for none."""

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes = b"") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details

    @classmethod
    def of(cls, error: PolicyError) -> Failed:
        """For an expected failure."""
        code, status = status_of(error)
        return cls(code, status.message, status.SerializeToString())


def fault() -> Failed:
    """For what should not happen. The caller logs it."""
    return Failed(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details")


class Guard:
    """Finds out who calls. Without credentials a caller from this machine (`trusted`) is `local`, and may do
    everything; on a listener that was opened to other machines without them it is `anonymous`, and may check."""

    def __init__(self, credentials: Callable[[], Credentials | None], trusted: bool) -> None:
        self._credentials = credentials
        self._without_credentials = LOCAL if trusted else ANONYMOUS

    def identify(self, call: Call) -> Principal:
        """The caller's principal. Raises Unauthenticated."""
        credentials = self._credentials()
        if credentials is None:
            return self._without_credentials
        return credentials.identify(*call.evidence())


class Offer(NamedTuple):
    """A service, what implements it, and what its RPCs need. `permission` None: they are open to all, who need not say
    who they are. `undecodable`: what answers bytes that are no message; without it they are an InvalidArgument."""

    service: ServiceDescriptor
    implementation: object
    permission: Permission | None
    max_message_bytes: int = MAX_MESSAGE_BYTES
    undecodable: Undecodable | None = None


class UnaryRpc:
    """One RPC of what is offered, which takes one message and gives one."""

    def __init__(self, method: MethodDescriptor, offer: Offer, guard: Guard) -> None:
        self.name = rpc_name(method)
        self.method = method.name
        self.max_message_bytes = offer.max_message_bytes
        self._run: Method = getattr(offer.implementation, method.name)
        self._guard, self._permission, self._undecodable = guard, offer.permission, offer.undecodable
        self._request_class = GetMessageClass(method.input_type)

    def admit(self, call: Call) -> Principal:
        """Who calls, if they may: known before the message, so that nobody else makes us hold one. Raises Failed."""
        if self._permission is None:
            return ANONYMOUS
        try:
            principal = self._guard.identify(call)
            authorize(principal, self._permission, self.name)
        except PolicyError as error:
            raise Failed.of(error) from None
        return principal

    async def answer(self, principal: Principal, encoded: bytes, call: Call) -> bytes:
        """The encoded answer to one who was admitted. Raises Failed."""
        try:
            try:
                request = decode(self._request_class, encoded, self.max_message_bytes)
            except InvalidArgument:
                if self._undecodable is None:
                    raise
                return self._undecodable().SerializeToString()
            response = await self._run(request, Caller(principal.name, call.peer, call.remaining_s))
            return response if type(response) is bytes else response.SerializeToString()  # type: ignore[union-attr]
        except PolicyError as error:
            raise Failed.of(error) from None
        except Exception:
            log.exception("rpc failed", extra={"fields": {"rpc": self.name}})
            raise fault() from None


def unary_rpcs(offer: Offer, guard: Guard) -> list[UnaryRpc]:
    """Made from the descriptor, so that none is forgotten."""
    return [
        UnaryRpc(method, offer, guard)
        for method in offer.service.methods
        if not (method.client_streaming or method.server_streaming)
    ]


def rpc_name(method: MethodDescriptor) -> str:
    """As it stands in a path and in messages: `package.Service/Method`."""
    return f"{method.containing_service.full_name}/{method.name}"


def decode(request_class: type[Message], encoded: bytes, max_message_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """The request. Raises InvalidArgument when the bytes are none, MessageTooLarge when there are too many."""
    if len(encoded) > max_message_bytes:
        raise MessageTooLarge(f"the message has {len(encoded)} bytes; send at most {max_message_bytes}")
    try:
        return request_class.FromString(encoded)
    except DecodeError:
        words = f"the message is no {request_class.DESCRIPTOR.full_name}: malformed, or text that is not UTF-8"
        raise InvalidArgument([Violation("", words)]) from None
