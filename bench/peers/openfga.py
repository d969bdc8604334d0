"""OpenFGA, which follows relationships that it reads from a database, here SQLite: what it keeps in memory instead it
searches from end to end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.json_format import ParseDict

from bench.load.call import Call, Where
from bench.peers.installing import OPENFGA
from bench.peers.policy import Policy
from bench.peers.program import finished, started
from bench.peers.relations import EVERY, Relation, Relations, seat_id
from bench.peers.subject import Subject
from bench.processes import free_port
from bench.world import KEPT, ROOT, Check, World

TITLE = f"OpenFGA {OPENFGA.version}"
SERVICE = "/openfga.v1.OpenFGAService"
AT_ONCE = 1_000  # relationships of a write
CACHED = 1_000_000  # results of parts of checks
ALLOWED, DENIED = b"\x08\x01", b""
NOTES = """Has every member, as relationships in SQLite on a local disk, with its caches of queries and of parts of
checks, which may be 10 s old, as its documentation recommends. A wildcard is a provider's relationship to its models;
exclusions are the names they mean; whoever asks has to resolve aliases. Users who are no members are denied."""
OPTIONS = (
    "--datastore-engine=sqlite",
    "--http-enabled=false",
    "--playground-enabled=false",
    "--metrics-enabled=false",
    "--log-level=none",
    "--check-query-cache-enabled",
    "--check-iterator-cache-enabled",
    f"--check-cache-limit={CACHED}",
    f"--max-tuples-per-write={AT_ONCE}",
)
# The database can be made again: a write does not wait for the disk.
PRAGMAS = "_pragma=synchronous(OFF)&_pragma=cache_size(-200000)&_pragma=mmap_size(4000000000)"
# With the model and the version, what decides what is in it.
_WRITTEN_BY = ("bench/world.py", "bench/peers/policy.py", "bench/peers/relations.py")

missing = OPENFGA.missing
_messages = grpc.protos("bench/peers/protos/openfga.proto")


class Ids(NamedTuple):
    """What requests name."""

    store: str
    model: str


@asynccontextmanager
async def running(folder: Path, world: World) -> AsyncIterator[Subject]:
    relations = Relations(Policy(world))
    database, ids = await _database(folder, relations, f"{world.members}-{world.teams}")

    def call(check: Check, allowed: bool) -> Call:
        team, user, asked = check
        relation = Relation("seat", seat_id(team, user), "may_use", "model", relations.target(team, asked))
        request = _messages.CheckRequest(
            store_id=ids.store, tuple_key=_tuple(relation), authorization_model_id=ids.model
        )
        path = f"{SERVICE}/Check".encode()
        return Call(path, request.SerializeToString(), ALLOWED if allowed else DENIED, Where.WHOLE)

    async with _serving(folder, database) as (pid, port):
        yield Subject(TITLE, port, lambda: [pid], call, NOTES)


async def _database(folder: Path, relations: Relations, size: str) -> tuple[Path, Ids]:
    """In the folder: a copy of the one that was kept, else a new one, which takes minutes and is kept."""
    written_by = b"".join((ROOT / name).read_bytes() for name in _WRITTEN_BY)
    written_by += json.dumps([_MODEL, OPENFGA.version]).encode()
    name = f"openfga-{size}"
    kept = KEPT / f"{name}-{hashlib.sha256(written_by).hexdigest()[:12]}.db"
    path, ids = folder / "openfga.db", kept.with_suffix(".json")
    if not kept.exists():
        for former in KEPT.glob(f"{name}-*"):
            former.unlink()
        ids.write_text(json.dumps(await _written(folder, path, relations)))
        path.rename(kept)
    shutil.copyfile(kept, path)
    return path, Ids(*json.loads(ids.read_text()))


async def _written(folder: Path, path: Path, relations: Relations) -> Ids:
    await finished(
        [OPENFGA.program, "migrate", "--datastore-engine=sqlite", _uri(path), "--log-level=none"], _environment()
    )
    async with _serving(folder, path) as (_, port):
        ids = await _load(port, relations)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return ids


@asynccontextmanager
async def _serving(folder: Path, path: Path) -> AsyncIterator[tuple[int, int]]:
    """The id of the process, and its port."""
    port = free_port()
    command: list[str | Path] = [OPENFGA.program, "run", *OPTIONS, _uri(path), f"--grpc-addr=127.0.0.1:{port}"]
    async with started(folder, command, port, _environment()) as pid:
        yield pid, port


def _uri(path: Path) -> str:
    return f"--datastore-uri=file:{path}?{PRAGMAS}"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENFGA_")}


async def _load(port: int, relations: Relations) -> Ids:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        store = (await _ask(channel, "CreateStore", _messages.CreateStoreRequest(name="bench"))).id
        asked = ParseDict(_MODEL | {"store_id": store}, _messages.WriteAuthorizationModelRequest())
        model = (await _ask(channel, "WriteAuthorizationModel", asked)).authorization_model_id
        left = iter(relations)
        while batch := [_tuple(relation) for relation in islice(left, AT_ONCE)]:
            request = _messages.WriteRequest(store_id=store, authorization_model_id=model)
            request.writes.tuple_keys.extend(batch)
            await _ask(channel, "Write", request)
        return Ids(store, model)


async def _ask(channel: grpc.aio.Channel, method: str, request: Any) -> Any:
    answer = getattr(_messages, f"{method}Response")
    call = channel.unary_unary(f"{SERVICE}/{method}", type(request).SerializeToString, answer.FromString)
    try:
        return await call(request, wait_for_ready=True)
    except grpc.aio.AioRpcError as error:
        raise RuntimeError(f"{method}: {error.details()}") from error


def _tuple(relation: Relation) -> Any:
    return _messages.TupleKey(
        user=f"{relation.subject_type}:{relation.subject_id}",
        relation=relation.relation,
        object=f"{relation.object_type}:{relation.object_id}",
    )


def _type(name: str, relations: dict[str, Any], subjects: dict[str, list[str]]) -> dict[str, Any]:
    """`relations`: what follows from others; `subjects`: what may be written, and of which types."""
    types = {
        relation: {"directly_related_user_types": [_subjects(kind) for kind in kinds]}
        for relation, kinds in subjects.items()
    }
    written: dict[str, Any] = {relation: {"this": {}} for relation in subjects}
    return {"type": name, "relations": written | relations, "metadata": {"relations": types}}


def _subjects(kind: str) -> dict[str, Any]:
    name, _, every = kind.partition(":")
    return {"type": name, "wildcard": {}} if every == EVERY else {"type": name}


def _computed(relation: str) -> dict[str, Any]:
    return {"computed_userset": {"relation": relation}}


def _through(relation: str, then: str) -> dict[str, Any]:
    return {"tuple_to_userset": {"tupleset": {"relation": relation}, "computed_userset": {"relation": then}}}


def _but_not(base: dict[str, Any], subtract: str) -> dict[str, Any]:
    return {"difference": {"base": base, "subtract": _computed(subtract)}}


_LISTED = {"union": {"child": [_computed("listed"), _through("group", "model"), _through("provider", "model")]}}
_BOTH = {"intersection": {"child": [_through("team", "grants"), _through("scope", "grants")]}}
_EVERY_MODEL = f"model:{EVERY}"
_MODEL = {
    "schema_version": "1.1",
    "type_definitions": [
        {"type": "model"},
        _type("group", {}, {"model": ["model"]}),
        _type("provider", {}, {"model": ["model"]}),
        _type(
            "scope",
            {"grants": _but_not(_LISTED, "excluded")},
            {
                "listed": ["model", _EVERY_MODEL],
                "group": ["group"],
                "provider": ["provider"],
                "excluded": ["model"],
            },
        ),
        _type("team", {"grants": _through("scope", "grants")}, {"scope": ["scope"]}),
        _type(
            "seat",
            {"may_use": _but_not(_BOTH, "blocked")},
            {"team": ["team"], "scope": ["scope"], "blocked": [_EVERY_MODEL]},
        ),
    ],
}
