"""A row claims what it is about, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.litellm.files import deployment

from .reading import Case, allows
from .rows import BEYOND_THE_TABLE, HERE, LITELLM, NOT_SEEN_IN_A_CHECK, ROWS, TABLE, explanation, problems
from .worlds import Question, Team, World

CONFIG = {
    "model_list": [
        deployment("gpt-4o", "openai/gpt-4o", "everyday"),
        deployment("smart", "anthropic/claude-opus-4-1"),
        deployment("bedrock/*", "bedrock/*", "any"),
    ],
    "router_settings": {"model_group_alias": {"gpt-4": "gpt-4o"}},
}
KNOWN = {"gpt-4o": "openai/gpt-4o", "gpt-4": "openai/gpt-4", "gpt-5": "openai/gpt-5"}
GROUPS = {"gpt-4o": ["everyday"], "gpt-4": ["everyday"], "bedrock/x": ["any"]}
LIST, EXPRESSION, DOOR, ALIAS, GROUP = TABLE
ALL_FINDINGS = frozenset(code for row in ROWS for code in row.findings)


def case(
    models: Sequence[str],
    model: str,
    user: str = "ann",
    *,
    own: Sequence[str] = (),
    aliases: dict[str, str] | None = None,
    litellm: bool = True,
    here: bool = False,
    reported: frozenset[str] = ALL_FINDINGS,
) -> Case:
    """A question to a proxy of a few names, with answers that disagree."""
    team = Team("t", list(models), [], aliases or {}, False, {user: list(own)} if own else {})
    names = {*model.replace(" ", "").split(","), "gpt-4", "gpt-4o", *(aliases or {}).values()}
    known: dict[str, dict[str, Any]] = {
        name: {"by_provider": KNOWN.get(name), "groups": GROUPS.get(name, [])} for name in names
    }
    world = World(0, CONFIG, {"t": team}, keep_open_door=False, as_info=False)
    made = Case(world, team, Question("t", user, model), known, litellm, here, reported)
    assert allows(made) == litellm
    return made


def rows_of(made: Case) -> list[str]:
    return [row.text for row in explanation(made)]


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (case(["gpt-4o", "smart"], "gpt-4o,smart"), LIST.text),
        (case(["gpt-4.*"], "gpt-4x1"), EXPRESSION.text),
        (case(["a+b*"], "a+b", litellm=False, here=True), EXPRESSION.text),
        (case(["gpt-4o", "gpt-4[*"], "gpt-4o", litellm=False, here=True), EXPRESSION.text),
        (case(["gpt-4o"], "gpt-4o", "zoe"), DOOR.text),
        (case(["gpt-4o"], "gpt-4o", ""), DOOR.text),
        (case([], "smart", "yan", own=["smart"]), "MEMBERSHIP_WITHOUT_MEMBER"),
        (case(["gpt-4o"], "smart", aliases={"fast": "smart"}, litellm=False, here=True), ALIAS.text),
        (case(["gpt-4o"], "fast", aliases={"fast": "everyday"}), ALIAS.text),
        (case(["everyday"], "everyday"), GROUP.text),
        (case(["openai/*"], "gpt-5"), "PROVIDER_FROM_CATALOGUE"),
        (case(["anthropic/*"], "smart", litellm=False, here=True), "PROVIDER_FROM_CATALOGUE"),
        (case(["any"], "bedrock/x"), "GROUP_WILDCARD"),
        (case([], "fast", own=["smart"], aliases={"fast": "smart"}, litellm=False, here=True), "ALIAS_FOR_MEMBERS"),
        (case(["gpt-4"], "gpt-4o", litellm=False, here=True), "ALIAS_TARGET_ADDED"),
        (case(["smart"], "gpt-4", aliases={"gpt-4o": "smart"}), "GROUP_ALIAS"),
    ],
)
def test_a_row_claims_what_it_is_about(made: Case, text: str) -> None:
    assert (rows_of(made), list(problems(made))) == ([text], [])


@pytest.mark.parametrize(
    "made",
    [
        case(["gpt-4o"], "gpt-4o"),
        case(["gpt-4.*"], "gpt-4.1"),  # matches either way
        case(["gpt-4.*", "gpt-4x1"], "gpt-4x1"),  # is listed, too
        case(["openai/*"], "gpt-4o"),  # of the same provider there and here
        case(["everyday"], "gpt-4o"),  # a group with its name, not by a wildcard
        case(["smart"], "fast", aliases={"fast": "smart"}),
        case(["smart"], "gpt-4o", litellm=False, here=True),
        case(["smart"], "smart,gpt-5", litellm=False, here=True),  # a list is never more than in LiteLLM
        case(["smart"], "gpt-4o", "zoe", litellm=False, here=True),
    ],
)
def test_no_row_claims_anything_else(made: Case) -> None:
    assert list(problems(made)) == ["no row says why"]


def test_an_agreement_that_cannot_be_is_a_problem() -> None:
    assert list(problems(case([], "gpt-4o", "", here=True))) == [f"{DOOR.text!r} claims it"]


def test_a_finding_has_to_be_there() -> None:
    assert list(problems(case(["any"], "bedrock/x", reported=frozenset()))) == [
        "the import did not report GROUP_WILDCARD or GROUP_INLINED"
    ]


def test_two_differences_meet() -> None:
    assert rows_of(case(["gpt.*", "openai/*"], "gpt-5")) == [EXPRESSION.text, "PROVIDER_FROM_CATALOGUE"]


def test_a_row_says_who_allows_more() -> None:
    assert EXPRESSION.sides(case(["gpt-4.*"], "gpt-4x1")) == {LITELLM}
    assert EXPRESSION.sides(case(["a+b*"], "a+b", litellm=False, here=True)) == {HERE}


def test_the_table_is_whole() -> None:
    halves = {row.text.partition(" [")[0] for row in TABLE}
    assert len(halves) + len(NOT_SEEN_IN_A_CHECK) == 10
    assert not halves & NOT_SEEN_IN_A_CHECK.keys()
    assert len({row.text for row in TABLE + BEYOND_THE_TABLE}) == len(ROWS)
