"""Ten minutes of random faults under load. Ends with the same digest everywhere, and writes build/soak.md.

    python -m tests.soak [--minutes 10] [--revocations 10000] [--seed N]

Exit status 0 only when no answer was wrong, no revocation was overlooked and everything converged.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from policy_client import AccessClient, AdminClient, PolicyClientError
from tests.replication.redis_servers import redis_server
from tests.replication.truth import SETTLE_S, Truth, prepare, status_of, under_watch, until_equal
from tests.soak.faults import FAULTS, strike
from tests.soak.fleet import MAX_STALENESS_S, Fleet
from tests.support.messages import ALL, member, team

AT_ONCE = 8  # revocations, on each feed
REPORT = Path("build/soak.md")


class Revocations:
    """Members that are removed, and must then not be allowed to who asks with the removal's revision."""

    def __init__(self, feed: str, replica: AccessClient, wanted: int) -> None:
        self.feed, self.replica, self.wanted = feed, replica, wanted
        self.denied = self.unanswered = 0

    async def run(self, admin: AdminClient) -> None:
        await asyncio.gather(*(self._some(admin, number) for number in range(AT_ONCE)))

    async def _some(self, admin: AdminClient, worker: int) -> None:
        turn = 0
        while self.denied < self.wanted:
            turn += 1
            user = f"{self.feed}-{worker}-{turn}"
            try:
                await admin.add_member(member("revocations", user))
                removed = await admin.remove_member("revocations", user)
                answer = await self.replica.check("revocations", user, "any", at_least_revision=removed.revision)
            except PolicyClientError:
                self.unanswered += 1
                await asyncio.sleep(0.1)
                continue
            assert not answer.allowed, f"{user} is allowed at {answer.revision}, removed at {removed.revision}"
            self.denied += 1


async def faults_until(fleet: Fleet, end: float, chance: random.Random, counted: Counter[str]) -> None:
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(1, 6))
        fault = chance.choice(FAULTS)
        counted[fault.__name__] += 1
        print(f"{end - time.monotonic():6.0f} s left: {fault.__name__}", flush=True)
        await strike(fleet, fault, chance)


async def one_digest(everybody: list[AccessClient]) -> str:
    """Waits until all are at one revision at the same time; their digest. A mutation whose caller went away may still
    land meanwhile."""
    async with asyncio.timeout(SETTLE_S):
        while True:
            await until_equal(everybody[0], everybody[1:])
            found = [await status_of(access) for access in everybody]
            if len({status.revision for status in found}) == 1:
                (digest,) = {status.digest for status in found}
                return digest


async def soak(minutes: float, revocations: int, seed: int) -> str:
    """The report. Raises what was wrong."""
    chance, counted, truth = random.Random(seed), Counter[str](), Truth(MAX_STALENESS_S)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        async with redis_server("redis") as redis:
            fleet = Fleet(redis, Path(folder))
            try:
                await fleet.start()
                authority = fleet.access(fleet.authority)
                replicas = {name: fleet.access(member) for name, member in fleet.replicas.items()}
                async with fleet.admin() as admin:
                    await prepare(admin, truth)
                    await admin.create_team(team("revocations", ALL))
                    await until_equal(authority, list(replicas.values()))
                    runs = [Revocations(feed, replicas[f"{feed}-0"], revocations) for feed in ("redis", "grpc")]
                    async with under_watch(admin, list(replicas.values()), truth), asyncio.TaskGroup() as tasks:
                        tasks.create_task(faults_until(fleet, began + 60 * minutes, chance, counted))
                        for run in runs:
                            tasks.create_task(run.run(admin))
                    quiet = time.monotonic()
                    digest = await one_digest([authority, *replicas.values()])
                for access in (authority, *replicas.values()):
                    await access.close()
            finally:
                await fleet.end()
    lines = [
        "# Soak",
        "",
        f"Seed {seed}, {(time.monotonic() - began) / 60:.1f} minutes, one authority, {len(replicas)} replicas.",
        "",
        f"- digest of all: `{digest}`, {time.monotonic() - quiet:.1f} s after the last fault",
        f"- {len(truth.written)} revisions written by the truth's writer",
        f"- answers watched: {truth.fresh_answers} fresh, {truth.stale_answers} stale, {truth.refusals} not answered",
        *(f"- {run.feed}: {run.denied} revocations seen, {run.unanswered} not answered" for run in runs),
        "- faults: " + ", ".join(f"{name} {count}" for name, count in sorted(counted.items())),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--revocations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    report = asyncio.run(soak(options.minutes, options.revocations, options.seed))
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(report)
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
