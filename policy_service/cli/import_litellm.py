"""`policy-service import litellm`: a LiteLLM proxy's models, groups, teams and members as a file for `apply`.

No server is asked: the two files say all. What LiteLLM does otherwise than this service will is reported as findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from policy_service.cli.console import ERR, fail
from policy_service.cli.files import STANDARD_OUTPUT, write_text
from policy_service.cli.litellm.configuration import read_configuration
from policy_service.cli.litellm.document import InputError
from policy_service.cli.litellm.findings import Finding
from policy_service.cli.litellm.teams import read_teams
from policy_service.cli.litellm.translation import translate
from policy_service.cli.manifest import Manifest, ManifestError, parse_manifest
from policy_service.cli.manifest_writer import manifest_text
from policy_service.cli.output import Output, OutputOption, print_document
from policy_service.cli.progress import progress


def litellm(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The proxy's config.yaml.")],
    teams: Annotated[
        list[Path] | None,
        typer.Option(
            "--teams",
            metavar="FILE",
            help="What GET /team/list or GET /team/info returned, as JSON; may be given several times. Without it only "
            "models and groups are imported.",
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Write the YAML here. Default: standard output.")
    ] = None,
    keep_open_door: Annotated[
        bool,
        typer.Option(
            "--keep-open-door", help="As in LiteLLM, who is no member of a team may use what the team may use."
        ),
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Read a LiteLLM proxy's configuration and teams, and write the YAML that `apply` takes.

    Where LiteLLM means something else than this service will, a finding says so: in text on standard error, in JSON or
    YAML on standard output. Exit status: 0 written, 2 not.
    """
    file = None if file == STANDARD_OUTPUT else file
    if output is not Output.TEXT and file is None:
        fail("with --output json or yaml the findings are on standard output; say with --file where the YAML goes")
    if file is not None and file.exists():
        fail(f"{file} is there already; remove it, or give --file another name")
    try:
        configuration = read_configuration(_read(config), str(config))
        known = None if teams is None else read_teams([(str(path), _read(path)) for path in teams])
    except InputError as error:
        fail(str(error))
    with progress("translating, members") as advance:
        manifest, findings = translate(configuration, known, keep_open_door=keep_open_door, advance=advance)
    _write(manifest, file)
    if output is Output.TEXT:
        _show(findings)
        ERR.print(_summary(manifest, findings, file))
    else:
        print_document(_counts(manifest) | {"findings": [asdict(finding) for finding in findings]}, output)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")


def _write(manifest: Manifest, file: Path | None) -> None:
    """Writes the whole manifest, or nothing."""
    pieces = []
    with progress("writing, lines") as advance:
        for piece in manifest_text(manifest):
            pieces.append(piece)
            advance(1)
    text = "".join(pieces)
    try:
        parse_manifest(text.encode(), "what would be written")
    except ManifestError as error:
        fail(f"this import would not be accepted by `apply`, and nothing is written; please report it\n{error}")
    try:
        write_text(file, [text])
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{file or 'standard output'} cannot be written: {error.strerror}")


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        where = f"team {finding.team}: " if finding.team else ""
        concerns = f" ({finding.members} member{'' if finding.members == 1 else 's'})" if finding.members else ""
        ERR.print(f"{finding.code}  {where}{finding.subject}{concerns}", style="yellow")
        ERR.print(f"  LiteLLM: {finding.litellm}")
        ERR.print(f"  here:    {finding.here}")


def _counts(manifest: Manifest) -> dict[str, Any]:
    teams = manifest.teams or ()
    return {
        "models": len(manifest.models or ()),
        "groups": len(manifest.groups or ()),
        "teams": len(teams),
        "members": sum(len(team.members or ()) for team in teams),
    }


def _summary(manifest: Manifest, findings: Sequence[Finding], file: Path | None) -> str:
    what = ", ".join(f"{count:,} {name if count != 1 else name[:-1]}" for name, count in _counts(manifest).items())
    where = "" if file is None else f" in {file}; look at it, then `policy-service apply -f {file}`"
    return f"{what}; {len(findings)} finding{'' if len(findings) == 1 else 's'}{where}"
