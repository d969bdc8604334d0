"""A replica that serves: its answers, what it refuses, its health, and what it makes of an authority that goes away."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import PreconditionFailure, RetryInfo
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

import policy_client.connection
import policy_service.replication.source
import policy_service.server
from policy_service.addresses import Address
from policy_service.config import AuthorityAccess
from policy_service.store.backup import backup, restore
from policy_service.v1.access_pb2 import (
    BatchCheckModelAccessRequest,
    ExplainModelAccessRequest,
    ListAccessibleModelsRequest,
)
from policy_service.v1.admin_pb2 import AddMemberRequest, CreateTeamRequest, RemoveMemberRequest, UpdateTeamRequest
from policy_service.v1.replication_pb2 import GetHeadRequest, WatchRequest
from policy_service.v1.resources_pb2 import Team
from tests.security.certificates import Pki
from tests.security.principals import overwrite, with_san, with_token, write_credentials
from tests.support import examples
from tests.support.keys import key_pair
from tests.support.messages import check, member, team
from tests.support.proxy import silencing
from tests.support.replicas import FRESH, STALE, SYNCING, equal, following, in_state, status
from tests.support.rpc import ACCESS, ADMIN, REPLICATION, Rpc, connect, number_of, refused
from tests.support.waiting import until
from tests.support.worlds import MEMBERS, NAMES, TEAMS, USERS, random_world

PRECONDITION, UNAVAILABLE = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE
CHANNEL, SERVER = policy_client.connection._CHANNEL_OPTIONS, policy_service.server.SERVER_OPTIONS
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Pair(NamedTuple):
    """An authority and a replica of it, and how each is called."""

    authority: Rpc
    replica: Rpc


@asynccontextmanager
async def pair(start_server: Any, authority: dict[str, Any] | None = None, **follow: Any) -> AsyncIterator[Pair]:
    main = await start_server(**authority or {})
    replica = await start_server(follow=following(main.target, **follow))
    async with connect(main.target) as to_main, connect(replica.target) as to_replica:
        yield Pair(to_main, to_replica)


@pytest.fixture
async def two(start_server: Any) -> AsyncIterator[Pair]:
    """Both with the small world."""
    async with pair(start_server) as two:
        await examples.build(two.authority)
        await equal(two.replica, two.authority)
        yield two


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def touch(rpc: Rpc, label: str) -> str:
    """A small mutation; its revision."""
    answer = await rpc.admin.UpdateTeam(UpdateTeamRequest(team=Team(id="other", labels={"touched": label})))
    return str(answer.revision)


# Answers


def questions() -> list[Message]:
    asked = [check(team, user, model) for team in (*TEAMS, "none") for user in USERS for model in (*NAMES, "fast", "g")]
    lists = [ListAccessibleModelsRequest(team=team, user=user) for team in (*TEAMS, "none") for user in USERS]
    explained = [ExplainModelAccessRequest(team=c.team, user=c.user, model=c.model) for c in asked[::7]]
    wrong = [check("", "u", "m"), check("t", "u", "a,b"), ListAccessibleModelsRequest(team="t", page_token="x")]
    batches = [BatchCheckModelAccessRequest(checks=[*asked[::3], *wrong[:2]]), BatchCheckModelAccessRequest()]
    return [*asked[::11], *lists, *explained, *batches, *wrong]


async def answer_to(rpc: Rpc, question: Message) -> Any:
    try:
        return await rpc.call(type(question).DESCRIPTOR.name.removesuffix("Request"), question)
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), error.trailing_metadata()


@pytest.mark.parametrize("seed", range(3))
async def test_it_answers_as_the_authority_does(start_server: Any, seed: int) -> None:
    """Every RPC of AccessService, refusals of bad requests too, to the last field."""
    chance = random.Random(seed)
    async with pair(start_server) as (authority, replica):
        await random_world(chance).build(authority)
        for _ in range(5):
            request = RemoveMemberRequest(team=chance.choice(TEAMS), user=chance.choice(MEMBERS), force=True)
            await answer_to(authority, request)
        await equal(replica, authority)
        for question in questions():
            assert await answer_to(replica, question) == await answer_to(authority, question), question


async def test_one_that_starts_late_has_it_all(start_server: Any, two: Pair) -> None:
    late = await start_server(follow=following(two.authority.target))
    async with connect(late.target) as rpc:
        found = await equal(rpc, two.authority)
        assert found.counters["snapshots_loaded"] == 1
        assert found.feed == f"grpc://{two.authority.target}"
        assert not found.last_error
        assert found.HasField("staleness")
        answer = await rpc.access.CheckModelAccess(check("ml", "ann", "gpt-4o-mini"))
        assert (answer.allowed, answer.stale) == (True, False)


async def test_it_follows_what_is_signed_with_the_right_key_alone(start_server: Any, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    other = key_pair(tmp_path, "other")[1]
    main = await start_server(signing_key=private)
    right = await start_server(follow=following(main.target, verify_key=public))
    wrong = await start_server(follow=following(main.target, verify_key=other))
    async with connect(main.target) as authority, connect(right.target) as rpc, connect(wrong.target) as deaf:
        await authority.admin.CreateTeam(CreateTeamRequest(team=team("t")))
        await equal(rpc, authority)

        async def refused_it() -> bool:
            return "not signed with the key" in (await status(deaf)).last_error

        await until(refused_it, "it says that the signature is wrong")
        assert (await status(deaf)).state == SYNCING


# A revision that an answer must not be older than


def asking(revision: str) -> dict[str, Message]:
    """Every RPC that takes `at_least_revision`."""
    return {
        "CheckModelAccess": check("ml", "ann", "gpt-4o-mini", revision),
        "BatchCheckModelAccess": BatchCheckModelAccessRequest(
            checks=[check("ml", "ann", "gpt-4o-mini")], at_least_revision=revision
        ),
        "ListAccessibleModels": ListAccessibleModelsRequest(team="ml", user="ann", at_least_revision=revision),
        "ExplainModelAccess": ExplainModelAccessRequest(
            team="ml", user="ann", model="gpt-4o-mini", at_least_revision=revision
        ),
    }


assert asking("").keys() == {method.name for method in ACCESS.methods}
EVERY_RPC = pytest.mark.parametrize("rpc", asking(""))


def revision_of(answer: Any) -> str:
    return str(answer.decision.revision if hasattr(answer, "decision") else answer.revision)


def later(revision: str, by: int = 1) -> str:
    return f"{revision.rpartition('.')[0]}.{number_of(revision) + by}"


@EVERY_RPC
async def test_a_revision_is_waited_for(two: Pair, rpc: str) -> None:
    now = await two.replica.head()
    assert revision_of(await two.replica.call(rpc, asking(now)[rpc])) == now
    waiting = asyncio.ensure_future(two.replica.call(rpc, asking(later(now, 2))[rpc]))
    await touch(two.authority, "one")
    await two.replica.access.CheckModelAccess(check("t", "u", "m", later(now, 1)))
    assert not waiting.done()
    made = await touch(two.authority, "two")
    assert revision_of(await waiting) == made == later(now, 2)


@EVERY_RPC
async def test_one_that_does_not_come_is_refused(start_server: Any, two: Pair, rpc: str) -> None:
    impatient = await start_server(follow=following(two.authority.target, revision_wait_s=0.05))
    async with connect(impatient.target) as replica:
        found = await equal(replica, two.authority)
        for wanted in (later(found.revision), later(found.revision, 10**15), f"{'f' * 16}.1"):
            failure = await refused(replica.call(rpc, asking(wanted)[rpc]), PRECONDITION)
            assert failure.reason == "REVISION_NOT_REACHED"
            assert failure.details[0].metadata["current_revision"] == found.revision
            (violation,) = failure.detail(PreconditionFailure).violations
            assert violation.subject == wanted


async def test_a_deadline_shorter_than_the_wait(two: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal comes before it: DEADLINE_EXCEEDED would let a gateway fail open. The margin is so long here that a
    busy machine does not matter."""
    monkeypatch.setattr(policy_service.replication.source, "MARGIN_S", 9.8)
    stub = two.replica.access._stub
    wanted = later(await two.replica.head())
    for rpc, request in asking(wanted).items():
        failure = await refused(getattr(stub, rpc)(request, timeout=10), PRECONDITION)
        assert failure.reason == "REVISION_NOT_REACHED"
    failure = await refused(stub.CheckModelAccess(check("t", "u", "m", wanted), timeout=5), PRECONDITION)
    assert failure.reason == "REVISION_NOT_REACHED"


async def test_more_waiters_than_may_wait(two: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_service.replication.source, "MAX_WAITERS", 3)
    wanted = later(await two.replica.head())
    requests = [check("ml", "ann", "gpt-4o-mini", wanted) for _ in range(5)]
    calls = [asyncio.ensure_future(two.replica.access.CheckModelAccess(request)) for request in requests]
    first, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    while len(first) < 2:
        more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        first |= more
    for call in first:
        assert (await refused(call, PRECONDITION)).reason == "REVISION_NOT_REACHED"
    assert (await two.replica.access.CheckModelAccess(check("ml", "ann", "gpt-4o-mini"))).allowed, "others are answered"
    made = await touch(two.authority, "one")
    assert {answer.revision for answer in await asyncio.gather(*waiting)} == {made}
    assert len(waiting) == 3
    again = await two.replica.access.CheckModelAccess(check("ml", "ann", "gpt-4o-mini", made))
    assert again.revision == made


async def test_without_a_policy_nothing_is_waited_for(start_server: Any) -> None:
    alone = await start_server(follow=following(f"127.0.0.1:{free_port()}"))
    async with connect(alone.target) as rpc:
        for name, request in (asking("") | asking("a.1")).items():
            failure = await refused(rpc.call(name, request), UNAVAILABLE)
            assert "no policy yet" in failure.message
            assert failure.detail(RetryInfo).retry_delay.seconds > 0


async def test_a_revocation_is_seen_by_who_names_its_revision(start_server: Any) -> None:
    """500 times, of ten users at once."""

    async def revoke(two: Pair, user: str) -> None:
        question = check("other", user, "m")
        for _ in range(50):
            added = await two.authority.admin.AddMember(AddMemberRequest(member=member("other", user)))
            question.at_least_revision = added.revision
            assert (await two.replica.access.CheckModelAccess(question)).allowed
            removed = await two.authority.admin.RemoveMember(RemoveMemberRequest(team="other", user=user))
            question.at_least_revision = removed.revision
            assert not (await two.replica.access.CheckModelAccess(question)).allowed

    async with pair(start_server, {"database": None}) as two:
        await two.authority.admin.CreateTeam(CreateTeamRequest(team=team("other")))
        await asyncio.gather(*(revoke(two, f"user-{number}") for number in range(10)))


# What only the authority does


async def test_it_administers_nothing(two: Pair) -> None:
    for method in ADMIN.methods:
        failure = await refused(two.replica.call(method.name, examples.EXAMPLES[method.name]), PRECONDITION)
        assert failure.reason == "NOT_THE_AUTHORITY"
        assert f"the authority at {two.authority.target}" in failure.message
        (violation,) = failure.detail(PreconditionFailure).violations
        assert (violation.type, violation.subject) == ("NOT_THE_AUTHORITY", two.authority.target)
    await equal(two.replica, two.authority)


async def test_nobody_follows_it(start_server: Any, two: Pair) -> None:
    for call in (
        two.replica.replication.Watch(WatchRequest()).read(),
        two.replica.replication.GetHead(GetHeadRequest()),
    ):
        failure = await refused(call, PRECONDITION)
        assert failure.reason == "NOT_THE_AUTHORITY"
        assert two.authority.target in failure.message
    follower = await start_server(follow=following(two.replica.target))
    async with connect(follower.target) as rpc:

        async def says_why() -> bool:
            return two.authority.target in (await status(rpc)).last_error

        await until(says_why, "who follows it is told where the authority is")


# Health


async def becomes(rpc: Rpc, *, serving: bool, follower: bool) -> None:
    """Waits until the health of the whole and of the follower is so; the rest follows from it."""
    whole, of_follower = (SERVING if served else NOT_SERVING for served in (serving, follower))
    expected = {"": whole, ACCESS.full_name: whole, "follower": of_follower}
    expected |= dict.fromkeys((ADMIN.full_name, REPLICATION.full_name), NOT_SERVING)

    async def asked() -> bool:
        answers = {name: await rpc.health.Check(HealthCheckRequest(service=name)) for name in expected}
        return {name: answer.status for name, answer in answers.items()} == expected

    await until(asked, f"the health is {expected}")


@pytest.mark.parametrize("refuse", [False, True], ids=["serve", "refuse"])
async def test_health_and_answers_through_an_outage(start_server: Any, refuse: bool) -> None:
    target = f"127.0.0.1:{free_port()}"
    running = await start_server(follow=following(target, max_staleness_s=1.0, refuse_when_stale=refuse))
    question = check("other", "ann", "m")
    async with connect(running.target) as rpc, connect(target) as authority:
        await becomes(rpc, serving=False, follower=False)
        assert (await status(rpc)).state == SYNCING
        await refused(rpc.access.CheckModelAccess(question), UNAVAILABLE)

        main = await start_server(listen=Address(target))
        await examples.build(authority)
        await becomes(rpc, serving=True, follower=True)
        found = await equal(rpc, authority)

        await main.stop()
        await becomes(rpc, serving=not refuse, follower=False)
        stale = await in_state(rpc, STALE)
        assert (stale.revision, stale.digest) == (found.revision, found.digest)
        assert stale.last_error
        assert stale.staleness.ToTimedelta().total_seconds() > 1
        if refuse:
            failure = await refused(rpc.access.CheckModelAccess(question), UNAVAILABLE)
            assert "stale" in failure.message
            assert failure.detail(RetryInfo).retry_delay.seconds > 0
        else:
            for name, request in asking(found.revision).items():
                answer = await rpc.call(name, request)
                assert answer.decision.stale if name == "ExplainModelAccess" else answer.stale, name
                assert revision_of(answer) == found.revision

        await start_server(listen=Address(target))
        await becomes(rpc, serving=True, follower=True)
        made = await touch(authority, "back")
        answer = await rpc.access.CheckModelAccess(check("other", "ann", "m", made))
        assert (answer.allowed, answer.stale) == (True, False)
        assert not (await equal(rpc, authority)).last_error


async def test_a_connection_that_goes_silent(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody closes it, nothing comes through: as when the network between is cut, and knows nothing of it afterwards.
    Both sides notice by themselves. All times are a tenth of what they are."""
    client = {name: value // 10 if name.endswith("_ms") else value for name, value in CHANNEL.items()}
    served = [(name, value // 10 if name.endswith("_ms") else value) for name, value in SERVER]
    monkeypatch.setattr(policy_client.connection, "_CHANNEL_OPTIONS", client)
    monkeypatch.setattr(policy_service.server, "SERVER_OPTIONS", served)
    main = await start_server()
    async with silencing(main.target) as proxy, connect(main.target) as authority:
        await examples.build(authority)
        running = await start_server(follow=following(proxy.target, max_staleness_s=1.0))
        async with connect(running.target) as rpc:
            await equal(rpc, authority)
            proxy.silence()
            await touch(authority, "meanwhile")
            await equal(rpc, authority)

            async def one_watches() -> bool:
                return (await status(authority)).watchers == 1

            await until(one_watches, "the authority has given up the connection that is silent")
            await equal(rpc, authority)


# The authority's database is put back


async def test_a_backup_that_is_restored(start_server: Any, tmp_path: Path) -> None:
    database = tmp_path / "policy.db"
    main = await start_server(database=database)
    running = await start_server(follow=following(main.target))
    async with connect(running.target) as rpc, connect(main.target) as authority:
        await examples.build(authority)
        await backup(database, tmp_path / "saved.db")
        lost = [await touch(authority, str(number)) for number in range(3)]
        before = await equal(rpc, authority)
        await main.stop()
        await restore(tmp_path / "saved.db", database)
        await start_server(database=database, listen=Address(main.target))
        after = await equal(rpc, authority)
        epoch = before.revision.partition(".")[0]
        assert after.revision.partition(".")[0] != epoch
        assert epoch in after.ancestors
        for server in (authority, rpc):
            for wanted in (*lost, f"{epoch}.1"):
                for name, request in asking(wanted).items():
                    failure = await refused(server.call(name, request), PRECONDITION)
                    assert failure.reason == "EPOCH_SUPERSEDED"
        made = await touch(authority, "new")
        assert (await rpc.access.CheckModelAccess(check("other", "ann", "m", made))).revision == made
        await equal(rpc, authority)


@pytest.mark.parametrize("more", [0, 2, 5], ids=["behind", "to the same revision", "ahead"])
async def test_an_older_file_put_back_with_cp(start_server: Any, tmp_path: Path, more: int) -> None:
    """The replica ends where the authority is, although the epoch is the same: also when, at the same revision as
    before, the authority has another policy."""
    database, saved = tmp_path / "policy.db", tmp_path / "saved.db"
    main = await start_server(database=database)
    async with connect(main.target) as authority:
        await examples.build(authority)
    await main.stop()
    shutil.copy(database, saved)
    main = await start_server(database=database)
    running = await start_server(follow=following(main.target))
    async with connect(running.target) as rpc, connect(main.target) as authority:
        for number in range(2):
            await authority.admin.AddMember(AddMemberRequest(member=member("other", f"lost-{number}")))
        await equal(rpc, authority)
        await main.stop()
        shutil.copy(saved, database)
        await start_server(database=database, listen=Address(main.target))
        for number in range(more):
            await authority.admin.AddMember(AddMemberRequest(member=member("other", f"new-{number}")))
        await equal(rpc, authority, revisions_repeat=True)
        assert not (await rpc.access.CheckModelAccess(check("other", "lost-0", "m"))).allowed
        await touch(authority, "afterwards")
        await equal(rpc, authority)


# Who it is to the authority, and who the authority is


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


REPLICA = with_token("replica", "ps_replica", "replicate")
SAN = "replica.acme.example"


class Files:
    """What a replica shows and trusts."""

    def __init__(self, folder: Path, pki: Pki) -> None:
        self.ca, self.other_ca = pki.client_ca, folder / "other-ca.pem"
        pki.other_ca.cert_pem.write_to_path(str(self.other_ca))
        self.token, self.wrong_token, self.checker = (folder / name for name in ("token", "wrong", "checker"))
        for file, token in ((self.token, "ps_replica"), (self.wrong_token, "ps_wrong"), (self.checker, "ps_check")):
            file.write_text(f"{token}\n")
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self.stranger, self.strangers_key = folder / "stranger.pem", folder / "strangers-key.pem"
        for cert, key, san in ((self.cert, self.key, SAN), (self.stranger, self.strangers_key, "stranger")):
            chain, private = pki.certificate(san)
            cert.write_bytes(chain)
            key.write_bytes(private)


ADMITTED: dict[str, tuple[str, list[str]]] = {
    "a token": ("tls", ["token_file=token", "tls_ca=ca"]),
    "a certificate": ("mutual_tls", ["tls_ca=ca", "tls_cert=cert", "tls_key=key"]),
    "both": ("mutual_tls", ["token_file=token", "tls_ca=ca", "tls_cert=cert", "tls_key=key"]),
}
TURNED_AWAY: dict[str, tuple[str, list[str], str]] = {
    "no token": ("tls", ["tls_ca=ca"], "UNAUTHENTICATED: no credential"),
    "a wrong token": ("tls", ["token_file=wrong_token", "tls_ca=ca"], "UNAUTHENTICATED: the token is not known"),
    "no permission": ("tls", ["token_file=checker", "tls_ca=ca"], "PERMISSION_DENIED: policy_service.v1.Replication"),
    "another authority's CA": ("tls", ["token_file=token", "tls_ca=other_ca"], "UNAVAILABLE: "),
    "no TLS": ("tls", ["token_file=token"], "UNAVAILABLE: "),
    "no certificate": ("mutual_tls", ["token_file=token", "tls_ca=ca"], "UNAVAILABLE: "),
    "an unknown certificate": (
        "mutual_tls",
        ["tls_ca=ca", "tls_cert=stranger", "tls_key=strangers_key"],
        "UNAUTHENTICATED: ",
    ),
}


@asynccontextmanager
async def guarded(
    start_server: Any, tmp_path: Path, pki: Pki, tls: str, shown: list[str]
) -> AsyncIterator[tuple[Rpc, Path]]:
    """A replica that follows, with these files, an authority with TLS and credentials; and the credentials."""
    files = Files(tmp_path, pki)
    entries = [REPLICA, with_token("checker", "ps_check", "check"), with_san("by-certificate", SAN, "replicate")]
    credentials = write_credentials(tmp_path / "credentials.yaml", *entries)
    main = await start_server(credentials=credentials, **getattr(pki, tls))
    access = AuthorityAccess(**{field: getattr(files, name) for field, name in (item.split("=") for item in shown)})
    running = await start_server(follow=following(main.target, max_staleness_s=1.0), authority_access=access)
    async with connect(running.target) as rpc:
        yield rpc, credentials


@pytest.mark.parametrize(("tls", "shown"), ADMITTED.values(), ids=ADMITTED)
async def test_an_authority_with_tls_and_credentials(
    start_server: Any, tmp_path: Path, pki: Pki, tls: str, shown: list[str]
) -> None:
    async with guarded(start_server, tmp_path, pki, tls, shown) as (rpc, _):
        assert not (await in_state(rpc, FRESH)).last_error


@pytest.mark.parametrize(("tls", "shown", "words"), TURNED_AWAY.values(), ids=TURNED_AWAY)
async def test_who_is_turned_away_says_why_and_stays_up(
    start_server: Any, tmp_path: Path, pki: Pki, tls: str, shown: list[str], words: str
) -> None:
    async with guarded(start_server, tmp_path, pki, tls, shown) as (rpc, _):

        async def says_why() -> bool:
            return words in (await status(rpc)).last_error

        await until(says_why, f"last_error has {words!r}")
        found = await status(rpc)
        assert found.state == SYNCING
        assert found.HasField("last_error_time")
        assert "ps_" not in found.last_error
        await becomes(rpc, serving=False, follower=False)


async def test_a_token_that_is_revoked_leaves_it_stale(
    start_server: Any, tmp_path: Path, pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy_service.credentials.POLL_S", 0.05)
    tls, shown = ADMITTED["a token"]
    async with guarded(start_server, tmp_path, pki, tls, shown) as (rpc, credentials):
        await in_state(rpc, FRESH)
        kept = credentials.read_text()
        overwrite(credentials, "principals: []")
        assert "UNAUTHENTICATED" in (await in_state(rpc, STALE)).last_error
        overwrite(credentials, kept)
        await in_state(rpc, FRESH)
