"""Multipart bodies that are nearly right."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.ext_authz.drafts import BOUNDARY, Part, part_of
from tests.ext_authz.wild_json import Draw, names


def mutate(draw: Draw, parts: list[Part]) -> None:
    """Makes one change somewhere."""
    draw(st.sampled_from(MUTATIONS))(draw, parts)


def _add(draw: Draw, parts: list[Part]) -> None:
    """A field that may name a model, once more or in another way."""
    name = draw(
        st.sampled_from(
            ("model", "model", "model", "Model", "MODEL", "user_config", "models", "model[]", "_charset_", "x")
        )
    )
    content = draw(names).encode()
    head, content = part_of(name, content, draw(st.sampled_from(("", "", "", '; filename="m"', "; x=y"))))
    parts.insert(draw(st.integers(0, len(parts))), (head + draw(st.sampled_from(HEADERS)), content))


def _change(draw: Draw, parts: list[Part]) -> None:
    at = draw(st.integers(0, len(parts) - 1))
    head, content = parts[at]
    old, new = draw(st.sampled_from(CHANGES))
    parts[at] = (head.replace(old, new), content)


def _add_header(draw: Draw, parts: list[Part]) -> None:
    at = draw(st.integers(0, len(parts) - 1))
    head, content = parts[at]
    parts[at] = (head + draw(st.sampled_from(HEADERS)), content)


def _change_content(draw: Draw, parts: list[Part]) -> None:
    at = draw(st.integers(0, len(parts) - 1))
    head, content = parts[at]
    odd = st.sampled_from(ODD_CONTENTS)
    new = draw(st.one_of(names.map(str.encode), odd))
    parts[at] = (head, content + new if draw(st.booleans()) else new)


MARK = b"--" + BOUNDARY.encode()
ANOTHER = MARK + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil'  # for whom a line ends otherwise
ODD_CONTENTS = (
    b"",
    b"\r\n",
    b"\0",
    *[b"\xff"] * 2,
    b'"',
    b"\r\n" + MARK + b"X\r\n",
    b"\n" + ANOTHER,
    b"\r" + ANOTHER,
    MARK,
)


def _drop(draw: Draw, parts: list[Part]) -> None:
    del parts[draw(st.integers(0, len(parts) - 1))]
    if not parts:
        parts.append(part_of("x", b"y"))


HEADERS = (
    "",
    "",
    "",
    "\r\nContent-Type: text/plain; charset=utf-8",
    "\r\nContent-Type: text/plain; charset=utf-16",
    "\r\nContent-Type: text/plain; charset=utf-7",
    "\r\nContent-Type: application/json",
    "\r\nContent-Type: application/octet-stream",
    "\r\nContent-Transfer-Encoding: base64",
    "\r\nContent-Transfer-Encoding: quoted-printable",
    '\r\nContent-Disposition: form-data; name="x"',
    "\r\n folded",
    "\r\nno colon",
)
CHANGES = (
    ("name=", "Name="),
    ("name=", "name*="),
    ("name=", "name = "),
    ("name=", 'name="x"; name='),
    ('name="', "name='"),
    ('"', ""),
    ("form-data", "attachment"),
    ("form-data", "Form-Data"),
    ("; ", ";"),
    ("Content-Disposition", "content-disposition"),
    ("Content-Disposition", "Content-Disposition "),
    ("Content-Disposition", "X-Content-Disposition"),
    ("Content-Disposition: ", "Content-Disposition:\r\n "),
    ("model", "mod\\el"),
    ("model", 'x\\"; name=\\"model'),
    ("model", "mod%65l"),
    ("model", "Model"),
    ("model", "model\0"),
    ("model", " model"),
    ("; ", "; filename*=UTF-8''m; "),
    ("form-data;", 'form-data; filename="a;b"; '),
    ("a.png", 'a\\"; name=\\"model'),
    ("a.png", "a;b.png"),
    ("a.png", "a"),
)
MUTATIONS = (*[_add] * 3, *[_change] * 2, *[_add_header] * 2, *[_change_content] * 2, _drop)
