"""`policy-service status`: what an instance is, at which revision, how fresh."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToJson

from policy_client import PolicyClientError
from policy_service.cli.connection import (
    DEFAULT_SERVER,
    OUT,
    ServerOption,
    Target,
    TlsCaOption,
    TlsCertOption,
    TlsKeyOption,
    TokenFileOption,
    fail,
)
from policy_service.v1 import replication_pb2 as pb
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub

TIMEOUT_S = 5.0
EXIT_NOT_FRESH = 1


class Output(StrEnum):
    """How an answer is shown."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]


def status(
    output: OutputOption = Output.TEXT,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
) -> None:
    """Show how an instance is: its role, revision, staleness, digest, feed, watchers and last error.

    Exit status: 0 its policy is fresh, 1 it is stale or not there yet, 2 the instance could not be asked.
    """
    target = Target(server, token_file, tls_ca, tls_cert, tls_key)
    try:
        answer = asyncio.run(_ask(target))
    except PolicyClientError as error:
        fail(target.explain(error))
    if output is Output.JSON:
        OUT.print(MessageToJson(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
    else:
        for name, value in _lines(answer):
            OUT.print(f"{name:<15} {value}")
    if answer.state != pb.GetStatusResponse.FRESH:
        raise typer.Exit(EXIT_NOT_FRESH)


async def _ask(target: Target) -> pb.GetStatusResponse:
    connection = target.connection(TIMEOUT_S)
    try:
        stub = ReplicationServiceStub(connection.channel)
        return await connection.call(stub.GetStatus, pb.GetStatusRequest(), None)
    finally:
        await connection.close()


def _lines(answer: pb.GetStatusResponse) -> Iterator[tuple[str, str]]:
    epoch, _, revision = answer.revision.rpartition(".")
    yield "role", pb.GetStatusResponse.Role.Name(answer.role).lower()
    yield "state", pb.GetStatusResponse.State.Name(answer.state)
    yield "epoch", epoch or "none yet"
    yield "revision", revision or "none yet"
    yield "head", answer.head_revision.rpartition(".")[2] or "not heard of"
    if answer.role == pb.GetStatusResponse.REPLICA:
        known = answer.HasField("staleness")
        yield "staleness", f"{answer.staleness.ToTimedelta().total_seconds():.3f} s" if known else "not known"
    yield "digest", answer.digest or "none yet"
    yield "feed", answer.feed or "none"
    if answer.role == pb.GetStatusResponse.AUTHORITY:
        yield "watchers", str(answer.watchers)
    if answer.ancestors:
        yield "ancestors", ", ".join(answer.ancestors)
    yield "running since", answer.start_time.ToJsonString()
    for name, count in sorted(answer.counters.items()):
        yield "count", f"{name} {count}"
    when = f" ({answer.last_error_time.ToJsonString()})" if answer.last_error else ""
    yield "last error", (answer.last_error or "none") + when
