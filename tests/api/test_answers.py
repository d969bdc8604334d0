"""What answers.py writes out by itself is, byte for byte, what protobuf makes of the same fields."""

from __future__ import annotations

import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy_service.answers import BEFORE_DECISION, CheckAnswers, limits_message
from policy_service.domain.decide import Decision, Reason
from policy_service.domain.explain import SENTENCES
from policy_service.domain.names import requested_model_problem
from policy_service.domain.records import MemberLimits
from policy_service.v1 import access_pb2 as pb

texts = st.one_of(st.text(st.characters(exclude_categories=("Cs",)), max_size=64), st.sampled_from(["", "x" * 256]))
limits = st.builds(
    MemberLimits,
    max_budget_in_team=st.none() | st.floats(0, allow_infinity=False),
    budget_duration=st.none() | texts,
    tpm_limit=st.none() | st.integers(0, 2**63 - 1),
    rpm_limit=st.none() | st.sampled_from([0, 1, 127, 128]),
)
decisions = st.builds(
    lambda reason, model, limits: Decision(reason.startswith("ALLOWED"), reason, model, limits),
    st.sampled_from(Reason),
    texts,
    st.none() | limits,
)
asked = st.tuples(decisions, texts, texts, texts, texts, st.booleans())


def made_by_protobuf(
    decision: Decision, team: str, user: str, model: str, revision: str, stale: bool
) -> pb.CheckModelAccessResponse:
    return pb.CheckModelAccessResponse(
        allowed=decision.allowed,
        reason=pb.Reason.Value(decision.reason.value),
        message=SENTENCES[decision.reason](team, user, model),
        resolved_model=decision.resolved_model or None,
        limits=None if decision.limits is None else limits_message(decision.limits),
        revision=revision,
        stale=stale,
    )


@settings(max_examples=500, deadline=None)
@given(st.lists(asked, min_size=1, max_size=5))
def test_answers_of_one_encoder(questions) -> None:
    answers = CheckAnswers()
    for question in questions:
        encoded = answers.encode(*question)
        message = pb.CheckModelAccessResponse.FromString(encoded)
        assert message == made_by_protobuf(*question)
        if question[0].resolved_model:  # which is always set
            assert encoded == message.SerializeToString()


def test_the_longest_answer_can_be_encoded() -> None:
    """Names of 256 bytes, of a character that takes most when it is escaped."""
    char = max(
        (chr(number) for number in range(0x110000) if not 0xD800 <= number <= 0xDFFF),
        key=lambda char: len(repr(char)) / len(char.encode()),
    )
    name = char * (256 // len(char.encode()))
    decision = Decision(True, Reason.ALLOWED_BY_MEMBER_SCOPE, name, MemberLimits(1.0, name, 2**63 - 1, 2**63 - 1))
    encoded = CheckAnswers().encode(decision, name, name, name, "e" * 64 + ".1", stale=True)
    assert len(encoded) < len(BEFORE_DECISION)
    assert pb.CheckModelAccessResponse.FromString(encoded).resolved_model == name


@settings(max_examples=200, deadline=None)
@given(st.lists(asked, max_size=5))
def test_a_batch(questions) -> None:
    answers = CheckAnswers()
    encoded = [answers.encode(*question) for question in questions]
    batch = b"".join(part for answer in encoded for part in (BEFORE_DECISION[len(answer)], answer))
    expected = pb.BatchCheckModelAccessResponse(
        results=[
            pb.BatchCheckModelAccessResponse.Result(decision=made_by_protobuf(*question)) for question in questions
        ]
    )
    assert pb.BatchCheckModelAccessResponse.FromString(batch) == expected


def test_no_more_limits_are_kept_than_allowed(monkeypatch) -> None:
    """Limits that are gone may leave their place in memory to others."""
    monkeypatch.setattr("policy_service.answers.MAX_LIMITS_KEPT", 3)
    answers = CheckAnswers()
    for number in range(100):
        decision = Decision(True, Reason.ALLOWED_BY_TEAM_SCOPE, "m", MemberLimits(rpm_limit=number))
        message = pb.CheckModelAccessResponse.FromString(answers.encode(decision, "t", "u", "m", "r", False))
        assert message.limits.rpm_limit == number


@example("x" * 256)
@example("x" * 257)
@given(texts)
def test_a_model_that_was_asked_for_before_is_judged_alike(text: str) -> None:
    first = requested_model_problem(text)
    assert requested_model_problem(f"{text} "[:-1]) == first
    assert bool(first) >= (text != unicodedata.normalize("NFC", text))
