"""A file of another system, read piece by piece: keys that we do not need are passed over, but what we need has to be
right, and every problem is told with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from policy_service.cli.litellm.findings import shown
from policy_service.yaml_messages import YamlError, compose, line_of

MAX_PROBLEMS_SHOWN = 20
Path = tuple[str | int, ...]


class InputError(Exception):
    """A file cannot be imported. The message has a line for every problem: where it is, and what to change."""

    def __init__(self, problems: Iterable[str]) -> None:
        lines = list(problems)
        rest = len(lines) - MAX_PROBLEMS_SHOWN
        super().__init__("\n".join(lines[:MAX_PROBLEMS_SHOWN] + ([f"and {rest} more problems"] if rest > 0 else [])))


class Document:
    """A file's content as plain data. `problems` collects what is wrong with it."""

    def __init__(self, content: Any, locate: Callable[[Path], str]) -> None:
        self.root = Value(self, (), content)
        self.problems: list[str] = []
        self._locate = locate

    def problem(self, path: Path, words: str) -> None:
        """Notes what is wrong at a path."""
        shown = path_text(path)
        self.problems.append(f"{self._locate(path)}: {shown}: {words}" if shown else f"{self._locate(path)}: {words}")

    def raise_any(self) -> None:
        """Raises InputError when there was a problem."""
        if self.problems:
            raise InputError(self.problems)


class Value:
    """A value and where it is. What is missing is a value too, as empty as null is."""

    def __init__(self, document: Document, path: Path, content: Any) -> None:
        self.path, self.content = path, content
        self._document = document

    def __getitem__(self, key: str) -> Value:
        inner = self.content.get(key) if isinstance(self.content, dict) else None
        return Value(self._document, (*self.path, key), inner)

    def __contains__(self, key: str) -> bool:
        return isinstance(self.content, dict) and key in self.content

    def problem(self, words: str) -> None:
        """Notes what is wrong here."""
        self._document.problem(self.path, words)

    def require_mapping(self) -> bool:
        """Whether it is one; notes a problem if not."""
        if not isinstance(self.content, dict):
            self.problem(f"is {_kind(self.content)}; it has to be a mapping")
        return isinstance(self.content, dict)

    def items(self, *, required: bool = False) -> list[Value]:
        """The items of a list; none when it is empty."""
        if isinstance(self.content, list):
            return [Value(self._document, (*self.path, n), item) for n, item in enumerate(self.content)]
        if self.content is not None or required:
            self.problem(f"is {_kind(self.content)}; it has to be a list")
        return []

    def pairs(self) -> list[tuple[str, Value]]:
        """The keys and values of a mapping; none when it is empty."""
        if isinstance(self.content, dict):
            for key in self.content:
                if not isinstance(key, str):
                    self.problem(f"the key {key!r} is {_kind(key)}; it has to be a text")
            return [(key, self[key]) for key in self.content if isinstance(key, str)]
        if self.content is not None:
            self.problem(f"is {_kind(self.content)}; it has to be a mapping")
        return []

    def text(self, *, required: bool = False) -> str:
        """The text; the empty one when there is none."""
        if isinstance(self.content, str) and (self.content or not required):
            return self.content
        if self.content is not None or required:
            self.problem(f"is {_kind(self.content)}; it has to be a text")
        return ""

    def texts(self, *, required: bool = False) -> tuple[str, ...]:
        """The texts of a list."""
        for item in self.items(required=required):
            if not isinstance(item.content, str):
                item.problem(f"is {_kind(item.content)}; it has to be a text")
        return tuple(item for item in self.content if isinstance(item, str)) if isinstance(self.content, list) else ()

    def flag(self) -> bool:
        """true or false; false when it is empty."""
        if self.content is not None and not isinstance(self.content, bool):
            self.problem(f"is {_kind(self.content)}; it has to be true or false")
        return self.content is True

    def number(self) -> float | int | None:
        """The number, or None when it is empty."""
        if isinstance(self.content, (int, float)) and not isinstance(self.content, bool):
            return self.content
        if self.content is not None:
            self.problem(f"is {_kind(self.content)}; it has to be a number")
        return None


def yaml_document(content: bytes, file: str) -> Document:
    """YAML, read as LiteLLM reads it: merge keys count, and of a repeated key the last. Raises InputError."""
    try:
        node = compose(content.decode("utf-8-sig"))
        plain = yaml.constructor.SafeConstructor().construct_document(node)
    except UnicodeDecodeError:
        raise InputError([f"{file}: this is not UTF-8; save the file in that encoding"]) from None
    except YamlError as error:
        raise InputError([f"{file}:{error.line}: {error}"]) from None
    except yaml.MarkedYAMLError as error:
        line = getattr(error.problem_mark, "line", 0) + 1
        raise InputError([f"{file}:{line}: {error.problem}"]) from None
    except ValueError as error:  # a date that is none
        raise InputError([f"{file}: {error}"]) from None
    except (AttributeError, KeyError, IndexError):  # what PyYAML makes of a tag that does not fit its text
        raise InputError([f"{file}: a value has a tag (`!!bool`, `!!int`, ...) that it does not fit"]) from None
    return Document(plain, lambda path: f"{file}:{_line_at(node, path)}")


def json_document(content: bytes, file: str) -> Document:
    """Raises InputError."""
    try:
        plain = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError([f"{file}: this is not UTF-8; save the file in that encoding"]) from None
    except json.JSONDecodeError as error:
        raise InputError([f"{file}:{error.lineno}: this is not JSON: {error.msg}"]) from None
    except (RecursionError, ValueError) as error:  # nests too deep; a number of thousands of digits
        raise InputError([f"{file}: this is not JSON that can be read: {error}"]) from None
    return Document(plain, lambda path: file)


def path_text(path: Path) -> str:
    """`model_list[3].litellm_params.model`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in path).removeprefix(".")


def _line_at(node: yaml.Node, path: Path) -> int:
    # As far as the path leads: what is missing, or came by a merge key, has the line of what holds it.
    found: yaml.Node | None = node
    for part in path:
        found = _child(node, part)
        if found is None:
            break
        node = found
    return line_of(node)


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        item: yaml.Node = node.value[part]
        return item
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in reversed(node.value) if key.value == part), None)
    return None


def _kind(content: Any) -> str:
    if content is None:
        return "missing or empty"
    if isinstance(content, bool):
        return str(content).lower()
    if isinstance(content, str):
        return f"the text {content[:80]!r}"
    if isinstance(content, (int, float)):
        return f"the number {content!r:.40}"
    names: dict[type, str] = {dict: "a mapping", list: "a list"}
    return names.get(type(content), f"a {type(content).__name__}")
