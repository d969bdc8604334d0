"""What a LiteLLM proxy's configuration and teams mean here. Pure: the same input gives the same manifest and findings.

What cannot be kept is denied rather than allowed, and in any case reported.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from policy_service.cli.litellm.catalogue import Catalogue, make_catalogue
from policy_service.cli.litellm.configuration import Configuration
from policy_service.cli.litellm.findings import Finding, Findings, listed, shown
from policy_service.cli.litellm.leftover import note_closed_door, note_leftover
from policy_service.cli.litellm.limits import Note, default_limits_of
from policy_service.cli.litellm.members import Members
from policy_service.cli.litellm.scopes import EVERYTHING, Scopes
from policy_service.cli.litellm.teams import LiteLLMTeam
from policy_service.cli.manifest import Manifest, TeamEntry
from policy_service.domain.matching import Pattern
from policy_service.domain.names import identifier_problem, text_problem
from policy_service.domain.records import Team, UnlistedUsers


def translate(
    configuration: Configuration,
    teams: Iterable[LiteLLMTeam] | None,
    *,
    keep_open_door: bool,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[Manifest, list[Finding]]:
    """`teams` None: only models and groups. `keep_open_door`: who is no member gets what the team may use. `advance` is
    told how many more members are done."""
    findings = Findings()
    given = list(teams or ())
    aliases = {alias for team in given for alias in team.aliases}
    catalogue = make_catalogue(configuration, aliases, findings)
    kept = [team for team in given if _can_be_kept(team, findings)]
    entries = []
    for team in kept:
        entries.append(_Translation(catalogue, team, findings, keep_open_door=keep_open_door).entry())
        advance(len(team.roles))
    _note_group_names(catalogue, kept, findings)
    return Manifest(catalogue.models, catalogue.groups, None if teams is None else tuple(entries)), findings.all()


def _can_be_kept(team: LiteLLMTeam, findings: Findings) -> bool:
    problem = identifier_problem(team.id)
    if problem is not None:
        findings.add(
            "TEAM_LEFT_OUT",
            "team_id",
            team=team.id,
            members=len(team.roles),
            litellm="has this team",
            here=f"does not have it and denies all that is asked for it: the identifier {problem}",
        )
    return problem is None


def _note_group_names(catalogue: Catalogue, teams: Iterable[LiteLLMTeam], findings: Findings) -> None:
    """LiteLLM takes a group's name for a model's, too."""
    names = {group.name for group in catalogue.groups} | (catalogue.inlined.keys() - set(catalogue.names))
    concerned = [team for team in teams if any(_lists(team.models, name) for name in names)]
    if concerned:
        findings.add(
            "GROUP_AS_MODEL",
            f"access groups {listed(names)}",
            members=sum(len(team.roles) for team in concerned),
            litellm="allows who may use a group to ask for a model by the group's name",
            here="denies that: a group is not a model",
        )


def _lists(models: Collection[str], name: str) -> bool:
    patterns = (Pattern(entry) for entry in models if "*" in entry)
    unrestricted = not models or not EVERYTHING.isdisjoint(models)
    return unrestricted or name in models or any(pattern.matches(name) for pattern in patterns)


class _Translation:
    """One team."""

    def __init__(self, catalogue: Catalogue, team: LiteLLMTeam, findings: Findings, *, keep_open_door: bool) -> None:
        self._team, self._findings, self._keep_open_door = team, findings, keep_open_door
        self._scopes = Scopes(catalogue, team.aliases, findings, team.id)
        self._members = Members(team, findings, keep_open_door=keep_open_door)

    def entry(self) -> TeamEntry:
        """The team with its members."""
        team, size = self._team, len(self._members.users)
        models = self._scopes.team_scope(self._models(size), size)
        default = self._scopes.member_scope(team.default_models, "default_team_member_models", 0)
        limits = default_limits_of(team.default_budget, self._note_limit("team_member_budget_table", size))
        if not self._keep_open_door:
            note_closed_door(team, self._members.users, self._findings)
        note_leftover(team, size, self._findings)
        unlisted = UnlistedUsers.TEAM_SCOPE if self._keep_open_door else UnlistedUsers.DENY
        record = Team(
            id=team.id,
            display_name=self._display_name(),
            models=models,
            default_team_member_models=default,
            default_member_limits=limits,
            model_aliases=self._scopes.aliases,
            blocked=team.blocked,
            unlisted_users=unlisted,
        )
        note = self._note_limit("litellm_budget_table", 1)
        return TeamEntry(record, self._members.entries(self._scopes, default, limits, note))

    def _models(self, size: int) -> tuple[str, ...]:
        """The team's list, and what LiteLLM's access groups of the database add to it."""
        team = self._team
        if not team.access_group_ids or not team.models or not EVERYTHING.isdisjoint(team.models):
            return team.models
        here = f"has them as entries of the team, as they are now: {listed(team.access_group_models or ())}"
        if team.access_group_models is None:
            here = "does not have them, and denies what only they grant; GET /team/info says which models that is"
        self._add(
            "DATABASE_GROUPS",
            "access_group_ids",
            size,
            litellm=f"also grants the models of {len(team.access_group_ids)} access groups of its database",
            here=here,
        )
        return (*team.models, *(team.access_group_models or ()))

    def _display_name(self) -> str | None:
        problem = text_problem(self._team.name)
        if problem is not None:
            self._add(
                "DISPLAY_NAME_LEFT_OUT",
                "team_alias",
                litellm=f"has the name {shown(self._team.name)!r}",
                here=f"has none, as it {problem}",
            )
        return self._team.name if self._team.name and problem is None else None

    def _note_limit(self, where: str, members: int) -> Note:
        def note(limit: str, litellm: str, here: str) -> None:
            self._add("LIMIT_CHANGED", f"{limit} in {where}", members, litellm=litellm, here=here)

        return note

    def _add(self, code: str, subject: str, members: int = 0, *, litellm: str, here: str) -> None:
        self._findings.add(code, subject, team=self._team.id, members=members, litellm=litellm, here=here)
