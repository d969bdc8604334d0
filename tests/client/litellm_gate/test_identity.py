"""Who asks, by the fields of LiteLLM's authenticated key."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_client.litellm.identity import PLAIN, Field, Identity, IdentitySource, field_of, field_problem
from policy_service.domain.names import identifier_problem
from policy_service.ext_authz.refusal import Code, Refused

BY_DEFAULT = IdentitySource(field_of("team_id"), field_of("user_id"))
KEY = {
    "team_id": "t-1",
    "team_alias": "support",
    "user_id": "u-1",
    "user_email": "sam@acme.example",
    "key_alias": "sams-laptop",
    "org_id": "acme",
    "end_user_id": "anybody",
    "metadata": {"tenant": "north", "a.b": "dotted", "": "nameless", "nested": {"tenant": "x"}},
    "team_metadata": {"tenant": "south", "owner": "ann"},
}


def key(**values: Any) -> SimpleNamespace:
    """A key as LiteLLM authenticated it, with these values in place of the others."""
    return SimpleNamespace(**KEY | values)


# Fields

FIELDS = {
    "team_id": "t-1",
    "team_alias": "support",
    "user_id": "u-1",
    "user_email": "sam@acme.example",
    "key_alias": "sams-laptop",
    "org_id": "acme",
    "metadata.tenant": "north",
    "metadata.a.b": "dotted",
    "team_metadata.tenant": "south",
    "team_metadata.owner": "ann",
}


@pytest.mark.parametrize("text", FIELDS)
def test_a_field(text: str) -> None:
    assert field_problem(text) is None
    field = field_of(text)
    assert str(field) == text
    assert field.value(key()) == FIELDS[text]
    assert IdentitySource(field, field).identity(key()) == Identity(FIELDS[text], FIELDS[text])


def test_every_plain_field_is_in_the_table() -> None:
    assert set(PLAIN) == {text for text in FIELDS if "." not in text}


NO_FIELDS = [
    *("", "team", "TEAM_ID", " team_id", "team_id ", "team_id.", "team_id.x", ".", ".x", "metadata", "metadata."),
    *("team_metadata", "user_metadata.x", "__class__", "__dict__.team_id", "token", "api_key"),
]


@pytest.mark.parametrize("text", NO_FIELDS, ids=repr)
def test_what_is_no_field(text: str) -> None:
    problem = field_problem(text)
    assert problem is not None
    words = "team_id, team_alias, user_id, user_email, key_alias, org_id, metadata.NAME or team_metadata.NAME"
    assert problem == f"there is no field {text!r}; use {words}"


def test_what_the_request_says_is_no_field() -> None:
    words = "'end_user_id' comes from the request, so anybody can write anything into it; use what the key says"
    assert field_problem("end_user_id") == field_problem("end_user_id.x") == words


@given(st.text())
def test_a_name_within_metadata(text: str) -> None:
    for name in ("metadata", "team_metadata"):
        field = field_of(f"{name}.{text}")
        assert (field_problem(str(field)) is None) == bool(text), "any name will do there"
        if text:
            assert field.value(SimpleNamespace(**{name: {text: "x"}})) == "x"


# What a key has there


@pytest.mark.parametrize(
    "metadata", [None, {}, {"other": "x"}, [], "tenant", {"tenant": None}, {"tenant": ""}], ids=repr
)
def test_metadata_without_the_value(metadata: Any) -> None:
    field = field_of("metadata.tenant")
    assert not field.value(key(metadata=metadata))
    assert IdentitySource(field_of("team_id"), field).identity(key(metadata=metadata)) == Identity("t-1", "")
    with pytest.raises(Refused, match=r"its metadata\.tenant is empty") as caught:
        IdentitySource(field, field).identity(key(metadata=metadata))
    assert caught.value.code is Code.NO_IDENTITY


def test_metadata_may_be_any_mapping() -> None:
    assert field_of("metadata.tenant").value(key(metadata=MappingProxyType({"tenant": "x"}))) == "x"


def test_a_version_of_litellm_without_the_field() -> None:
    assert BY_DEFAULT.identity(SimpleNamespace(team_id="t-1")) == Identity("t-1", "")
    for field in (Field("team_alias"), Field("metadata", "tenant")):
        with pytest.raises(Refused) as caught:
            IdentitySource(field, field).identity(SimpleNamespace())
        assert caught.value.code is Code.NO_IDENTITY


@pytest.mark.parametrize("team", [None, ""])
@pytest.mark.parametrize("user", [None, "", "u-1"])
def test_a_key_of_no_team(team: str | None, user: str | None) -> None:
    with pytest.raises(Refused) as caught:
        BY_DEFAULT.identity(key(team_id=team, user_id=user))
    assert caught.value.code is Code.NO_IDENTITY
    assert str(caught.value) == "this key belongs to no team (its team_id is empty); use a key of a team"


@pytest.mark.parametrize("user", [None, ""])
def test_a_key_of_no_user(user: str | None) -> None:
    """Whether that is somebody is for the policy to say."""
    assert BY_DEFAULT.identity(key(user_id=user)) == Identity("t-1", "")


MALFORMED = {
    "a number": (7, "is no text"),
    "zero": (0, "is no text"),
    "a boolean": (False, "is no text"),
    "bytes": (b"support", "is no text"),
    "a list": (["support"], "is no text"),
    "an empty list": ([], "is no text"),
    "a mapping": ({"id": "support"}, "is no text"),
    "too long": ("x" * 257, "is longer than 256 bytes; shorten it"),
    "too long in UTF-8": ("é" * 129, "is longer than 256 bytes of UTF-8; shorten it"),
    "a line's end": ("support\n", "holds control, format or line-separating characters; remove them"),
    "a NUL": ("sup\0port", "holds control, format or line-separating characters; remove them"),
    "a direction": ("sup\u202eport", "holds control, format or line-separating characters; remove them"),
    "a surrogate": ("\ud800", "holds control, format or line-separating characters; remove them"),
    "two code points for a letter": ("cafe\u0301", "is not in Unicode normalisation form C; normalise it"),
    "a space before": (" support", "has white space at its start or end; remove it"),
    "a space": (" ", "has white space at its start or end; remove it"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("text", ["team_id", "user_id"])
def test_what_is_no_identifier(text: str, name: str) -> None:
    """Refused, and not taken for no identity: an unlisted user could have more than the member has."""
    value, words = MALFORMED[name]
    with pytest.raises(Refused) as caught:
        BY_DEFAULT.identity(key(**{text: value}))
    assert caught.value.code is Code.MALFORMED_IDENTITY
    assert str(caught.value) == f"the key's {text} {words}; ask an administrator of the gateway"


@pytest.mark.parametrize("value", [{"a": 1}, 7, ["x"]])
def test_what_is_no_identifier_in_metadata(value: Any) -> None:
    with pytest.raises(Refused, match=r"the key's team_metadata\.tenant is no text") as caught:
        IdentitySource(field_of("team_metadata.tenant"), field_of("user_id")).identity(
            key(team_metadata={"tenant": value})
        )
    assert caught.value.code is Code.MALFORMED_IDENTITY


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "Ops & Réseau", "a/b,c*", "名前", "0", "None"])
def test_identifiers(text: str) -> None:
    assert BY_DEFAULT.identity(key(team_id=text, user_id=text)) == Identity(text, text)


def test_a_text_of_another_class_is_a_text() -> None:
    """Such as a member of an enumeration, which must not look different in a log or to the service."""

    class Text(str):
        def __str__(self) -> str:
            return "support"

    identity = BY_DEFAULT.identity(key(team_id=Text("support")))
    assert type(identity.team) is str


@given(team=st.one_of(st.text(), st.none(), st.integers(), st.lists(st.text())), user=st.one_of(st.none(), st.text()))
def test_an_identity_is_one_or_refused(team: Any, user: str | None) -> None:
    try:
        identity = BY_DEFAULT.identity(key(team_id=team, user_id=user))
    except Refused as error:
        assert error.code in (Code.NO_IDENTITY, Code.MALFORMED_IDENTITY)
        assert not team or not isinstance(team, str) or identifier_problem(team) or identifier_problem(user or "x")
    else:
        assert identity == (team, user or "")
        assert identifier_problem(identity.team) is None
        assert not identity.user or identifier_problem(identity.user) is None
