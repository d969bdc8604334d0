"""Requests that are nearly right: right ones with a few changes, and noise."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from hypothesis import strategies as st

from policy_service.envoy_v3.external_auth_pb2 import CheckRequest
from tests.ext_authz import wild_json, wild_multipart
from tests.ext_authz.drafts import BOUNDARY, Draft, drafts, write_body
from tests.ext_authz.strict import ELSEWHERE, OVERRIDES, Setup
from tests.ext_authz.wild_json import Draw, names
from tests.ext_authz.world import HEADERS, MAX_BODY_BYTES

# Mutations of what is there before the body is bytes


def _document(draw: Draw, draft: Draft) -> None:
    if draft.document is not None:
        wild_json.mutate(draw, draft.document)
    elif draft.parts is not None:
        wild_multipart.mutate(draw, draft.parts)
    else:
        _header(draw, draft)


def _target(draw: Draw, draft: Draft) -> None:
    """A query, or another path."""
    name = quote(draw(names), safe=draw(st.sampled_from(("", ":", " +,;"))))
    kind = draw(st.integers(0, 9))
    if kind < 5:
        key = draw(st.sampled_from(QUERY_KEYS))
        piece = draw(
            st.sampled_from((*[f"{key}={name}"] * 3, key, f"{key}=", f"x=1;{key}={name}", "x=%zz", "x=%ff", "x=100%25"))
        )
        draft.query.insert(draw(st.integers(0, len(draft.query))), piece)
    elif kind < 7:
        old, new = draw(st.sampled_from([change for change in PATH_CHANGES if change[0] in draft.path]))
        draft.path = draft.path.replace(old, new)
    elif kind == 7:
        draft.path += draw(st.sampled_from(("/", "#", ";model=evil", "%2f", "//", "/..", "\0", "é", "%3Bx")))
    elif kind == 8:
        at = draw(st.integers(0, len(draft.path) - 1))
        char = draw(st.sampled_from(("%", draft.path[at], "%25", "%00", "%c3", "%e2%80%a8", "%2F", "+", " ", "?", "")))
        char = f"%{ord(draft.path[at]) & 0xFF:02X}" if char == "%" else char
        draft.path = draft.path[:at] + char + draft.path[at + 1 :]
    else:
        draft.method = draw(st.sampled_from(("GET", "POST", "PUT", "DELETE", "HEAD", "post", "CONNECT", "", "OPTIONS")))


QUERY_KEYS = (
    "model",
    "model",
    "model",
    "Model",
    "MODEL",
    "mod%65l",
    "%4dodel",
    "mod%2565l",
    "mode%6c",
    "x",
    "api-version",
)
QUERY_KEYS += ("deployment", "%ff", "%zz", "a+b", "", "model%00", "include[]", "_method")
PATH_CHANGES = (
    *[("%", "%25")] * 3,
    ("/v1", "//v1"),
    ("/v1", "/V1"),
    ("/v1", "/./v1"),
    ("/v1", "/x/../v1"),
    ("/v1", "/%761"),
    ("/acme", "/acme/."),
    ("/acme", "\\acme"),
    ("/acme", "http://x/acme"),
    ("/acme", "/ACME"),
    ("eu-1", "eu%2d1"),
    ("eu-1", ""),
    ("eu-1", ".."),
    ("eu-1", "a;b"),
    ("eu-1", "model"),
    (":", "%3A"),
    (":generate", ":generate:generate"),
    (":generate", ":Generate"),
    ("%2F", "%252F"),
    ("%2F", "/"),
    ("/", "%2F"),
    ("o", "%6F"),
    ("gpt-4o", "gpt-4o/evil"),
    ("gpt-4o", "evil"),
    ("gpt-4o", "gpt-4o%2F..%2Fevil"),
    ("gpt-4o", "gpt-4o;evil"),
    ("gpt-4o", "gpt-4o%3Bevil"),
    ("gpt-4o", "%67pt-4o"),
    ("gpt-4o", "gpt-4o%0a"),
)


def _header(draw: Draw, draft: Draft) -> None:
    """One header more, or instead."""
    name, values = draw(st.sampled_from(ODD_HEADERS))
    name = draw(st.sampled_from((*OVERRIDES, *ELSEWHERE))) if name in OVERRIDES else name
    if name in (*OVERRIDES, *ELSEWHERE) and draw(st.booleans()):
        name = name.replace("-", "_")
    value = draw(st.sampled_from(values))
    if value == "NAME":
        value = draw(names)
    if draw(st.booleans()):
        draft.headers = [pair for pair in draft.headers if pair[0] != name]
    draft.headers.insert(draw(st.integers(0, len(draft.headers))), (name, value))


ODD_HEADERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "content-encoding",
        ("gzip", "gzip", "br", "identity", "Identity", "", "identity, gzip", "identity,identity", "x"),
    ),
    *((name, ("NAME", "NAME", "NAME", "")) for name in HEADERS),
    (OVERRIDES[0], ("GET", "PUT", "")),
    ("upgrade", ("websocket", "WebSocket", "h2c", "", "websocket, h2c", "foo")),
    ("connection", ("upgrade", "close")),
    ("transfer-encoding", ("chunked", "gzip, chunked")),
    ("x-envoy-auth-partial-body", ("true", "true", "false", "True", "", "1", "false,true")),
    ("content-length", ("0", "1", "99999", "-1", "abc", "", "1,1", "+5", "0x10", "99999999999999999999999")),
    ("content-type", ("application/json", "Application/JSON", 'application/json; charset="utf-8"', "text/plain")),
    ("content-type", ("application/json; charset=utf-16", "application/json; charset=utf-7", "application/json;")),
    ("content-type", ("application/json, text/plain", "application/jsonp", "application/vnd.api+json", "")),
    (
        "content-type",
        ("application/json; charset=utf-8; charset=utf-16", "application/json; x=y", "multipart/form-data"),
    ),
    ("content-type", (f'multipart/form-data; boundary="{BOUNDARY}"', f"multipart/mixed; boundary={BOUNDARY}")),
    (
        "content-type",
        (f"multipart/form-data; boundary={BOUNDARY}; charset=utf-16", "application/x-www-form-urlencoded"),
    ),
    ("content-type", (f"multipart/form-data; boundary=x; boundary={BOUNDARY}", "multipart/form-data; boundary=")),
    ("x-policy-team", ("other", "ml")),
    ("x-policy-model", ("evil",)),
    ("x-policy-evil", ("yes",)),
    ("x_policy_team", ("other",)),
    ("x-acme-team", ("open", "ml", "")),
    ("x-acme-user", ("eve", "ann", "")),
    ("accept", ("*/*",)),
)


def _identity(draw: Draw, draft: Draft) -> None:
    """Somebody else, written oddly."""
    if draft.source == "jwt" and draw(st.booleans()):
        odd_claim = draw(st.sampled_from((1, None, True, ["ml"], {"ml": "ann"}, "", "ann")))
        draft.claims[draw(st.sampled_from(("team", "sub")))] = odd_claim
        return
    odd = st.sampled_from(ODD_IDENTITIES)
    draft.team = draw(st.sampled_from((draft.team, "open")))
    if draw(st.integers(0, 3)) == 0:
        draft.absent = draw(st.sampled_from(("team", "user")))
    elif draw(st.booleans()):
        draft.team = draw(st.one_of(st.just(draft.team + draw(odd)), odd))
    else:
        draft.user = draw(st.one_of(st.just(draft.user + draw(odd)), odd))


ODD_IDENTITIES = ("", " ", ",open", ",", "/", "/user/ann", "\udcff", "!", "é", "e\u0301", "\n", "%2f", ".", "x" * 300)
ODD_IDENTITIES += ("ml", "open", "ann", "zoe", "ML", "\u202e", "=", "/ml", "{team}", "O=acme,CN=ann")


def _other_source(draw: Draw, draft: Draft) -> None:
    """The identity stands where nobody looks for it; the route stays."""
    draft.headers += [("x-acme-team", draft.team), ("x-acme-user", draft.user)]


def _raw(draw: Draw, draft: Draft) -> None:
    draft.raw_headers = not draft.raw_headers


def _as_text(draw: Draw, draft: Draft) -> None:
    """The body as Envoy sends it without pack_as_bytes; or both, which Envoy never does."""
    draft.as_text, draft.as_bytes = True, draw(st.booleans())
    draft.size = draw(st.sampled_from((None, -1)))


EARLY: tuple[Callable[[Draw, Draft], None], ...] = (
    *[_document] * 12,
    *[_target] * 5,
    *[_header] * 5,
    *[_identity] * 2,
    _other_source,
    _raw,
    _as_text,
)


# Mutations of the bytes


def _flip(draw: Draw, draft: Draft) -> None:
    if draft.body:
        body = bytearray(draft.body)
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
        draft.body = bytes(body)


def _splice(draw: Draw, draft: Draft) -> None:
    at = draw(st.integers(0, len(draft.body)))
    draft.body = draft.body[:at] + draw(st.sampled_from(SPLICES)) + draft.body[at:]


SPLICES = (b'"', b",", b"}", b"{", b"\\", b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n", b" ")
SPLICES += (
    b"/**/",
    b"--",
    b'{"model":"evil"}',
    b',"model":"evil"',
    b"\xe2\x80\xa8",
    b"\x0c",
    b"--" + BOUNDARY.encode(),
)


def _around(draw: Draw, draft: Draft) -> None:
    """Something before or behind it."""
    odd = draw(st.sampled_from((b"\xef\xbb\xbf", b" ", b"\n", b'{"model":"evil"}', b"\0", b"x", b")]}',\n", b"\x0b")))
    draft.body = odd + draft.body if draw(st.booleans()) else draft.body + odd


def _cut(draw: Draw, draft: Draft) -> None:
    draft.body = draft.body[: draw(st.integers(0, len(draft.body)))]


def _recode(draw: Draw, draft: Draft) -> None:
    encoding = draw(st.sampled_from(("utf-16", "utf-16-le", "utf-32-be", "latin-1", "utf-7")))
    draft.body = draft.body.decode("utf-8", "replace").encode(encoding, "replace")


def _size(draw: Draw, draft: Draft) -> None:
    draft.size = draw(st.sampled_from((-1, -1, 0, len(draft.body) + 1, len(draft.body) - 1, 2**62, -(2**63))))


def _length(draw: Draw, draft: Draft) -> None:
    draft.headers.append(("content-length", str(len(draft.body) + draw(st.sampled_from((0, 0, 1, -1, 1000))))))


def _large(draw: Draw, draft: Draft) -> None:
    draft.body += b" " * max(0, MAX_BODY_BYTES + draw(st.integers(0, 2)) - 1 - len(draft.body))


def _give(draw: Draw, draft: Draft) -> None:
    """A body where there was none."""
    draft.body = draft.body or draw(st.sampled_from((b'{"model":"evil"}', b"{}", b" ", b"\0")))


LATE: tuple[Callable[[Draw, Draft], None], ...] = (
    *[_flip] * 3,
    *[_splice] * 3,
    _around,
    _cut,
    _recode,
    _size,
    _size,
    _length,
    _large,
    _give,
)


@st.composite
def wild(draw: Draw, setups: dict[str, Setup]) -> Draft:
    """A draft after none to three mutations."""
    draft = draw(drafts(setups, good=draw(st.integers(0, 5)) != 0))
    count = draw(st.sampled_from((0, *[1] * 7, 2, 2, 3)))
    early = [draw(st.sampled_from(EARLY)) for _ in range(count) if draw(st.integers(0, 3))]
    for mutation in early:
        mutation(draw, draft)
    write_body(draft)
    late = [draw(st.sampled_from(LATE)) for _ in range(count - len(early))]
    for mutation in late:
        mutation(draw, draft)
    draft.mutated = [mutation.__name__ for mutation in (*early, *late)]
    return draft


# Noise

_texts = st.text('/?&=%25;:, \0\n"{}[]modelacpt-4é\u212a\u202e😀', max_size=12)
_noise_headers = st.dictionaries(
    st.one_of(st.sampled_from([name for name, _ in ODD_HEADERS]), _texts), _texts, max_size=4
)


@st.composite
def noise(draw: Draw) -> CheckRequest:
    """Texts and bytes in every field."""
    request = CheckRequest()
    http = request.attributes.request.http
    http.method = draw(st.one_of(st.sampled_from(("GET", "POST")), _texts))
    http.path = draw(
        st.one_of(st.sampled_from(("/v1/chat/completions", "/acme/chat", "/acme/status")), st.just(""))
    ) + draw(_texts)
    http.raw_body = draw(st.binary(max_size=40))
    http.body = draw(st.one_of(st.just(""), _texts))
    http.size = draw(st.integers(-(2**63), 2**63 - 1))
    http.headers.update(draw(_noise_headers))
    for key, value in draw(_noise_headers).items():
        http.header_map.headers.add(key=key, value=draw(_texts), raw_value=value.encode())
    request.attributes.source.principal = draw(_texts)
    request.attributes.context_extensions.update(draw(st.dictionaries(st.sampled_from(("team", "user")), _texts)))
    return request
