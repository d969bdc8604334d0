"""CheckModelAccess and BatchCheckModelAccess. The decisions themselves: tests/conformance; revisions: tests/fronts."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo

from policy_service.v1.access_pb2 import (
    BatchCheckModelAccessRequest,
    CheckModelAccessResponse,
    ExplainModelAccessRequest,
    Reason,
)
from policy_service.v1.admin_pb2 import CreateTeamRequest, UpdateMemberRequest, UpdateTeamRequest
from policy_service.v1.resources_pb2 import MemberLimits, Team, UnlistedUsers
from tests.support.messages import ALL, NONE, check, member, only, team
from tests.support.rpc import Rpc, number_of, refused

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


async def answers(rpc: Rpc, team: str, user: str, model: str) -> CheckModelAccessResponse:
    """What Check says, and the other two with it."""
    answer = await rpc.access.CheckModelAccess(check(team, user, model))
    batch = BatchCheckModelAccessRequest(checks=[check(team, user, model)])
    assert (await rpc.access.BatchCheckModelAccess(batch)).results[0].decision == answer
    question = ExplainModelAccessRequest(team=team, user=user, model=model)
    assert (await rpc.access.ExplainModelAccess(question)).decision == answer
    return answer


async def test_the_limits_are_the_members(world: Rpc) -> None:
    """A deny has none; an allow always has the field, if only to say that nothing is limited."""
    assert (await answers(world, "ml", "ann", "gpt-4o-mini")).limits == MemberLimits(rpm_limit=10)
    assert (await answers(world, "ml", "bob", "gpt-4")).limits == MemberLimits(rpm_limit=10, tpm_limit=7)
    unlimited = await answers(world, "other", "ann", "anything")
    assert unlimited.HasField("limits")
    assert unlimited.limits == MemberLimits()
    for asked in (("ml", "ann", "o1-pro"), ("ml", "ann", "gpt-4"), ("ml", "eve", "gpt-4"), ("ghost", "ann", "gpt-4")):
        assert not (await answers(world, *asked)).HasField("limits")


async def test_an_unlisted_user_gets_the_teams_default_limits_of_today(world: Rpc) -> None:
    opened = Team(id="ml", unlisted_users=UnlistedUsers.TEAM_SCOPE)
    await world.admin.UpdateTeam(UpdateTeamRequest(team=opened))
    for limits in (MemberLimits(rpm_limit=10), MemberLimits(rpm_limit=0, max_budget_in_team=0.5)):
        await world.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="ml", default_member_limits=limits)))
        for user in ("", "eve"):
            answer = await answers(world, "ml", user, "gpt-4")
            assert (answer.allowed, answer.limits) == (True, limits)
            assert not (await answers(world, "ml", user, "o1-pro")).HasField("limits")


async def test_resolved_model_is_always_set(world: Rpc) -> None:
    """To an outsider, the name itself: it learns nothing of the aliases."""
    for asked, resolved in (
        (("ml", "ann", "fast"), "gpt-4o-mini"),
        (("ml", "ann", "gpt-4"), "gpt-4"),
        (("ml", "bob", "fast"), "gpt-4o-mini"),
        (("ml", "eve", "fast"), "fast"),
        (("ml", "", "fast"), "fast"),
        (("ghost", "ann", "fast"), "fast"),
        (("other", "ann", "fast"), "fast"),
    ):
        assert (await answers(world, *asked)).resolved_model == resolved
    await world.admin.UpdateMember(UpdateMemberRequest(member=member("ml", "ann", blocked=True)))
    assert (await answers(world, "ml", "ann", "fast")).resolved_model == "fast"
    await world.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="ml", blocked=True)))
    assert (await answers(world, "ml", "bob", "fast")).resolved_model == "fast"


async def test_every_reason_in_its_order(rpc: Rpc) -> None:
    """One state after another, each of which hides the ones before."""
    made = team("t", only("a", "b"), unlisted_users=UnlistedUsers.TEAM_SCOPE)
    await rpc.admin.CreateTeam(CreateTeamRequest(team=made, members=[member("", "ann", allowed_models=only("a"))]))

    async def reason(user: str, model: str) -> str:
        answer = await answers(rpc, "t", user, model)
        assert answer.allowed == Reason.Name(answer.reason).startswith("ALLOWED")
        assert answer.message.endswith(".")
        return Reason.Name(answer.reason)

    assert await reason("ann", "a") == "ALLOWED_BY_MEMBER_SCOPE"
    assert await reason("ann", "b") == "MODEL_NOT_IN_MEMBER_SCOPE"
    assert await reason("ann", "c") == "MODEL_NOT_IN_TEAM_SCOPE"
    assert await reason("eve", "b") == "ALLOWED_BY_TEAM_SCOPE"
    await rpc.admin.UpdateMember(UpdateMemberRequest(member=member("t", "ann", blocked=True)))
    assert await reason("ann", "c") == "MEMBER_BLOCKED"
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", unlisted_users=UnlistedUsers.DENY)))
    assert await reason("eve", "c") == "NOT_A_MEMBER"
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="t", blocked=True)))
    assert await reason("ann", "c") == await reason("eve", "c") == "TEAM_BLOCKED"
    assert Reason.Name((await answers(rpc, "T", "ann", "a")).reason) == "TEAM_NOT_FOUND"


async def test_a_batch_of_a_thousand_in_order(world: Rpc) -> None:
    """Repeated checks are answered again, not once."""
    kinds = [("ml", "ann", "gpt-4o-mini"), ("ml", "ann", "o1-pro"), ("ghost", "", "x"), ("other", "ann", "any/thing")]
    checks = [check(*kinds[number % 4]) for number in range(1_000)]
    answer = await world.access.BatchCheckModelAccess(BatchCheckModelAccessRequest(checks=checks))
    singles = [await world.access.CheckModelAccess(check(*kind)) for kind in kinds]
    assert len(answer.results) == 1_000
    assert [result.decision for result in answer.results] == singles * 250
    assert answer.revision == await world.head()


@pytest.mark.parametrize("count", [0, 1_001, 5_000])
async def test_a_batch_of_too_few_or_too_many(world: Rpc, count: int) -> None:
    request = BatchCheckModelAccessRequest(checks=[check("ml", "ann", "gpt-4")] * count)
    failure = await refused(world.access.BatchCheckModelAccess(request))
    assert f"{count} items" in failure.violations["checks"]


async def test_a_malformed_check_is_an_error_in_its_place(world: Rpc) -> None:
    fine = check("ml", "ann", "gpt-4o-mini")
    bad = {
        "team": check("", "ann", "gpt-4"),
        "user": check("ml", "a\nb", "gpt-4"),
        "model": check("ml", "ann", "gpt-*"),
        "at_least_revision": check("ml", "ann", "gpt-4", await world.head()),
    }
    checks = [each for wrong in bad.values() for each in (fine, wrong)]
    answer = await world.access.BatchCheckModelAccess(BatchCheckModelAccessRequest(checks=checks))
    assert [result.WhichOneof("result") for result in answer.results] == ["decision", "error"] * 4
    for field, result in zip(bad, answer.results[1::2], strict=True):
        assert result.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert field in result.error.message
        info, request = ErrorInfo(), BadRequest()
        assert result.error.details[0].Unpack(info)
        assert result.error.details[1].Unpack(request)
        assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "policy_service")
        assert [violation.field for violation in request.field_violations] == [field]


async def test_a_batch_of_the_worst_fits_a_message(world: Rpc) -> None:
    """A thousand checks, each as long as can be and wrong in every way, and as many that are answered."""
    odd = "\u0378" * 128  # two bytes that take six characters to write
    for model in (odd + "x", odd):
        checks = [check(odd, odd, model)] * 1_000
        answer = await world.access.BatchCheckModelAccess(BatchCheckModelAccessRequest(checks=checks))
        assert len(answer.results) == 1_000


async def test_a_write_is_seen_at_its_revision(world: Rpc) -> None:
    """Whoever sends the revision of a mutation back never reads what was before it."""
    for number in range(30):
        scope = (ALL, NONE)[number % 2]
        changed = await world.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="other", models=scope)))
        asked = check("other", "ann", "m", changed.revision)
        found = await asyncio.gather(*(world.access.CheckModelAccess(asked) for _ in range(10)))
        assert {(answer.allowed, answer.revision) for answer in found} == {(number % 2 == 0, changed.revision)}


async def test_the_revision_only_rises(world: Rpc) -> None:
    seen = []
    for number in range(20):
        fields = Team(id="other", labels={"n": str(number // 2)})
        answer = await world.admin.UpdateTeam(UpdateTeamRequest(team=fields))
        seen.append(number_of(answer.revision))
    assert seen == [seen[0] + number // 2 for number in range(20)]
