"""YAML into protobuf messages, strictly: no unknown or repeated key, no wrong type, and every problem with its line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_DEPTH = 50
_TOO_DEEP = f"this nests deeper than {MAX_DEPTH} levels"
_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_TAG = "tag:yaml.org,2002:"
NULL_TAG = _TAG + "null"
_WORDS = {"int": "a number", "float": "a number", "bool": "true or false", "null": "empty", "timestamp": "a date"}
# Only plain decimal: in YAML 1.1 010 is eight, 1:30 is ninety, 1_0 is ten.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?")
_M = TypeVar("_M", bound=Message)


class YamlError(Exception):
    """The text is no YAML document. `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def compose(text: str) -> yaml.Node:
    """The document's nodes. Raises YamlError when the text is none, holds several documents or nests too deep."""
    try:
        _check_depth(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = getattr(error.problem_mark, "line", 0) + 1
        words = " ".join(filter(None, (error.context, error.problem)))
        if "nesting depth" in words:  # newer versions of libyaml have a limit of their own, and scan ahead
            raise YamlError(line, _TOO_DEEP) from None
        raise YamlError(line, f"this is not YAML: {words}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlError(line, f"this is not YAML: {error.reason}; remove the character") from None
    if node is None:
        raise YamlError(1, "the document is empty")
    return node


def _check_depth(text: str) -> None:
    # libyaml's composer recurses without a limit and would crash the process.
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlError(line_of(event), _TOO_DEEP)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


class Reader:
    """Reads nodes and collects `problems` as (line, message), to report all of them at once.

    `lines` has the line of every path that was read, such as `teams[2].models.models[0]` or `teams[0].labels['a']`.
    """

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []
        self.lines: dict[str, int] = {}
        self._scalars: Mapping[int, Callable[[yaml.Node, str], Any]] = {
            FieldDescriptor.TYPE_STRING: self.text,
            FieldDescriptor.TYPE_BOOL: self.boolean,
            FieldDescriptor.TYPE_INT64: self.integer,
            FieldDescriptor.TYPE_DOUBLE: self.number,
        }

    def problem(self, line: int, path: str, message: str) -> None:
        """Notes what is wrong at a path; the empty one is the document."""
        self.problems.append((line, f"{path}: {message}" if path else message))

    def mapping(
        self, node: yaml.Node, path: str, known: Collection[str] | None = None, required: Collection[str] = ()
    ) -> dict[str, yaml.Node]:
        """The mapping's nodes by key; `known` None takes any key. Keys that are not known or repeat are left out."""
        found: dict[str, yaml.Node] = {}
        lines: dict[str, int] = {}
        if not isinstance(node, yaml.MappingNode):
            self.problem(line_of(node), path, f"is {_kind(node)}; give a mapping (`key: value`)")
            return found
        for key_node, value in node.value:
            key, line = self.text(key_node, path), line_of(key_node)
            if key is None:
                continue
            if key in found:
                self.problem(line, path, f"{key!r} is here twice; it is already on line {lines[key]}")
            elif known is not None and key not in known:
                self.problem(line, path, f"there is no key {key!r}; use {', '.join(known)}")
            else:
                found[key], lines[key] = value, line
        for key in required:
            if key not in found:
                self.problem(line_of(node), path, f"{key!r} is missing")
        return found

    def items(self, node: yaml.Node, path: str) -> Iterator[tuple[yaml.Node, str]]:
        """The nodes of a list, each with its path."""
        if not isinstance(node, yaml.SequenceNode):
            self.problem(line_of(node), path, f"is {_kind(node)}; give a list (`[a, b]`, or a line `- a` for each)")
            return
        for index, item in enumerate(node.value):
            self.lines[f"{path}[{index}]"] = line_of(item)
            yield item, f"{path}[{index}]"

    def message(
        self,
        nodes: dict[str, yaml.Node],
        path: str,
        kind: type[_M],
    ) -> _M:
        """A message of the nodes of a mapping; its fields say which type each has to be."""
        message = kind()
        for key, node in nodes.items():
            self.lines[f"{path}.{key}"] = line_of(node)
            self._read_field(message, message.DESCRIPTOR.fields_by_name[key], node, f"{path}.{key}")
        return message

    def _read_field(self, message: Message, field: Any, node: yaml.Node, path: str) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._read_map(getattr(message, field.name), node, path)
        elif field.message_type is not None:
            nested = getattr(message, field.name)
            nested.SetInParent()
            known = [nested_field.name for nested_field in field.message_type.fields]
            nested.CopyFrom(self.message(self.mapping(node, path, known), path, type(nested)))
        elif field.is_repeated:
            texts = [self.text(item, item_path) for item, item_path in self.items(node, path)]
            getattr(message, field.name).extend(text for text in texts if text is not None)
        else:
            self._read_scalar(message, field, node, path)

    def _read_map(self, target: Any, node: yaml.Node, path: str) -> None:
        for key, value in self.mapping(node, path).items():
            self.lines[f"{path}[{key!r}]"] = line_of(value)
            text = self.text(value, f"{path}[{key!r}]")
            if text is not None:
                target[key] = text

    def _read_scalar(self, message: Message, field: Any, node: yaml.Node, path: str) -> None:
        enum = field.enum_type
        value = self._scalars[field.type](node, path) if enum is None else self._enum(enum, node, path)
        if value is None:
            return
        try:
            setattr(message, field.name, value)
        except ValueError:
            self.problem(line_of(node), path, f"{node.value} is out of range")

    def text(self, node: yaml.Node, path: str) -> str | None:
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode) and tag == "str":
            if node.value.isascii() or node.value.encode(errors="replace").decode() == node.value:
                return str(node.value)
            self.problem(line_of(node), path, f"{node.value!r} is not Unicode text")
        elif isinstance(node, yaml.ScalarNode) and tag in _WORDS and tag != "null":
            self.problem(line_of(node), path, f'{node.value} is {_WORDS[tag]}; for a text write "{node.value}"')
        else:
            self.problem(line_of(node), path, f"is {_kind(node)}; give a text")
        return None

    def boolean(self, node: yaml.Node, path: str) -> bool | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "bool":
            return node.value.lower() in ("true", "yes", "on")
        self.problem(line_of(node), path, f"is {_kind(node)}; give true or false")
        return None

    def integer(self, node: yaml.Node, path: str) -> int | None:
        if node.tag == _TAG + "int" and _INTEGER.fullmatch(node.value):
            return int(node.value)
        self.problem(line_of(node), path, f"is {_kind(node)}; give a whole number in plain decimal digits")
        return None

    def number(self, node: yaml.Node, path: str) -> float | None:
        if node.tag in (_TAG + "int", _TAG + "float") and _NUMBER.fullmatch(node.value):
            return float(node.value)
        self.problem(line_of(node), path, f"is {_kind(node)}; give a number in plain decimal digits")
        return None

    def _enum(self, enum: Any, node: yaml.Node, path: str) -> int | None:
        text = self.text(node, path)
        # The value 0 is UNSPECIFIED: to say that, leave the key out.
        numbers = {value.name: value.number for value in enum.values if value.number}
        if text is not None and text not in numbers:
            self.problem(line_of(node), path, f"there is no {text!r}; use {', '.join(numbers)}")
        return numbers.get(text or "")


def line_of(found: Any) -> int:
    """The line of a node or event, from 1."""
    return int(found.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    tag = node.tag.removeprefix(_TAG)
    if tag == "str":
        return f"the text {node.value!r}"
    if tag == "null":
        return "empty"
    return f"{node.value} ({_WORDS[tag]})" if tag in _WORDS else f"tagged {node.tag!r}"
