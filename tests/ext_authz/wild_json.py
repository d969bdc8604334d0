"""JSON that is nearly right: trees whose keys and leaves are raw text, so that nothing is too odd to be written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from hypothesis import strategies as st

from tests.ext_authz.strict_places import ANY_OBJECT, Steps, steps_of
from tests.ext_authz.world import ALIASES, DENIED, GOOD, MALFORMED, PLACES, STORED

Draw = st.DrawFn


class Tree:
    """An object: pairs of a key as it is written, quotes and all, and what it has."""

    def __init__(self, *pairs: tuple[str, Node]) -> None:
        self.pairs = list(pairs)

    def __repr__(self) -> str:
        return render(self)


Node = Tree | list["Node"] | str

identifiers = st.sampled_from((*STORED, "pmpt_unknown"))
names = st.sampled_from((*GOOD, *GOOD, *GOOD, *GOOD, *DENIED, *ALIASES, *ALIASES, *ALIASES, *MALFORMED))
ODD_NUMBERS = (
    "-0.0e+1",
    "1e999",
    "1e308",
    "01",
    ".5",
    "+1",
    "0x10",
    "1" * 64,
    "1" * 65,
    "NaN",
    "-Infinity",
)
ODD_LEAVES = (
    "null",
    "null",
    "1",
    "true",
    "{}",
    "[]",
    '[""]',
    '["gpt-4o"]',
    '["evil"]',
    '{"model": "evil"}',
    '{"id": "pmpt_evil"}',
    '[{"model": "evil"}]',
    '[{"model": "gpt-4o"}, "evil"]',
    '[[{"model": "evil"}]]',
    "[null]",
    '[{"type": "Image", "model": "evil"}]',
    '[{"model": "evil", "type": "image"}]',
    '[{"type": "image"}, {"type": "image", "model": "gpt-4o"}]',
    '[{"type": ["image"], "model": "evil"}]',
    *ODD_NUMBERS,
    "tru",
    "'evil'",
    "evil",
    "",
    '"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\\ude00\\ud83d"',
    '"\\x41"',
    '"\\u00e"',
    '"\\u 041"',
    '"\t"',
    '"\x7f"',
    '"\ufeff"',
    "// evil\n1",
    "[" * 60 + "]" * 60,
    '{"a":' * 60 + "1" + "}" * 60,
    "[" * 102 + "]" * 102,
    "[" * 98 + "]" * 98,
    "[" * 3000 + "]" * 400,
)
FILLERS = '{"messages":[{"role":"user","content":"\\u00fcber \\"model\\": x"}],"n":1,"temperature":0.5e0,"stop":null}'


def render(node: Node) -> str:
    """As it goes into a body."""
    if isinstance(node, Tree):
        return "{" + ",".join(f"{key}:{render(value)}" for key, value in node.pairs) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(render, node)) + "]"
    return node


def text(value: str) -> str:
    """A text as JSON writes it."""
    return json.dumps(value, ensure_ascii=False)


def put(node: Tree, place: str, leaf: Callable[[], Node], elements: int) -> None:
    """Puts leaves at a place, into lists of so many elements."""
    _put(node, steps_of(place), leaf, elements)


def _put(node: Tree, steps: Steps, leaf: Callable[[], Node], elements: int) -> None:
    key, rest = steps[0], steps[1:]
    assert isinstance(key, str)
    inner = next((value for name, value in node.pairs if name == text(key)), None)
    if not rest:
        if inner is None:
            node.pairs.append((text(key), leaf()))
        return
    kind, beyond = rest[0], rest[1:]
    if isinstance(kind, str):
        if not isinstance(inner, Tree):
            inner = Tree()
            node.pairs.append((text(key), inner))
        _put(inner, rest, leaf, elements)
        return
    if not isinstance(inner, list):
        inner = []
        node.pairs.append((text(key), inner))
    if not beyond:
        inner += [leaf() for _ in range(elements)]
        return
    conditional = kind is not None and kind != ANY_OBJECT
    if conditional or not inner:
        inner += [Tree((text(kind[0]), text(kind[1]))) if conditional else Tree() for _ in range(elements)]
    for element in inner:
        if isinstance(element, Tree) and (not conditional or (text(kind[0]), text(kind[1])) in element.pairs):
            _put(element, beyond, leaf, elements)


def trees(node: Node) -> Iterator[Tree]:
    """Every object."""
    if isinstance(node, Tree):
        yield node
        for _, value in node.pairs:
            yield from trees(value)
    elif isinstance(node, list):
        for value in node:
            yield from trees(value)


# Mutations


def mutate(draw: Draw, root: Tree) -> None:
    """Makes one change somewhere."""
    objects = list(trees(root))
    at = draw(st.integers(-2, len(objects) - 1))  # the root three times as often as another
    draw(st.sampled_from(MUTATIONS))(draw, objects[max(at, 0)])


def _at(draw: Draw, tree: Tree) -> int:
    return draw(st.integers(0, len(tree.pairs) - 1)) if tree.pairs else -1


def _repeat(draw: Draw, tree: Tree) -> None:
    """A key once more, in the same or in another spelling, before or after the other."""
    at = _at(draw, tree)
    if at < 0:
        return
    key, value = tree.pairs[at]
    spelled = draw(st.sampled_from((str, str, escaped, _upper, _title, _odd_case, _snake)))(key)
    pair = (spelled, draw(st.sampled_from((value, text(draw(names)), "null"))))
    tree.pairs.insert(at + draw(st.integers(0, 1)), pair)


def _respell(draw: Draw, tree: Tree) -> None:
    at = _at(draw, tree)
    if at >= 0:
        key, value = tree.pairs[at]
        tree.pairs[at] = (
            draw(st.sampled_from((escaped, escaped, _upper, _title, _odd_case, _spaced, _snake)))(key),
            value,
        )


def escaped(key: str) -> str:
    """The key with its second letter escaped: the same key."""
    return f"{key[:2]}\\u{ord(key[2]):04x}{key[3:]}" if len(key) > 3 and key[1:3].isalnum() else key


def _upper(key: str) -> str:
    return key.upper() if "\\" not in key else key


def _title(key: str) -> str:
    return key[:1] + key[1:2].upper() + key[2:]


def _odd_case(key: str) -> str:
    """Letters that are a plain one's other case: the Kelvin sign, the long s."""
    return key.replace("k", "\u212a").replace("s", "\u017f")


def _snake(key: str) -> str:
    """`like_this` for `likeThis`, `likeThis` for `like_this`."""
    if "_" in key:
        first, *others = key.split("_")
        return first + "".join(word.title() for word in others)
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in key)


def _spaced(key: str) -> str:
    return key[:-1] + ' "'


def _insert(draw: Draw, tree: Tree) -> None:
    """Something that may name a model, where the route may not look for it."""
    before = len(tree.pairs)
    place = draw(st.sampled_from(("model", *PLACES)))
    put(tree, place, lambda: text(draw(st.one_of(names, identifiers))), draw(st.integers(0, 2)))
    for at in range(before, len(tree.pairs)):
        key, value = tree.pairs.pop(at)
        spelled = draw(st.sampled_from((str, str, str, _upper, _title, _odd_case, _snake)))(key)
        tree.pairs.insert(draw(st.integers(0, len(tree.pairs))), (spelled, value))


def _retype(draw: Draw, tree: Tree) -> None:
    at = _at(draw, tree)
    if at >= 0:
        tree.pairs[at] = (tree.pairs[at][0], draw(st.sampled_from(ODD_LEAVES)))


def _beside(draw: Draw, tree: Tree) -> None:
    """Something that nobody looks at, oddly written."""
    key = draw(st.sampled_from(ODD_KEYS))
    tree.pairs.insert(
        draw(st.integers(0, len(tree.pairs))), (key, draw(st.sampled_from((*ODD_LEAVES, *ODD_NUMBERS * 3))))
    )


ODD_KEYS = (*['"seed"'] * 9, '"\\ud800"', '"a\tb"', "seed", "'seed'", '""', '"seed":1,"seed"', '"\\u0000"')


def _rename(draw: Draw, tree: Tree) -> None:
    """Another model, or none."""
    at = _at(draw, tree)
    if at >= 0:
        tree.pairs[at] = (tree.pairs[at][0], text(draw(names)))


def _wrap(draw: Draw, tree: Tree) -> None:
    at = _at(draw, tree)
    if at >= 0:
        key, value = tree.pairs[at]
        wrapped = draw(st.sampled_from(([value], [value, value], [], Tree((key, value)), Tree(('"model"', value)))))
        tree.pairs[at] = (key, wrapped)


def _grow(draw: Draw, tree: Tree) -> None:
    """One more element in a list: another model, another kind, or with something missing."""
    lists = [value for _, value in tree.pairs if isinstance(value, list)]
    if lists:
        chosen = draw(st.sampled_from(lists))
        element = draw(st.one_of(names.map(text), st.sampled_from(ODD_ELEMENTS)))
        chosen.insert(draw(st.integers(0, len(chosen))), element)


ODD_ELEMENTS = ("null", "1", "{}", "{}", "[]", '"evil"', '"fast"', '"gpt-4o"', '{"model":"evil"}', '{"Model":"x"}')


def _empty(draw: Draw, tree: Tree) -> None:
    """A list without elements."""
    lists = [at for at, (_, value) in enumerate(tree.pairs) if isinstance(value, list)]
    if lists:
        at = draw(st.sampled_from(lists))
        tree.pairs[at] = (tree.pairs[at][0], [])


def _drop(draw: Draw, tree: Tree) -> None:
    at = _at(draw, tree)
    if at >= 0:
        del tree.pairs[at]


MUTATIONS = (
    *[_repeat] * 3,
    *[_respell] * 3,
    *[_insert] * 3,
    *[_retype] * 2,
    *[_beside] * 4,
    *[_rename] * 2,
    _wrap,
    *[_grow] * 2,
    *[_empty] * 2,
    _drop,
)
