"""What the policy gate costs a LiteLLM proxy: beside LiteLLM's own check of team and member, and in requests a
second."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from bench.litellm_rounds import HOOKS, LOCAL, OWN, REMOTE, REMOTE_REQUESTS, REQUESTS, ROUNDS, Rounds
from bench.litellm_through import CONNECTIONS, ROUND_S, WITH, WITHOUT, Through, environment, through
from bench.litellm_through import ROUNDS as THROUGH_ROUNDS
from bench.litellm_world import ALLOWED, CALLERS, KINDS, MEMBERS, TEAMS, deployments, policy
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
DETAILS = """As above, of the allowed requests, but all of a round go through one hook before any goes through the next,
so that the sum is somewhat less than a whole request."""
RATES = f"""The proxy as a process with one worker, {CONNECTIONS} connections with one request at a time, all of them
allowed; models answer by `mock_response`. The configurations differ in the callback alone, and identity comes from a
custom_auth that asks nobody, so that LiteLLM does less for a request than it does with its database. Both proxies run
and are loaded in turn, {THROUGH_ROUNDS} rounds of {ROUND_S:g} s; shown are medians, of the ratios, too, each of
two rounds that follow one another. The gate follows with a local replica. *Processor time* is the proxy's: it says the
same as the rate, and depends less on what else the machine does."""


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


def _targets(inside: Rounds, outside: Mapping[str, Through]) -> Table:
    rows: list[list[Cell]] = []
    for kind in KINDS:
        part = inside.cpu(kind, LOCAL) / inside.cpu(kind, OWN)
        rows.append([f"local gate, of LiteLLM's own check, {kind}", f"at most {MOST_OF_OWN:g}", part])
        rows[-1].append(_word(part <= MOST_OF_OWN))
    rate = outside[WITH].rate_of(outside[WITHOUT])
    rows.append(["requests a second with the gate, of those without", f"at least {LEAST_RATE:g}", rate])
    rows[-1].append(_word(rate >= LEAST_RATE))
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
    own = inside.cpu(ALLOWED, OWN)
    rows: list[list[Cell]] = [
        [hook, inside.hook(LOCAL, hook), inside.hook(REMOTE, hook), inside.hook(LOCAL, hook) / own] for hook in HOOKS
    ]
    return Table("The gate's hooks", ("hook", "local µs", "remote µs", "local / LiteLLM"), rows, DETAILS)


def _rates(outside: Mapping[str, Through]) -> Table:
    columns = ("proxy", "requests/s", "of those without", "p50 ms", "processor time µs", "of that without")
    return Table("Through the proxy", columns, [_rate(way, outside) for way in outside], RATES)


def _rate(way: str, outside: Mapping[str, Through]) -> list[Cell]:
    one, without = outside[way], outside[WITHOUT]
    return [way, one.rate, one.rate_of(without), one.p50_ms, one.cpu_us, one.cpu_of(without)]
