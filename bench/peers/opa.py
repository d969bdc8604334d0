"""OPA with its Envoy plugin, which has the policy as one document in memory and answers what Envoy's ext_authz asks."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.load.call import Call
from bench.peers.installing import OPA
from bench.peers.policy import Entries, Policy
from bench.peers.program import started
from bench.peers.subject import Subject
from bench.processes import free_port
from bench.world import Check, World
from policy_service.domain.records import ModelScope
from policy_service.envoy_v3.external_auth_pb2 import CheckRequest

TITLE = f"OPA {OPA.version}"
PATH = b"/envoy.service.auth.v3.Authorization/Check"
# The status, which comes first: OK, or PERMISSION_DENIED.
ALLOWED, DENIED = b"\x0a\x00", b"\x0a\x02\x08\x07"
NOTES = """Has every member, in a document in its memory, which is optimised for reads, and rules in Rego; it is asked
what Envoy would ask, with team, user and model in headers. Wildcards are prefixes; exclusions are the names they mean.
Users who are no members are denied."""
# What is looked up is a key of an object, as its documentation recommends: a list would be searched.
RULES = """package access

default allow := false

headers := input.attributes.request.http.headers

team := data.teams[headers["x-team"]]

seat := data.seats[headers["x-team"]][headers["x-user"]]

target := object.get(team.aliases, headers["x-model"], headers["x-model"])

allow if {
	not team.blocked
	grants(data.scopes[team.scope])
	not seat.blocked
	grants(data.scopes[seat.scope])
}

grants(scope) if {
	listed(scope)
	not scope.excluded[target]
}

listed(scope) if scope.all

listed(scope) if scope.names[target]

listed(scope) if {
	some group in scope.groups
	data.groups[group][target]
}

listed(scope) if {
	some prefix in scope.prefixes
	startswith(data.qualified[target], prefix)
}
"""

missing = OPA.missing


@asynccontextmanager
async def running(folder: Path, world: World) -> AsyncIterator[Subject]:
    port, http_port = free_port(), free_port()
    loaded = folder / "opa"
    loaded.mkdir()
    (loaded / "access.rego").write_text(RULES)
    (loaded / "data.json").write_text(json.dumps(_document(Policy(world)), separators=(",", ":")))
    plugin = {
        "addr": f"127.0.0.1:{port}",
        "path": "access/allow",
        "skip-request-body-parse": True,
        "enable-reflection": False,
    }
    configuration = folder / "opa.json"
    configuration.write_text(json.dumps({"plugins": {"envoy_ext_authz_grpc": plugin}}))
    options = ["--server", f"--addr=127.0.0.1:{http_port}", f"--config-file={configuration}"]
    options += ["--optimize-store-for-read-speed", "--log-level=error", "--skip-version-check"]
    async with started(folder, [OPA.program, "run", *options, loaded], port) as pid:
        yield Subject(TITLE, port, lambda: [pid], _call, NOTES)


def _call(check: Check, allowed: bool) -> Call:
    team, user, model = check
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.path = "POST", "/v1/chat/completions"
    http.headers.update({"x-team": team, "x-user": user, "x-model": model})
    return Call(PATH, request.SerializeToString(), ALLOWED if allowed else DENIED)


def _document(policy: Policy) -> dict[str, Any]:
    scopes: dict[ModelScope, str] = {}  # their keys

    def key(scope: ModelScope) -> str:
        return scopes.setdefault(scope, str(len(scopes)))

    teams = {
        team.id: {"scope": key(team.models), "blocked": team.blocked, "aliases": dict(team.model_aliases)}
        for team in policy.world.team_records
    }
    seats: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for place in range(policy.world.members):
        member = policy.world.member(place)
        seats[member.team][member.user] = {"scope": key(member.allowed_models), "blocked": member.blocked}
    return {
        "groups": {name: _keys(models) for name, models in policy.groups.items()},
        "qualified": policy.qualified,
        "scopes": {identity: _scope(policy.entries(scope)) for scope, identity in scopes.items()},
        "teams": teams,
        "seats": seats,
    }


def _scope(entries: Entries) -> dict[str, Any]:
    return {
        "all": entries.all,
        "names": _keys(entries.names),
        "prefixes": [f"{provider}/" for provider in entries.providers],
        "groups": entries.groups,
        "excluded": _keys(entries.excluded),
    }


def _keys(names: tuple[str, ...]) -> dict[str, bool]:
    return dict.fromkeys(names, True)
