"""From services to grpcio's handlers: what grpcio brings goes to unary.py, and its status goes back. Streams, which no
other transport has, are run here."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from policy_service.errors import PolicyError, TooSlow
from policy_service.services.auth import Permission, authorize
from policy_service.services.caller import Caller
from policy_service.services.unary import (
    Evidence,
    Failed,
    Guard,
    Offer,
    UnaryRpc,
    decode,
    fault,
    rpc_name,
    unary_rpcs,
)

log = logging.getLogger(__name__)

StreamingMethod = Callable[[Any, Caller], AsyncGenerator[Message, None]]
Context = grpc.aio.ServicerContext[Any, Any]

WRITE_TIMEOUT_S = 30.0

_AUTHORIZATION = "authorization"
_DETAILS = "grpc-status-details-bin"


class GrpcioCall:
    """Implements Call."""

    __slots__ = ("_context", "peer", "remaining_s")

    def __init__(self, context: Context) -> None:
        self._context, self.peer, self.remaining_s = context, context.peer, context.time_remaining

    def evidence(self) -> Evidence:
        metadata = self._context.invocation_metadata() or ()
        peer = self._context.auth_context()
        certificate = b"".join(map(_der, peer.get("x509_pem_cert", ())))
        # grpc cuts a name at its zero byte, and says nothing: `gateway\0.evil.example` would be `gateway`
        sans = [san for san in peer.get("x509_subject_alternative_name", ()) if san + b"\0" not in certificate]
        return Evidence([_text(value) for key, value in metadata if key == _AUTHORIZATION], map(_text, sans))


def _der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def handlers(offer: Offer, guard: Guard) -> grpc.GenericRpcHandler:
    """Handlers for a service of which every RPC takes one message."""
    made: dict[str, Any] = {
        rpc.method: grpc.unary_unary_rpc_method_handler(_unary(rpc)) for rpc in unary_rpcs(offer, guard)
    }
    for method in offer.service.methods:
        if method.server_streaming:
            run = getattr(offer.implementation, method.name)
            made[method.name] = grpc.unary_stream_rpc_method_handler(_streaming(method, run, guard, offer.permission))
    return grpc.method_handlers_generic_handler(offer.service.full_name, made)


def _unary(rpc: UnaryRpc) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(encoded: bytes, context: Context) -> bytes:
        call = GrpcioCall(context)
        try:
            return await rpc.answer(rpc.admit(call), encoded, call)
        except Failed as error:
            failed = error
        return await _abort(context, failed)

    return handle


def _streaming(
    method: MethodDescriptor, run: StreamingMethod, guard: Guard, permission: Permission | None
) -> Callable[[bytes, Context], Awaitable[None]]:
    """A stream goes on while its caller may have it, and takes what is written."""
    rpc = rpc_name(method)
    request_class = GetMessageClass(method.input_type)

    def admit(context: Context) -> str:
        if permission is None:
            return ""
        principal = guard.identify(GrpcioCall(context))
        authorize(principal, permission, rpc)
        return principal.name

    async def handle(encoded: bytes, context: Context) -> None:
        try:
            caller = Caller(admit(context), context.peer, context.time_remaining)
            async with aclosing(run(decode(request_class, encoded), caller)) as responses:
                async for response in responses:
                    admit(context)
                    await _write(context, response.SerializeToString())
            return
        except PolicyError as error:
            failed = Failed.of(error)
        except Exception:
            log.exception("rpc failed", extra={"fields": {"rpc": rpc}})
            failed = fault()
        await _abort(context, failed)

    return handle


async def _write(context: Context, encoded: bytes) -> None:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await context.write(encoded)
    except TimeoutError:
        raise TooSlow(f"nothing was read for {WRITE_TIMEOUT_S:g} s; go on from your position") from None


async def _abort(context: Context, failed: Failed) -> NoReturn:
    """Ends the RPC with the status."""
    await context.abort(failed.code, failed.message, ((_DETAILS, failed.details),) if failed.details else ())


def reflection_handlers(service: ServiceDescriptor, servicer: Any, guard: Guard, name: str) -> grpc.GenericRpcHandler:
    """Handlers for grpcio's reflection, under a name that it is known by. The caller has to be a principal."""
    made: dict[str, Any] = {}
    for method in service.methods:
        wrapped = _bidirectional(method, getattr(servicer, method.name), guard, f"{name}/{method.name}")
        made[method.name] = grpc.stream_stream_rpc_method_handler(wrapped, response_serializer=_serialize)
    return grpc.method_handlers_generic_handler(name, made)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _bidirectional(method: MethodDescriptor, run: Any, guard: Guard, rpc: str) -> Any:
    request_class = GetMessageClass(method.input_type)

    async def decoded(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for encoded in requests:
            yield decode(request_class, encoded)

    async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Message]:
        try:
            authorize(guard.identify(GrpcioCall(context)), None, rpc)
            async for response in run(decoded(requests), context):
                yield response
            return
        except PolicyError as error:
            failed = Failed.of(error)
        await _abort(context, failed)

    return handle
