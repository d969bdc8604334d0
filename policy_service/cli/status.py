"""`policy-service status`: what an instance is, at which revision, how fresh."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import OUT, Exit
from policy_service.cli.output import Output, OutputOption, plain, print_document
from policy_service.v1 import replication_pb2 as pb
from policy_service.v1.replication_pb2_grpc import ReplicationServiceStub


@on_server
async def status(target: Target, output: OutputOption = Output.TEXT) -> None:
    """Show how an instance is: its role, revision, staleness, digest, feed, watchers and last error.

    Exit status: 0 its policy is fresh, 1 it is stale or not there yet, else the instance could not be asked.
    """
    answer = await _ask(target)
    if output is Output.TEXT:
        for name, value in _lines(answer):
            OUT.print(f"{name:<15} {value}")
    else:
        print_document(plain(answer), output)
    if answer.state != pb.GetStatusResponse.FRESH:
        raise typer.Exit(Exit.NO)


async def _ask(target: Target) -> pb.GetStatusResponse:
    connection = target.replication()
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
