"""How old a policy is at most, from heads alone: pure, with times that the tests make up."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain.changes import NO_HASH, Position
from policy_service.domain.feed import Head, HeardHead
from policy_service.replication.freshness import DRIFT, MAX_PENDING, MAX_PUBLISHERS, Freshness
from tests.domain.worlds import many

BOOTED = 5_000.0  # on our clock, when the publisher's showed 0


class Told(NamedTuple):
    """A head: asked for and received when, made when (all on our clock), and what else it says."""

    sent: float
    made: float
    received: float
    revision: int = 1
    applied: int = 1
    age_s: float = 0.0
    publisher: str = "p"
    booted: float = BOOTED


def tell(freshness: Freshness, told: Told) -> None:
    position = Position("e", told.revision, NO_HASH, "0" * 32)
    tick_ms = round((told.made - told.booted) * 1_000)
    heard = HeardHead(Head(position=position, publisher=told.publisher, tick_ms=tick_ms), told.age_s)
    freshness.heard(heard, told.sent, told.received, told.applied)


def evidence(*story: Told) -> float | None:
    freshness = Freshness()
    for told in story:
        tell(freshness, told)
    return freshness.evidence


FIRST = Told(6_000, 6_000, 6_000)

STORIES: dict[str, tuple[list[Told], float | None]] = {
    "nothing was heard": ([], None),
    "as new as the request, not the answer": ([Told(6_000, 6_001, 6_002)], 6_000),
    "the newest counts": ([FIRST, Told(6_010, 6_010, 6_010)], 6_010),
    "what is not applied proves nothing": ([Told(6_000, 6_000, 6_000, revision=2)], None),
    "a head that the policy has passed": ([Told(6_000, 6_000, 6_000, revision=1, applied=9)], 6_000),
    "it lay there for a while": ([Told(6_000, 6_000, 6_000, age_s=4)], 5_996),
    "it lies there as before": ([Told(6_000, 5_996, 6_000, age_s=4), Told(6_010, 5_996, 6_010, age_s=14)], 5_996),
    "an age below zero makes nothing newer": ([Told(6_000, 6_000, 6_000, age_s=-50)], 6_000),
    "who relays it hides its age": ([FIRST, Told(6_010, 6_000, 6_010), Told(6_020, 6_000, 6_020)], 6_000),
    "held back for 3 s": ([FIRST, Told(6_010, 6_007, 6_010), Told(6_020, 6_017, 6_020)], 6_017),
    "the first is held back, later ones are not": ([Told(6_000, 5_990, 6_000), Told(6_010, 6_010, 6_010)], 6_010),
    "the first is held back, and known to be once there is a new one": (
        [Told(6_000, 5_990, 6_000), FIRST._replace(sent=6_001, made=6_001, received=6_001), Told(6_010, 6_000, 6_010)],
        6_001,
    ),
    "a slow answer makes later ones no older": ([Told(6_000, 6_004, 6_004), Told(6_010, 6_010, 6_010)], 6_010),
    "this process was stopped during a request": (
        [FIRST, Told(6_010, 6_110, 6_110), Told(6_120, 6_120, 6_120)],
        6_120,
    ),
    "this process was stopped during its first request": (
        [Told(6_000, 6_090, 6_090), Told(6_100, 6_100, 6_100)],
        6_100,
    ),
    "this process was stopped with the answer in its buffer": ([FIRST, Told(6_010, 6_010, 6_110)], 6_010),
    "the publisher restarts, and its clock too": (
        [
            FIRST,
            Told(6_010, 6_010, 6_010, publisher="q", booted=6_009),
            Told(6_020, 6_020, 6_020, publisher="q", booted=6_009),
        ],
        6_020,
    ),
    "a head of before the publisher's restart": (
        [FIRST, Told(6_010, 6_010, 6_010, publisher="q", booted=6_009), Told(6_020, 6_000, 6_020)],
        6_010,
    ),
    "it never goes back": ([Told(6_010, 6_010, 6_010), Told(6_020, 6_020, 6_020, age_s=15)], 6_010),
}


@pytest.mark.parametrize("name", STORIES)
def test_what_heads_prove(name: str) -> None:
    story, expected = STORIES[name]
    assert evidence(*story) == pytest.approx(expected, abs=0.01)


def test_what_is_applied_later_proves_the_time_of_the_request() -> None:
    freshness = Freshness()
    for at, revision in enumerate((2, 3, 3, 5)):
        sent = 6_000.0 + 10 * at
        tell(freshness, Told(sent, sent, sent, revision=revision, applied=1))
    for revision, expected in ((1, None), (2, 6_000), (3, 6_020), (4, 6_020), (5, 6_030), (6, 6_030)):
        freshness.applied(revision)
        assert freshness.evidence == expected


def test_heads_that_wait_are_bounded() -> None:
    freshness = Freshness()
    for at in range(3 * MAX_PENDING):
        sent = 6_000.0 + at
        tell(freshness, Told(sent, sent, sent, revision=2, applied=1))
    assert len(freshness._pending) == MAX_PENDING
    freshness.applied(2)
    assert freshness.evidence == 6_000 + MAX_PENDING - 1
    tell(freshness, Told(9_000, 9_000, 9_000, revision=3, applied=2))
    freshness.applied(3)
    assert freshness.evidence == 9_000


def test_what_was_proven_is_forgotten_and_clocks_are_not() -> None:
    freshness = Freshness()
    tell(freshness, FIRST)
    tell(freshness, Told(6_001, 6_001, 6_001, revision=2))
    freshness.forget()
    freshness.applied(2)
    assert freshness.evidence is None
    tell(freshness, Told(6_050, 6_000, 6_050))
    assert freshness.evidence == pytest.approx(6_000, abs=0.01), "an old head is still known to be old"


def test_of_many_publishers_the_last_heard_are_known() -> None:
    freshness = Freshness()
    for at in range(3 * MAX_PUBLISHERS):
        sent = 6_000.0 + at
        tell(freshness, Told(sent, sent, sent, publisher="always"))
        tell(freshness, Told(sent, sent, sent, publisher=f"p{at}"))
    assert len(freshness._offsets) == MAX_PUBLISHERS
    freshness.forget()
    tell(freshness, Told(7_000, 6_100, 7_000, publisher="always"))
    assert freshness.evidence == pytest.approx(6_100, abs=0.2)


@pytest.mark.parametrize("rate", [1 - 0.9 * DRIFT, 1 - DRIFT / 4, 1, 1 + DRIFT / 4, 1 + DRIFT, 1 + 10 * DRIFT])
def test_clocks_that_part_slowly_make_nothing_stale(rate: float) -> None:
    """The publisher's goes at this rate, for ten days. (One that is slower still looks like heads held back.)"""
    freshness = Freshness()
    for minute in range(10 * 24 * 60):
        sent = 6_000.0 + 60 * minute
        told = Told(sent, 6_000 + (sent - 6_000) * rate, sent)
        tell(freshness, told)
        assert freshness.evidence is not None
        assert sent - freshness.evidence < 0.1


def test_a_clock_that_stood_still_is_believed_again_when_its_publisher_restarts() -> None:
    """As when the authority's machine was stopped by its host: nothing tells that from heads held back."""
    story = [FIRST, *(Told(sent, sent - 100, sent) for sent in (6_200.0, 6_300.0))]
    assert evidence(*story) == pytest.approx(6_200, abs=0.1)
    assert evidence(*story, Told(6_400, 6_400, 6_400, publisher="q", booted=6_350)) == 6_400


gaps = st.floats(0, 20)


@many
@given(st.lists(st.tuples(gaps, gaps, gaps, st.booleans()), min_size=1, max_size=20), st.floats(0, 1e6))
def test_no_evidence_is_newer_than_the_newest_head(
    story: list[tuple[float, float, float, bool]], booted: float
) -> None:
    """Whatever is slow: the request, the answer, or both; a head may be repeated. The first comes without delay."""
    freshness, now = Freshness(), booted + 1
    newest = now
    tell(freshness, Told(now, now, now, booted=booted))
    for idle, there, back, repeats in story:
        sent = now + idle
        newest = newest if repeats else sent + there
        now = max(sent, newest) + back
        tell(freshness, Told(sent, newest, now, booted=booted))
        assert freshness.evidence is not None
        assert freshness.evidence <= min(sent, newest + DRIFT * (now - booted)) + 0.01
