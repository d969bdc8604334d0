"""An organisation for the table of requests (cases.py): a team for each set of models that a case asks for, one for
each of these sets without one of its models, and one that may use everything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from policy_service.domain.records import Mode, ModelScope, Team, UnlistedUsers
from tests.ext_authz.cases import PROVIDER_CASES, STORED_MODELS, TRICK_CASES

CONFIGURATION = f"identity: {{headers: {{team: x-team}}}}\nstored_models: {json.dumps(STORED_MODELS)}\n"
EVERYTHING = "everything"


def team_for(models: Iterable[str]) -> str:
    """The team that may use these models and no others."""
    return hashlib.sha256(json.dumps(sorted(set(models))).encode()).hexdigest()


def teams() -> list[Team]:
    """Every user of a team may use its models."""
    sets = {tuple(sorted(set(case.models))) for case in (*PROVIDER_CASES, *TRICK_CASES) if not case.refusal}
    sets |= {tuple(one for one in models if one != missing) for models in sets for missing in models}
    scopes = {team_for(models): ModelScope(Mode.ONLY, models) if models else ModelScope(Mode.NONE) for models in sets}
    scopes[EVERYTHING] = ModelScope(Mode.ALL)
    return [Team(id=name, models=scope, unlisted_users=UnlistedUsers.TEAM_SCOPE) for name, scope in scopes.items()]
