"""Revisions as servers tell them: their numbers, and where a server is."""

from __future__ import annotations

from policy_client import PermissionDenied
from policy_service.cli.connection import Target
from policy_service.v1.replication_pb2 import GetHeadRequest, Head
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub


def number_of(revision: str) -> int:
    """How many revisions there were, with this one."""
    return int(revision.rpartition(".")[2])


async def read_head(target: Target) -> Head | None:
    """Where the server is. None when the caller may not ask: it needs the permission replicate."""
    connection = target.replication()
    try:
        stub = ReplicationServiceStub(connection.channel)
        return (await connection.call(stub.GetHead, GetHeadRequest(), None)).head
    except PermissionDenied:
        return None
    finally:
        await connection.close()
