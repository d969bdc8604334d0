"""Answers for people (text) and for programs (JSON, YAML), whose field names are the API's and stay as they are."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer
import yaml
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.cells import cell_len

from policy_service.cli.console import ERR
from policy_service.cli.words import pairs, yes

PAGE = 1_000  # rows whose widths are looked at together: a list of any length is shown as it comes
M = TypeVar("M", bound=Message)
Columns = Mapping[str, Callable[[M], str]]  # heading to what a row has there


class Output(StrEnum):
    """How an answer is shown."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="text for people; json or yaml, with stable field names, for programs.")
]


def plain(message: Message) -> dict[str, Any]:
    """The message as JSON and YAML show it: fields by their names in the API, each of them but those that are optional
    and not set; enum values by name, times as RFC 3339, durations as `1.5s`, 64-bit integers as numbers."""
    descriptor: Any = message.DESCRIPTOR
    fields = [field for field in descriptor.fields if not field.has_presence or message.HasField(field.name)]
    return {field.name: _plain_field(field, getattr(message, field.name)) for field in fields}


def _plain_field(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(sorted(value.items()))
    if field.is_repeated:
        return [_plain_value(field, item) for item in value]
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if isinstance(value, (Timestamp, Duration)):
        return value.ToJsonString()
    if isinstance(value, Message):
        return plain(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def print_document(document: Any, output: Output) -> None:
    """Prints JSON or YAML."""
    typer.echo(_json(document) if output is Output.JSON else _yaml(document), nl=output is Output.JSON)


def print_record(message: Message, output: Output) -> None:
    """Prints one resource; in text a field a line, but those that are empty."""
    fields = plain(message)
    if output is not Output.TEXT:
        print_document(fields, output)
        return
    for name, value in fields.items():
        words = _field_words(value)
        if words:
            typer.echo(f"{name:<27} {words}")


def _field_words(value: Any) -> str:
    if isinstance(value, dict) and "mode" in value:
        excluded = f" without {', '.join(value['excluded_models'])}" if value["excluded_models"] else ""
        return f"{value['mode']} {', '.join(value['models'])}".rstrip() + excluded
    if isinstance(value, dict):
        return ", ".join(pairs(value))
    return ", ".join(value) if isinstance(value, list) else yes(value) if isinstance(value, bool) else str(value)


async def print_list(messages: AsyncIterator[M], columns: Columns[M], output: Output) -> int:
    """Prints a table, or a list of documents. Returns how many there were."""
    count = 0
    rows: list[list[str]] = []
    widths: list[int] = []
    async for message in messages:
        if output is Output.TEXT:
            rows.append([cell(message) for cell in columns.values()])
            if len(rows) == PAGE:
                widths = print_table(columns, rows, widths)
                rows = []
        elif output is Output.JSON:
            typer.echo(f"{',' if count else '['}\n{_json(plain(message))}", nl=False)
        else:
            typer.echo(_yaml([plain(message)]), nl=False)
        count += 1
    if rows:
        print_table(columns, rows, widths)
    elif not count and output is Output.TEXT:
        ERR.print("none", style="dim")
    elif not count:
        typer.echo("[]")
    if count and output is Output.JSON:
        typer.echo("\n]")
    return count


def print_table(headings: Iterable[str], rows: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> list[int]:
    """Prints rows in aligned columns, and a heading unless the rows continue a table with columns of these widths.
    Returns how wide the columns are now."""
    lines = rows if widths else [list(headings), *rows]
    own = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    widths = list(map(max, own, widths or own))
    for line in lines:
        padded = (text + " " * (width - cell_len(text)) for text, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())
    return widths


def _json(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)


def _yaml(document: Any) -> str:
    return str(yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30))


_Dumper: Any = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper
