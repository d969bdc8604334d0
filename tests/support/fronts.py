"""Every front of the product behind one interface, so that one table of cases asks them all.

A front takes a request as the message of its RPC and gives back the answer's message, or a `Refusal`. What a front
cannot do, and why, is what `cannot` says of a request: tests are made for the others (`that_can`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo

from policy_client import AccessClient, LocalPolicy, PolicyClientError, RetryPolicy
from policy_service.addresses import Address
from policy_service.answers import CheckAnswers
from policy_service.config import Config
from policy_service.dataplane import envoy
from policy_service.domain.decide import decide
from policy_service.domain.explain import explain
from policy_service.domain.state import State
from policy_service.domain.validation import Problems, check_asked
from policy_service.envoy_v3.external_auth_pb2 import CheckRequest
from policy_service.envoy_v3.external_auth_pb2_grpc import AuthorizationStub
from policy_service.errors import InvalidArgument
from policy_service.server import Server
from policy_service.v1 import access_pb2 as pb
from tests.support.messages import check
from tests.support.replicas import following
from tests.support.rpc import DEADLINE_S, Failure, Rpc, connect, outcome
from tests.support.waiting import until

FREE_PORT = Address("127.0.0.1:0")
AUTHORITY, REPLICA, DATA_PLANE = "grpcio server", "grpcio replica", "data plane"
ENGINE, CLIENT, CLIENT_OF_DATA_PLANE, LOCAL = (
    "engine",
    "client library",
    "client library on the data plane",
    "local replica",
)


@dataclass(frozen=True)
class Refusal:
    """Why there is no answer: the status with its details, or the library's error. A local replica knows no
    `retry_delay_s`, so that it is not compared."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[tuple[str, str], ...] = ()
    preconditions: tuple[tuple[str, str, str], ...] = ()
    retry_delay_s: float | None = field(default=None, compare=False)


Outcome = Message | Refusal


class Front(Protocol):
    """One way to ask."""

    @classmethod
    def cannot(cls, request: Message) -> str:
        """Why it cannot be asked this; empty when it can."""

    async def ask(self, request: Message, timeout_s: float | None = None) -> Outcome:
        """The answer, or why there is none. Without `timeout_s` there is time enough."""


class Engine:
    """`decide` and `explain` on a state, and the bounds of a question: no revision is waited for."""

    def __init__(self, state: State | None = None) -> None:
        self.state = State("epoch") if state is None else state

    @classmethod
    def cannot(cls, request: Message) -> str:
        if not isinstance(request, pb.CheckModelAccessRequest | pb.ExplainModelAccessRequest):
            return "decides one question at a time; the services make the rest of it"
        return "has one state, which is at no revision of a server" if request.at_least_revision else ""

    async def ask(self, request: Any, timeout_s: float | None = None) -> Outcome:
        asked = (request.team, request.user, request.model)
        problems = Problems()
        check_asked(problems, *asked)
        try:
            problems.raise_any()
        except InvalidArgument as error:
            violations = tuple((found.field, found.description) for found in error.violations)
            return Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error), error.reason, violations=violations)
        if isinstance(request, pb.CheckModelAccessRequest):
            decision = decide(self.state, *asked)
        else:
            decision = explain(self.state, *asked).decision
        encoded = CheckAnswers().encode(decision, *asked, self.state.revision, False)
        answer = pb.CheckModelAccessResponse.FromString(encoded)
        is_check = isinstance(request, pb.CheckModelAccessRequest)
        return answer if is_check else pb.ExplainModelAccessResponse(decision=answer)


class Served:
    """gRPC as such: the grpcio server of an authority or a replica, or a data plane."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc

    @classmethod
    def cannot(cls, request: Message) -> str:
        return ""

    async def ask(self, request: Message, timeout_s: float | None = None) -> Outcome:
        if isinstance(request, CheckRequest):
            call = AuthorizationStub(self.rpc.channel).Check
        else:
            call = getattr(self.rpc.access._stub, rpc_of(request))
        answer = await outcome(call(request, timeout=timeout_s or DEADLINE_S))
        return refusal_of(answer) if isinstance(answer, Failure) else answer


class Client:
    """The client library, against whichever server; a failure is not tried again."""

    def __init__(self, client: AccessClient) -> None:
        self._client = client

    @classmethod
    def cannot(cls, request: Message) -> str:
        if isinstance(request, CheckRequest):
            return "is for gateways in Python; Envoy asks by itself"
        if isinstance(request, pb.ListAccessibleModelsRequest) and (request.page_size or request.page_token):
            return "reads all pages by itself"
        if isinstance(request, pb.BatchCheckModelAccessRequest) and any(c.at_least_revision for c in request.checks):
            return "takes a revision for the batch alone"
        return ""

    async def ask(self, request: Any, timeout_s: float | None = None) -> Outcome:
        more = {"at_least_revision": request.at_least_revision, "timeout_s": timeout_s or DEADLINE_S}
        client = self._client
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "CheckModelAccess": lambda: client.check(request.team, request.user, request.model, **more),
            "BatchCheckModelAccess": lambda: client.batch_check(
                [(asked.team, asked.user, asked.model) for asked in request.checks], **more
            ),
            "ListAccessibleModels": lambda: client.list_accessible_models(request.team, request.user, **more),
            "ExplainModelAccess": lambda: client.explain(request.team, request.user, request.model, **more),
        }
        answer = await library_outcome(calls[rpc_of(request)]())
        if not isinstance(request, pb.ListAccessibleModelsRequest) or isinstance(answer, Refusal):
            return answer
        return pb.ListAccessibleModelsResponse(**asdict(answer))


class Local:
    """A replica in the gateway's own process."""

    def __init__(self, policy: LocalPolicy) -> None:
        self.policy = policy

    @classmethod
    def cannot(cls, request: Message) -> str:
        return "" if isinstance(request, pb.CheckModelAccessRequest) else "answers checks alone"

    async def ask(self, request: Any, timeout_s: float | None = None) -> Outcome:
        asked = (request.team, request.user, request.model)
        wanted = request.at_least_revision
        return await library_outcome(self.policy.check(*asked, at_least_revision=wanted, timeout_s=timeout_s))


FRONTS: Mapping[str, type[Front]] = {
    ENGINE: Engine,
    AUTHORITY: Served,
    REPLICA: Served,
    DATA_PLANE: Served,
    CLIENT: Client,
    CLIENT_OF_DATA_PLANE: Client,
    LOCAL: Local,
}


def that_can(request: Message) -> list[str]:
    """The names of the fronts that can be asked this."""
    return [name for name, front in FRONTS.items() if not front.cannot(request)]


def rpc_of(request: Message) -> str:
    return type(request).DESCRIPTOR.name.removesuffix("Request")


def refusal_of(failure: Failure) -> Refusal:
    """What a failed call says. Details that say the same thing twice, or are not known here, do not pass."""
    found: dict[str, Any] = {}
    for detail in failure.details:
        match detail:
            case ErrorInfo():
                found |= {"reason": detail.reason, "metadata": dict(detail.metadata)}
            case BadRequest():
                found["violations"] = tuple((v.field, v.description) for v in detail.field_violations)
            case PreconditionFailure():
                found["preconditions"] = tuple((v.type, v.subject, v.description) for v in detail.violations)
            case RetryInfo():
                found["retry_delay_s"] = detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9
            case _:
                raise AssertionError(f"an unexpected detail: {detail}")
    assert len({type(detail) for detail in failure.details}) == len(failure.details)
    return Refusal(failure.code, failure.message, **found)


async def library_outcome(call: Awaitable[Any]) -> Any:
    """The answer, or the Refusal that the client library's error is."""
    try:
        return await call
    except PolicyClientError as error:
        return Refusal(
            error.code,
            error.message,
            error.reason,
            dict(error.metadata),
            tuple((found.field, found.description) for found in error.violations),
            tuple((found.type, found.subject, found.description) for found in error.preconditions),
            error.retry_delay_s,
        )


class Fleet:
    """One authority with a data plane, and every front on it."""

    def __init__(self, authority: Rpc, fronts: Mapping[str, Front]) -> None:
        self.authority, self.fronts = authority, fronts

    def __getitem__(self, name: str) -> Front:
        return self.fronts[name]

    @property
    def engine(self) -> Engine:
        found = self.fronts[ENGINE]
        assert isinstance(found, Engine)
        return found

    async def catch_up(self) -> str:
        """Waits until all have reached the authority's revision, which is returned."""
        revision = await self.authority.head()
        question = check("nobody", "", "nothing", revision)
        for name in that_can(question):
            front = self.fronts[name]

            async def reached(front: Front = front) -> bool:
                return isinstance(await front.ask(question), pb.CheckModelAccessResponse)

            await until(reached, f"{name} is at {revision}")
        return revision


@asynccontextmanager
async def all_fronts(**fields: Any) -> AsyncIterator[Fleet]:
    """Started together, on an authority in memory with these fields of Config. Skips where no data plane can run."""
    if (without_data_plane := envoy.problem()) is not None:
        pytest.skip(without_data_plane)
    config = Config(listen=FREE_PORT, data_plane=FREE_PORT, drain_timeout_s=2.0, **fields)
    async with AsyncExitStack() as stack:

        async def start(config: Config) -> Server:
            server = await Server.start(config)
            stack.push_async_callback(server.stop)
            return server

        async def connected(target: str) -> Rpc:
            return await stack.enter_async_context(connect(target, use_local_subchannel_pool=1))

        async def client(target: str) -> Client:
            made = AccessClient(target, retry=RetryPolicy(attempts=1))
            return Client(await stack.enter_async_context(made))

        authority = await start(config)
        target, data_plane = authority.addresses[0], authority.data_plane
        replica = await start(replace(config, data_plane=None, follow=following(target)))
        policy = await stack.enter_async_context(LocalPolicy(f"grpc://{target}", revision_wait_s=60))
        to_authority = await connected(target)
        fleet = Fleet(
            to_authority,
            {
                ENGINE: Engine(),
                AUTHORITY: Served(to_authority),
                REPLICA: Served(await connected(replica.addresses[0])),
                DATA_PLANE: Served(await connected(data_plane)),
                CLIENT: await client(target),
                CLIENT_OF_DATA_PLANE: await client(data_plane),
                LOCAL: Local(policy),
            },
        )
        assert fleet.fronts.keys() == FRONTS.keys()
        await fleet.catch_up()
        yield fleet
