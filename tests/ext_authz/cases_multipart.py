"""Multipart bodies that two parsers could cut differently, or in which a model hides."""

from __future__ import annotations

from collections.abc import Mapping

from tests.ext_authz.cases_shape import BOUNDARY, FILE, MULTIPART, Case, multipart, multipart_cases, part

PATH, ROUTE = "/v1/audio/transcriptions", "openai.audio.transcriptions"
MODEL = part("model", "whisper-1")
EVIL = part("model", "evil")
PLAIN = multipart(MODEL, FILE)


def _bodies(code: str, bodies: Mapping[str, bytes]) -> list[Case]:
    return [_case(what, body, code) for what, body in bodies.items()]


def _case(what: str, body: bytes, code: str = "", content_type: str = MULTIPART) -> Case:
    models = () if code else ("whisper-1",)
    return Case(f"multipart: {what}", "POST", PATH, (("content-type", content_type),), body, models, code, ROUTE)


def _headed(head: str, text: str = "evil") -> bytes:
    """A body with a plain model and a part of such a Content-Disposition."""
    return multipart(MODEL, part("", text, head=head), FILE)


def _types(code: str, types: Mapping[str, str]) -> list[Case]:
    return [_case(what, PLAIN, code, content_type) for what, content_type in types.items()]


MULTIPART_CASES: tuple[Case, ...] = (
    _case("plain", PLAIN),
    _case("no line end after the last boundary", multipart(MODEL, FILE, end=b"--")),
    _case("text/plain", multipart(part("model", "whisper-1", "Content-Type: text/plain; charset=utf-8"), FILE)),
    _case("8bit", multipart(part("model", "whisper-1", "Content-Transfer-Encoding: 8bit"), FILE)),
    _case("a quoted boundary", PLAIN, "", f'multipart/form-data; boundary="{BOUNDARY}"'),
    *_bodies(
        "repeated_key",
        {
            "model twice": multipart(MODEL, EVIL, FILE),
            "model twice, the same": multipart(MODEL, MODEL, FILE),
            "model twice, once as a file": multipart(
                MODEL, part("", "evil", head='form-data; name="model"; filename="a"')
            ),
            "file twice": multipart(MODEL, FILE, FILE),
        },
    ),
    *_bodies(
        "model_malformed",
        {
            "model as a file": multipart(part("", "whisper-1", head='form-data; name="model"; filename="a.txt"')),
            "model as a file without a name": multipart(
                part("", "whisper-1", head='form-data; name="model"; filename=""')
            ),
            "model as a file, RFC 5987": multipart(part("", "x", head="form-data; name=\"model\"; filename*=utf-8''a")),
            "model as JSON": multipart(part("model", '"whisper-1"', "Content-Type: application/json")),
            "model in UTF-16": multipart(part("model", "whisper-1", "Content-Type: text/plain; charset=utf-16")),
            "model with a line end": multipart(part("model", "whisper-1\r\n")),
            "model is a comma list": multipart(part("model", "whisper-1,evil")),
            "model is empty": multipart(part("model", "")),
        },
    ),
    *_bodies(
        "similar_key",
        {
            "Model": _headed('form-data; name="Model"'),
            "MODEL": _headed('form-data; name="MODEL"'),
            "model[]": _headed('form-data; name="model[]"'),
            "model[x]": _headed('form-data; name="model[x]"'),
        },
    ),
    *_bodies(
        "body_malformed",
        {
            "model in single quotes": _headed("form-data; name='model'"),
            "model as RFC 2047 encodes it": _headed('form-data; name="=?UTF-8?Q?model?="'),
            "model in brackets": _headed('form-data; name="[model]"'),
            "a name of 200 letters": _headed(f'form-data; name="{"x" * 200}"'),
        },
    ),
    *_bodies("method_override", {"another method": multipart(part("model", "gpt-4o"), part("_method", "DELETE"))}),
    *_bodies("body_too_large", {"a thousand parts": multipart(*(part(f"x{number}", "") for number in range(1_001)))}),
    *_bodies("model_missing", {"no model": multipart(FILE), "no parts": multipart()}),
    *_bodies(
        "field_refused",
        {
            "fallbacks": multipart(MODEL, part("fallbacks", "evil")),
            "user_config": multipart(MODEL, part("user_config", "{}")),
        },
    ),
    *_bodies("wrong_charset", {"_charset_": multipart(MODEL, part("_charset_", "utf-16"))}),
    *_bodies("wrong_charset", {"model that is not UTF-8": multipart(part("model", b"whisper-\xff"))}),
    *_bodies(
        "body_encoded",
        {
            "model in base64": multipart(part("model", "ZXZpbA==", "Content-Transfer-Encoding: base64")),
            "model quoted-printable": multipart(part("model", "e=76il", "Content-Transfer-Encoding: quoted-printable")),
        },
    ),
    *_bodies(
        "body_malformed",
        {
            "empty": b"",
            "JSON": b'{"model": "whisper-1"}',
            "the last boundary missing": PLAIN.removesuffix(f"--{BOUNDARY}--\r\n".encode()),
            "the last boundary not the last": multipart(MODEL, end=b"\r\n"),
            "line feeds only": PLAIN.replace(b"\r\n", b"\n"),
            "a preamble": b"evil\r\n" + PLAIN,
            "an empty line before": b"\r\n" + PLAIN,
            "an epilogue": PLAIN + b"evil",
            "a body after the last boundary": PLAIN + multipart(EVIL),
            "white space after a boundary": PLAIN.replace(
                f"--{BOUNDARY}\r\n".encode(), f"--{BOUNDARY} \r\n".encode(), 1
            ),
            "a longer boundary": PLAIN.replace(f"--{BOUNDARY}\r\n".encode(), f"--{BOUNDARY}x\r\n".encode(), 1),
            "a boundary after a line feed": multipart(MODEL, part("x", f"a\n--{BOUNDARY}\n\n")),
            "another boundary": PLAIN.replace(BOUNDARY.encode(), b"other"),
            "a part without an empty line": multipart(b'Content-Disposition: form-data; name="model"', FILE),
            "a part without a name": multipart(MODEL, part("", "evil", head="form-data")),
            "a name that is empty": multipart(MODEL, part("", "evil", head='form-data; name=""')),
            "name*": _headed("form-data; name*=utf-8''model"),
            "name and name*": _headed("form-data; name=\"x\"; name*=utf-8''model"),
            "name twice": _headed('form-data; name="x"; name="model"'),
            "a name with quoted pairs": _headed(r'form-data; name="mod\el"'),
            "a name with an escaped quote": _headed(r'form-data; name="x\"; name=\"model"'),
            "a name that does not end": _headed('form-data; name="model'),
            "white space around the equals sign": _headed('form-data; name = "model"'),
            "an attachment": _headed('attachment; name="model"'),
            "Content-Disposition twice": multipart(
                MODEL, part("x", "evil", 'Content-Disposition: form-data; name="model"'), FILE
            ),
            "a folded header": multipart(MODEL, part("x", "evil", "X-A: b\r\n c"), FILE),
            "white space before the colon": multipart(MODEL, part("x", "evil", "Content-Type : text/plain"), FILE),
            "a header that is not UTF-8": multipart(MODEL, b'Content-Disposition: form-data; name="\xff"\r\n\r\nevil'),
        },
    ),
    *_types(
        "wrong_content_type",
        {
            "no boundary": "multipart/form-data",
            "two boundaries": f"multipart/form-data; boundary=other; boundary={BOUNDARY}",
            "a charset": f"multipart/form-data; boundary={BOUNDARY}; charset=utf-8",
            "multipart/mixed": f"multipart/mixed; boundary={BOUNDARY}",
            "JSON for a multipart route": "application/json",
            "a form for a multipart route": "application/x-www-form-urlencoded",
            "an RFC 2231 boundary": f"multipart/form-data; boundary*0=cut; boundary*1={BOUNDARY}",
            "two types": f"multipart/form-data; boundary={BOUNDARY}, application/json",
        },
    ),
    *multipart_cases(
        "openai.images.edits", "no model", {"prompt": "A cat"}, (), "/v1/images/edits", refusal="model_missing"
    ),
    *multipart_cases(
        "azure.deployments.multipart",
        "another model in the body",
        {"model": "evil"},
        (),
        "/openai/deployments/whisper-1/audio/transcriptions",
        refusal="models_disagree",
    ),
    *multipart_cases(
        "openai.files", "target_model_names", {"target_model_names": "evil"}, (), "/v1/files", refusal="field_refused"
    ),
)
