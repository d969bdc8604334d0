"""AccessService: the decision point. Answers from the state in memory; nothing here waits."""

from __future__ import annotations

import re

from policy_service.domain.accessible import accessible_page, overview
from policy_service.domain.decide import Decision, decide
from policy_service.domain.explain import explain, sentence
from policy_service.domain.names import identifier_problem
from policy_service.domain.state import State
from policy_service.domain.validation import Problems, check_asked, check_batch_size
from policy_service.errors import InvalidArgument, RevisionNotReached, Violation
from policy_service.services.caller import Caller
from policy_service.services.convert import limits_message
from policy_service.services.paging import MAX_PAGE_SIZE, page_size, read_token, write_token
from policy_service.services.status import status_of
from policy_service.v1 import access_pb2 as pb

MAX_CHECKS = 1_000
_REVISION = re.compile(r"([0-9a-z]{1,64})\.(0|[1-9][0-9]{0,17})")


class AccessService:
    """Takes and returns messages; raises the errors of policy_service.errors."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def CheckModelAccess(
        self, request: pb.CheckModelAccessRequest, caller: Caller
    ) -> pb.CheckModelAccessResponse:
        """May this user of this team use this model?"""
        if request.at_least_revision:
            self._reach(request.at_least_revision)
        return self._check(request.team, request.user, request.model)

    async def BatchCheckModelAccess(
        self, request: pb.BatchCheckModelAccessRequest, caller: Caller
    ) -> pb.BatchCheckModelAccessResponse:
        """All the checks, in order, at one revision; a malformed one is an error in its place."""
        check_batch_size("checks", len(request.checks), 1, MAX_CHECKS)
        self._reach(request.at_least_revision)
        results = [self._batch_result(check) for check in request.checks]
        return pb.BatchCheckModelAccessResponse(results=results, revision=self._state.revision)

    def _batch_result(self, check: pb.CheckModelAccessRequest) -> pb.BatchCheckModelAccessResponse.Result:
        try:
            if check.at_least_revision:
                raise InvalidArgument([Violation("at_least_revision", "belongs to the batch; leave it empty here")])
            decision = self._check(check.team, check.user, check.model)
        except InvalidArgument as error:
            return pb.BatchCheckModelAccessResponse.Result(error=status_of(error)[1])
        return pb.BatchCheckModelAccessResponse.Result(decision=decision)

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
        self._reach(request.at_least_revision)
        page = accessible_page(self._state, request.team, request.user, after, limit)
        summary = overview(self._state, request.team, request.user)
        first = not request.page_token
        return pb.ListAccessibleModelsResponse(
            models=page.models,
            next_page_token="" if page.last_tried is None else write_token(rpc, filters, [page.last_tried]),
            team_patterns=summary.team_patterns if first else (),
            member_patterns=summary.member_patterns if first else (),
            reason=pb.Reason.Value(summary.reason.value),
            revision=self._state.revision,
        )

    async def ExplainModelAccess(
        self, request: pb.ExplainModelAccessRequest, caller: Caller
    ) -> pb.ExplainModelAccessResponse:
        """The decision, the steps to it and, for a deny, what would change it."""
        team, user, model = request.team, request.user, request.model
        _refuse_malformed(team, user, model)
        self._reach(request.at_least_revision)
        explanation = explain(self._state, team, user, model)
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
            decision=self._answer(explanation.decision, team, user, model),
            steps=steps,
            suggested_changes=[pb.SuggestedChange(**found._asdict()) for found in explanation.suggestions],
            nearest_models=explanation.nearest,
        )

    def _check(self, team: str, user: str, model: str) -> pb.CheckModelAccessResponse:
        _refuse_malformed(team, user, model)
        return self._answer(decide(self._state, team, user, model), team, user, model)

    def _answer(self, decision: Decision, team: str, user: str, model: str) -> pb.CheckModelAccessResponse:
        return pb.CheckModelAccessResponse(
            allowed=decision.allowed,
            reason=_REASONS[decision.reason],
            message=sentence(decision, team, user, model),
            resolved_model=decision.resolved_model,
            limits=None if decision.limits is None else limits_message(decision.limits),
            revision=self._state.revision,
        )

    def _reach(self, wanted: str) -> None:
        """Refuses a revision that the state has not reached. The authority never waits: nothing is ahead of it."""
        if not wanted:
            return
        parsed = _REVISION.fullmatch(wanted)
        if parsed is None:
            words = "is no revision; send back one that an answer carried, or leave it empty"
            raise InvalidArgument([Violation("at_least_revision", words)])
        position = self._state.position
        if parsed[1] != position.epoch or int(parsed[2]) > position.revision:
            raise RevisionNotReached(wanted, position.token)


def _refuse_malformed(team: str, user: str, model: str) -> None:
    problems = Problems()
    check_asked(problems, team, user, model)
    problems.raise_any()


_REASONS = dict(pb.Reason.items())
