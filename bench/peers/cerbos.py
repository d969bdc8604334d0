"""Cerbos, which has rules and no data: whoever asks sends what it knows of the team and the member along."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from bench.load.call import Call, Where
from bench.peers.installing import CERBOS
from bench.peers.policy import Entries, Policy
from bench.peers.program import started
from bench.peers.subject import Subject
from bench.processes import free_port
from bench.world import Check, World

TITLE = f"Cerbos {CERBOS.version}"
PATH = b"/cerbos.svc.v1.CerbosService/CheckResources"
ACTION = "use"
# The answer's map of actions has this entry: EFFECT_ALLOW or EFFECT_DENY.
ALLOWED, DENIED = (b"\x0a\x03use\x10" + effect for effect in (b"\x01", b"\x02"))
NOTES = """Has no members: the request carries the scopes, the aliases and whether the member is blocked, as attributes
of the principal; the policy has the access groups and decides. Who looks the attributes up is not measured. Wildcards
are prefixes; exclusions come as the names they mean. Users who are no members are not asked about."""

missing = CERBOS.missing
_messages = grpc.protos("bench/peers/protos/cerbos.proto")


@asynccontextmanager
async def running(folder: Path, world: World) -> AsyncIterator[Subject]:
    policy, port = Policy(world), free_port()
    policies = folder / "cerbos-policies"
    policies.mkdir()
    (policies / "model.json").write_text(json.dumps(_rules(policy)))
    path = folder / "cerbos.json"
    path.write_text(json.dumps(_configuration(policies, port)))

    def call(check: Check, allowed: bool) -> Call:
        return Call(PATH, _message(policy, check), ALLOWED if allowed else DENIED, Where.ANYWHERE)

    async with started(folder, [CERBOS.program, "server", f"--config={path}", "--log-level=error"], port) as pid:
        yield Subject(TITLE, port, lambda: [pid], call, NOTES)


def _configuration(policies: Path, port: int) -> dict[str, Any]:
    return {
        "server": {"grpcListenAddr": f"127.0.0.1:{port}", "httpListenAddr": f"127.0.0.1:{free_port()}"},
        "storage": {"driver": "disk", "disk": {"directory": str(policies), "watchForChanges": False}},
        "audit": {"enabled": False},
        "telemetry": {"disabled": True},
        "schema": {"enforcement": "none"},
    }


def _rules(policy: Policy) -> dict[str, Any]:
    """The resource policy of models: both scopes have to grant the model that the alias means."""
    groups = {name: dict.fromkeys(models, True) for name, models in policy.groups.items()}
    conditions = ["!P.attr.blocked", *(_grants(f"P.attr.{scope}") for scope in ("team", "member"))]
    rule = {
        "actions": [ACTION],
        "effect": "EFFECT_ALLOW",
        "roles": ["member"],
        "condition": {"match": {"all": {"of": [{"expr": condition} for condition in conditions]}}},
    }
    target = "R.id in P.attr.aliases ? P.attr.aliases[R.id] : R.id"
    return {
        "apiVersion": "api.cerbos.dev/v1",
        "resourcePolicy": {
            "resource": "model",
            "version": "default",
            "constants": {"local": {"groups": groups, "qualified": policy.qualified}},
            "variables": {"local": {"target": target}},
            "rules": [rule],
        },
    }


def _grants(scope: str) -> str:
    ways = [
        f"{scope}.all",
        f"V.target in {scope}.names",
        f"{scope}.prefixes.exists(prefix, C.qualified[V.target].startsWith(prefix))",
        f"{scope}.groups.exists(group, V.target in C.groups[group])",
    ]
    return f"({' || '.join(ways)}) && !(V.target in {scope}.excluded)"


def _message(policy: Policy, check: Check) -> bytes:
    team_id, user, model = check
    team, member = policy.team(team_id), policy.member(team_id, user)
    request = _messages.CheckResourcesRequest()
    request.principal.id = user
    request.principal.roles.append("member")
    attributes = request.principal.attr
    attributes["blocked"].bool_value = team.blocked or member.blocked
    attributes["aliases"].struct_value.update(team.model_aliases)
    attributes["team"].struct_value.update(_attributes(policy.entries(team.models)))
    attributes["member"].struct_value.update(_attributes(policy.entries(member.allowed_models)))
    entry = request.resources.add(actions=[ACTION])
    entry.resource.kind, entry.resource.id = "model", model
    message: bytes = request.SerializeToString()
    return message


def _attributes(entries: Entries) -> dict[str, Any]:
    return {
        "all": entries.all,
        "names": list(entries.names),
        "prefixes": [f"{provider}/" for provider in entries.providers],
        "groups": list(entries.groups),
        "excluded": list(entries.excluded),
    }
