"""Random messages of any type, made from its descriptor: values that mean something here, and values that do not."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

F = FieldDescriptor
KNOWN = [
    "ml",
    "other",
    "empty",
    "ann",
    "bob",
    "eve",
    "gpt-4",
    "gpt-4o-mini",
    "o1-pro",
    "fast",
    "cheap",
    "unused",
    "spare",
]
ODD = [
    "",
    "*",
    "a*",
    "openai/*",
    "../x",
    "a//b",
    " a",
    "a\n",
    "\0",
    "é",
    "e\u0301",
    "x" * 256,
    "x" * 257,
    "😀",
    "\u202e",
]
PATHS = [
    "models",
    "labels",
    "limits",
    "limits.tpm_limit",
    "allowed_models",
    "default_member_limits",
    "*",
    "etag",
    "models.mode",
]
TEXTS = st.one_of(st.sampled_from(KNOWN), st.sampled_from(KNOWN), st.sampled_from(ODD), st.text(max_size=8))
TEXTS = TEXTS.filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text))

NUMBERS = {
    F.TYPE_INT32: st.one_of(st.integers(-2, 1_002), st.sampled_from([2**31 - 1, -(2**31)])),
    F.TYPE_INT64: st.one_of(st.integers(-2, 100), st.sampled_from([2**63 - 1, -(2**63), 253402300800])),
    F.TYPE_DOUBLE: st.floats(width=64),
    F.TYPE_BOOL: st.booleans(),
    F.TYPE_ENUM: st.one_of(st.integers(-1, 6), st.sampled_from([2**31 - 1, -(2**31)])),
    F.TYPE_STRING: TEXTS,
}


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.full_name == "google.protobuf.FieldMask.paths":
        return st.one_of(st.sampled_from(PATHS), TEXTS)
    if field.type == F.TYPE_MESSAGE:
        return messages(field.message_type)
    return NUMBERS[field.type]


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Each field is there or not; lists and maps are short."""
    made = GetMessageClass(descriptor)
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in descriptor.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            value = st.dictionaries(_value(entry["key"]), _value(entry["value"]), max_size=3)
        elif field.is_repeated:
            value = st.lists(_value(field), max_size=4)
        else:
            value = _value(field)
        fields[field.name] = value
    return st.fixed_dictionaries({}, optional=fields).map(lambda given: made(**given))
