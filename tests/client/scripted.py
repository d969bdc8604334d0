"""A real server whose answers a test writes down in advance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2

from policy_service.v1 import access_pb2, admin_pb2, resources_pb2
from policy_service.v1.access_pb2_grpc import AccessServiceServicer, add_AccessServiceServicer_to_server
from policy_service.v1.admin_pb2_grpc import AdminServiceServicer, add_AdminServiceServicer_to_server

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class Refusal:
    """A status to end a call with, and the details to put into its trailers."""

    code: grpc.StatusCode
    message: str = "scripted"
    details: tuple[Message, ...] = ()
    raw_details: bytes | None = None

    async def end(self, context: Context) -> None:
        trailer = self.raw_details
        if trailer is None and self.details:
            packed = [any_pb2.Any() for _ in self.details]
            for target, detail in zip(packed, self.details, strict=True):
                target.Pack(detail)
            status = status_pb2.Status(code=self.code.value[0], message=self.message, details=packed)
            trailer = status.SerializeToString()
        metadata = () if trailer is None else (("grpc-status-details-bin", trailer),)
        await context.abort(self.code, self.message, metadata)


Step = Refusal | Message | Callable[[Context], Awaitable[Message]]


@dataclass
class Script(AccessServiceServicer, AdminServiceServicer):
    """Answers each call with the next step, and for ever with the last. Keeps what it was asked, and when."""

    steps: list[Step]
    requests: list[Any] = field(default_factory=list)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)

    async def _answer(self, request: Message, context: Context) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.times_s.append(asyncio.get_running_loop().time())
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Refusal):
            await step.end(context)
        if isinstance(step, Message):
            return step
        assert not isinstance(step, Refusal)
        return await step(context)

    async def CheckModelAccess(self, request: Any, context: Any) -> access_pb2.CheckModelAccessResponse:
        return await self._answer(request, context)

    async def AddMember(self, request: Any, context: Any) -> admin_pb2.AddMemberResponse:
        return await self._answer(request, context)

    async def GetTeam(self, request: Any, context: Any) -> resources_pb2.Team:
        return await self._answer(request, context)


@asynccontextmanager
async def serving(
    script: Script, address: str = "127.0.0.1:0", credentials: grpc.ServerCredentials | None = None
) -> AsyncIterator[str]:
    """Serves the script; yields the target."""
    server = grpc.aio.server()
    add_AccessServiceServicer_to_server(script, server)
    add_AdminServiceServicer_to_server(script, server)
    port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    await server.start()
    try:
        yield address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
    finally:
        await server.stop(None)
