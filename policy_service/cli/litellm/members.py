"""Who of a LiteLLM team becomes a member, with which models and limits."""

from __future__ import annotations

from collections import Counter

from policy_service.cli.litellm.findings import Findings, listed, shown
from policy_service.cli.litellm.limits import Note, own_limits
from policy_service.cli.litellm.scopes import Scopes
from policy_service.cli.litellm.teams import Budget, LiteLLMTeam
from policy_service.cli.manifest import MemberEntry
from policy_service.domain.names import identifier_problem
from policy_service.domain.records import Member, MemberLimits, ModelScope, Role, ScopeSource

NO_BUDGET = Budget()


class Members:
    """The members of one team; `users` are their identifiers."""

    def __init__(self, team: LiteLLMTeam, findings: Findings, *, keep_open_door: bool) -> None:
        self._team, self._findings, self._keep_open_door = team, findings, keep_open_door
        self.users = dict.fromkeys(self._kept_users())

    def entries(
        self, scopes: Scopes, default: ModelScope, default_limits: MemberLimits, note: Note
    ) -> tuple[MemberEntry, ...]:
        """The members. `default` and `default_limits`: what the team gives to who joins."""
        budgets = {user: self._team.memberships.get(user, NO_BUDGET) for user in self.users}
        # Most members of a team have one of a few lists.
        counts = Counter(budget.allowed_models for budget in budgets.values())
        translated = {each: scopes.member_scope(each, "allowed_models", count) for each, count in counts.items()}
        entries = []
        for user, budget in budgets.items():
            own = own_limits(budget, default_limits, note)
            self._note_limits_left_out(budget)
            scope = translated[budget.allowed_models]
            member = Member(
                team=self._team.id,
                user=user,
                role=Role.TEAM_ADMIN if self._team.roles.get(user) == "admin" else Role.MEMBER,
                allowed_models=scope,
                # LiteLLM copies a team's default to who joins, as this service does, but does not note that it did.
                scope_source=ScopeSource.SEEDED if scope == default else ScopeSource.EXPLICIT,
                limits=own.limits,
            )
            entries.append(MemberEntry(member, scope != default, own.unset))
        return tuple(entries)

    def _kept_users(self) -> list[str]:
        """Who becomes a member."""
        team = self._team
        users = list(team.roles)
        unlisted = [user for user in team.memberships if user not in team.roles]
        if unlisted:
            kept = "has them as members, so that they do not get more by the open door"
            self._add(
                "MEMBERSHIP_WITHOUT_MEMBER",
                f"team_memberships of {listed(unlisted)}",
                len(unlisted),
                litellm="does not list them in members_with_roles, but holds them to the models of their memberships",
                here=kept if self._keep_open_door else "denies them: they are no members",
            )
        users += unlisted if self._keep_open_door else []
        if team.email_only:
            door = "what the team may use" if self._keep_open_door else "nothing"
            self._add(
                "EMAIL_ONLY",
                "members_with_roles without user_id",
                team.email_only,
                litellm="lists them by e-mail address, and knows them by no key",
                here=f"does not have them as members; whoever asks as such a user gets {door}",
            )
        return [user for user in users if self._can_be_kept(user)]

    def _can_be_kept(self, user: str) -> bool:
        problem = identifier_problem(user)
        if problem is not None:
            self._add(
                "USER_LEFT_OUT",
                f"user {shown(user)!r}",
                1,
                litellm="has this member",
                here=f"denies whoever asks as this user: the identifier {problem}",
            )
        return problem is None

    def _note_limits_left_out(self, budget: Budget) -> None:
        if budget.not_read:
            self._add(
                "LIMITS_LEFT_OUT",
                f"{listed(budget.not_read)} of members",
                1,
                litellm="has these limits for a member",
                here="does not have them",
            )

    def _add(self, code: str, subject: str, members: int, *, litellm: str, here: str) -> None:
        self._findings.add(code, subject, team=self._team.id, members=members, litellm=litellm, here=here)
