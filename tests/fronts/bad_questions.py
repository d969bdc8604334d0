"""Everything that is refused of AccessService's requests, whatever the policy."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from policy_service.v1 import access_pb2 as pb
from tests.api.bad_requests import BAD_MODELS, BAD_NAMES, BAD_TEXT, questions
from tests.support.messages import check

FINE = ("ml", "ann", "gpt-4")
HUGE = "日" * 300_000
NO_REVISION = ["x", "1", ".", ".1", "e.", "e.-1", "e.01", "e.1.", "e.1.2", "e.+1", "E.1", "e.1 ", " e.1", "e 1", "é.1"]
NO_REVISION += ["e.\u0661", "e." + "9" * 19, "e" * 65 + ".1", "e.1\n", "x" * 100_000]


def at_least(revision: str) -> list[Message]:
    """Every RPC that takes a revision, with this one."""
    team, user, model = FINE
    return [
        check(*FINE, revision),
        pb.BatchCheckModelAccessRequest(checks=[check(*FINE)], at_least_revision=revision),
        pb.ListAccessibleModelsRequest(team=team, user=user, at_least_revision=revision),
        pb.ExplainModelAccessRequest(team=team, user=user, model=model, at_least_revision=revision),
    ]


def names() -> Iterator[Message]:
    """Each alone, and all three together."""
    for bad in questions():
        yield bad.request
    for name in BAD_NAMES.values():
        yield pb.ListAccessibleModelsRequest(team=name, user="u")
        yield pb.ExplainModelAccessRequest(team=name, user="u", model="m")
    for name in BAD_TEXT.values():
        yield pb.ExplainModelAccessRequest(team="t", user=name, model="m")
    for name in (*BAD_TEXT.values(), HUGE, "\u0378" * 129):
        yield check(name, name, name)
        yield pb.ExplainModelAccessRequest(team=name, user=name, model=name)
    yield pb.CheckModelAccessRequest()
    yield pb.ExplainModelAccessRequest()
    yield pb.ListAccessibleModelsRequest()


def sizes() -> Iterator[Message]:
    """Of batches and pages."""
    for count in (0, 1_001, 5_000):
        yield pb.BatchCheckModelAccessRequest(checks=[check(*FINE)] * count)
    for size in (-1, -(2**31)):
        yield pb.ListAccessibleModelsRequest(team="ml", user="ann", page_size=size)
    for token in ("x", "=", "é", "AAAA", "x" * 5_000, HUGE):
        yield pb.ListAccessibleModelsRequest(team="ml", user="ann", page_token=token)
    yield pb.ListAccessibleModelsRequest(team="", user="\n", page_token="x", page_size=-1)


def revisions() -> Iterator[Message]:
    for revision in (*NO_REVISION, HUGE):
        yield from at_least(revision)


TABLES = (names, sizes, revisions)


def bad_items() -> pb.BatchCheckModelAccessRequest:
    """A batch that is answered, with an error in the place of each of these checks, and a fine one before each."""
    bad = [check("", "ann", "m"), check("ml", "a\nb", "m"), check(*FINE, "e.1"), check(HUGE[:300], "a\0", "a//b")]
    bad += [check("ml", "ann", model) for model in BAD_MODELS.values()]
    return pb.BatchCheckModelAccessRequest(checks=[each for wrong in bad for each in (check(*FINE), wrong)])
