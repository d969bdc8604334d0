"""Where verdicts come from: a replica in this process, or a server that is asked each time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from policy_client.access import AccessClient
from policy_client.connection import TLS
from policy_client.errors import DeadlineExceeded, InvalidArgument, PolicyClientError
from policy_client.litellm.settings import Otherwise, Settings, SettingsError
from policy_client.local import LocalPolicy
from policy_service.domain.decide import Reason
from policy_service.domain.records import MemberLimits
from policy_service.domain.rules import LIMIT_NAMES
from policy_service.ext_authz.refusal import Code, Refused
from policy_service.v1 import access_pb2 as pb

MAX_BATCH = 1_000


class Verdict(NamedTuple):
    """What CheckModelAccess answers, but for its message. `limits` is None where there are none."""

    allowed: bool
    reason: Reason
    resolved_model: str
    limits: MemberLimits | None
    revision: str
    stale: bool


class NoPolicy(Exception):
    """There is no policy that may be used, or no server that answers: a gateway may be open then, if it is meant to."""


class NoAnswer(Exception):
    """The service refuses to say, for instance since this gate's token is not valid: never a reason to be open."""


class Policy(Protocol):
    """Decides for a team's user."""

    @property
    def revision(self) -> str:
        """While it stays the same, so do the verdicts; empty where that is not known without asking."""

    async def start(self) -> None:
        """Returns once there is a policy, or none for too long. Raises ValueError for what cannot be used."""

    async def check(self, team: str, user: str, models: Sequence[str]) -> list[Verdict]:
        """A verdict each, in order. Raises NoPolicy, NoAnswer, and Refused for a name that is none."""


class LocalReplica:
    """Follows the authority, and decides without a network."""

    def __init__(self, policy: LocalPolicy, first_policy_wait_s: float) -> None:
        self._policy, self._wait_s = policy, first_policy_wait_s

    @property
    def revision(self) -> str:
        return self._policy.revision

    async def start(self) -> None:
        await self._policy.start()
        with contextlib.suppress(DeadlineExceeded):
            await self._policy.wait_until_fresh(self._wait_s)

    async def check(self, team: str, user: str, models: Sequence[str]) -> list[Verdict]:
        try:
            decisions, revision, stale = self._policy.decide_all(team, user, models)
        except PolicyClientError as error:
            raise _failure(error) from None
        return [Verdict(*decision, revision, stale) for decision in decisions]


class RemoteServer:
    """Asks AccessService for every request."""

    revision = ""

    def __init__(self, client: AccessClient, *, refuse_stale: bool) -> None:
        self._client, self._refuse_stale = client, refuse_stale

    async def start(self) -> None:
        return

    async def check(self, team: str, user: str, models: Sequence[str]) -> list[Verdict]:
        try:
            answers = await self._ask(team, user, models)
        except PolicyClientError as error:
            raise _failure(error) from None
        if self._refuse_stale and any(answer.stale for answer in answers):
            raise NoPolicy("the policy that the server has is stale")
        return [_verdict(answer) for answer in answers]

    async def _ask(self, team: str, user: str, models: Sequence[str]) -> list[pb.CheckModelAccessResponse]:
        if len(models) == 1:
            return [await self._client.check(team, user, models[0])]
        answers = []
        for at in range(0, len(models), MAX_BATCH):
            batch = models[at : at + MAX_BATCH]
            results = (await self._client.batch_check([(team, user, model) for model in batch])).results
            for model, result in zip(batch, results, strict=True):
                if result.HasField("error"):
                    raise Refused(Code.MODEL_MALFORMED, f"the model {model[:256]!r}: {result.error.message}")
                answers.append(result.decision)
        return answers


def policy_of(settings: Settings) -> Policy:
    """What the settings say. Raises SettingsError for options that do not fit together and files that are not there."""
    try:
        token = Path(settings.token_file).read_text().strip() if settings.token_file else settings.token or None
        tls = TLS(settings.tls_ca or None, settings.tls_cert or None, settings.tls_key or None)
        tls_used = tls if settings.tls_ca or settings.tls_cert else None
        closed_when_stale = settings.stale_policy is Otherwise.DENY
        if settings.server:
            client = AccessClient(settings.server, token=token, tls=tls_used, timeout_s=settings.timeout_s)
            return RemoteServer(client, refuse_stale=closed_when_stale)
        replica = LocalPolicy(
            settings.follow,
            token=token,
            tls=tls_used,
            authority=settings.authority or None,
            redis_prefix=settings.redis_prefix,
            verify_key=settings.verify_key or None,
            trust_redis=settings.trust_redis,
            state_cache=settings.state_cache or None,
            max_staleness_s=settings.max_staleness_s,
            max_policy_age_s=settings.max_policy_age_s,
            refuse_when_stale=closed_when_stale,
        )
    except (OSError, ValueError) as error:
        raise SettingsError(f"the policy gate's configuration cannot be used: {error}") from None
    return LocalReplica(replica, settings.first_policy_wait_s)


def _verdict(answer: pb.CheckModelAccessResponse) -> Verdict:
    given = answer.limits
    found = {name: getattr(given, name) for name in LIMIT_NAMES if given.HasField(name)}  # type: ignore[arg-type]
    limits = MemberLimits(**found) if answer.HasField("limits") else None
    reason = Reason(pb.Reason.Name(answer.reason))
    return Verdict(answer.allowed, reason, answer.resolved_model, limits, answer.revision, answer.stale)


def _failure(error: PolicyClientError) -> Exception:
    if isinstance(error, InvalidArgument):
        words = "; ".join(f"the {violation.field} {violation.description}" for violation in error.violations)
        return Refused(Code.MODEL_MALFORMED, words or str(error))
    return (NoPolicy if error.may_fail_open else NoAnswer)(str(error))
