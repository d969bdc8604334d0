"""Server reflection with the comments of the protos, so that `grpcurl describe` explains every field.

Generated Python code leaves comments out; descriptors.binpb, generated beside it, has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Any, cast

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import aio

SERVICE = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
# Newer clients ask for v1, which has the same messages; grpcurl 1.8.6 asks for v1alpha. Only the latter is listed,
# since there is no descriptor of v1 to show.
SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", SERVICE.full_name)


def reflection_servicer(services: Iterable[str]) -> aio.ReflectionServicer:
    """Describes these services (full names) and all they refer to."""
    return aio.ReflectionServicer([*services, SERVICE.full_name], pool=_CommentedPool())


class _CommentedPool:
    """The part of a descriptor pool that reflection uses, with files that have their comments."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()
        encoded = files("policy_service.v1").joinpath("descriptors.binpb").read_bytes()
        self._commented = {file.name: file for file in FileDescriptorSet.FromString(encoded).file}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileByName(self, name: str) -> _CommentedFile:
        return _CommentedFile(self._pool.FindFileByName(name), self._commented)

    def FindFileContainingSymbol(self, symbol: str) -> _CommentedFile:
        try:
            file = self._pool.FindFileContainingSymbol(symbol)
        except KeyError:  # the pool does not count an RPC as a symbol
            file = cast(Any, self._pool).FindMethodByName(symbol).containing_service.file
        return _CommentedFile(file, self._commented)


class _CommentedFile:
    """The part of a file descriptor that reflection uses."""

    def __init__(self, file: FileDescriptor, commented: dict[str, FileDescriptorProto]) -> None:
        self._file, self._commented = file, commented
        self.name = file.name

    @property
    def dependencies(self) -> list[_CommentedFile]:
        return [_CommentedFile(file, self._commented) for file in cast(Any, self._file).dependencies]

    def CopyToProto(self, proto: FileDescriptorProto) -> None:
        if self.name in self._commented:
            proto.CopyFrom(self._commented[self.name])
        else:
            self._file.CopyToProto(proto)
