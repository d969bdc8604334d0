"""AccessService: the decision point. Answers from the state in memory; only `at_least_revision` may wait."""

from __future__ import annotations

from policy_service.answers import BEFORE_DECISION, CheckAnswers
from policy_service.domain.accessible import accessible_page, overview
from policy_service.domain.decide import decide
from policy_service.domain.explain import explain
from policy_service.domain.names import identifier_problem, requested_model_problem
from policy_service.domain.source import PolicySource, Reading
from policy_service.domain.validation import Problems, check_asked, check_batch_size
from policy_service.errors import InvalidArgument, Violation
from policy_service.services.caller import Caller
from policy_service.services.paging import MAX_PAGE_SIZE, page_size, read_token, write_token
from policy_service.services.status import status_of
from policy_service.v1 import access_pb2 as pb

MAX_CHECKS = 1_000
_OF_THE_BATCH = InvalidArgument([Violation("at_least_revision", "belongs to the batch; leave it empty here")])


class AccessService:
    """Takes messages and returns them, some encoded; raises the errors of policy_service.errors."""

    def __init__(self, source: PolicySource) -> None:
        self._source = source
        self._answers = CheckAnswers()

    async def CheckModelAccess(self, request: pb.CheckModelAccessRequest, caller: Caller) -> bytes:
        """May this user of this team use this model?"""
        if request.at_least_revision:
            await self._source.reach(request.at_least_revision, caller.remaining_s)
        return self._check(self._source.read(), request.team, request.user, request.model)

    async def BatchCheckModelAccess(self, request: pb.BatchCheckModelAccessRequest, caller: Caller) -> bytes:
        """All the checks, in order, at one revision; a malformed one is an error in its place."""
        check_batch_size("checks", len(request.checks), 1, MAX_CHECKS)
        reading = await self._reading(request.at_least_revision, caller)
        results: list[bytes] = []
        for check in request.checks:
            if check.at_least_revision:
                results.append(_refusal(_OF_THE_BATCH))
                continue
            try:
                decision = self._check(reading, check.team, check.user, check.model)
            except InvalidArgument as error:
                results.append(_refusal(error))
            else:
                results += (BEFORE_DECISION[len(decision)], decision)
        rest = pb.BatchCheckModelAccessResponse(revision=reading.state.revision, stale=reading.stale)
        return b"".join((*results, rest.SerializeToString()))

    async def ListAccessibleModels(
        self, request: pb.ListAccessibleModelsRequest, caller: Caller
    ) -> pb.ListAccessibleModelsResponse:
        """A page of the names that CheckModelAccess allows."""
        problems = Problems()
        problems.add("team", identifier_problem(request.team))
        problems.add("user", identifier_problem(request.user) if request.user else None)
        rpc, filters = "ListAccessibleModels", (request.team, request.user)
        (after,) = read_token(problems, request.page_token, rpc, filters, [""])
        limit = page_size(problems, request.page_size, MAX_PAGE_SIZE)
        problems.raise_any()
        reading = await self._reading(request.at_least_revision, caller)
        page = accessible_page(reading.state, request.team, request.user, after, limit)
        summary = overview(reading.state, request.team, request.user)
        first = not request.page_token
        return pb.ListAccessibleModelsResponse(
            models=page.models,
            next_page_token="" if page.last_tried is None else write_token(rpc, filters, [page.last_tried]),
            team_patterns=summary.team_patterns if first else (),
            member_patterns=summary.member_patterns if first else (),
            reason=pb.Reason.Value(summary.reason.value),
            revision=reading.state.revision,
            stale=reading.stale,
        )

    async def ExplainModelAccess(
        self, request: pb.ExplainModelAccessRequest, caller: Caller
    ) -> pb.ExplainModelAccessResponse:
        """The decision, the steps to it and, for a deny, what would change it."""
        team, user, model = request.team, request.user, request.model
        _refuse_malformed(team, user, model)
        state, stale = await self._reading(request.at_least_revision, caller)
        explanation = explain(state, team, user, model)
        steps = [
            pb.ExplainStep(
                layer=pb.ExplainStep.Layer.Value(step.layer.value),
                outcome=pb.ExplainStep.Outcome.Value(step.outcome),
                entry=step.entry,
                group=step.group,
                alias=step.alias,
                message=step.message,
            )
            for step in explanation.steps
        ]
        return pb.ExplainModelAccessResponse(
            decision=pb.CheckModelAccessResponse.FromString(
                self._answers.encode(explanation.decision, team, user, model, state.revision, stale)
            ),
            steps=steps,
            suggested_changes=[pb.SuggestedChange(**found._asdict()) for found in explanation.suggestions],
            nearest_models=explanation.nearest,
        )

    def _check(self, reading: Reading, team: str, user: str, model: str) -> bytes:
        state, stale = reading
        known = state.teams.get(team)
        if known is None or user not in known.members or requested_model_problem(model):
            _refuse_malformed(team, user, model)  # names that the state holds are well-formed
        decision = decide(state, team, user, model)
        return self._answers.encode(decision, team, user, model, state.revision, stale)

    async def _reading(self, at_least_revision: str, caller: Caller) -> Reading:
        if at_least_revision:
            await self._source.reach(at_least_revision, caller.remaining_s)
        return self._source.read()


def _refusal(error: InvalidArgument) -> bytes:
    """The encoded result, in the answer to a batch, of a check that is refused."""
    result = pb.BatchCheckModelAccessResponse.Result(error=status_of(error)[1])
    return pb.BatchCheckModelAccessResponse(results=[result]).SerializeToString()


def _refuse_malformed(team: str, user: str, model: str) -> None:
    problems = Problems()
    check_asked(problems, team, user, model)
    problems.raise_any()
