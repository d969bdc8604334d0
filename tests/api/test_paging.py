"""Lists: page sizes, tokens, what comes and goes between pages, and pages that fit a message."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable

import grpc
import pytest

from policy_service.v1.access_pb2 import ListAccessibleModelsRequest
from policy_service.v1.admin_pb2 import (
    AddMemberRequest,
    BatchAddMembersRequest,
    CreateTeamRequest,
    DeleteAccessGroupRequest,
    DeleteModelsRequest,
    DeleteTeamRequest,
    ListAuditEventsRequest,
    ListMembersRequest,
    RemoveMemberRequest,
    SetAccessGroupRequest,
    UpdateTeamRequest,
    UpsertModelsRequest,
)
from policy_service.v1.resources_pb2 import AccessGroup, ScopeSource
from tests.support.messages import ALL, group, member, model, only, team
from tests.support.paging import GROUPS, MODELS, TEAMS, Listing, accessible, audit, forged, members
from tests.support.rpc import Failure, Rpc, outcome, refused

INVALID = grpc.StatusCode.INVALID_ARGUMENT
LISTINGS = [TEAMS, GROUPS, MODELS, members("ml"), members(user="ann"), accessible("other", "ann"), audit(), audit("ml")]
EACH = pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: f"{listing.rpc}-{listing.filters}")
shared_server = pytest.mark.asyncio(loop_scope="module")


@shared_server
@EACH
async def test_every_page_size_lists_the_same(shared: Rpc, listing: Listing) -> None:
    everything = await listing.all(shared)
    assert len(everything) > 1
    if listing.rpc != "ListAuditEvents":
        assert everything == sorted(everything)
    for size in (1, 2, 3, 999, 1_000):
        pages = [listing.names(page) async for page in listing.pages(shared, size)]
        assert [name for page in pages for name in page] == everything
        assert max(len(page) for page in pages) <= size


@shared_server
@EACH
async def test_sizes_that_are_refused(shared: Rpc, listing: Listing) -> None:
    for size in (-1, 1_001, 2**31 - 1, -(2**31)):
        failure = await refused(listing.page(shared, size))
        assert str(listing.default) in failure.violations["page_size"]
        assert str(size) in failure.violations["page_size"]


@shared_server
@EACH
async def test_the_page_size_may_change_on_the_way(shared: Rpc, listing: Listing) -> None:
    first = await listing.page(shared, 1)
    rest = await listing.page(shared, 1_000, first.next_page_token)
    assert listing.names(first) + listing.names(rest) == await listing.all(shared)
    assert not rest.next_page_token


@shared_server
@EACH
async def test_tokens_that_are_refused(shared: Rpc, listing: Listing) -> None:
    """Garbage, cut, changed, and those of every other list and filter."""
    token = (await listing.page(shared, 1)).next_page_token
    others = [other for other in LISTINGS if other is not listing]
    foreign = [(await other.page(shared, 1)).next_page_token for other in others]
    changed = [token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :] for at in range(len(token) - 1)]
    cut = [token[:at] for at in range(1, len(token))]
    garbage = ["x", "!", "é", "=", "AAAA", " ", token + "A", token + " ", " " + token, token + token, "A" * 10_000]
    for bad in (*foreign, *changed, *cut, *garbage):
        failure = await refused(listing.page(shared, 0, bad))
        assert "start without a token" in failure.violations["page_token"]


WRONG_KEYS = [b"", b"{}", b"[]", b"null", b'"a"', b"1", b"[1]", b"[null]", b"[true]", b"[[]]", b"[{}]", b"[1.5, 0]"]
WRONG_KEYS += [b'["a","b","c"]', b"[0]", b"[0,0,0]", b"[true,0]", b"[0,false]", b'["a",0]', b"[NaN]", b"[1e999, 0]"]
WRONG_KEYS += [b"\xff\xfe", b"[", b'["a"', b"[" * 5_000, b"[" * 5_000 + b"]" * 5_000, b"9" * 5_000, b'["\\ud800"]']
WRONG_KEYS += [b'["\\ud800","a"]', b'["a","\\udfff"]', b"[" + b"9" * 30 + b",0]", b"[0," + b"9" * 30 + b"]"]
WRONG_KEYS += [b"[9223372036854775808,0]", b"[0,-9223372036854775809]"]


@shared_server
@EACH
async def test_forged_tokens_of_the_wrong_shape(shared: Rpc, listing: Listing) -> None:
    """Anybody can compute the checksum: what it covers is read with as much care as anything."""
    for key in WRONG_KEYS:
        failure = await refused(listing.page(shared, 0, forged(listing, key)))
        assert list(failure.violations) == ["page_token"], key


@shared_server
@EACH
async def test_forged_tokens_of_the_right_shape(shared: Rpc, listing: Listing) -> None:
    """They only choose where the list goes on."""
    everything = await listing.all(shared)
    lowest = json.dumps([-1 if part == 0 else part for part in listing.key]).encode()
    assert listing.names(await listing.page(shared, 0, forged(listing, lowest))) == everything
    highest = json.dumps([2**63 - 1 if part == 0 else "\U0010ffff" for part in listing.key]).encode()
    assert listing.names(await listing.page(shared, 0, forged(listing, highest))) == []
    for odd in ("\0", "a\0b", "'; DROP TABLE teams; --", "é" * 5_000):
        if listing.key != [0, 0]:
            await listing.page(shared, 0, forged(listing, json.dumps([odd for _ in listing.key]).encode()))
    assert await listing.all(shared) == everything


@shared_server
async def test_a_token_is_bound_to_its_filter(shared: Rpc) -> None:
    async def token(request: object) -> str:
        rpc = type(request).__name__.removesuffix("Request")
        request.page_size = 1
        return (await shared.call(rpc, request)).next_page_token

    audited = (await audit().page(shared, 1)).events[0].time
    tokens = {
        "ListMembers": [
            await token(ListMembersRequest(team="ml")),
            await token(ListMembersRequest(user="ann")),
        ],
        "ListAuditEvents": [
            await token(ListAuditEventsRequest()),
            await token(ListAuditEventsRequest(team="ml")),
            await token(ListAuditEventsRequest(start_time=audited)),
        ],
        "ListAccessibleModels": [
            await token(ListAccessibleModelsRequest(team="other", user="ann")),
            await token(ListAccessibleModelsRequest(team="ml", user="ann")),
        ],
    }
    others = {
        "ListMembers": ListMembersRequest(team="ml", scope_source=ScopeSource.SEEDED),
        "ListAuditEvents": ListAuditEventsRequest(end_time=audited),
        "ListAccessibleModels": ListAccessibleModelsRequest(team="other"),
    }
    for rpc, found in tokens.items():
        assert all(found)
        for token_of_another in found:
            request = others[rpc]
            request.page_token = token_of_another
            assert list((await refused(shared.call(rpc, request))).violations) == ["page_token"]


async def test_default_sizes(rpc: Rpc) -> None:
    """100 items a page, 1,000 of models."""
    for number in range(101):
        name = f"n{number:03d}"
        await rpc.admin.CreateTeam(CreateTeamRequest(team=team(name), members=[member("", "ann")]))
        await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group(f"g{number:03d}", "a")))
    users = [member("", f"u{number}") for number in range(100)]
    await rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="n000", members=users))
    names = [f"m{number:04d}" for number in range(1_001)]
    for models in (names[:1_000], names[1_000:]):
        await rpc.admin.UpsertModels(UpsertModelsRequest(models=[model(name) for name in models]))
    for listing in (TEAMS, GROUPS, members("n000"), members(user="ann"), audit()):
        sizes = [len(listing.names(page)) async for page in listing.pages(rpc)]
        assert sizes[0] == 100, listing.rpc
        assert sum(sizes) >= 101
    for listing in (MODELS, accessible("n000", "ann")):
        assert [len(listing.names(page)) async for page in listing.pages(rpc)] == [1_000, 1]


Change = Callable[[Rpc, str], Awaitable[object]]


async def add_team(rpc: Rpc, name: str) -> None:
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team(name)))


async def drop_team(rpc: Rpc, name: str) -> None:
    await rpc.admin.DeleteTeam(DeleteTeamRequest(team=name, force=True))


async def add_member(rpc: Rpc, name: str) -> None:
    await rpc.admin.AddMember(AddMemberRequest(member=member("home", name)))


async def drop_member(rpc: Rpc, name: str) -> None:
    await rpc.admin.RemoveMember(RemoveMemberRequest(team="home", user=name))


async def add_group(rpc: Rpc, name: str) -> None:
    await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=group(name, "a")))


async def drop_group(rpc: Rpc, name: str) -> None:
    await rpc.admin.DeleteAccessGroup(DeleteAccessGroupRequest(name=name))


async def add_model(rpc: Rpc, name: str) -> None:
    await rpc.admin.UpsertModels(UpsertModelsRequest(models=[model(name)]))


async def drop_model(rpc: Rpc, name: str) -> None:
    await rpc.admin.DeleteModels(DeleteModelsRequest(names=[name]))


MOVING: dict[str, tuple[Listing, Change, Change]] = {
    "teams": (TEAMS, add_team, drop_team),
    "members": (members("home"), add_member, drop_member),
    "groups": (GROUPS, add_group, drop_group),
    "models": (MODELS, add_model, drop_model),
    "accessible": (accessible("home", ""), add_model, drop_model),
}


@pytest.mark.parametrize("kind", MOVING)
async def test_what_exists_throughout_appears_exactly_once(rpc: Rpc, kind: str) -> None:
    """Whatever comes and goes between two pages: before, behind, and the very item at which a page ended."""
    listing, add, drop = MOVING[kind]
    chance = random.Random(kind)
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("home", ALL, unlisted_users="TEAM_SCOPE")))
    there = {f"n{number:02d}" for number in range(0, 40, 2)}
    for name in sorted(there):
        await add(rpc, name)
    throughout, seen = set(there), []
    async for page in listing.pages(rpc, 3):
        names = [name.removeprefix("home/") for name in listing.names(page)]
        seen += names
        leaving = set(names[-1:]) | {chance.choice(sorted(there))}
        for name in sorted(leaving & there):
            await drop(rpc, name)
        there -= leaving
        throughout -= leaving
        for _ in range(2):
            fresh = f"n{chance.randrange(40):02d}"
            if fresh not in there:
                await add(rpc, fresh)
                there.add(fresh)
    assert len(throughout) > 3
    assert [name for name in throughout if seen.count(name) != 1] == []
    assert seen == sorted(seen)


WIDE = "\U0001f600"  # one character, four bytes


@pytest.mark.parametrize("char", ["x", WIDE], ids=["one byte", "four bytes"])
async def test_big_records_cut_pages(rpc: Rpc, char: str) -> None:
    """A client takes 4 MiB: a page ends before, whatever the records are made of."""
    width = 240 // len(char.encode())
    entries = [char * width + f"{number:04d}" for number in range(2_000)]
    labels = {char * width + str(number): char * width for number in range(64)}
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t")))
    names = [f"n{number}" for number in range(9)]
    for name in names:
        big = member("t", name, allowed_models=only(*entries), labels=labels)
        await rpc.admin.AddMember(AddMemberRequest(member=big))
    for name in names[:5]:
        await rpc.admin.SetAccessGroup(SetAccessGroupRequest(group=AccessGroup(name=name, models=entries)))
        huge = team(name, only(*entries), default_team_member_models=only(*entries), labels=labels)
        await rpc.admin.CreateTeam(CreateTeamRequest(team=huge))
    assert await members("t").all(rpc, 1_000) == [f"t/{name}" for name in names]
    assert await GROUPS.all(rpc, 1_000) == names[:5]
    assert await TEAMS.all(rpc, 1_000) == [*names[:5], "t"]
    assert len(await audit().all(rpc, 1_000)) == 1 + 9 + 2 * 5
    sizes = [page.ByteSize() async for page in members("t").pages(rpc, 1_000)]
    assert len(sizes) > 1
    assert max(sizes) > 500_000, "pages are not cut smaller than need be"


@pytest.mark.parametrize(("filled_with", "accepted"), [("x", True), ('"', False)])
async def test_the_biggest_change_fits_a_page_of_the_audit_log(rpc: Rpc, filled_with: str, accepted: bool) -> None:
    """A team at every bound, before and after: whatever is accepted can be read back. JSON doubles quotation marks."""

    def names(kind: str, count: int) -> list[str]:
        return [f"{kind}{number:05d}".ljust(256, filled_with) for number in range(count)]

    pairs = dict(zip(names("k", 64), names("v", 64), strict=True))
    aliases = dict(zip(names("a", 256), names("t", 256), strict=True))
    full = team("t", only(*names("m", 2_000)), labels=pairs, model_aliases=aliases)
    full.default_team_member_models.CopyFrom(only(*names("d", 2_000)))
    if not accepted:
        assert "as JSON" in (await refused(rpc.admin.CreateTeam(CreateTeamRequest(team=full)))).message
        return
    await rpc.admin.CreateTeam(CreateTeamRequest(team=full))
    full.display_name = "changed"
    await rpc.admin.UpdateTeam(UpdateTeamRequest(team=full))
    assert len(await audit().all(rpc, 1)) == 2


async def test_a_batch_is_not_accepted_if_its_answer_is_too_big_to_be_heard(rpc: Rpc) -> None:
    """500 members of a big default: either the caller hears that it is done, or it is not done."""
    entries = [f"model-{number:04d}-{'x' * 20}" for number in range(2_000)]
    await rpc.admin.CreateTeam(CreateTeamRequest(team=team("t", default_team_member_models=only(*entries))))
    for count in (40, 200):
        users = [member("", f"{count}-{number}") for number in range(count)]
        before = await rpc.head()
        answer = await outcome(rpc.admin.BatchAddMembers(BatchAddMembersRequest(team="t", members=users)))
        if isinstance(answer, Failure):
            assert answer.code is INVALID
            assert await rpc.head() == before
        else:
            assert len(answer.members) == count
    created = CreateTeamRequest(team=team("u", default_team_member_models=only(*entries)), members=users)
    if isinstance(await outcome(rpc.admin.CreateTeam(created)), Failure):
        assert "u" not in await TEAMS.all(rpc)
