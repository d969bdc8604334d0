"""Every bound on a text, at its edge. A problem is words that say what to change."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_service.domain.names import (
    entry_problem,
    group_name_problem,
    identifier_problem,
    plain_name_problem,
    request_id_problem,
    requested_model_problem,
    text_problem,
)
from tests.domain.worlds import many

Check = Callable[[str], str | None]
NAMES: list[Check] = [
    identifier_problem,
    entry_problem,
    plain_name_problem,
    group_name_problem,
    requested_model_problem,
]
TEXTS: list[Check] = [text_problem, request_id_problem, *NAMES]

GOOD = {
    "one byte": "a",
    "256 bytes": "a" * 256,
    "256 bytes of two": "é" * 128,
    "256 bytes of four": "\U0001f600" * 64,
    "inner space": "my model",
    "inner no-break space": "my\u00a0model",
    "composed": "caf\u00e9",
    "a mark that composes with nothing": "x\u0302",
    "scripts": "日本-модель-नमूना",
    "private use": "\ue000",
    "punctuation": "a.b-c_d:e@f(g)[h]{i}|j^k$l+m=n;o~p!q&r'\"<>",
}
BAD = {
    "257 bytes": ("a" * 257, "longer than 256 bytes"),
    "257 bytes, multibyte": ("é" * 128 + "a", "longer than 256 bytes"),
    "65 of four bytes": ("\U0001f600" * 65, "longer than 256 bytes"),
    "NUL": ("a\0b", "control"),
    "new line": ("a\nb", "control"),
    "trailing new line": ("a\n", "control"),
    "tab": ("a\tb", "control"),
    "DEL": ("a\x7fb", "control"),
    "C1": ("a\x85b", "control"),
    "zero width space": ("a\u200bb", "format"),
    "right-to-left override": ("a\u202eb", "format"),
    "soft hyphen": ("a\u00adb", "format"),
    "byte order mark": ("\ufeffa", "format"),
    "tag": ("a\U000e0041", "format"),
    "line separator": ("a\u2028b", "line-separating"),
    "paragraph separator": ("a\u2029b", "line-separating"),
    "lone surrogate": ("a\ud800", "remove them"),
    "decomposed": ("cafe\u0301", "normalise"),
    "compatible": ("\u212b", "normalise"),  # the sign for angstrom is canonically å with ring above
    "leading space": (" a", "white space"),
    "trailing space": ("a ", "white space"),
    "only a space": (" ", "white space"),
    "leading no-break space": ("\u00a0a", "white space"),
    "trailing ideographic space": ("a\u3000", "white space"),
}


@pytest.mark.parametrize("check", NAMES)
@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_good_names(check: Check, text: str) -> None:
    assert check(text) is None


@pytest.mark.parametrize("check", TEXTS)
@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_bad_texts(check: Check, text: str, words: str) -> None:
    problem = check(text)
    assert problem is not None
    if check is request_id_problem:
        words = words.replace("256", "128")
    assert words in problem
    assert "; " in problem  # and then what to do


@pytest.mark.parametrize("check", NAMES)
def test_a_name_is_not_empty(check: Check) -> None:
    assert check("") == "is empty; give 1 to 256 bytes"


@pytest.mark.parametrize("check", [text_problem, request_id_problem])
def test_a_text_may_be_empty(check: Check) -> None:
    assert check("") is None


def test_a_request_id_has_128_bytes() -> None:
    assert request_id_problem("a" * 128) is None
    assert request_id_problem("é" * 64) is None
    assert "128 bytes" in str(request_id_problem("a" * 129))
    assert "128 bytes" in str(request_id_problem("é" * 64 + "a"))


@many
@given(st.text(max_size=6))
def test_what_passes_has_no_forbidden_character_and_is_normal(text: str) -> None:
    categories = {unicodedata.category(character) for character in text}
    clean = not categories & {"Cc", "Cf", "Zl", "Zp", "Cs"} and unicodedata.normalize("NFC", text) == text
    assert (identifier_problem(text) is None) == (clean and text != "" and text == text.strip())


@pytest.mark.parametrize("character", list(",*\\?#%"))
@pytest.mark.parametrize("form", ["{}", "a{}", "{}a", "a{}b", "p/{}", "é{}"])
def test_a_requested_model_has_no_special_character(character: str, form: str) -> None:
    asked = form.format(character)
    assert "ask for one model" in str(requested_model_problem(asked))
    assert entry_problem(asked) is None


@pytest.mark.parametrize(
    "asked", ["/", "//", "/a", "a/", "a//b", ".", "..", "./a", "a/.", "a/./b", "../a", "a/..", "a/../b"]
)
def test_a_requested_model_has_no_empty_or_dotted_part(asked: str) -> None:
    assert "between slashes" in str(requested_model_problem(asked))
    assert entry_problem(asked) is None


@pytest.mark.parametrize(
    "asked", ["a/b/c", "...", "a/...", ".a", "a.", "..a/b..", "v1.0/x", "a:b@c", "all-proxy-models"]
)
def test_a_requested_model_may_look_odd(asked: str) -> None:
    assert requested_model_problem(asked) is None


@pytest.mark.parametrize(
    ("entry", "mode"), [("all-proxy-models", "ALL"), ("all-team-models", "INHERIT"), ("no-default-models", "NONE")]
)
def test_words_of_another_system_name_the_mode_to_use(entry: str, mode: str) -> None:
    assert str(entry_problem(entry)).endswith(f"; use mode {mode}")
    assert identifier_problem(entry) is None
    assert entry_problem(entry + "-2") is None


@pytest.mark.parametrize("check", [plain_name_problem, group_name_problem])
@pytest.mark.parametrize("name", ["*", "a*", "*a", "é*"])
def test_a_name_holds_no_star(check: Check, name: str) -> None:
    assert "'*'" in str(check(name))
    assert entry_problem(name) is None


@pytest.mark.parametrize("name", ["/", "a/b", "/a", "é/"])
def test_a_groups_name_holds_no_slash(name: str) -> None:
    assert "'/'" in str(group_name_problem(name))
    assert plain_name_problem(name) is None
