"""LiteLLM's own functions and the decision answer alike, but for the rows of "Where this departs from LiteLLM".

It needs `build/litellm/bin/python`, an interpreter that has LiteLLM 1.102.4; LITELLM_PYTHON names another one.
LITELLM_DIFFERENTIAL_SEED, a number, gives other worlds.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_service.cli.litellm.configuration import Configuration, read_configuration
from policy_service.cli.litellm.teams import read_teams
from policy_service.cli.litellm.translation import translate
from policy_service.cli.manifest import Manifest
from policy_service.domain.decide import decide
from policy_service.domain.names import requested_model_problem
from policy_service.domain.rules import seed
from policy_service.domain.state import State

from .reading import Case
from .rows import BEYOND_THE_TABLE, HERE, LITELLM, TABLE, explanation, problems
from .worlds import WORLDS_OF_A_CONFIGURATION, World, random_world

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("LITELLM_PYTHON", ROOT / "build" / "litellm" / "bin" / "python")
SEED = int(os.environ.get("LITELLM_DIFFERENTIAL_SEED", "1"))
WORLDS = 1_700
QUESTIONS = 20_000  # at least
PROCESSES = 2
OFTEN = 24  # times that every row of the table has to be seen
MOST_PROBLEMS_SHOWN = 10


def worlds() -> list[World]:
    """The worlds of this seed, which are no others' as long as the seeds are no neighbours of a million."""
    first = SEED * 1_000_000
    return [random_world(first + number) for number in range(WORLDS)]


def verdicts(part: list[World]) -> list[dict[str, Any]]:
    """What LiteLLM says to every question, in order."""
    lines = (
        json.dumps({"config": world.config, "teams": world.answers, "questions": world.questions}) for world in part
    )
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("verdicts.py")],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def state_of(manifest: Manifest) -> State:
    """What the service has once the manifest is applied."""
    state = State()
    for record in (*(manifest.models or ()), *(manifest.groups or ())):
        state.load(record)
    for entry in manifest.teams or ():
        state.load(entry.team)
        for member in entry.members or ():
            state.load(seed(member.member, entry.team))
    return state


def answers(world: World, configuration: Configuration) -> Iterator[tuple[bool, frozenset[str]]]:
    """What this service says to every question, and the codes of the findings about the proxy or the team."""
    teams = read_teams([("teams.json", json.dumps(world.answers).encode())])
    manifest, findings = translate(configuration, teams, keep_open_door=world.keep_open_door)
    state = state_of(manifest)
    for team, user, model in world.questions:
        valid = requested_model_problem(model) is None
        codes = frozenset(finding.code for finding in findings if finding.team in ("", team))
        yield valid and decide(state, team, user, model).allowed, codes


def here(all_worlds: list[World]) -> Iterator[tuple[bool, frozenset[str]]]:
    """The answers in all worlds; neighbours share a configuration."""
    for start in range(0, len(all_worlds), WORLDS_OF_A_CONFIGURATION):
        neighbours = all_worlds[start : start + WORLDS_OF_A_CONFIGURATION]
        content = yaml.safe_dump(neighbours[0].config).encode()
        configuration = read_configuration(content, "config.yaml")
        for world in neighbours:
            yield from answers(world, configuration)


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """All questions with both answers."""
    asked = worlds()
    size = WORLDS // PROCESSES
    with ThreadPoolExecutor(PROCESSES) as pool:
        running = [pool.submit(verdicts, asked[start : start + size]) for start in range(0, WORLDS, size)]
        ours = list(here(asked))
        theirs = [verdict for each in running for verdict in each.result()]
    questions = [(world, question) for world in asked for question in world.questions]
    return [
        Case(world, world.teams[question.team], question, there["names"], there["allowed"], allowed, codes)
        for (world, question), there, (allowed, codes) in zip(questions, theirs, ours, strict=True)
    ]


def name_of(case: Case) -> str:
    """Under what a question is counted."""
    if case.litellm == case.here:
        return f"both {'allow' if case.here else 'deny'}"
    side = LITELLM if case.litellm else HERE
    return f"{' + '.join(row.text for row in explanation(case)) or 'no row'}: {side} allows"


def reproduction(case: Case) -> str:
    """All that there is to know about a question."""
    own = case.team.lists.get(case.question.user)
    return (
        f"random_world({case.world.seed}) keep_open_door={case.world.keep_open_door} {case.question}\n"
        f"  team: models={case.team.models} aliases={case.team.aliases} blocked={case.team.blocked}\n"
        f"  member: allowed_models={own}\n"
        f"  proxy: aliases={case.world.proxy_aliases} groups={case.groups}\n"
        f"  known to LiteLLM: {dict(case.names)}\n"
        f"  LiteLLM: {case.litellm}, here: {case.here}, findings: {sorted(case.reported)}"
    )


def test_every_disagreement_has_its_row(cases: list[Case], record_property: Callable[[str, object], None]) -> None:
    counts = Counter(name_of(case) for case in cases)
    for name, count in counts.most_common():
        record_property(name, count)
        print(f"{count:7,}  {name}")
    print(f"{len(cases):7,}  questions in {WORLDS:,} worlds, seed {SEED}")
    wrong = [f"{words}\n  {reproduction(case)}" for case in cases for words in problems(case)]
    assert not wrong, f"{len(wrong)} problems\n" + "\n".join(wrong[:MOST_PROBLEMS_SHOWN])


def test_there_is_something_to_disagree_about(cases: list[Case]) -> None:
    assert len(cases) >= QUESTIONS
    both = Counter((case.litellm, case.here) for case in cases)
    assert both[True, True] + both[False, False] > 0.6 * len(cases)
    assert both[True, True] > 0.2 * len(cases)
    assert both[False, False] > 0.2 * len(cases)
    seen = Counter(row.text for case in cases if case.litellm != case.here for row in explanation(case))
    assert {row.text: seen[row.text] for row in TABLE if seen[row.text] < OFTEN} == {}
    assert {row.text for row in BEYOND_THE_TABLE} <= seen.keys()
