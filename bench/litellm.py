"""What the policy gate costs a LiteLLM proxy: beside LiteLLM's own check of team and member, and in requests a
second."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import yaml

from bench.litellm_rounds import HOOKS, LOCAL, OWN, REMOTE, REMOTE_REQUESTS, REQUESTS, ROUNDS, Rounds
from bench.litellm_through import CONNECTIONS, ROUND_S, Outside, Through, environment, through
from bench.litellm_through import ROUNDS as THROUGH_ROUNDS
from bench.litellm_world import CALLERS, KINDS, MEMBERS, TEAMS, deployments, policy
from bench.processes import LIMIT_S, PROGRAM, serving
from bench.report import Cell, Table
from bench.world import ROOT

TITLE = "The policy gate in LiteLLM"
PYTHON = Path(os.environ.get("LITELLM_PYTHON") or ROOT / "build" / "litellm" / "bin" / "python")
MOST_OF_OWN, LEAST_RATE = 0.1, 0.97
NOT_MEASURED = f"LiteLLM is not there: {PYTHON}. `make build/litellm/.installed`, or LITELLM_PYTHON, gives it."

CHECKS = f"""In LiteLLM's process, microseconds of its processor time for each request; medians of {ROUNDS} rounds, in
which the ways take turns. *LiteLLM*: `can_team_access_model` and the check of the member's list, as `common_checks`
makes them, the membership read from the proxy's cache. *Gate*: everything that the gate does for a chat completion,
which is four hooks, or two where it denies; data as the proxy has them, with three messages and two tools. *Local*: a
replica in the process. *Remote*: a server on loopback is asked, one request at a time; *waits* is by the clock. {TEAMS}
teams of {MEMBERS} members; a team lists 20 names, a member 6, wildcards and a group among them. {CALLERS} of the
members ask: the cache of LiteLLM holds 200 objects, and it asks its database for others. {REQUESTS:,} requests a
round, of the remote way {REMOTE_REQUESTS}, all different, and every answer is checked. LiteLLM has {len(deployments())}
deployments."""
DETAILS = """Of the allowed requests, by the clock: the median request of each round, and of those the median round. The
first hook finds out what the others need again."""
RATES = f"""Each proxy is a process with one worker, {CONNECTIONS} connections with one request at a time, all of them
allowed; models answer by `mock_response`. The configurations differ in the callback alone, and identity comes from a
custom_auth that asks nobody, so that LiteLLM does less for a request than it does with its database. The gate follows
with a local replica. All four run and are loaded in turn, {THROUGH_ROUNDS} rounds of {ROUND_S:g} s; shown are medians,
of the ratios, too, which are made of the two and two of each round. What tells one proxy without the gate from the
other is chance: nothing smaller can be seen in the ratio. *Processor time* is the proxy's for each request."""


async def measure(folder: Path) -> list[Table]:
    if not os.access(PYTHON, os.X_OK):
        return [Table("Targets", ("what", "target", "reached", ""), [], NOT_MEASURED)]
    async with serving("--in-memory", "--drain-timeout-s=1") as service:
        authority = await service.target()
        await _apply(folder, authority)
        inside = await _inside(folder, authority)
        outside = await through(folder, PYTHON, authority)
    return [_targets(inside, outside), _checks(inside), _hooks(inside), _rates(outside)]


async def _apply(folder: Path, authority: str) -> None:
    path = folder / "policy.yaml"
    path.write_text(yaml.dump(policy(), Dumper=yaml.CSafeDumper))
    await _run(PROGRAM, "apply", "-f", path, "--server", authority)


async def _inside(folder: Path, authority: str) -> Rounds:
    result = folder / "inside.json"
    await _run(PYTHON, "-m", "bench.litellm_inside", authority, result)
    return Rounds(**json.loads(result.read_text()))


async def _run(*command: str | Path) -> None:
    """Raises RuntimeError with what it said, when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate()
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {said.decode()[-2_000:]}")


def _targets(inside: Rounds, outside: Outside) -> Table:
    rows: list[list[Cell]] = []
    for kind in KINDS:
        part = inside.cpu(kind, LOCAL) / inside.cpu(kind, OWN)
        rows.append([f"local gate, of LiteLLM's own check, {kind}", f"at most {MOST_OF_OWN:g}", part])
        rows[-1].append(_word(part <= MOST_OF_OWN))
    rows.append(["requests a second with the gate, of those without", f"at least {LEAST_RATE:g}", outside.rate])
    rows[-1].append(_word(outside.rate >= LEAST_RATE))
    return Table("Targets", ("what", "target", "reached", ""), rows, f"LiteLLM {inside.version}.")


def _word(met: bool) -> str:
    return "met" if met else "missed"


def _checks(inside: Rounds) -> Table:
    columns = (
        "request",
        "LiteLLM µs",
        "local µs",
        "remote µs",
        "remote waits µs",
        "local / LiteLLM",
        "remote / LiteLLM",
    )
    return Table("The check of a request", columns, [_check(inside, kind) for kind in KINDS], CHECKS)


def _check(inside: Rounds, kind: str) -> list[Cell]:
    own, local, remote = (inside.cpu(kind, way) for way in (OWN, LOCAL, REMOTE))
    return [kind, own, local, remote, inside.wall(kind, REMOTE), local / own, remote / own]


def _hooks(inside: Rounds) -> Table:
    rows: list[list[Cell]] = [[hook, inside.hook(LOCAL, hook), inside.hook(REMOTE, hook)] for hook in HOOKS]
    return Table("The gate's hooks", ("hook", "local µs", "remote µs"), rows, DETAILS)


def _rates(outside: Outside) -> Table:
    columns = ("proxy", "requests/s", "p50 ms", "processor time µs")
    without, gated = outside.without, outside.gated
    rows = [*(_rate("without the gate", one) for one in without), *(_rate("with the gate", one) for one in gated)]
    parts: list[list[Cell]] = [
        ["with, of without", outside.rate, "", outside.cpu],
        ["one without, of the other", outside.chance, "", ""],
    ]
    return Table("Through the proxy", columns, [*rows, *parts], RATES)


def _rate(name: str, one: Through) -> list[Cell]:
    return [name, one.rate, one.p50_ms, one.cpu_us]
