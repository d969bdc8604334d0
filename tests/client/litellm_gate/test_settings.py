"""The gate's configuration: what it can say, where, and what it is told of a mistake."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_client.litellm.identity import Field, IdentitySource
from policy_client.litellm.settings import PREFIX, Mode, Otherwise, Settings, SettingsError, read_settings

# key: (as a file says it, as a variable says it, what it then is)
KEYS: dict[str, tuple[str, str, Any]] = {
    "mode": ("shadow", "shadow", Mode.SHADOW),
    "follow": ("grpc://10.0.0.1:50051", "grpc://10.0.0.1:50051", "grpc://10.0.0.1:50051"),
    "server": ("10.0.0.1:50051", "10.0.0.1:50051", "10.0.0.1:50051"),
    "token": ("'12'", "12", "12"),
    "token_file": ("/run/token", "/run/token", "/run/token"),
    "tls_ca": ("ca.pem", "ca.pem", "ca.pem"),
    "authority": ("10.0.0.1:50052", "10.0.0.1:50052", "10.0.0.1:50052"),
    "redis_prefix": ("acme", "acme", "acme"),
    "verify_key": ("public.pem", "public.pem", "public.pem"),
    "trust_redis": ("true", "yes", True),
    "state_cache": ("/var/cache/policy", "/var/cache/policy", "/var/cache/policy"),
    "max_staleness_s": ("30", "30", 30.0),
    "max_policy_age_s": ("0", "0", 0.0),
    "first_policy_wait_s": ("0.5", "0.5", 0.5),
    "timeout_s": ("2.25", "2.25", 2.25),
    "without_policy": ("allow", "allow", Otherwise.ALLOW),
    "stale_policy": ("allow", "allow", Otherwise.ALLOW),
    "team": ("team_alias", "team_alias", Field("team_alias")),
    "user": ("metadata.employee", "metadata.employee", Field("metadata", "employee")),
    "without_model": ("[afile_list, /assemblyai/*]", "afile_list, /assemblyai/*", ("afile_list", "/assemblyai/*")),
    "prompts": ("[greeting]", "greeting", ("greeting",)),
    "keys": ("\n- route\n- plugins", "[route, plugins]", ("route", "plugins")),
}


def variable(key: str) -> str:
    return PREFIX + key.upper()


def of_file(tmp_path: Path, text: str, **variables: str) -> Settings:
    """The settings of a file with this text, and of variables besides."""
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    return read_settings({"POLICY_GATE_CONFIG": str(path)} | variables)


def problems(environ: dict[str, str]) -> list[str]:
    """What is wrong, a line each."""
    with pytest.raises(SettingsError) as caught:
        read_settings(environ)
    first, *lines = str(caught.value).splitlines()
    assert first == "the policy gate's configuration cannot be used:"
    return lines


def problems_of_file(tmp_path: Path, text: str) -> list[str]:
    """What is wrong with a file of this text, without its path."""
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    found = problems({"POLICY_GATE_CONFIG": str(path)})
    assert all(line.startswith(f"{path}:") for line in found)
    return [line.removeprefix(f"{path}:") for line in found]


# What it can say


def test_every_setting_is_in_the_table() -> None:
    assert {*KEYS, "tls_cert", "tls_key"} == {field.name for field in fields(Settings)}


def test_without_a_configuration_it_enforces_and_is_closed() -> None:
    settings = read_settings({})
    assert settings == Settings()
    assert (settings.mode, settings.without_policy, settings.stale_policy) == ("enforce", "deny", "deny")
    assert (settings.without_model, settings.prompts, settings.keys) == ((), (), ())
    assert settings.identity == IdentitySource(Field("team_id"), Field("user_id"))


@pytest.mark.parametrize("key", KEYS)
def test_in_a_file(tmp_path: Path, key: str) -> None:
    text, _, value = KEYS[key]
    assert of_file(tmp_path, f"{key}: {text}\n") == Settings(**{key: value})


@pytest.mark.parametrize("key", KEYS)
def test_in_a_variable(key: str) -> None:
    _, text, value = KEYS[key]
    assert value != asdict(Settings())[key], "the test could not see it"
    assert read_settings({variable(key): text}) == Settings(**{key: value})


def test_a_certificate_with_its_key(tmp_path: Path) -> None:
    expected = Settings(tls_cert="cert.pem", tls_key="key.pem")
    assert of_file(tmp_path, "tls_cert: cert.pem\ntls_key: key.pem") == expected
    assert of_file(tmp_path, "tls_cert: cert.pem", POLICY_GATE_TLS_KEY="key.pem") == expected


OTHERS = {
    "mode": "enforce",
    "token": "of the file",
    "trust_redis": "false",
    "timeout_s": "9",
    "stale_policy": "deny",
    "team": "org_id",
    "keys": "[preset]",
}


@pytest.mark.parametrize("key", OTHERS)
def test_the_variable_counts(tmp_path: Path, key: str) -> None:
    _, text, value = KEYS[key]
    settings = of_file(tmp_path, f"{key}: {OTHERS[key]}\nredis_prefix: acme\n", **{variable(key): text})
    assert settings == Settings(**{key: value, "redis_prefix": "acme"})


def test_an_empty_list_in_a_variable_counts_too(tmp_path: Path) -> None:
    assert of_file(tmp_path, "keys: [route]", POLICY_GATE_KEYS="").keys == ()


def test_identity_is_of_team_and_user() -> None:
    settings = read_settings({"POLICY_GATE_TEAM": "team_metadata.tenant", "POLICY_GATE_USER": "user_email"})
    assert settings.identity == IdentitySource(Field("team_metadata", "tenant"), Field("user_email"))


LISTS = {
    "": (),
    " ": (),
    "[]": (),
    "a": ("a",),
    "a,b": ("a", "b"),
    "a, b": ("a", "b"),
    "a, b,": ("a", "b"),
    "[a, b]": ("a", "b"),
    " [a, b]": ("a", "b"),
    "- a\n- b": None,
    "'a, b', c": ("a, b", "c"),
    "'1', 'true'": ("1", "true"),
    "/assemblyai/*, /x": ("/assemblyai/*", "/x"),
    "['*']": ("*",),
}


@pytest.mark.parametrize("text", LISTS, ids=repr)
def test_a_list_in_a_variable_with_or_without_brackets(text: str) -> None:
    expected = LISTS[text]
    if expected is None:
        assert problems({"POLICY_GATE_PROMPTS": text})[0].startswith("POLICY_GATE_PROMPTS: ")
    else:
        assert read_settings({"POLICY_GATE_PROMPTS": text}).prompts == expected


def test_a_text_in_a_variable_is_as_it_is() -> None:
    """Quotes, colons and words of YAML mean nothing there."""
    for text in ("true", "1", "'a'", "a: b", "[a]", "# a", "null", "é"):
        assert read_settings({"POLICY_GATE_TOKEN": text}).token == text


def test_other_variables_are_others() -> None:
    assert read_settings({"MODE": "x", "POLICY_GATEWAY": "x", "XPOLICY_GATE_MODE": "x", "policy_gate_mode": "x"}) == (
        Settings()
    )


def test_an_empty_path_names_no_file() -> None:
    assert read_settings({"POLICY_GATE_CONFIG": ""}) == Settings()


def test_the_token_is_not_shown() -> None:
    settings = read_settings({"POLICY_GATE_TOKEN": "secret-5f1d"})
    assert settings.token == "secret-5f1d"
    assert "secret-5f1d" not in repr(settings)
    assert "hunter2" not in repr(read_settings({"POLICY_GATE_FOLLOW": "redis://u:hunter2@h:1"}))


# Mistakes

FIELDS = "team_id, team_alias, user_id, user_email, key_alias, org_id, metadata.NAME or team_metadata.NAME"
END_USER = "'end_user_id' comes from the request, so anybody can write anything into it; use what the key says"
A_LIST = "give a list (`[a, b]`, or a line `- a` for each)"
A_NUMBER = "give a number in plain decimal digits"

BAD_IN_FILE: dict[str, list[str]] = {
    "mode: audit": ["1: mode: there is no 'audit'; use enforce or shadow"],
    "mode: Shadow": ["1: mode: there is no 'Shadow'; use enforce or shadow"],
    "mode: off": ['1: mode: off is true or false; for a text write "off"'],
    "without_policy: open": ["1: without_policy: there is no 'open'; use deny or allow"],
    "stale_policy: [allow]": ["1: stale_policy: is a list; give a text"],
    "team: end_user_id": [f"1: team: {END_USER}"],
    "user: end_user_id": [f"1: user: {END_USER}"],
    "team: team": [f"1: team: there is no field 'team'; use {FIELDS}"],
    "team: metadata": [f"1: team: there is no field 'metadata'; use {FIELDS}"],
    "user: user_id.x": [f"1: user: there is no field 'user_id.x'; use {FIELDS}"],
    "user: 7": ['1: user: 7 is a number; for a text write "7"'],
    "trust_redis: 'yes'": ["1: trust_redis: is the text 'yes'; give true or false"],
    "trust_redis: 1": ["1: trust_redis: is 1 (a number); give true or false"],
    "timeout_s: soon": [f"1: timeout_s: is the text 'soon'; {A_NUMBER}"],
    "timeout_s: -0.5": ["1: timeout_s: -0.5 is less than 0"],
    "timeout_s: .inf": [f"1: timeout_s: is .inf (a number); {A_NUMBER}"],
    "timeout_s: .nan": [f"1: timeout_s: is .nan (a number); {A_NUMBER}"],
    "max_staleness_s: 1:30": [f"1: max_staleness_s: is 1:30 (a number); {A_NUMBER}"],
    "max_policy_age_s: '10'": [f"1: max_policy_age_s: is the text '10'; {A_NUMBER}"],
    "first_policy_wait_s:": [f"1: first_policy_wait_s: is empty; {A_NUMBER}"],
    "follow: ''": ["1: follow: is empty; leave it out"],
    "follow:": ["1: follow: is empty; give a text"],
    "token: true": ["1: token: is no text; write it in quotes"],
    "token: 123456": ["1: token: is no text; write it in quotes"],  # nor is it shown
    "state_cache: {}": ["1: state_cache: is a mapping; give a text"],
    "prompts: greeting": [f"1: prompts: is the text 'greeting'; {A_LIST}"],
    "keys:\n- route\n- 7": ['3: keys[1]: 7 is a number; for a text write "7"'],
    "keys: ['']": ["1: keys[0]: is empty; leave it out"],
    "without_model: {a: b}": [f"1: without_model: is a mapping; {A_LIST}"],
    "mode: shadow\nmode: enforce": ["2: 'mode' is here twice; it is already on line 1"],
    "[mode]": ["1: is a list; give a mapping (`key: value`)"],
    "mode": ["1: is the text 'mode'; give a mapping (`key: value`)"],
    "": ["1: the document is empty"],
    "prompts: x\n[a]: b": [f"1: prompts: is the text 'x'; {A_LIST}", "2: is a list; give a text"],
    "timeout_s: -1\nmode: x\nuser: end_user_id": [
        "1: timeout_s: -1 is less than 0",
        "2: mode: there is no 'x'; use enforce or shadow",
        f"3: user: {END_USER}",
    ],
}


@pytest.mark.parametrize("text", BAD_IN_FILE, ids=repr)
def test_a_mistake_in_a_file(tmp_path: Path, text: str) -> None:
    assert problems_of_file(tmp_path, text) == BAD_IN_FILE[text]


@pytest.mark.parametrize(
    "text", ["mode: shadow\nprompts: [", "mode: shadow\n---\nmode: shadow", "mode:\n  *a"], ids=repr
)
def test_what_is_no_document(tmp_path: Path, text: str) -> None:
    (found,) = problems_of_file(tmp_path, text)
    assert found.startswith(("2: this is not YAML: ", "3: this is not YAML: ")), "the words are libyaml's"


@pytest.mark.parametrize("key", ["modes", "MODE", "tls-ca", "end_user_id"])
def test_a_key_that_is_none(tmp_path: Path, key: str) -> None:
    (found,) = problems_of_file(tmp_path, f"trust_redis: false\n{key}: x")
    assert found.startswith(f"2: there is no key {key!r}; use ")
    words = found.partition("; use ")[2].split(", ")
    assert sorted(words) == sorted(field.name for field in fields(Settings))


BAD_VARIABLES = {
    ("MODE", "audit"): "there is no 'audit'; use enforce or shadow",
    ("MODE", ""): "there is no ''; use enforce or shadow",
    ("WITHOUT_POLICY", "Allow"): "there is no 'Allow'; use deny or allow",
    ("STALE_POLICY", "true"): "there is no 'true'; use deny or allow",
    ("TEAM", "end_user_id"): END_USER,
    ("USER", "end_user_id"): END_USER,
    ("TEAM", ""): f"there is no field ''; use {FIELDS}",
    ("TEAM", "metadata."): f"there is no field 'metadata.'; use {FIELDS}",
    ("USER", "team_metadata"): f"there is no field 'team_metadata'; use {FIELDS}",
    ("TRUST_REDIS", "maybe"): "is the text 'maybe'; give true or false",
    ("TRUST_REDIS", "1"): "is 1 (a number); give true or false",
    ("TRUST_REDIS", ""): "is the text ''; give true or false",
    ("TIMEOUT_S", "soon"): f"is the text 'soon'; {A_NUMBER}",
    ("TIMEOUT_S", ""): f"is the text ''; {A_NUMBER}",
    ("TIMEOUT_S", "[1"): f"is the text '[1'; {A_NUMBER}",
    ("TIMEOUT_S", "[1]"): f"is a list; {A_NUMBER}",
    ("TIMEOUT_S", "1e3"): f"is the text '1e3'; {A_NUMBER}",
    ("TIMEOUT_S", "-1"): "-1 is less than 0",
    ("MAX_STALENESS_S", "-0.25"): "-0.25 is less than 0",
    ("SERVER", ""): "is empty; leave it out",
    ("TOKEN", ""): "is empty; leave it out",
    ("TOKEN", "\udc80"): "'\\udc80' is not Unicode text",
    ("PROMPTS", "a,]"): f"is the text 'a,]'; {A_LIST}",
    ("PROMPTS", "*"): f"is the text '*'; {A_LIST}",
}


@pytest.mark.parametrize(("name", "text"), BAD_VARIABLES, ids=repr)
def test_a_mistake_in_a_variable(name: str, text: str) -> None:
    assert problems({PREFIX + name: text}) == [f"{PREFIX}{name}: {BAD_VARIABLES[name, text]}"]


def test_a_mistake_in_an_element() -> None:
    assert problems({"POLICY_GATE_KEYS": "route, 7, ''"}) == [
        'POLICY_GATE_KEYS[1]: 7 is a number; for a text write "7"',
        "POLICY_GATE_KEYS[2]: is empty; leave it out",
    ]


@pytest.mark.parametrize("name", ["MODES", "mode", "Mode", "", "TLS-CA", "CONFIG_FILE"])
def test_a_variable_that_is_none(name: str) -> None:
    (found,) = problems({PREFIX + name: "x"})
    assert found.startswith(f"{PREFIX}{name}: there is no such variable; use POLICY_GATE_CONFIG, ")
    words = found.partition("; use ")[2].split(", ")
    assert sorted(words) == sorted([variable("config"), *(variable(field.name) for field in fields(Settings))])


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("mode: x\n")
    found = problems({"POLICY_GATE_CONFIG": str(path), "POLICY_GATE_TIMEOUT_S": "-1", "POLICY_GATE_TLS_CERT": "c"})
    assert found == [
        f"{path}:1: mode: there is no 'x'; use enforce or shadow",
        "POLICY_GATE_TIMEOUT_S: -1 is less than 0",
        "tls_cert and tls_key need each other; give both, or neither",
    ]


CONTRADICTIONS = {
    "two sources": (
        {"server": "10.0.0.1:1", "follow": "grpc://10.0.0.1:1"},
        "both follow and server are given: follow is for a local replica, server is asked each time",
    ),
    "two tokens": ({"token": "a", "token_file": "b"}, "both token and token_file are given; give one"),
    "half a certificate": (
        {"tls_cert": "cert.pem"},
        "tls_cert and tls_key need each other; give both, or neither",
    ),
    "the other half": ({"tls_key": "key.pem"}, "tls_cert and tls_key need each other; give both, or neither"),
    "a replica's options for a server": (
        {"server": "10.0.0.1:1", "state_cache": "policy.state", "trust_redis": "true"},
        "trust_redis, state_cache: only for a local replica; leave it out, or give follow, not server",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_does_not_fit_together(tmp_path: Path, name: str) -> None:
    """Wherever the two of them are."""
    values, words = CONTRADICTIONS[name]
    lines = [f"{key}: {value}" for key, value in values.items()]
    variables = {variable(key): value for key, value in values.items()}
    assert problems(variables) == [words]
    path = tmp_path / "gate.yaml"
    for at in range(1, len(lines) + 1):
        path.write_text("\n".join(lines[:at]))
        rest = dict(list(variables.items())[at:])
        assert problems({"POLICY_GATE_CONFIG": str(path), **rest}) == [words]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.yaml")
    assert problems({"POLICY_GATE_CONFIG": path}) == [
        f"POLICY_GATE_CONFIG: {path} cannot be read: No such file or directory"
    ]


def test_what_is_no_file_of_text(tmp_path: Path) -> None:
    assert problems({"POLICY_GATE_CONFIG": str(tmp_path)}) == [
        f"POLICY_GATE_CONFIG: {tmp_path} cannot be read: Is a directory"
    ]
    path = tmp_path / "latin1.yaml"
    path.write_bytes("redis_prefix: café".encode("latin-1"))
    assert problems({"POLICY_GATE_CONFIG": str(path)}) == [f"POLICY_GATE_CONFIG: {path} is no UTF-8 text"]


def test_the_other_variables_are_checked_beside_a_file_that_is_not_there(tmp_path: Path) -> None:
    found = problems({"POLICY_GATE_CONFIG": str(tmp_path / "nowhere"), "POLICY_GATE_MODE": "x"})
    assert [line.partition(":")[0] for line in found] == ["POLICY_GATE_CONFIG", "POLICY_GATE_MODE"]


# Whatever there is

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
YAML = st.one_of(
    TEXT,
    st.text("[]{}-:,?&*!|>'\"%@` #\n\tab01.", max_size=30),
    st.sampled_from([text for row in KEYS.values() for text in row[:2]]),
    st.sampled_from([".inf", "0x1f", "1:30", "~", "2001-01-01", "&a [*a]", "!!binary x", "[" * 99, "{a: b, a: c}"]),
)
LINES = st.lists(
    st.one_of(st.tuples(st.sampled_from([*KEYS, "tls_cert", "x"]), YAML).map(lambda line: "{}: {}".format(*line)), YAML)
)
NAMES = st.one_of(st.sampled_from([*map(variable, KEYS), variable("tls_cert")]), TEXT.map(lambda text: PREFIX + text))


@given(lines=LINES, variables=st.dictionaries(NAMES, YAML, max_size=4))
def test_nothing_but_a_settings_error(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], variables: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    variables.pop("POLICY_GATE_CONFIG", None)
    try:
        settings = read_settings({**variables, "POLICY_GATE_CONFIG": str(path)})
    except SettingsError as error:
        _, *found = str(error).split("\n")
        assert found
    else:
        assert settings.team != Field("end_user_id") != settings.user
        assert min(settings.timeout_s, settings.max_staleness_s, settings.first_policy_wait_s) >= 0
