"""`policy-service check`: one decision, as an exit status and a line."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

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
from policy_service.v1 import access_pb2 as pb

EXIT_DENIED = 1
TIMEOUT_S = 5.0  # a person waits, not a request


def check(
    team: Annotated[str, typer.Argument(help="The team's identifier.")],
    user: Annotated[str, typer.Argument(help="The user's identifier; '' for none.")],
    model: Annotated[str, typer.Argument(help="The model, as the user asks for it.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how it was decided and what would change it.")
    ] = False,
    server: ServerOption = DEFAULT_SERVER,
    token_file: TokenFileOption = None,
    tls_ca: TlsCaOption = None,
    tls_cert: TlsCertOption = None,
    tls_key: TlsKeyOption = None,
) -> None:
    """Ask whether a user of a team may use a model.

    Exit status: 0 allowed, 1 denied, 2 the question could not be answered.
    """
    target = Target(server, token_file, tls_ca, tls_cert, tls_key)
    try:
        decision = asyncio.run(_explain(target, team, user, model) if explain else _check(target, team, user, model))
    except PolicyClientError as error:
        fail(target.explain(error))
    if not decision.allowed:
        raise typer.Exit(EXIT_DENIED)


async def _check(target: Target, team: str, user: str, model: str) -> pb.CheckModelAccessResponse:
    async with target.access(TIMEOUT_S) as access:
        decision = await access.check(team, user, model)
    _show(decision)
    return decision


async def _explain(target: Target, team: str, user: str, model: str) -> pb.CheckModelAccessResponse:
    async with target.access(TIMEOUT_S) as access:
        answer = await access.explain(team, user, model)
    _show(answer.decision)
    for step in answer.steps:
        layer, outcome = pb.ExplainStep.Layer.Name(step.layer), pb.ExplainStep.Outcome.Name(step.outcome)
        OUT.print(f"  {layer:<13} {outcome:<12} {step.message}")
    if answer.suggested_changes:
        OUT.print("What would allow it:")
    for change in answer.suggested_changes:
        OUT.print(f"  {change.rpc}: {change.description}")
        OUT.print(f"    {change.request_json}", style="dim")
    if answer.nearest_models:
        OUT.print(f"Allowed models with a similar name: {', '.join(answer.nearest_models)}")
    return answer.decision


def _show(decision: pb.CheckModelAccessResponse) -> None:
    reason = pb.Reason.Name(decision.reason)
    stale = "; may be out of date" if decision.stale else ""
    verdict, colour = ("allowed", "green") if decision.allowed else ("denied", "red")
    OUT.print(verdict, style=f"bold {colour}", end="")
    OUT.print(f": {decision.message} ({reason}; model {decision.resolved_model}{stale})")
