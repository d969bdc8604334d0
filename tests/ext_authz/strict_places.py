"""Models in a body, at the places that a route names."""

from __future__ import annotations

from collections.abc import Iterable

from tests.ext_authz.strict_json import Object, Refused, Value
from tests.ext_authz.strict_multipart import Field

ROOT = "model"
ANY_OBJECT = ("*", "")

Filter = tuple[str, str]  # of the elements of a list those that have a text at a key; ANY_OBJECT: the objects
Token = str | Filter | None  # a key; some elements of a list; each of them
Steps = tuple[Token, ...]


def same(one: str, other: str) -> bool:
    """Whether some parser takes the keys for one: it ignores case, or knows `like_this` and `likeThis`."""
    return any(fold(one) == fold(other) for fold in (str.casefold, str.lower, str.upper, _upper_lower, _no_underscores))


def _upper_lower(text: str) -> str:
    return text.upper().lower()


def _no_underscores(text: str) -> str:
    return text.replace("_", "").casefold()


def steps_of(place: str) -> Steps:
    """The steps to a place."""
    steps: list[Token] = []
    for piece in place.split("."):
        key, bracket, rest = piece.partition("[")
        if key:
            steps.append(key)
        if bracket:
            name, _, wanted = rest.removesuffix("]").partition("=")
            steps.append((name, wanted) if name else None)
    return tuple(steps)


class Document:
    """A JSON body, and at which keys of which objects a route looks."""

    def __init__(self, root: Object, places: Iterable[str]) -> None:
        self.root = root
        self.known: dict[Steps, set[str]] = {}
        for place in (ROOT, *places):
            self._know((), steps_of(place))

    def _know(self, way: Steps, rest: Steps) -> None:
        if not rest:
            if way[-1] is None:
                self.known.setdefault(way, set()).add(ROOT)
            return
        step = rest[0]
        if isinstance(step, str):
            self.known.setdefault(way, set()).add(step)
            self._know((*way, step), rest[1:])
            return
        if step is not None and step != ANY_OBJECT:
            self.known.setdefault((*way, None), set()).add(step[0])
        self._know((*way, None), rest[1:])

    def found(self, place: str, required: bool = False) -> list[str]:
        """The texts at a place. One that is required has to be there, in every element of every list; when it is one of
        some elements only, these may be missing, but it may not be missing in one of them."""
        return self._found(self.root, (), steps_of(place), required)

    def _found(self, value: Value, way: Steps, rest: Steps, required: bool) -> list[str]:
        may_miss = not required or any(isinstance(step, tuple) for step in rest)
        if value is None:
            if not may_miss:
                raise Refused("nothing where something has to be")
            return []
        if not rest:
            if not isinstance(value, str):
                raise Refused("no text where a model has to be")
            return [value]
        step, rest = rest[0], rest[1:]
        if isinstance(step, str):
            return self._found(self._lookup(value, way, step), (*way, step), rest, required)
        if isinstance(value, str) and step is not None:
            return []  # an input may be a text, which has no elements of some kind
        if not isinstance(value, list):
            raise Refused("no list where one has to be")
        if not may_miss and not value:
            raise Refused("an empty list where something has to be")
        way = (*way, None)
        elements = value if step is None else [element for element in value if self._is(element, way, step)]
        if rest:
            return [text for element in elements for text in self._found(element, way, rest, required)]
        return [text for element in elements for text in self._named(element, way)]

    def _named(self, element: Value, way: Steps) -> list[str]:
        """An element of a list of models."""
        return [element] if isinstance(element, str) else self._found(element, way, (ROOT,), True)

    def _is(self, element: Value, way: Steps, wanted: Filter) -> bool:
        if wanted == ANY_OBJECT:
            return isinstance(element, Object)
        key, value = wanted
        return self._lookup(element, way, key) == value

    def _lookup(self, value: Value, way: Steps, key: str) -> Value:
        """What an object has at the key; None when it has nothing."""
        if not isinstance(value, Object):
            raise Refused("no object where one has to be")
        if any(same(name, key) and name not in self.known[way] for name, _ in value.pairs):
            raise Refused("a key that some take for another")
        return next((item for name, item in value.pairs if name == key), None)

    def refuse(self, place: str) -> None:
        """Refuses a body that has anything at the place."""
        self._refuse(self.root, (), steps_of(place))

    def _refuse(self, value: Value, way: Steps, rest: Steps) -> None:
        if value is None:
            return
        if not rest:
            raise Refused("something where nothing may be")
        if not isinstance(value, Object | list):
            return  # a text or a number has no places in it
        step, rest = rest[0], rest[1:]
        if isinstance(step, str):
            self._refuse(self._lookup(value, way, step), (*way, step), rest)
        elif not isinstance(value, list):
            raise Refused("no list where one has to be")
        else:
            way = (*way, None)
            for element in value:
                if step is None or (isinstance(element, Object | list) and self._is(element, way, step)):
                    self._refuse(element, way, rest)


def text_of(fields: list[Field], name: str, required: bool = False) -> list[str]:
    """The text of a field of a multipart body: there once, and no file."""
    alike = [item for item in fields if same(item.name, name)]
    if not alike and not required:
        return []
    if len(alike) != 1 or alike[0].name != name or alike[0].text is None:
        raise Refused("not one plain field of this name")
    return [alike[0].text]
