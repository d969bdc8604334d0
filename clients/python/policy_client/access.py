"""The client of AccessService, for gateways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc

from policy_client.connection import TLS, Connection, RetryPolicy, build
from policy_service.v1 import access_pb2 as pb
from policy_service.v1.access_pb2_grpc import AccessServiceStub

if TYPE_CHECKING:
    from policy_service.v1.access_pb2_grpc import AccessServiceAsyncStub

PAGE_SIZE = 1_000
DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class AccessibleModels:
    """Which models a user of a team may use; the fields are those of ListAccessibleModelsResponse, over all pages.

    `revision` is the first page's; no page is older. `stale` is whether any page was.
    """

    models: tuple[str, ...]
    team_patterns: tuple[str, ...]
    member_patterns: tuple[str, ...]
    reason: pb.Reason.ValueType
    revision: str
    stale: bool


class AccessClient:
    """Asks which model may be used. An async context manager.

    `target` is host:port or unix:path. `token` goes along as a bearer token, in plain text only inside this machine.
    With `channel` in place of `target`, that channel is used, its security is the caller's, and it is not closed here.
    `timeout_s` is the default deadline of a call, over all its attempts (of a list: of a page).

    Raises ValueError for options that do not fit together, OSError for a TLS file that cannot be read. Every call
    raises PolicyClientError: InvalidArgument for a bad request, Unavailable and DeadlineExceeded when there was no
    answer (`may_fail_open`), Unauthenticated, PermissionDenied, PreconditionFailed for a revision not reached.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: str | None = None,
        tls: TLS | None = None,
        channel: grpc.aio.Channel | None = None,
        timeout_s: float = 1.0,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        self._connection = Connection(target, token=token, tls=tls, channel=channel, retry=retry, timeout_s=timeout_s)

    @cached_property
    def _stub(self) -> AccessServiceAsyncStub:
        return AccessServiceStub(self._connection.channel)

    async def check(
        self, team: str, user: str, model: str, *, at_least_revision: str = "", timeout_s: float | None = None
    ) -> pb.CheckModelAccessResponse:
        """May this user of this team use this model? A deny is an answer, not an error. `user` may be empty.

        Call the answer's `resolved_model`. `at_least_revision`, from a mutation's or an earlier answer, is a revision
        that the answer must not be older than.
        """
        request = build(
            pb.CheckModelAccessRequest, team=team, user=user, model=model, at_least_revision=at_least_revision
        )
        return await self._connection.call(self._stub.CheckModelAccess, request, timeout_s)

    async def batch_check(
        self,
        checks: Iterable[tuple[str, str, str]],
        *,
        at_least_revision: str = "",
        timeout_s: float | None = None,
    ) -> pb.BatchCheckModelAccessResponse:
        """1 to 1,000 checks (team, user, model), answered in order at one revision. Treat a result's `error` as a
        deny."""
        asked = [build(pb.CheckModelAccessRequest, team=team, user=user, model=model) for team, user, model in checks]
        request = build(pb.BatchCheckModelAccessRequest, checks=asked, at_least_revision=at_least_revision)
        return await self._connection.call(self._stub.BatchCheckModelAccess, request, timeout_s)

    async def list_accessible_models(
        self, team: str, user: str, *, at_least_revision: str = "", timeout_s: float | None = None
    ) -> AccessibleModels:
        """Every known name that `check` allows, and no other, sorted bytewise. `timeout_s` is for each page."""
        request = build(
            pb.ListAccessibleModelsRequest,
            team=team,
            user=user,
            at_least_revision=at_least_revision,
            page_size=PAGE_SIZE,
        )
        method = self._stub.ListAccessibleModels
        first = page = await self._connection.call(method, request, timeout_s)
        models, stale = list(first.models), first.stale
        while page.next_page_token:
            # Behind a load balancer the next page may come from a replica that is not as far.
            request.at_least_revision, request.page_token = page.revision, page.next_page_token
            page = await self._connection.call(method, request, timeout_s)
            models.extend(page.models)
            stale = stale or page.stale
        return AccessibleModels(
            models=tuple(models),
            team_patterns=tuple(first.team_patterns),
            member_patterns=tuple(first.member_patterns),
            reason=first.reason,
            revision=first.revision,
            stale=stale,
        )

    async def explain(
        self, team: str, user: str, model: str, *, at_least_revision: str = "", timeout_s: float | None = None
    ) -> pb.ExplainModelAccessResponse:
        """The decision of `check`, the steps that led to it and, for a deny, what would change it."""
        request = build(
            pb.ExplainModelAccessRequest, team=team, user=user, model=model, at_least_revision=at_least_revision
        )
        return await self._connection.call(self._stub.ExplainModelAccess, request, timeout_s)

    async def close(self) -> None:
        """Ends the calls that run and closes the channel, unless it was given. May be called twice."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
