"""What a credentials file may say. A wrong one is refused with a message that names the place and no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy_service.addresses import Address
from policy_service.config import Config
from policy_service.errors import StartupError, Unauthenticated
from policy_service.server import Server
from policy_service.services.auth import parse_credentials

from .principals import credentials_text, sha256, with_san, with_token

SECRET = "ps_recognisable-secret"
HASH = sha256(SECRET)
GOOD = f"name: good, token_sha256: {sha256('other')}, permissions: [check]"


def one(entry: str) -> str:
    """A file with a good principal and this one."""
    return f"principals: [{{{GOOD}}}, {{{entry}}}]"


def named(name: str) -> str:
    return one(f"name: {name}, token_sha256: {HASH}, permissions: [check]")


def hashed(token_sha256: str) -> str:
    return one(f"name: gw, token_sha256: {token_sha256}, permissions: [check]")


def permitted(permissions: str) -> str:
    return one(f"name: gw, token_sha256: {HASH}, permissions: {permissions}")


def open_to(anonymous: str) -> str:
    return f"principals: [{{{GOOD}}}]\nanonymous: {anonymous}"


SECOND = r"principals\[1\]: "
WRONG_FILES = {
    # the file
    "empty": ("", "is no mapping"),
    "a comment": (f"# {SECRET}", "is no mapping"),
    "a text": (SECRET, "is no mapping"),
    "a list": (f"- {HASH}", "is no mapping"),
    "unclosed quote": (f"principals:\n- token: '{SECRET}\n", "line 3: is not valid YAML"),
    "tab": (f"principals:\n\t- {SECRET}", "line 2: is not valid YAML"),
    "two documents": (f"principals: []\n---\n{SECRET}: 1", "line 2: is not valid YAML"),
    "control characters": (f"principals: \0{SECRET}", "is not valid YAML"),
    "a Python object": (f"principals: !!python/object/apply:os.system [{SECRET}]", "line 1: is not valid YAML"),
    "unknown tag": (f"principals: !{SECRET} x", "line 1: is not valid YAML"),
    "unknown alias": (f"principals: *{SECRET}", "line 1: is not valid YAML"),
    "a list as key": (f"? [{SECRET}]\n: x", "line 1: is not valid YAML"),
    "a mapping as key": (f"? {{{SECRET}: x}}\n: x", "line 1: is not valid YAML"),
    "unknown key": (f"tokens: [{SECRET}]", "a key is not known; known are principals, anonymous"),
    "misspelt key": ("principal: []", "a key is not known"),
    "principals as mapping": (f"principals: {{gw: {SECRET}}}", "principals is no list"),
    "principals as text": (f"principals: {SECRET}", "principals is no list"),
    "itself": ("principals: &a [*a]", r"principals\[0\]: is no mapping|is not valid YAML"),
    # an entry
    "entry as text": (f"principals: [{{{GOOD}}}, {SECRET}]", SECOND + "is no mapping"),
    "entry empty": (f"principals: [{{{GOOD}}}, ]\nanonymous: [{SECRET}]", "anonymous: permissions is no list of check"),
    "entry null": (f"principals: [{{{GOOD}}}, null]", SECOND + "is no mapping"),
    "entry with a token": (
        one(f"name: gw, token: {SECRET}, permissions: [check]"),
        SECOND + "a key is not known; known are name, token_sha256, san, permissions",
    ),
    "entry with a role": (one(f"name: gw, token_sha256: {HASH}, role: admin"), SECOND + "a key is not known"),
    # name
    "no name": (one(f"token_sha256: {HASH}, permissions: [check]"), SECOND + "name is missing"),
    "name null": (named("null"), SECOND + "name is missing"),
    "name empty": (named("''"), SECOND + "name is missing, malformed"),
    "name a number": (named("17"), SECOND + "name is missing, malformed"),
    "name a boolean": (named("yes"), SECOND + "name is missing, malformed"),
    "name a date": (named("2024-01-31"), SECOND + "name is missing, malformed"),
    "name a list": (named("[gw]"), SECOND + "name is missing, malformed"),
    "name with a line break": (named(r'"g\nw"'), SECOND + "name is missing, malformed"),
    "name with spaces around": (named("' gw'"), SECOND + "name is missing, malformed"),
    "name not NFC": (named(r'"g\u0075\u0308w"'), SECOND + "name is missing, malformed"),
    "name too long": (named("x" * 257), SECOND + "name is missing, malformed"),
    "name local": (named("local"), SECOND + "name is missing, malformed or reserved"),
    "name anonymous": (named("anonymous"), SECOND + "name is missing, malformed or reserved"),
    "name twice": (named("good"), SECOND + "the name 'good' is there twice"),
    # token and certificate
    "neither": (one("name: gw, permissions: [check]"), SECOND + "give either token_sha256 or san"),
    "both": (one(f"name: gw, token_sha256: {HASH}, san: gw, permissions: [check]"), SECOND + "give either"),
    "both null": (one("name: gw, token_sha256: null, san: null, permissions: [check]"), SECOND + "give either"),
    "the token itself": (hashed(SECRET), SECOND + "token_sha256 is not 64 hexadecimal digits"),
    "hash too short": (hashed(HASH[:-1]), SECOND + "token_sha256 is not 64"),
    "hash too long": (hashed(HASH + "0"), SECOND + "token_sha256 is not 64"),
    "hash in capitals": (hashed(sha256("x").upper()), SECOND + "token_sha256 is not 64 hexadecimal digits in small"),
    "hash with a line break": (hashed(f'"{HASH}\\n"'), SECOND + "token_sha256 is not 64"),
    "hash a number": (hashed("1" * 64), SECOND + "token_sha256 is not 64"),
    "hash empty": (hashed("''"), SECOND + "token_sha256 is not 64"),
    "hash a list": (hashed(f"[{HASH}]"), SECOND + "token_sha256 is not 64"),
    "hash twice": (hashed(sha256("other")), SECOND + "token_sha256 .* is there twice"),
    "SAN empty": (one("name: gw, san: '', permissions: [check]"), SECOND + "san is no text, empty"),
    "SAN a number": (one("name: gw, san: 1, permissions: [check]"), SECOND + "san is no text"),
    "SAN a list": (one("name: gw, san: [gw], permissions: [check]"), SECOND + "san is no text"),
    "SAN twice": (
        "principals: [{name: a, san: s, permissions: [check]}, {name: b, san: s, permissions: [check]}]",
        SECOND + "san .* there twice",
    ),
    # permissions
    "no permissions": (one(f"name: gw, token_sha256: {HASH}"), SECOND + "permissions is no list of check, replicate"),
    "permissions empty": (permitted("[]"), SECOND + "permissions is no list"),
    "permissions null": (permitted("null"), SECOND + "permissions is no list"),
    "permissions a text": (permitted("admin"), SECOND + "permissions is no list"),
    "permissions a mapping": (permitted("{admin: true}"), SECOND + "permissions is no list"),
    "permissions a set": (permitted("!!set {admin}"), SECOND + "permissions is no list"),
    "permission unknown": (permitted("[check, root]"), SECOND + "permissions is no list"),
    "permission in capitals": (permitted("[Admin]"), SECOND + "permissions is no list"),
    "permission with a space": (permitted("['admin ']"), SECOND + "permissions is no list"),
    "permission a boolean": (permitted("[true]"), SECOND + "permissions is no list"),
    "permission a list": (permitted("[[admin]]"), SECOND + "permissions is no list"),
    "permission a wildcard": (permitted("['*']"), SECOND + "permissions is no list"),
    "permission a secret": (permitted(f"[{SECRET}]"), SECOND + "permissions is no list"),
    # anonymous
    "anonymous admin": (open_to("[admin]"), r"anonymous may only be \[check\]"),
    "anonymous replicate": (open_to("[check, replicate]"), r"anonymous may only be \[check\]"),
    "anonymous everything": (open_to("[check, replicate, admin]"), r"anonymous may only be \[check\]"),
    "anonymous true": (open_to("true"), "anonymous: permissions is no list"),
    "anonymous a text": (open_to("check"), "anonymous: permissions is no list"),
    "anonymous a mapping": (open_to("{check: true}"), "anonymous: permissions is no list"),
    # what PyYAML reports by other errors than its own
    "no such date": (named("2024-13-45"), "is not valid YAML"),
    "a number too long": (named("9" * 5_000), "is not valid YAML"),
    "no digits": (named("0x_"), "is not valid YAML"),
    "no number": (hashed(f"!!int {SECRET}"), "is not valid YAML"),
    "no boolean": (hashed(f"!!bool {SECRET}"), "is not valid YAML"),
    "no timestamp": (hashed(f"!!timestamp {SECRET}"), "is not valid YAML"),
    "very deep": ("principals: " + "[" * 500 + "]" * 500, "is not valid YAML"),
    # a colon without its space makes a key of the secret
    "secret as a key": (one(f"name: gw, token:{SECRET}, permissions: [check]"), SECOND + "a key is not known"),
    "hash as a key": (one(f"name: gw, token_sha256:{HASH}, permissions: [check]"), SECOND + "a key is not known"),
}
# YAML lets the last one win
TWICE = {
    "permissions": one(f"name: gw, token_sha256: {HASH}, permissions: [check], permissions: [admin]"),
    "principals": f"principals: [{{{GOOD}}}]\nprincipals: []",
    "anonymous": "anonymous: []\nanonymous: [check]",
}


def _check(text: str, place: str) -> None:
    with pytest.raises(StartupError, match=place) as caught:
        parse_credentials(text, "/etc/credentials.yaml")
    message = str(caught.value)
    assert message.startswith("/etc/credentials.yaml")
    assert SECRET not in message
    assert HASH not in message
    assert "\n" not in message


@pytest.mark.parametrize(("text", "place"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_refused_with_the_place_and_no_secret(text: str, place: str) -> None:
    _check(text, place)


@pytest.mark.parametrize("text", TWICE.values(), ids=TWICE)
def test_a_key_that_is_there_twice_is_refused(text: str) -> None:
    _check(text, "twice|not valid YAML")


def test_many_aliases_cost_nothing() -> None:
    """The classic bomb: nine levels of nine aliases each would be 387,420,489 texts, if they were copied."""
    levels = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    _check("\n".join(levels), "a key is not known|is not valid YAML")
    _check("\n".join([*levels, "principals: *a8"]), "a key is not known|is not valid YAML")
    _check(
        f"principals: [{{name: x, san: x, permissions: &p [&q [*q, *q], *p]}}, {SECRET}]",
        "permissions is no|is not valid YAML",
    )


ACCEPTED = {
    "nobody": "principals: []",
    "no principals": "anonymous: [check]",
    "JSON": '{"principals": [], "anonymous": ["check"]}',
    "anonymous nobody": "principals: []\nanonymous: []",
    "anonymous twice the same": "anonymous: [check, check]",
    "byte order mark": "\ufeffprincipals: []",
    "Windows line ends": "principals: []\r\nanonymous: [check]\r\n",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_a_right_file_is_accepted(text: str) -> None:
    credentials = parse_credentials(text, "credentials.yaml")
    assert credentials.opens_checks_to_all == ("[check" in text or '"check"' in text)
    with pytest.raises(Unauthenticated):
        credentials.identify(["Bearer x"], [])


def test_names_of_every_script_are_accepted() -> None:
    names = ["gw", "Zürich gateway", "ゲートウェイ", "123", "yes", "null", "a: b", "- x", "'", '"', "#", "*", "x" * 256]
    entries = [with_token(name, name, "check") for name in names] + [with_san(f"{n} (mTLS)", n, "admin") for n in "ab"]
    credentials = parse_credentials(credentials_text(*entries), "credentials.yaml")
    assert [credentials.identify([f"Bearer {name}"], []).name for name in names] == names
    assert credentials.identify([], ["unknown", "b", "a"]).name == "b (mTLS)"


UNREADABLE: dict[str, Any] = {
    "missing": (lambda path: None, "No such file or directory"),
    "folder": (Path.mkdir, "Is a directory"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
    "endless link": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe\x00\x80" * 9), "is not valid YAML"),
    "empty": (Path.touch, "is no mapping"),
}


@pytest.mark.parametrize(("make", "words"), UNREADABLE.values(), ids=UNREADABLE)
async def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, make: Any, words: str) -> None:
    path = tmp_path / "credentials.yaml"
    make(path)
    with pytest.raises(StartupError, match=words) as caught:
        await Server.start(Config(listen=Address("127.0.0.1:0"), credentials=path))
    assert str(path) in str(caught.value)
