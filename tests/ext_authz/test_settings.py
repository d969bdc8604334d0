"""The configuration file: what it may say, and that everything wrong in it is named with its line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from policy_service.errors import StartupError
from policy_service.ext_authz.identity import ClientCertificate, Headers, JwtClaims
from policy_service.ext_authz.places import Role
from policy_service.ext_authz.routes import Access
from policy_service.ext_authz.settings import read_settings
from tests.support.process import PROGRAM

IDENTITY = "identity: {headers: {team: x-team, user: x-user}}\n"
ROUTE = "routes: [{name: a, path: /a, body: json, required: [model]"

# what the file says -> every line of the complaint, after the file's name
WRONG = {
    "": ["1: the document is empty"],
    "a: [": ["2: this is not YAML: while parsing a flow node did not find expected node content"],
    "[]": [
        "1: is a list; give a mapping (`key: value`)",
    ],
    "max_body_bytes: 1": ["1: 'identity' is missing"],
    "identity: {}": [
        "1: identity: give exactly one source: jwt, mtls, context_extensions, headers, header",
    ],
    "identity: {jwt: {payload: p, team: t}, headers: {team: x-team}}": [
        "1: identity: give exactly one source: jwt, mtls, context_extensions, headers, header",
    ],
    "identity:\n  saml: {}": [
        "2: identity: give exactly one source: jwt, mtls, context_extensions, headers, header",
        "2: identity: there is no key 'saml'; use jwt, mtls, context_extensions, headers, header",
    ],
    "identity:\n  jwt:\n    team: t": ["3: identity.jwt: 'payload' is missing"],
    "identity:\n  jwt: {payload: p, team: ''}": ["2: identity.jwt.team: is empty"],
    "identity: {headers: {team: X-Team}}": ["1: identity.headers.team: 'X-Team' is no header's name in small letters"],
    "identity: {header: {name: x-c, pattern: '{user}'}}": [
        "1: identity.header.pattern: needs {team} once and may have {user} once; other braces have no meaning",
    ],
    "identity: {header: {name: x-c, pattern: '{team}{user}'}}": [
        "1: identity.header.pattern: needs something between {team} and {user}",
    ],
    "identity: {mtls: {pattern: 'spiffe://{team}/{user}'}}": [
        "1: identity.mtls.pattern: needs a trust domain: spiffe://acme.example/...",
    ],
    IDENTITY + "denied_status: 200": ["2: denied_status: 200 is out of range; give 400 to 499"],
    IDENTITY + "no_identity_status: 500": ["2: no_identity_status: 500 is out of range; give 400 to 499"],
    IDENTITY + "max_body_bytes: 0": ["2: max_body_bytes: 0 is out of range; give 1 to 268435456"],
    IDENTITY + "max_body_bytes: 1_000": [
        "2: max_body_bytes: is 1_000 (a number); give a whole number in plain decimal digits",
    ],
    IDENTITY + "model_headers: [x-model, X]": ["2: model_headers[1]: 'X' is no header's name in small letters"],
    IDENTITY + "stored_models:\n  p: 'a,b'": [
        "3: stored_models['p']: holds one of , * \\ ? # %; ask for one model by its plain name",
    ],
    IDENTITY + "refused: [a, b.c]": ["2: refused[1]: is more than one key"],
    IDENTITY + "default_routes: maybe": ["2: default_routes: is the text 'maybe'; give true or false"],
    IDENTITY + "routes:\n- {name: a}": [
        "3: route 'a': 'path' is missing, and it is no route of the default table",
    ],
    IDENTITY + "routes:\n- {path: /a}": ["3: routes[0]: 'name' is missing"],
    IDENTITY + 'routes:\n- {name: a, path: "/a/{model}"}\n- {name: a, path: "/b/{model}"}': [
        "4: routes[1]: the route 'a' is here twice",
    ],
    IDENTITY + "routes: [{name: a, path: '/{model}/{model}'}]": [
        "2: route 'a': path: '/{model}/{model}' has `{model}` more than once, or `{model+}` not at its end",
    ],
    IDENTITY + "routes: [{name: a, path: a, query: model}]": [
        "2: route 'a': path: 'a' is no path; write `/v1/models/{model}`, and `{}` for a segment that does not matter",
    ],
    IDENTITY + ROUTE + ", optional: ['a..b']}]": [
        "2: route 'a': optional[0]: 'a..b' is no place in a body; write `model`, `session.model`, `models[]` or "
        "`tools[type=x].model`",
    ],
    IDENTITY + ROUTE + ", methods: [post]}]": ["2: route 'a': methods[0]: 'post' is no method in capital letters"],
    IDENTITY + ROUTE + ", api: azure}]": [
        "2: route 'a': api: there is no 'azure'; use openai, anthropic, gemini, bedrock, cohere",
    ],
    IDENTITY + ROUTE + ", upgrade: true}]": ["2: route 'a': is an upgrade, which has no body; leave body out"],
    IDENTITY + ROUTE + ", because: no}]": ["2: route 'a': because: no is true or false; for a text write \"no\""],
    IDENTITY + ROUTE + ", because: never}]": ["2: route 'a': has `because`, which goes with access: denied"],
    IDENTITY + "routes: [{name: a, path: /a, query: m}]": ["2: route 'a': query: the parameter is called 'model'"],
    IDENTITY + "routes: [{name: a, path: '/{model}', body: any}]": [
        "2: route 'a': has access: models and a body that is not read; give json or multipart",
    ],
    IDENTITY + "routes: [{name: a, path: /a, required: [model]}]": [
        "2: route 'a': has required places in a body that may be empty; give body: json or multipart",
    ],
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_named_with_its_line(text: str) -> None:
    with pytest.raises(StartupError) as caught:
        read_settings(text, "x.yaml")
    assert str(caught.value).splitlines() == [f"x.yaml:{line}" for line in WRONG[text]]


def test_everything_wrong_is_named_at_once() -> None:
    text = "identity: {jwt: {team: t}}\ndenied_status: 1\nroutes: [{name: a, access: all, path: /a}]"
    with pytest.raises(StartupError) as caught:
        read_settings(text, "x.yaml")
    lines = [line.partition(":")[2].partition(":")[0] for line in str(caught.value).splitlines()]
    assert lines == ["1", "2", "3", "3"]


def test_the_defaults() -> None:
    settings = read_settings(IDENTITY, "x.yaml")
    assert isinstance(settings.identity, Headers)
    assert (settings.denied_status, settings.no_identity_status) == (403, 401)
    assert settings.max_body_bytes == 16 * 1024 * 1024
    assert settings.table.find("POST", False, "/v1/chat/completions")


def test_without_the_default_table_there_is_nothing() -> None:
    settings = read_settings(IDENTITY + "default_routes: false", "x.yaml")
    assert settings.table.find("POST", False, "/v1/chat/completions") is None


def test_a_route_of_the_default_table_is_changed_key_by_key() -> None:
    text = IDENTITY + "routes: [{name: openai.chat.completions, obeys_policy_model: true}]"
    before, after = (
        read_settings(given, "x.yaml").table.find("POST", False, "/v1/chat/completions") for given in (IDENTITY, text)
    )
    assert before is not None
    assert after is not None
    assert (before.route.obeys_policy_model, after.route.obeys_policy_model) == (False, True)
    assert before.route.places.children.keys() == after.route.places.children.keys()
    assert before.route.paths == after.route.paths


def test_a_route_of_ones_own_goes_before_the_default_table() -> None:
    text = IDENTITY + "routes: [{name: closed, path: /v1/chat/completions, access: denied}]"
    found = read_settings(text, "x.yaml").table.find("POST", False, "/v1/chat/completions")
    assert found is not None
    assert found.route.access is Access.DENIED


def test_keys_that_no_body_may_have() -> None:
    own = IDENTITY + "refused: [secret]\nroutes: [{name: a, path: /a, body: json, required: [model, secret.model]}]"
    table = read_settings(own, "x.yaml").table
    chat, ours = table.find("POST", False, "/v1/chat/completions"), table.find("POST", False, "/a")
    assert chat is not None
    assert ours is not None
    assert chat.route.places.children["secret"].role is Role.REFUSED
    assert "user_config" not in chat.route.places.children
    assert ours.route.places.children["secret"].role is None


def test_identity_sources() -> None:
    jwt = read_settings("identity: {jwt: {payload: p, team: t}}", "x.yaml").identity
    assert isinstance(jwt, JwtClaims)
    assert jwt.fields.user is None
    mtls = read_settings("identity: {mtls: {pattern: 'spiffe://acme.example/{team}/{user}'}}", "x.yaml").identity
    assert isinstance(mtls, ClientCertificate)


def test_a_server_does_not_start_with_a_wrong_file(tmp_path: Path) -> None:
    config = tmp_path / "ext-authz.yaml"
    for text, words in (
        ("identity: {saml: {}}", f"{config}:1: identity: there is no key 'saml'"),
        (None, "No such file"),
    ):
        if text is not None:
            config.write_text(text)
        else:
            config.unlink()
        command = [PROGRAM, "serve", "--in-memory", "--listen", "127.0.0.1:0", "--ext-authz-config", config]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
