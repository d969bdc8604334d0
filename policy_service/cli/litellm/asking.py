"""What a scope would grant, asked of the decision itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from policy_service.domain.decide import decide
from policy_service.domain.matching import Pattern
from policy_service.domain.names import entry_problem, plain_name_problem, requested_model_problem
from policy_service.domain.records import Member, Mode, ModelScope, Team, UnlistedUsers
from policy_service.domain.state import State

Asks = Callable[[str], bool]  # may this name be asked for?
_WITHOUT, _WITH_ALIASES = "without aliases", "with aliases"
_NO_ALIASES: Mapping[str, str] = {}


def name_problem(name: str) -> str | None:
    """Why nobody could ask for a model by this name, or no scope could list it; None when that is no problem."""
    return entry_problem(name) or plain_name_problem(name) or requested_model_problem(name)


def as_team(state: State, scope: ModelScope, aliases: Mapping[str, str] = _NO_ALIASES) -> Asks:
    """What a team with this scope and these aliases may ask for.

    The state, which has the models and groups, gets a team in passing: the answer is good until the next question."""
    identifier = _WITH_ALIASES if aliases else _WITHOUT
    state.load(
        Team(id=identifier, models=scope, model_aliases=aliases, unlisted_users=UnlistedUsers.TEAM_SCOPE),
    )
    return lambda name: decide(state, identifier, "", name).allowed


def as_member(state: State, scope: ModelScope, aliases: Mapping[str, str] = _NO_ALIASES) -> Asks:
    """What a member with this scope may ask for, in a team with these aliases that may use everything."""
    identifier = _WITH_ALIASES if aliases else _WITHOUT
    state.load(Team(id=identifier, models=ModelScope(Mode.ALL), model_aliases=aliases))
    state.load(Member(team=identifier, user="member", allowed_models=scope))
    return lambda name: decide(state, identifier, "member", name).allowed


def granted_by_provider(state: State, patterns: Iterable[str]) -> list[str]:
    """The names of the catalogue that the patterns grant only as `provider/name`."""
    compiled = [Pattern(pattern) for pattern in patterns]
    return [
        name
        for name, provider in state.providers.items()
        if not any(pattern.matches(name) for pattern in compiled)
        and any(pattern.matches(f"{provider}/{name}") for pattern in compiled)
    ]
