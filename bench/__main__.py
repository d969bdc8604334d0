"""`python -m bench [NAME ...]`: runs measurements and shows their tables. A run of all of them (no NAME) also writes
bench/results.md.

To add one: a module here with a TITLE and `async def measure(folder)`, which returns tables and may use the folder; and
its name in MEASUREMENTS.
"""

from __future__ import annotations

import sys
import time

from bench.report import machine, write_results
from bench.running import run

MEASUREMENTS = (
    *("decide", "start", "mutations", "propagation", "apply", "bootstrap", "local", "ext_authz", "checks"),
    "litellm",
)
HEADING = """# Measurements

Written by `make bench`; do not edit. Servers, replicas and Redis are processes of their own on this one machine, and so
is the program that measures: they share its cores. Compare what stands in one table, not one machine with another.
"""


def main(names: list[str]) -> int:
    """Returns the exit status."""
    unknown = set(names) - set(MEASUREMENTS)
    if unknown:
        print(f"there is no measurement {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
        return 2
    sections = [HEADING, machine().markdown()]
    print(*sections, sep="\n", flush=True)
    for name in names or MEASUREMENTS:
        began = time.perf_counter()
        sections.append(run(name))
        print(f"\n{sections[-1]}\n({name} took {time.perf_counter() - began:.0f} s)", flush=True)
    if not names:
        write_results("\n".join(sections))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
