"""Options that several commands have, declared once as dataclasses: a command takes one as a parameter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints


def command_of(
    run: Callable[..., None], parameters: Iterable[Parameter], described_by: Callable[..., object]
) -> Callable[..., None]:
    """A function for Typer: calls `run` with the parameters, of which each dataclass is made of options, its fields.
    Name and help are those of another function."""
    parameters = list(parameters)
    groups: dict[str, Any] = {each.name: each.annotation for each in parameters if is_dataclass(each.annotation)}

    def command(**arguments: Any) -> None:
        for name, kind in groups.items():
            arguments[name] = kind(**{field.name: arguments.pop(field.name) for field in fields(kind)})
        run(**arguments)

    flat: list[Parameter] = []
    for each in parameters:
        flat += _options(groups[each.name]) if each.name in groups else [each.replace(kind=Parameter.KEYWORD_ONLY)]
    command.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in flat}
    command.__name__, command.__doc__ = described_by.__name__, described_by.__doc__
    return command


def _options(kind: Any) -> Iterator[Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=_default(field), annotation=hints[field.name])


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return Parameter.empty if field.default is MISSING else field.default
