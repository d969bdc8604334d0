"""From services to gRPC handlers. Every RPC is authenticated, authorised, decoded, run, and its errors mapped, here.

The handlers are made from the descriptors, so that an RPC cannot be forgotten. They are no interceptors: the check
path has one function between grpcio and the service.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from policy_service.errors import InvalidArgument, MessageTooLarge, PolicyError, TooSlow, Violation
from policy_service.services.auth import ANONYMOUS, LOCAL, Credentials, Permission, Principal, authorize
from policy_service.services.caller import Caller
from policy_service.services.status import status_of

log = logging.getLogger(__name__)

Method = Callable[[Any, Caller], Awaitable[Message]]
StreamingMethod = Callable[[Any, Caller], AsyncGenerator[Message, None]]
Context = grpc.aio.ServicerContext[Any, Any]
Undecodable = Callable[[], Message]

WRITE_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # of a request, as grpc has it

_AUTHORIZATION = "authorization"
_DETAILS = "grpc-status-details-bin"


class Guard:
    """Finds out who calls. Without credentials a caller from this machine (`trusted`) is `local`, and may do
    everything; on a listener that was opened to other machines without them it is `anonymous`, and may check."""

    def __init__(self, credentials: Callable[[], Credentials | None], trusted: bool) -> None:
        self._credentials = credentials
        self._without_credentials = LOCAL if trusted else ANONYMOUS

    def identify(self, context: Context) -> Principal:
        """The caller's principal. Raises Unauthenticated."""
        credentials = self._credentials()
        if credentials is None:
            return self._without_credentials
        metadata = context.invocation_metadata() or ()
        shown = [_text(value) for key, value in metadata if key == _AUTHORIZATION]
        peer = context.auth_context()
        certificate = b"".join(map(_der, peer.get("x509_pem_cert", ())))
        # grpc cuts a name at its zero byte, and says nothing: `gateway\0.evil.example` would be `gateway`
        sans = [san for san in peer.get("x509_subject_alternative_name", ()) if san + b"\0" not in certificate]
        return credentials.identify(shown, map(_text, sans))


def _der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def handlers(
    service: ServiceDescriptor,
    implementation: object,
    guard: Guard,
    permission: Permission,
    *,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    undecodable: Undecodable | None = None,
) -> grpc.GenericRpcHandler:
    """Handlers for a service of which every RPC takes one message and needs the permission. `undecodable`: what
    answers bytes that are no message; without it they are an InvalidArgument."""
    made: dict[str, Any] = {}
    for method in service.methods:
        run = getattr(implementation, method.name)
        if method.server_streaming:
            made[method.name] = grpc.unary_stream_rpc_method_handler(_streaming(method, run, guard, permission))
        else:
            made[method.name] = grpc.unary_unary_rpc_method_handler(
                _unary(method, run, guard, permission, max_message_bytes, undecodable)
            )
    return grpc.method_handlers_generic_handler(service.full_name, made)


def _unary(
    method: MethodDescriptor,
    run: Method,
    guard: Guard,
    permission: Permission,
    max_message_bytes: int,
    undecodable: Undecodable | None,
) -> Callable[[bytes, Context], Awaitable[bytes]]:
    rpc = f"{method.containing_service.full_name}/{method.name}"
    request_class = GetMessageClass(method.input_type)

    async def handle(encoded: bytes, context: Context) -> bytes:
        try:
            principal = guard.identify(context)
            authorize(principal, permission, rpc)
            try:
                request = decode(request_class, encoded, max_message_bytes)
            except InvalidArgument:
                if undecodable is None:
                    raise
                return undecodable().SerializeToString()
            response = await run(request, Caller(principal.name, context.peer(), context.time_remaining))
            return response.SerializeToString()
        except PolicyError as error:
            failure = error
        except Exception:
            log.exception("rpc failed", extra={"fields": {"rpc": rpc}})
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details")
        return await abort(context, failure)

    return handle


def _streaming(
    method: MethodDescriptor, run: StreamingMethod, guard: Guard, permission: Permission
) -> Callable[[bytes, Context], Awaitable[None]]:
    """A stream goes on while its caller may have it, and takes what is written."""
    rpc = f"{method.containing_service.full_name}/{method.name}"
    request_class = GetMessageClass(method.input_type)

    async def handle(encoded: bytes, context: Context) -> None:
        try:
            principal = guard.identify(context)
            authorize(principal, permission, rpc)
            request = decode(request_class, encoded)
            caller = Caller(principal.name, context.peer(), context.time_remaining)
            async with aclosing(run(request, caller)) as responses:
                async for response in responses:
                    authorize(guard.identify(context), permission, rpc)
                    await _write(context, response.SerializeToString())
            return
        except PolicyError as error:
            failure = error
        except Exception:
            log.exception("rpc failed", extra={"fields": {"rpc": rpc}})
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details")
        await abort(context, failure)

    return handle


async def _write(context: Context, encoded: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await context.write(encoded)
    except TimeoutError:
        raise TooSlow(f"nothing was read for {WRITE_TIMEOUT_S:g} s; go on from your position") from None


def decode(request_class: type[Message], encoded: bytes, max_message_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """The request. Raises InvalidArgument when the bytes are none, MessageTooLarge when there are too many."""
    if len(encoded) > max_message_bytes:
        raise MessageTooLarge(f"the message has {len(encoded)} bytes; send at most {max_message_bytes}")
    try:
        return request_class.FromString(encoded)
    except DecodeError:
        words = f"the message is no {request_class.DESCRIPTOR.full_name}: malformed, or text that is not UTF-8"
        raise InvalidArgument([Violation("", words)]) from None


async def abort(context: Context, error: PolicyError) -> NoReturn:
    """Ends the RPC with the error's status."""
    code, status = status_of(error)
    await context.abort(code, status.message, ((_DETAILS, status.SerializeToString()),))


def library_handlers(
    service: ServiceDescriptor, servicer: Any, guard: Guard, permission_needed: bool, name: str = ""
) -> grpc.GenericRpcHandler:
    """Handlers for a service that a library implements (health, reflection), with grpcio's own signatures.

    `permission_needed`: the caller has to be a principal. `name`: another name to serve it under.
    """
    makers: Mapping[tuple[bool, bool], Any] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, _library_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, _library_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, _library_stream),
    }
    made: dict[str, Any] = {}
    for method in service.methods:
        make, wrap = makers[method.client_streaming, method.server_streaming]
        rpc = f"{name or service.full_name}/{method.name}"
        request_class = GetMessageClass(method.input_type)

        def admit(context: Context, rpc: str = rpc) -> None:
            if permission_needed:
                authorize(guard.identify(context), None, rpc)

        made[method.name] = make(
            wrap(getattr(servicer, method.name), admit, request_class), response_serializer=_serialize
        )
    return grpc.method_handlers_generic_handler(name or service.full_name, made)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _library_unary(run: Any, admit: Callable[[Context], None], request_class: type[Message]) -> Any:
    async def handle(encoded: bytes, context: Context) -> Any:
        try:
            admit(context)
            request = decode(request_class, encoded)
        except PolicyError as error:
            failure = error
        else:
            return await run(request, context)
        return await abort(context, failure)

    return handle


def _library_stream(run: Any, admit: Callable[[Context], None], request_class: type[Message]) -> Any:
    async def decoded(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for encoded in requests:
            yield decode(request_class, encoded)

    async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        try:
            admit(context)
            async for response in run(decoded(requests), context):
                yield response
            return
        except PolicyError as error:
            failure = error
        await abort(context, failure)

    return handle
