"""Where in a body models are named: places as configured, joined to one tree, which is walked once along a body.

A place is keys joined by `.`; `key[]` is each element of a list, `key[type=x]` each whose `type` is `x`, `key[*]` the
objects among them, and none of a text. A place that ends in `key[]` takes texts, or objects whose `model` counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

from policy_service.ext_authz.keys import MODEL, folded
from policy_service.ext_authz.refusal import Code, Refused

MAX_ELEMENTS = 20_000  # of lists that are looked into, together


class Condition(NamedTuple):
    """Which elements of a list count: those whose `key` is `value`; without a key every object."""

    key: str
    value: str

    def holds(self, element: dict[str, Any]) -> bool:
        return not self.key or element.get(self.key) == self.value


_STEP = re.compile(
    r"(?P<key>[\w\-:]+)(?P<list>\[(?:(?P<any>\*)|(?P<where>[\w\-]+)=(?P<value>[\w\-.:]+))?\])?", re.ASCII
)
_OBJECTS = Condition("", "")  # each element that is an object


class Role(Enum):
    """What a value is: the model that a request is for, another one that it may use, the id of something stored that
    names one, or what must not be there."""

    ASKED = auto()
    OTHER = auto()
    STORED = auto()
    REFUSED = auto()


class Named(NamedTuple):
    """A text found in a body. `listed`: it is one of a list."""

    text: str
    role: Role
    listed: bool


class Node:
    """A point of a body: what a text there is for, the keys to look at in an object, the elements of a list."""

    __slots__ = ("children", "elements", "has_to_be_there", "required_keys", "role", "similar", "whole")

    def __init__(self) -> None:
        self.role: Role | None = None
        self.has_to_be_there = False
        self.children: dict[str, Node] = {}
        self.elements: dict[Condition | None, Node] = {}
        self.whole = False  # all elements count, so it has to be a list
        self.required_keys: tuple[str, ...] = ()
        self.similar: frozenset[str] = frozenset()

    def finish(self) -> None:
        """Prepares for walks, once everything is there."""
        self.required_keys = tuple(key for key, child in self.children.items() if child.has_to_be_there)
        self.similar = frozenset(map(folded, self.children))
        for inner in (*self.children.values(), *self.elements.values()):
            inner.finish()


def place_problem(place: str) -> str | None:
    """What is wrong with a place as it is written in a configuration."""
    if all(map(_STEP.fullmatch, place.split("."))):
        return None
    return f"{place!r} is no place in a body; write `model`, `session.model`, `models[]` or `tools[type=x].model`"


def tree(required: Iterable[str], others: Iterable[tuple[Role, str]], refused_keys: Iterable[str] = ()) -> Node:
    """The places as one tree; those that are `required` have to be there, and name what the request is for unless they
    are conditional. `model` at the root always counts; `refused_keys` are refused there where no place begins with
    them."""
    root = Node()
    for role, place in others:
        _add(root, role, place, required=False)
    for place in required:
        _add(root, Role.OTHER if "=" in place else Role.ASKED, place, required=True)
    asked = root.children.setdefault(MODEL, Node())
    if asked.role is not Role.REFUSED:
        asked.role = Role.ASKED
    for key in refused_keys:
        if key not in root.children:
            _add(root, Role.REFUSED, key, required=False)
    root.finish()
    return root


def _add(root: Node, role: Role, place: str, *, required: bool) -> None:
    steps = [found for found in map(_STEP.fullmatch, place.split(".")) if found]
    conditional = max((at for at, step in enumerate(steps) if step["where"]), default=-1)
    node = root
    for at, step in enumerate(steps):
        node = node.children.setdefault(step["key"], Node())
        if required and at > conditional:  # there need be no element that fulfils the condition
            node.has_to_be_there = True
        if step["any"]:
            node = node.elements.setdefault(_OBJECTS, Node())
        elif step["where"]:
            every = node.elements.setdefault(None, Node())
            condition = Condition(step["where"], step["value"])
            every.children.setdefault(condition.key, Node())  # a key like it is no way around the condition
            node = node.elements.setdefault(condition, Node())
        elif step["list"]:
            node.whole = True
            node = node.elements.setdefault(None, Node())
    node.role = role
    if steps[-1]["list"]:
        inner = node.children.setdefault(MODEL, Node())
        inner.role, inner.has_to_be_there = role, True


def walk(root: Node, body: Any) -> Iterator[Named]:
    """What is named in the body. Raises Refused for what another reader could understand otherwise."""
    return _Walk().value(root, body, "", listed=False)


class _Walk:
    """One way along a body; `path` is where in it, as a place is written."""

    def __init__(self) -> None:
        self._left = MAX_ELEMENTS

    def value(self, node: Node, value: Any, path: str, *, listed: bool) -> Iterator[Named]:
        if isinstance(value, str) and node.role is not None and node.role is not Role.REFUSED:
            yield Named(value, node.role, listed)
        elif node.role is Role.REFUSED:
            words = f"`{path}` can bring in models that are not seen here; leave it out"
            raise Refused(Code.FIELD_REFUSED, words)
        elif isinstance(value, dict) and node.children:
            yield from self._object(node, value, path, listed)
        elif isinstance(value, list) and node.elements:
            yield from self._list(node, value, path)
        elif isinstance(value, str) and node.elements and not node.whole:
            return  # such as the `input` of Responses: a list, some of whose elements count, or a text
        elif node.role is not None or node.children or node.elements:
            words = f"`{path}` is not what it has to be; see the documentation of the API"
            raise Refused(Code.MODEL_MALFORMED, words)

    def _object(self, node: Node, value: dict[str, Any], path: str, listed: bool) -> Iterator[Named]:
        for key, inner in value.items():
            child = node.children.get(key)
            if child is not None:
                if inner is not None:
                    yield from self.value(child, inner, f"{path}.{key}" if path else key, listed=listed)
            elif folded(key) in node.similar:
                words = f"the key {key[:100]!r} in {_shown(path)} can be taken for another; rename it"
                raise Refused(Code.SIMILAR_KEY, words)
        for key in node.required_keys:
            if value.get(key) is None:
                raise Refused(Code.MODEL_MISSING, f"`{key}` is missing in {_shown(path)}; name the model")

    def _list(self, node: Node, value: list[Any], path: str) -> Iterator[Named]:
        if node.has_to_be_there and not value:
            raise Refused(Code.MODEL_MISSING, f"`{path}` is empty; name a model there")
        self._left -= len(value)
        if self._left < 0:
            words = f"the lists in which models can be named have more than {MAX_ELEMENTS} elements; send less at once"
            raise Refused(Code.BODY_TOO_LARGE, words)
        for at, element in enumerate(value):
            for condition, inner in node.elements.items():
                if condition is None or (isinstance(element, dict) and condition.holds(element)):
                    yield from self.value(inner, element, f"{path}[{at}]", listed=True)


def _shown(path: str) -> str:
    return f"`{path}`" if path else "the body"
