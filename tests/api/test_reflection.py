"""Reflection explains the whole API: every service, RPC, message, field and enum value has a comment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from tests.support.process import grpcurl
from tests.support.rpc import ACCESS, ADMIN, REPLICATION, Rpc

STREAMS = (
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
)
SERVICES = (ACCESS, ADMIN, REPLICATION)
FILES = {service.file.name: service.file for service in SERVICES}
FILES |= {needed.name: needed for file in list(FILES.values()) for needed in file.dependencies}
OURS = {name: file for name, file in FILES.items() if name.startswith("policy_service/")}

# The numbers of these fields in descriptor.proto: a path in a file's source info is made of them.
MESSAGE, ENUM, SERVICE = 4, 5, 6
NESTED, ENUM_OF_MESSAGE, FIELD, VALUE, METHOD = 3, 4, 2, 2, 2


async def ask(rpc: Rpc, stream: str, **question: Any) -> ServerReflectionResponse:
    method = rpc.channel.stream_stream(
        stream,
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    call = method(iter([ServerReflectionRequest(**question)]))
    return await call.read()


def elements(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """The path and the name of everything that needs a comment."""
    for at, service in enumerate(file.service):
        yield (SERVICE, at), service.name
        for number, method in enumerate(service.method):
            yield (SERVICE, at, METHOD, number), f"{service.name}.{method.name}"
    for at, message in enumerate(file.message_type):
        yield from _of_message((MESSAGE, at), message, message.name)
    for at, enum in enumerate(file.enum_type):
        yield from _of_enum((ENUM, at), enum, enum.name)


def _of_message(path: tuple[int, ...], message: Any, name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    if message.options.map_entry:
        return
    yield path, name
    for at, field in enumerate(message.field):
        yield (*path, FIELD, at), f"{name}.{field.name}"
    for at, nested in enumerate(message.nested_type):
        yield from _of_message((*path, NESTED, at), nested, f"{name}.{nested.name}")
    for at, enum in enumerate(message.enum_type):
        yield from _of_enum((*path, ENUM_OF_MESSAGE, at), enum, f"{name}.{enum.name}")


def _of_enum(path: tuple[int, ...], enum: Any, name: str) -> Iterator[tuple[tuple[int, ...], str]]:
    yield path, name
    for at, value in enumerate(enum.value):
        yield (*path, VALUE, at), f"{name}.{value.name}"


@pytest.mark.parametrize("stream", STREAMS)
async def test_everything_has_a_comment(rpc: Rpc, stream: str) -> None:
    seen = set()
    for name in OURS:
        answer = await ask(rpc, stream, file_by_filename=name)
        for encoded in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(encoded)
            if not file.name.startswith("policy_service/"):
                continue
            comments = {tuple(where.path): where.leading_comments for where in file.source_code_info.location}
            found = dict(elements(file))
            assert [named for path, named in found.items() if not comments.get(path, "").strip()] == []
            seen |= set(found.values())
    assert len(seen) > 300
    assert {"AdminService.UpdateTeam", "ModelScope.Mode.ALL", "AuditEvent.Change.kind", "Team.labels"} <= seen


@pytest.mark.parametrize("stream", STREAMS)
async def test_the_services_are_listed(rpc: Rpc, stream: str) -> None:
    answer = await ask(rpc, stream, list_services="")
    listed = {service.name for service in answer.list_services_response.service}
    assert {service.full_name for service in SERVICES} <= listed
    assert "grpc.health.v1.Health" in listed
    for name in listed:
        assert (await ask(rpc, stream, file_containing_symbol=name)).HasField("file_descriptor_response"), name


@pytest.mark.parametrize("question", [{"file_containing_symbol": "no.Such"}, {"file_by_filename": "no.proto"}, {}])
async def test_what_is_unknown_is_said_to_be(rpc: Rpc, question: dict[str, str]) -> None:
    assert (await ask(rpc, STREAMS[0], **question)).HasField("error_response")


async def told(*arguments: str) -> str:
    """What grpcurl says, when it succeeds."""
    status, output = await grpcurl(*arguments)
    assert status == 0, output
    return output


def uncommented(described: str) -> list[str]:
    """The declarations in grpcurl's output that have no comment on the line before. A continued one has none."""
    bare, before = [], ""
    for line in described.splitlines()[1:]:
        text = line.strip()
        declares = text.endswith((";", "{")) or text.startswith("rpc ")
        if declares and not text.startswith(("//", "option", "reserved")) and not before.startswith("//"):
            bare.append(text)
        before = text if text not in ("{", "}") else before
    return bare


async def test_grpcurl_lists_and_describes_it_all(server) -> None:
    listed = (await told(server.target, "list")).split()
    assert {service.full_name for service in SERVICES} <= set(listed)
    everything = await told(server.target, "describe")
    assert all(f"{service.full_name} is a service" in everything for service in SERVICES)
    symbols = [service.full_name for service in SERVICES]
    for service in SERVICES:
        methods = {method.full_name for method in service.methods}
        assert set((await told(server.target, "list", service.full_name)).split()) == methods
        symbols += sorted(methods)
    for file in OURS.values():
        symbols += [
            kind.full_name for kind in (*file.message_types_by_name.values(), *file.enum_types_by_name.values())
        ]
    assert len(symbols) > 80
    for symbol in symbols:
        described = await told(server.target, "describe", symbol)
        assert described.startswith(f"{symbol} is a")
        assert uncommented(described) == [], symbol
