"""A decision as the message that a gateway gets. Shared by the service and the client library's local replica.

Every request waits for this, so the message is written out here, field by field as the protobuf encoding has it, with
what answers have in common encoded once: a third of what protobuf's Python objects take. tests/api/test_answers.py
holds it to what protobuf itself makes of the same fields.
"""

from __future__ import annotations

from google.protobuf.message import Message

from policy_service.domain.decide import Decision
from policy_service.domain.explain import SENTENCES
from policy_service.domain.records import MemberLimits
from policy_service.v1 import access_pb2 as pb
from policy_service.v1 import resources_pb2 as resources

MAX_LIMITS_KEPT = 10_000
_LENGTH_DELIMITED = 2


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def tag_of(message: type[Message], field: str) -> bytes:
    """What a text or message field begins with, before its length."""
    return _varint(message.DESCRIPTOR.fields_by_name[field].number << 3 | _LENGTH_DELIMITED)


_LENGTHS = tuple(map(_varint, range(4_096)))  # of a sentence with three names, however they are escaped, at most
_MESSAGE, _RESOLVED_MODEL, _LIMITS, _REVISION = (
    tag_of(pb.CheckModelAccessResponse, field) for field in ("message", "resolved_model", "limits", "revision")
)
_STALE = pb.CheckModelAccessResponse(stale=True).SerializeToString()
_HEADS = {
    name: pb.CheckModelAccessResponse(allowed=name.startswith("ALLOWED"), reason=number).SerializeToString() + _MESSAGE
    for name, number in pb.Reason.items()
}


def sized(encoded: bytes) -> bytes:
    """With its length in front, as a text or a message stands in another."""
    return _varint(len(encoded)) + encoded


def _before_decision(length: int) -> bytes:
    decision = tag_of(pb.BatchCheckModelAccessResponse.Result, "decision") + _varint(length)
    return tag_of(pb.BatchCheckModelAccessResponse, "results") + _varint(len(decision) + length) + decision


# What stands before an encoded decision of each length in the answer to a batch.
BEFORE_DECISION = tuple(map(_before_decision, range(len(_LENGTHS))))


class CheckAnswers:
    """Encodes answers (CheckModelAccessResponse). Keeps the encoding of what the last ones had in common."""

    def __init__(self) -> None:
        # By identity: equal ones of a state are one object, which is kept beside, so that its identity stays its own.
        self._limits: dict[int, tuple[MemberLimits | None, bytes]] = {}
        self._tail_revision, self._tail_stale, self._tail = "", False, b""

    def encode(self, decision: Decision, team: str, user: str, model: str, revision: str, stale: bool) -> bytes:
        """The answer to (team, user, model)."""
        _, reason, resolved_model, limits = decision
        if revision is not self._tail_revision or stale is not self._tail_stale:
            self._renew_tail(revision, stale)
        kept = self._limits.get(id(limits))
        message, resolved = SENTENCES[reason](team, user, model).encode(), resolved_model.encode()
        return b"".join(
            (
                _HEADS[reason],
                _LENGTHS[len(message)],
                message,
                _RESOLVED_MODEL,
                _LENGTHS[len(resolved)],
                resolved,
                kept[1] if kept is not None else self._keep(limits),
                self._tail,
            )
        )

    def _renew_tail(self, revision: str, stale: bool) -> None:
        self._tail_revision, self._tail_stale = revision, stale
        self._tail = (_REVISION + sized(revision.encode()) if revision else b"") + (_STALE if stale else b"")

    def _keep(self, limits: MemberLimits | None) -> bytes:
        if len(self._limits) >= MAX_LIMITS_KEPT:
            self._limits.clear()
        encoded = b"" if limits is None else _LIMITS + sized(limits_message(limits).SerializeToString())
        self._limits[id(limits)] = limits, encoded
        return encoded


def limits_message(limits: MemberLimits) -> resources.MemberLimits:
    return resources.MemberLimits(
        max_budget_in_team=limits.max_budget_in_team,
        budget_duration=limits.budget_duration,
        tpm_limit=limits.tpm_limit,
        rpm_limit=limits.rpm_limit,
    )
