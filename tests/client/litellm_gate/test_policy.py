"""Where verdicts come from: a replica in this process and a server that is asked, against a real server."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from policy_client import AdminClient
from policy_client.litellm.policy import (
    MAX_BATCH,
    LocalReplica,
    NoAnswer,
    NoPolicy,
    Policy,
    RemoteServer,
    Verdict,
    policy_of,
)
from policy_client.litellm.settings import Otherwise, Settings, SettingsError
from policy_service.domain.decide import Reason
from policy_service.domain.records import MemberLimits as Limits
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.services.auth import hash_token, new_token
from policy_service.v1.resources_pb2 import Member, MemberLimits, ModelScope, Team, UnlistedUsers
from tests.support.keys import key_pair
from tests.support.replicas import FRESH, STALE, following, in_state
from tests.support.rpc import connect
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.conftest import RunningServer, StartServer

WAIT_S = 60.0
NOWHERE = "127.0.0.1:1"
KINDS = ["local", "remote"]
ALLOW, DENY = Otherwise.ALLOW, Otherwise.DENY
QUESTION = ("support", "sam", ["fast"])


@pytest.fixture
async def authority(start_server: StartServer) -> RunningServer:
    """A server with the teams `support`, `blocked` and `open`."""
    server = await start_server()
    await provision(server.target)
    return server


async def provision(target: str) -> None:
    limits = MemberLimits(rpm_limit=60, max_budget_in_team=1.5)
    async with AdminClient(target) as admin:
        await admin.create_team(
            Team(
                id="support",
                models=ModelScope(models=["gpt-*"], excluded_models=["gpt-5*"]),
                model_aliases={"fast": "gpt-4o-mini", "best": "o1"},
                default_team_member_models=ModelScope(models=["gpt-4o-mini"]),
                default_member_limits=limits,
            ),
            [
                Member(user="sam"),
                Member(user="ann", allowed_models=ModelScope(mode=ModelScope.INHERIT)),
                Member(user="zoe", limits=MemberLimits(tpm_limit=0, budget_duration="30d", rpm_limit=1)),
                Member(user="bob", blocked=True),
            ],
        )
        await admin.create_team(Team(id="blocked", models=ModelScope(mode=ModelScope.ALL), blocked=True))
        await admin.create_team(
            Team(id="open", models=ModelScope(mode=ModelScope.ALL), unlisted_users=UnlistedUsers.TEAM_SCOPE),
            [Member(user="sam")],
        )


def where(kind: str, target: str, **others: Any) -> Settings:
    """The settings of a gate that follows, or asks, this server."""
    place = {"follow": f"grpc://{target}"} if kind == "local" else {"server": target}
    return Settings(**{"timeout_s": WAIT_S, "first_policy_wait_s": WAIT_S} | place | others)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Policy]:
    """The policy that the settings say, closed at the end. A gate has it as long as its process lives."""
    policy = policy_of(settings)
    try:
        await policy.start()
        yield policy
    finally:
        await (policy._policy if isinstance(policy, LocalReplica) else policy._client).close()  # type: ignore[attr-defined]


@pytest.fixture(params=KINDS)
async def policy(request: pytest.FixtureRequest, authority: RunningServer) -> AsyncIterator[Policy]:
    """Of each kind."""
    async with started(where(request.param, authority.target)) as policy:
        yield policy


# Verdicts

SEEDED = Limits(rpm_limit=60, max_budget_in_team=1.5)
VERDICTS: dict[tuple[str, str, str], tuple[bool, str, str, Limits | None]] = {
    ("support", "sam", "gpt-4o-mini"): (True, "ALLOWED_BY_MEMBER_SCOPE", "gpt-4o-mini", SEEDED),
    ("support", "sam", "fast"): (True, "ALLOWED_BY_MEMBER_SCOPE", "gpt-4o-mini", SEEDED),
    ("support", "sam", "gpt-4o"): (False, "MODEL_NOT_IN_MEMBER_SCOPE", "gpt-4o", None),
    ("support", "sam", "o1"): (False, "MODEL_NOT_IN_TEAM_SCOPE", "o1", None),
    ("support", "sam", "best"): (False, "MODEL_NOT_IN_TEAM_SCOPE", "o1", None),
    ("support", "ann", "gpt-4o"): (True, "ALLOWED_BY_TEAM_SCOPE", "gpt-4o", SEEDED),
    ("support", "ann", "gpt-5"): (False, "MODEL_NOT_IN_TEAM_SCOPE", "gpt-5", None),
    ("support", "bob", "fast"): (False, "MEMBER_BLOCKED", "fast", None),
    ("support", "eve", "fast"): (False, "NOT_A_MEMBER", "fast", None),
    ("support", "", "fast"): (False, "NOT_A_MEMBER", "fast", None),
    ("blocked", "sam", "fast"): (False, "TEAM_BLOCKED", "fast", None),
    ("nobody", "sam", "fast"): (False, "TEAM_NOT_FOUND", "fast", None),
    ("open", "sam", "o1"): (True, "ALLOWED_BY_TEAM_SCOPE", "o1", Limits()),
    ("open", "eve", "o1"): (True, "ALLOWED_BY_TEAM_SCOPE", "o1", Limits()),
    ("open", "", "o1"): (True, "ALLOWED_BY_TEAM_SCOPE", "o1", Limits()),
}


async def test_verdicts(policy: Policy) -> None:
    """Asked for one name, and for several at once, which are two calls of the service."""
    for (team, user, model), (allowed, reason, resolved, limits) in VERDICTS.items():
        (verdict,) = await policy.check(team, user, [model])
        assert verdict[:4] == (allowed, Reason(reason), resolved, limits)
        assert not verdict.stale
        assert await policy.check(team, user, [model, model]) == [verdict, verdict]


async def test_limits(policy: Policy) -> None:
    """Field by field: 0 is a limit, and what is not set is none."""
    (verdict,) = await policy.check("support", "zoe", ["fast"])
    limits = verdict.limits
    assert limits is not None
    assert (limits.tpm_limit, limits.rpm_limit) == (0, 1)
    assert (limits.max_budget_in_team, limits.budget_duration) == (1.5, "30d")
    (verdict,) = await policy.check("support", "sam", ["fast"])
    assert verdict.limits is not None
    assert (verdict.limits.tpm_limit, verdict.limits.budget_duration) == (None, None)


async def test_both_say_the_same(authority: RunningServer) -> None:
    models = ["fast", "best", "gpt-4o-mini", "gpt-4o", "gpt-5", "GPT-4o", "o1", "x/gpt-4o", "é"]
    async with (
        started(where("local", authority.target)) as local,
        started(where("remote", authority.target)) as remote,
    ):
        for team in ("support", "blocked", "open", "nobody"):
            for user in ("sam", "ann", "bob", "zoe", "eve", ""):
                verdicts = await local.check(team, user, models)
                assert verdicts == await remote.check(team, user, models)
                assert [(await remote.check(team, user, [model]))[0] for model in models] == verdicts
                assert all(verdict.revision for verdict in verdicts)


async def test_no_names(policy: Policy) -> None:
    assert await policy.check("support", "sam", []) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_change_is_seen(authority: RunningServer, kind: str) -> None:
    async with started(where(kind, authority.target)) as policy, AdminClient(authority.target) as admin:
        change = await admin.update_member(Member(team="support", user="sam", blocked=True))

        async def verdict() -> Verdict | None:
            (found,) = await policy.check(*QUESTION)
            return found if found.revision == change.revision else None

        found = await until(verdict, "the revision is there")
        assert found is not None
        assert found.reason is Reason.MEMBER_BLOCKED


# Many names


async def test_more_names_than_a_call_takes(authority: RunningServer) -> None:
    names = [f"gpt-{n}" if n % 3 else f"o{n}" for n in range(2 * MAX_BATCH + 345)]
    async with (
        started(where("local", authority.target)) as local,
        started(where("remote", authority.target)) as remote,
    ):
        for count in (MAX_BATCH - 1, MAX_BATCH, MAX_BATCH + 1, len(names)):
            verdicts = await remote.check("support", "ann", names[:count])
            assert [verdict.resolved_model for verdict in verdicts] == names[:count]
            assert verdicts == await local.check("support", "ann", names[:count])
        assert {verdict.allowed for verdict in verdicts} == {True, False}
        for at in (0, MAX_BATCH, len(names) - 1):
            with pytest.raises(Refused):
                await remote.check("support", "ann", [*names[:at], "a,b", *names[at + 1 :]])


# What is no name

MALFORMED = ["", "a,b", "gpt-*", " fast", "x" * 257, "a//b", "../x", "a\n", "e\u0301", "a?b"]


@pytest.mark.parametrize("name", MALFORMED, ids=ascii)
async def test_what_is_no_name_is_refused(policy: Policy, name: str) -> None:
    """Alone, and among others that are allowed."""
    for names in ([name], ["fast", name], [name, "fast"]):
        with pytest.raises(Refused) as caught:
            await policy.check("support", "sam", names)
        assert caught.value.code is Code.MODEL_MALFORMED
        assert "model" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_says_what_to_change(authority: RunningServer, kind: str) -> None:
    async with started(where(kind, authority.target)) as policy:
        for names in (["a,b"], ["fast", "a,b"]):
            with pytest.raises(
                Refused, match=r"^the model .*holds one of , \* .*; ask for one model by its plain name"
            ):
                await policy.check("support", "sam", names)


async def test_a_surrogate_is_refused(policy: Policy) -> None:
    """JSON can have one; gRPC cannot."""
    for names in (["\ud800"], ["fast", "\ud800"]):
        with pytest.raises(Refused) as caught:
            await policy.check("support", "sam", names)
        assert caught.value.code is Code.MODEL_MALFORMED


# Nobody there


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_not_there(kind: str) -> None:
    """A start waits for the first policy, but not for ever."""
    begun = time.monotonic()
    async with started(where(kind, NOWHERE, first_policy_wait_s=0.2, timeout_s=1.0)) as policy:
        assert time.monotonic() - begun >= (0.2 if kind == "local" else 0.0)
        for names in (["fast"], ["fast", "gpt-4o"]):
            with pytest.raises(NoPolicy):
                await policy.check("support", "sam", names)
        with pytest.raises(NoPolicy):
            await policy.check("support", "sam", ["fast"] * (MAX_BATCH + 1))


async def test_a_name_that_is_none_is_refused_without_a_policy_too() -> None:
    """It would not be let through where a gate is open then."""
    async with started(where("local", NOWHERE, first_policy_wait_s=0.0)) as policy:
        with pytest.raises(Refused):
            await policy.check("support", "sam", ["a,b"])


async def test_a_server_that_stops(authority: RunningServer) -> None:
    async with started(where("remote", authority.target, timeout_s=1.0)) as policy:
        assert (await policy.check(*QUESTION))[0].allowed
        await authority.stop()
        with pytest.raises(NoPolicy):
            await policy.check(*QUESTION)


async def test_a_server_that_does_not_answer() -> None:
    """In the time that is given."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = f"127.0.0.1:{silent.getsockname()[1]}"
        async with started(where("remote", target, timeout_s=0.3)) as policy:
            begun = time.monotonic()
            with pytest.raises(NoPolicy):
                await policy.check(*QUESTION)
            assert time.monotonic() - begun < WAIT_S / 2


# Stale


async def stale_server(start_server: StartServer, tmp_path: Path) -> RunningServer:
    """A replica whose authority is gone."""
    authority = await start_server(database=tmp_path / "authority.db")
    await provision(authority.target)
    replica = await start_server(follow=following(authority.target, max_staleness_s=1.0))
    async with connect(replica.target) as rpc:
        await in_state(rpc, FRESH)
        await authority.stop()
        await in_state(rpc, STALE)
    return replica


@pytest.mark.parametrize("stale_policy", [ALLOW, DENY])
async def test_a_server_whose_policy_is_stale(
    start_server: StartServer, tmp_path: Path, stale_policy: Otherwise
) -> None:
    server = await stale_server(start_server, tmp_path)
    async with started(where("remote", server.target, stale_policy=stale_policy)) as policy:
        for names in (["fast"], ["fast", "gpt-4o"]):
            if stale_policy is ALLOW:
                verdicts = await policy.check("support", "sam", names)
                assert [(verdict.allowed, verdict.stale) for verdict in verdicts] == [
                    (True, True),
                    (False, True),
                ][: len(names)]
            else:
                with pytest.raises(NoPolicy, match="stale"):
                    await policy.check("support", "sam", names)


@pytest.mark.parametrize("stale_policy", [ALLOW, DENY])
async def test_a_replica_whose_policy_is_stale(authority: RunningServer, stale_policy: Otherwise) -> None:
    settings = where("local", authority.target, max_staleness_s=1.0, stale_policy=stale_policy)
    async with started(settings) as policy:
        assert not (await policy.check(*QUESTION))[0].stale
        await authority.stop()

        async def stale() -> bool:
            try:
                return (await policy.check(*QUESTION))[0].stale
            except NoPolicy as error:
                assert "stale" in str(error)
                return True

        await until(stale, "it is stale")
        if stale_policy is ALLOW:
            (verdict,) = await policy.check(*QUESTION)
            assert (verdict.allowed, verdict.stale) == (True, True)
        else:
            with pytest.raises(NoPolicy):
                await policy.check(*QUESTION)


async def test_a_policy_that_is_too_old_is_none(authority: RunningServer) -> None:
    """However stale it may be."""
    settings = where("local", authority.target, max_staleness_s=1.0, max_policy_age_s=1.0, stale_policy=ALLOW)
    async with started(settings) as policy:
        await authority.stop()

        async def told() -> str:
            try:
                await policy.check(*QUESTION)
            except NoPolicy as error:
                return str(error)
            return ""

        assert "older than it may be" in await until(told, "there is no policy")


async def test_a_state_cache_is_used_at_once(authority: RunningServer, tmp_path: Path) -> None:
    cache = str(tmp_path / "gate.cache")
    async with started(where("local", authority.target, state_cache=cache)) as policy:
        (fresh,) = await policy.check(*QUESTION)
    settings = where("local", NOWHERE, state_cache=cache, stale_policy=ALLOW, first_policy_wait_s=0.0)
    async with started(settings) as policy:
        assert await policy.check(*QUESTION) == [fresh._replace(stale=True)]


# Who the gate is


@pytest.fixture
async def guarded(start_server: StartServer, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """A server that lets nobody in without a token, and a token for each permission."""
    tokens = {permission: new_token() for permission in ("check", "replicate", "admin")}
    file = tmp_path / "credentials.yaml"
    principals = [
        {"name": permission, "token_sha256": hash_token(token), "permissions": [permission]}
        for permission, token in tokens.items()
    ]
    file.write_text(yaml.safe_dump({"principals": principals}))
    return (await start_server(credentials=file)).target, tokens


RIGHT = {"local": "replicate", "remote": "check"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token(guarded: tuple[str, dict[str, str]], tmp_path: Path, kind: str) -> None:
    """In the settings, or in a file, with the line's end that an editor leaves."""
    target, tokens = guarded
    file = tmp_path / "token"
    file.write_text(tokens[RIGHT[kind]] + "\n")
    for given in ({"token": tokens[RIGHT[kind]]}, {"token_file": str(file)}):
        async with started(where(kind, target, **given)) as policy:
            (verdict,) = await policy.check(*QUESTION)
            assert verdict.reason is Reason.TEAM_NOT_FOUND


@pytest.mark.parametrize("which", ["wrong", "none", "another's"])
async def test_a_token_that_is_not_taken_is_no_reason_to_be_open(
    guarded: tuple[str, dict[str, str]], which: str
) -> None:
    target, tokens = guarded
    token = {"wrong": "wrong", "none": "", "another's": tokens["replicate"]}[which]
    async with started(where("remote", target, token=token)) as policy:
        for names in (["fast"], ["fast", "gpt-4o"]):
            with pytest.raises(NoAnswer) as caught:
                await policy.check("support", "sam", names)
            assert not token or token not in str(caught.value)


async def test_a_replica_whose_token_is_not_taken_has_no_policy(guarded: tuple[str, dict[str, str]]) -> None:
    target, _ = guarded
    async with started(where("local", target, token="wrong", first_policy_wait_s=0.2)) as policy:
        with pytest.raises((NoPolicy, NoAnswer)):
            await policy.check(*QUESTION)


# What the settings say


def test_which_kind() -> None:
    assert isinstance(policy_of(Settings()), LocalReplica)
    assert isinstance(policy_of(Settings(server=NOWHERE)), RemoteServer)


BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "no scheme": ({"follow": NOWHERE}, "is none of redis"),
    "Redis without a key": ({"follow": "redis://127.0.0.1:6379"}, "could write policy"),
    "trust in no Redis": ({"trust_redis": True}, "trust-redis goes with a Redis"),
    "an authority beside it": ({"authority": NOWHERE}, "the authority is what is followed"),
    "another machine in plain text": ({"follow": "grpc://policy.acme.example:1"}, "is another machine"),
    "a token in plain text": ({"server": "policy.acme.example:1", "token": "x"}, "policy.acme.example"),
    "stale too soon": ({"max_staleness_s": 0.5}, "less than 1 s"),
    "too old before it is stale": ({"max_policy_age_s": 5.0}, "give at least as much"),
    "no time to answer": ({"server": NOWHERE, "timeout_s": 0.0}, "more than 0 seconds"),
    "no token in a file that is not there": ({"token_file": "/nowhere/token"}, "/nowhere/token"),
    "a certificate authority that is not there": ({"tls_ca": "/nowhere/ca"}, "/nowhere/ca"),
    "a certificate that is not there": ({"tls_cert": "/nowhere/cert", "tls_key": "/nowhere/key"}, "/nowhere/cert"),
    "half a certificate": ({"tls_ca": "/nowhere/ca", "tls_cert": "/nowhere/cert"}, "needs both cert and key"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_settings_that_cannot_be_used(name: str) -> None:
    given, words = BAD_SETTINGS[name]
    with pytest.raises(SettingsError, match=words) as caught:
        policy_of(Settings(**given))
    assert str(caught.value).startswith("the policy gate's configuration cannot be used: ")


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff"], ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_file_without_a_token(tmp_path: Path, kind: str, content: bytes) -> None:
    """It is no way to go without one."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"the token is empty|utf-8"):
        policy_of(where(kind, NOWHERE, token_file=str(file)))


async def test_a_key_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path)
    for key in (str(private), str(tmp_path / "nowhere")):
        policy = policy_of(Settings(verify_key=key))
        with pytest.raises(ValueError, match="verify-key"):
            await policy.start()
