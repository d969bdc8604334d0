"""`policy-service check`, `explain` and `models`: what may be used, and why."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from policy_client.access import AccessibleModels
from policy_service.cli.connection import Target, on_server
from policy_service.cli.console import ERR, OUT, Exit, fail
from policy_service.cli.files import why_unreadable
from policy_service.cli.output import Output, OutputOption, plain, print_document, print_table
from policy_service.v1 import access_pb2 as pb

MAX_BATCH = 1_000
COLUMNS = ("team", "user", "model")
STALE = "may be out of date"
Check = tuple[str, str, str]

_TEAM: Any = typer.Argument(metavar="TEAM", help="The team's identifier.")
_USER: Any = typer.Argument(metavar="USER", help="The user's identifier; '' for none.")
_MODEL: Any = typer.Argument(metavar="MODEL", help="The model, as the user asks for it.")
TeamArgument = Annotated[str, _TEAM]
UserArgument = Annotated[str, _USER]
ModelArgument = Annotated[str, _MODEL]


@on_server
async def check(
    target: Target,
    team: Annotated[str | None, _TEAM] = None,
    user: Annotated[str | None, _USER] = None,
    model: Annotated[str | None, _MODEL] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="FILE", help="CSV lines TEAM,USER,MODEL to ask instead; - is standard input."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Ask whether a user of a team may use a model.

    Exit status: 0 allowed (all of a batch), 1 denied (any of a batch), else the question could not be answered.
    """
    if batch is not None:
        if team is not None:
            fail("--batch brings the questions; leave TEAM USER MODEL out")
        await _check_batch(target, list(_questions(batch)), output)
    elif team is None or user is None or model is None:
        fail("give TEAM USER MODEL, or --batch with a file of them")
    else:
        async with target.access() as access:
            decision = await access.check(team, user, model)
        if output is Output.TEXT:
            _show(decision)
        else:
            print_document(plain(decision), output)
        _exit(decision.allowed)


@on_server
async def explain(
    target: Target, team: TeamArgument, user: UserArgument, model: ModelArgument, output: OutputOption = Output.TEXT
) -> None:
    """Show how a check is decided, step by step, and what would allow what is denied.

    Exit status: as of check.
    """
    async with target.access() as access:
        answer = await access.explain(team, user, model)
    if output is Output.TEXT:
        _show_explanation(answer)
    else:
        print_document(plain(answer), output)
    _exit(answer.decision.allowed)


@on_server
async def models(target: Target, team: TeamArgument, user: UserArgument, output: OutputOption = Output.TEXT) -> None:
    """List the models that a user of a team may use, one a line.

    Exit status: 0 something is allowed, or a pattern may allow it; 1 nothing is.
    """
    async with target.access() as access:
        found = await access.list_accessible_models(team, user)
    if output is Output.TEXT:
        _show_models(found)
    else:
        print_document(_document(found), output)
    _exit(bool(found.models or _patterns(found)[1]))


def _patterns(found: AccessibleModels) -> tuple[str, tuple[str, ...]]:
    """Words, and the patterns they are about, for what is allowed beyond the names that are known."""
    if found.reason == pb.ALLOWED_BY_TEAM_SCOPE:
        return "what matches the team's", found.team_patterns
    if found.reason == pb.ALLOWED_BY_MEMBER_SCOPE:
        return "what of the team's models matches the member's", found.member_patterns
    return "", ()


def _show_models(found: AccessibleModels) -> None:
    for model in found.models:
        typer.echo(model)
    words, patterns = _patterns(found)
    if patterns:
        ERR.print(f"{'and ' if found.models else ''}{words} {', '.join(patterns)}, less what is excluded", style="dim")
    elif not found.models:
        ERR.print(f"nothing is allowed ({_why_nothing(found.reason)})", style="red")
    if found.stale:
        ERR.print(STALE, style="yellow")


def _why_nothing(reason: pb.Reason.ValueType) -> str:
    if reason == pb.ALLOWED_BY_MEMBER_SCOPE:
        return "none of the member's models is one of the team's"
    return "every model is excluded" if reason == pb.ALLOWED_BY_TEAM_SCOPE else pb.Reason.Name(reason)


def _document(found: AccessibleModels) -> dict[str, Any]:
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(found).items()}
    return fields | {"reason": pb.Reason.Name(found.reason)}


def _exit(allowed: bool) -> None:
    if not allowed:
        raise typer.Exit(Exit.NO)


def _show(decision: pb.CheckModelAccessResponse) -> None:
    reason = pb.Reason.Name(decision.reason)
    stale = f"; {STALE}" if decision.stale else ""
    verdict, colour = ("allowed", "green") if decision.allowed else ("denied", "red")
    OUT.print(verdict, style=f"bold {colour}", end="")
    OUT.print(f": {decision.message} ({reason}; model {decision.resolved_model}{stale})")


def _show_explanation(answer: pb.ExplainModelAccessResponse) -> None:
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


def _questions(file: str) -> Iterator[Check]:
    """The lines of the file; a first line of the column names is a heading. Ends the command when one is wrong."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig") if file == "-" else Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file} cannot be read: {why_unreadable(error)}")
    lines = csv.reader(io.StringIO(text), skipinitialspace=True, strict=True)
    count = 0
    try:
        for fields in lines:
            if not fields or (count == 0 and tuple(fields) == COLUMNS):
                continue
            if len(fields) != len(COLUMNS):
                fail(
                    f"{file}:{lines.line_num}: has {len(fields)} fields; give TEAM,USER,MODEL, quote what holds a comma"
                )
            count += 1
            yield fields[0], fields[1], fields[2]
    except csv.Error as error:
        fail(f"{file}:{lines.line_num}: this is not CSV: {error}")
    if not count:
        fail(f"{file}: there is no question in it; give lines TEAM,USER,MODEL")


async def _check_batch(target: Target, checks: list[Check], output: Output) -> None:
    answers: list[dict[str, Any]] = []
    revision = ""
    async with target.access() as access:
        for start in range(0, len(checks), MAX_BATCH):
            batch = checks[start : start + MAX_BATCH]
            answer = await access.batch_check(batch, at_least_revision=revision)
            revision = answer.revision
            answers += map(_answer, batch, answer.results)
    if output is Output.TEXT:
        rows = [[str(answer[name]) for name in ("verdict", *COLUMNS, "reason")] for answer in answers]
        print_table(("VERDICT", "TEAM", "USER", "MODEL", "REASON"), rows)
        if any(answer.get("stale") for answer in answers):
            ERR.print(STALE, style="yellow")
    else:
        print_document(answers, output)
    verdicts = {answer["verdict"] for answer in answers}
    if "error" in verdicts:
        raise typer.Exit(Exit.REFUSED)
    _exit(verdicts == {"allowed"})


def _answer(check: Check, result: pb.BatchCheckModelAccessResponse.Result) -> dict[str, Any]:
    asked = dict(zip(COLUMNS, check, strict=True))
    if result.HasField("error"):
        return {"verdict": "error"} | asked | {"reason": result.error.message}
    return {"verdict": "allowed" if result.decision.allowed else "denied"} | asked | plain(result.decision)
