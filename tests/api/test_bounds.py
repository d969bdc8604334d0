"""Every bound of the contract over the wire: what is just inside is taken, what is just outside is refused with the
field and what to change, and changes nothing."""

from __future__ import annotations

import pytest

from policy_service.v1 import admin_pb2 as admin
from policy_service.v1.resources_pb2 import MemberLimits, ModelScope
from tests.support.messages import check, group, member, only, team
from tests.support.rpc import Rpc, refused

from .bad_requests import LONG, ODD_MODELS, TABLES, WIDE, inside

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
async def test_outside(shared: Rpc, table) -> None:
    """Alone, each is the only violation, unless the words say otherwise."""
    before = await shared.head()
    count = 0
    for bad in table():
        failure = await refused(shared.call(bad.rpc, bad.request))
        assert bad.field in failure.violations, f"{bad}: {failure.message}"
        description = failure.violations[bad.field]
        assert bad.words in description, str(bad)
        assert len(description) > 15, "says what to change"
        assert list(failure.violations) == [bad.field], str(bad)
        assert description in failure.message or len(failure.message) > 900
        count += 1
    assert count > 9
    assert await shared.head() == before


async def test_inside(shared: Rpc) -> None:
    before = await shared.head()
    for rpc, request in inside():
        request.validate_only = True
        answer = await shared.call(rpc, request)
        assert answer.revision == ""
    for name in ODD_MODELS:
        await shared.access.CheckModelAccess(check(LONG, WIDE, name))
    await shared.access.CheckModelAccess(check("ml", "", "gpt-4"))
    assert await shared.head() == before


async def test_values_come_back_as_they_went_in(shared: Rpc) -> None:
    """No normalisation, no rounding, nothing cut."""
    limits = MemberLimits(max_budget_in_team=0.1 + 0.2, budget_duration="1mo", tpm_limit=2**63 - 1, rpm_limit=0)
    given = team(LONG, only(WIDE, "*é*"), display_name="😀", labels={"ключ": "значение"}, default_member_limits=limits)
    await shared.admin.CreateTeam(admin.CreateTeamRequest(team=given, members=[member("", WIDE)]))
    found = await shared.admin.GetTeam(admin.GetTeamRequest(team=LONG))
    for field in ("id", "models", "display_name", "labels", "default_member_limits"):
        assert getattr(found, field) == getattr(given, field)
    added = await shared.admin.GetMember(admin.GetMemberRequest(team=LONG, user=WIDE))
    assert added.limits == limits


async def test_at_most_64_groups_in_a_scope(shared: Rpc) -> None:
    listed = [f"g{number}" for number in range(65)]
    for name in listed:
        await shared.admin.SetAccessGroup(admin.SetAccessGroupRequest(group=group(name, "m")))
    scopes = {64: (only(*listed[:64]), only(*listed[:40], *listed[:40], without=listed[40:64])), 65: (only(*listed),)}
    for scope in scopes[64]:
        request = admin.CreateTeamRequest(team=team("z", scope), validate_only=True)
        await shared.admin.CreateTeam(request)
    for scope in (*scopes[65], only(*listed[:40], without=listed[40:])):
        failure = await refused(shared.admin.CreateTeam(admin.CreateTeamRequest(team=team("z", scope))))
        assert "more than 64 access groups" in failure.violations["team.models"]


async def test_all_that_is_wrong_is_named_at_once(shared: Rpc) -> None:
    wrong = team("", ModelScope(), display_name="\n", default_member_limits=MemberLimits(tpm_limit=-1, rpm_limit=-1))
    wrong.labels[""] = ""
    wrong.unlisted_users = 9
    wrong.model_aliases["a*"] = "m"
    request = admin.CreateTeamRequest(
        team=wrong, members=[member("", ""), member("", "u", limits=MemberLimits(tpm_limit=-1))]
    )
    failure = await refused(shared.admin.CreateTeam(request))
    assert failure.violations.keys() >= {
        "team.id",
        "team.models.mode",
        "team.display_name",
        "team.default_member_limits.tpm_limit",
        "team.default_member_limits.rpm_limit",
        "team.labels['']",
        "team.unlisted_users",
        "team.model_aliases['a*']",
        "members[0].user",
        "members[1].limits.tpm_limit",
    }
