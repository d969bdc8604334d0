"""A small world to ask about, and the configurations under which it is asked."""

from __future__ import annotations

from pathlib import Path

import yaml

import policy_service.ext_authz
from policy_service.domain.records import AccessGroup, Member, Mode, Model, ModelScope, Record, Team, UnlistedUsers

ARN = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.nova"
GOOD = ("gpt-4o", "gpt-4o", "claude-x", "open/x", "a b", "ünï", ARN)  # what ann of ml may use
DENIED = ("evil", "GPT-4O", "pack", "open/banned", "a+b", "openx", "gpt-4")
ALIASES = ("fast", "wild-alias")
MALFORMED = (
    "",
    "*",
    "gpt-*",
    "gpt-4o,evil",
    " gpt-4o",
    "gpt-4o\n",
    "gpt-4o\0",
    "../evil",
    "gpt-4o/../evil",
    "open//x",
    "u\u0308nï",
    "gpt-4o?x",
    "gpt-4o#",
    "gpt%2d4o",
    "open\\x",
    "x" * 257,
    "gpt-4o;evil",
)
SECRET = "hidden-model-of-another-team"
SECRET_GROUP = "hidden-group"
SECRET_TEAM = "hidden-team"
SECRET_USER = "hidden-user"
STORED = {"pmpt_good": "gpt-4o", "pmpt_evil": "evil", "cachedContents/good": "claude-x", "pmpt_fast": "fast"}

IDENTITIES = (("ml", "ann"),) * 14 + (
    ("ml", "bob"),
    ("ml", "carl"),
    ("ml", "dora"),
    ("ml", "zoe"),
    ("open", "zoe"),
    ("open", "ann"),
    ("blocked", "ann"),
    ("nobody", "ann"),
)

RECORDS: tuple[Record, ...] = (
    Model(name="gpt-4o", provider="openai"),
    Model(name="claude-x", provider="anthropic"),
    Model(name="evil", provider="evil"),
    Model(name=SECRET, provider="openai"),
    AccessGroup(name="pack", models=("claude-x", "ünï")),
    AccessGroup(name=SECRET_GROUP, models=(SECRET,)),
    Team(
        id="ml",
        models=ModelScope(Mode.ONLY, ("gpt-4o", "pack", "open/*", "a b", ARN), ("open/banned",)),
        model_aliases={"fast": "gpt-4o", "wild-alias": "evil"},
    ),
    Member(team="ml", user="ann"),
    Member(team="ml", user="bob", allowed_models=ModelScope(Mode.ONLY, ("gpt-4o",))),
    Member(team="ml", user="carl", blocked=True),
    Member(team="ml", user="dora", allowed_models=ModelScope(Mode.NONE)),
    Team(id="open", models=ModelScope(Mode.ALL, (), ("evil",)), unlisted_users=UnlistedUsers.TEAM_SCOPE),
    Member(team="open", user="ann", blocked=True),
    Team(id="blocked", models=ModelScope(Mode.ALL), blocked=True, unlisted_users=UnlistedUsers.TEAM_SCOPE),
    Team(id=SECRET_TEAM, models=ModelScope(Mode.ONLY, (SECRET, SECRET_GROUP))),
    Member(team=SECRET_TEAM, user=SECRET_USER),
)

# By the name of the source. `{}` in a text is no pattern: these are YAML.
IDENTITY_SOURCES = {
    "headers": "headers: {team: x-acme-team, user: x-acme-user}",
    "team header": "headers: {team: x-acme-team}",
    "header": 'header: {name: x-acme-client, pattern: "{team}/{user}"}',
    "extensions": "context_extensions: {team: team, user: user}",
    "jwt": "jwt: {payload: jwt_payload, team: team, user: sub}",
    "spiffe": 'mtls: {pattern: "spiffe://acme.example/team/{team}/user/{user}"}',
    "dns": 'mtls: {pattern: "{user}.{team}.clients.acme.example"}',
}
MAX_BODY_BYTES = 16_384
HEADERS = ("x-ai-eg-model", "x-gateway-model-name")
DENIED_STATUS, NO_IDENTITY_STATUS = 403, 401

_REST = f"""
denied_status: {DENIED_STATUS}
no_identity_status: {NO_IDENTITY_STATUS}
max_body_bytes: {MAX_BODY_BYTES}
model_headers: [{", ".join(HEADERS)}]
stored_models: {{{", ".join(f"{name}: {model}" for name, model in STORED.items())}}}
routes:
  - {{name: acme.status, api: openai, methods: [GET], path: /acme/status, access: allowed}}
  - {{name: acme.files, api: openai, methods: [GET, POST], path: "/acme/files/{{}}", access: team, body: any}}
  - {{name: acme.jobs, api: cohere, methods: [POST], path: /acme/jobs, access: team, body: json, refused: [job.model]}}
  - {{name: acme.closed, api: openai, methods: [POST], path: /acme/closed, access: denied, because: "Closed."}}
  - {{name: acme.chat, api: openai, methods: [POST], path: /acme/chat, body: json, required: [model],
     optional: ["models[]", "fallbacks[]", "tools[].model", "sinks[type=image].model"], stored: [prompt.id],
     refused: [user_config, "sinks[].config"]}}
  - {{name: acme.batch, api: anthropic, methods: [POST, PUT], path: /acme/batch, body: json,
     required: ["requests[].params.model"], optional: [fallback]}}
  - {{name: acme.chain, api: cohere, methods: [POST], path: /acme/chain, body: json,
     required: ["chain[].model", "then[].model"]}}
  - {{name: acme.speech, api: openai, methods: [POST], path: /acme/speech, body: [json, multipart], required: [model],
     optional: [voice_model], refused: [user_config]}}
  - {{name: acme.generate, api: gemini, methods: [POST], path: "/acme/models/{{model}}:generate", body: json,
     optional: ["requests[].model"], stored: [cachedContent], strip_up_to: models/}}
  - {{name: acme.rest, api: bedrock, methods: [GET, POST], path: "/acme/model/{{model+}}", body: none}}
  - {{name: acme.model, api: bedrock, methods: [POST], path: "/acme/{{}}/model/{{model}}/invoke", body: json}}
  - {{name: acme.realtime, api: openai, methods: [GET], path: /acme/realtime, query: model, upgrade: true}}
  - {{name: acme.asked, api: openai, methods: [GET, DELETE], path: /acme/asked, query: model}}
  - {{name: acme.obeyed, api: openai, methods: [POST], path: /acme/obeyed, body: json, required: [model],
     optional: ["models[]"], obeys_policy_model: true}}
"""
CONFIGURATIONS = {name: f"identity:\n  {source}{_REST}" for name, source in IDENTITY_SOURCES.items()}


def default_table() -> str:
    """The text of the table that the service brings."""
    return (Path(policy_service.ext_authz.__file__).parent / "default_routes.yaml").read_text(encoding="utf-8")


def _places() -> list[str]:
    """Every place at which some route looks into a body."""
    defaults = yaml.safe_load(default_table())
    routes = [defaults, *defaults["routes"], *yaml.safe_load(_REST)["routes"]]
    kinds = ("required", "optional", "stored", "refused")
    return sorted({place for route in routes for kind in kinds for place in route.get(kind, ())})


PLACES = _places()
