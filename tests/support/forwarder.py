"""A gRPC server that passes calls on to another one, and does something before and after each: what others do to a
server between the calls of one client, at a time that a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc

Meanwhile = Callable[[str], Awaitable[object]]


class _Forwarding(grpc.GenericRpcHandler):
    def __init__(self, channel: grpc.aio.Channel, meanwhile: Meanwhile) -> None:
        self._channel, self._meanwhile = channel, meanwhile

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path: str = details.method  # type: ignore[attr-defined]

        async def forward(request: bytes, context: Any) -> bytes:
            await self._meanwhile(path.rpartition("/")[2])
            try:
                answer: bytes = await self._channel.unary_unary(path)(request)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())
            await self._meanwhile(path.rpartition("/")[2])
            return answer

        return grpc.unary_unary_rpc_method_handler(forward)  # type: ignore[arg-type]


@asynccontextmanager
async def forwarding(target: str, meanwhile: Meanwhile) -> AsyncIterator[str]:
    """Yields where it listens. `meanwhile` gets the name of the RPC."""
    server = grpc.aio.server()
    async with grpc.aio.insecure_channel(target) as channel:
        server.add_generic_rpc_handlers((_Forwarding(channel, meanwhile),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)
