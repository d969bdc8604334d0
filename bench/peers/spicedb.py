"""SpiceDB, which follows relationships that it reads from a database, here PostgreSQL: what it keeps in memory instead
it searches from end to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import grpc

from bench.load.call import Call, Where
from bench.peers import postgres
from bench.peers.installing import SPICEDB
from bench.peers.policy import Policy
from bench.peers.program import finished, started
from bench.peers.relations import Relation, Relations, seat_id
from bench.peers.subject import Subject, family
from bench.processes import free_port
from bench.world import Check, World

TITLE = f"SpiceDB {SPICEDB.version}"
SERVICE = "/authzed.api.v1"
KEY = "bench"
HEADERS = (("authorization", f"Bearer {KEY}"),)  # without which it answers nobody
STALE_S = 6.0  # after which an answer knows everything: 5 s, and a tenth more
AT_ONCE = 1_000  # relationships of a message
# The field of the answer that says PERMISSIONSHIP_HAS_PERMISSION or ..._NO_PERMISSION; before it is a token, a text.
ALLOWED, DENIED = b"\x10\x02", b"\x10\x01"
NOTES = """Has every member, as relationships in a PostgreSQL beside it, whose processes are counted, too; it may answer
as things were up to 5 s ago, from its caches (`minimize_latency`), as its documentation recommends for speed. A
wildcard is a provider's relationship to its models; exclusions are the names they mean; whoever asks has to resolve
aliases. Users who are no members are denied."""
OPTIONS = (
    f"--grpc-preshared-key={KEY}",
    "--grpc-max-conn-age=24h",  # a connection stays what it was when the measurement began
    "--streaming-api-response-delay-timeout=10m",  # as long as the import may take
    "--datastore-disable-watch-support",
    "--metrics-enabled=false",
    "--telemetry-endpoint=",
    "--skip-release-check",
    "--log-level=error",
)
SCHEMA = """
definition model {}
definition group {
  relation model: model
}
definition provider {
  relation model: model
}
definition scope {
  relation listed: model | model:*
  relation group: group
  relation provider: provider
  relation excluded: model
  permission grants = (listed + group->model + provider->model) - excluded
}
definition team {
  relation scope: scope
  permission grants = scope->grants
}
definition seat {
  relation team: team
  relation scope: scope
  relation blocked: model:*
  permission may_use = (team->grants & scope->grants) - blocked
}
"""

_messages = grpc.protos("bench/peers/protos/spicedb.proto")


def missing() -> str:
    return SPICEDB.missing() or postgres.missing()


@asynccontextmanager
async def running(folder: Path, world: World) -> AsyncIterator[Subject]:
    relations, port = Relations(Policy(world)), free_port()

    def call(check: Check, allowed: bool) -> Call:
        team, user, asked = check
        relation = Relation("seat", seat_id(team, user), "may_use", "model", relations.target(team, asked))
        request = _messages.CheckPermissionRequest(
            consistency=_messages.Consistency(minimize_latency=True),
            resource=_object(relation.object_type, relation.object_id),
            permission=relation.relation,
            subject=_subject(relation),
        )
        path = f"{SERVICE}.PermissionsService/CheckPermission".encode()
        return Call(path, request.SerializeToString(), ALLOWED if allowed else DENIED, Where.ANYWHERE)

    async with postgres.postgres() as database:
        datastore = ["--datastore-engine=postgres", f"--datastore-conn-uri={database.uri}"]
        await finished([SPICEDB.program, "datastore", "migrate", "head", *datastore, "--log-level=error"])
        command: list[str | Path] = [SPICEDB.program, "serve", *datastore, *OPTIONS, f"--grpc-addr=127.0.0.1:{port}"]
        async with started(folder, command, port) as pid:
            await _load(port, relations)
            await database.analyze()
            await asyncio.sleep(STALE_S)

            def pids() -> list[int]:
                return [pid, *family(database.pid)]

            yield Subject(TITLE, port, pids, call, NOTES, KEY)


async def _load(port: int, relations: Relations) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        write: Any = channel.unary_unary(
            f"{SERVICE}.SchemaService/WriteSchema", _messages.WriteSchemaRequest.SerializeToString
        )
        import_all: Any = channel.stream_unary(
            f"{SERVICE}.PermissionsService/ImportBulkRelationships",
            _messages.ImportBulkRelationshipsRequest.SerializeToString,
        )
        try:
            await write(_messages.WriteSchemaRequest(schema=SCHEMA), metadata=HEADERS, wait_for_ready=True)
            await import_all(_batches(relations), metadata=HEADERS)
        except grpc.aio.AioRpcError as error:
            raise RuntimeError(f"it does not take the relationships: {error.details()}") from error


def _batches(relations: Relations) -> Iterator[Any]:
    left = iter(relations)
    while batch := [_relationship(relation) for relation in islice(left, AT_ONCE)]:
        yield _messages.ImportBulkRelationshipsRequest(relationships=batch)


def _relationship(relation: Relation) -> Any:
    return _messages.Relationship(
        resource=_object(relation.object_type, relation.object_id),
        relation=relation.relation,
        subject=_subject(relation),
    )


def _object(kind: str, identity: str) -> Any:
    return _messages.ObjectReference(object_type=kind, object_id=identity)


def _subject(relation: Relation) -> Any:
    return _messages.SubjectReference(object=_object(relation.subject_type, relation.subject_id))
