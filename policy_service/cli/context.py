"""`policy-service context`: named servers, in the configuration file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from policy_service.cli.connection import ConfigOption, Target, complete_context
from policy_service.cli.console import OUT, Exit, fail
from policy_service.cli.contexts import (
    Context,
    ContextError,
    Contexts,
    context_fields,
    default_path,
    read_contexts,
    write_contexts,
)
from policy_service.cli.output import Output, OutputOption, print_document, print_table
from policy_service.domain.names import identifier_problem

app = typer.Typer(help="Named servers, so that commands need no --server.", no_args_is_help=True)
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The context's name.", autocompletion=complete_context)
]


def _file(name: str, words: str) -> Any:
    """Not from the environment: what that names now, for some server, is not to be kept for this one."""
    return typer.Option(name, metavar="FILE", help=words)


@app.command("list")
def list_contexts(config: ConfigOption = None, output: OutputOption = Output.TEXT) -> None:
    """List the contexts; * is the current one."""
    contexts = _read(config)
    items = sorted(contexts.by_name.items())
    if output is Output.TEXT:
        rows = [["*" if name == contexts.current else "", name, context.server] for name, context in items]
        print_table(("", "CONTEXT", "SERVER"), rows)
    else:
        documents = [{"name": name, "current": name == contexts.current} | context_fields(each) for name, each in items]
        print_document(documents, output)


@app.command("set")
def set_context(
    name: NameArgument,
    server: Annotated[str | None, typer.Option(metavar="TARGET", help="HOST:PORT or unix:PATH.")] = None,
    admin_server: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Where AdminService is, if it is not at --server.")
    ] = None,
    token_file: Annotated[Path | None, _file("--token-file", "File with the token to send.")] = None,
    tls_ca: Annotated[Path | None, _file("--tls-ca", "Talk TLS; PEM authorities it may be from.")] = None,
    tls_cert: Annotated[Path | None, _file("--tls-cert", "Talk TLS; PEM certificate to show.")] = None,
    tls_key: Annotated[Path | None, _file("--tls-key", "PEM key of --tls-cert.")] = None,
    config: ConfigOption = None,
) -> None:
    """Make a context, or change one: what is given changes. The first one becomes the current one."""
    contexts = _read(config)
    problem = identifier_problem(name)
    if problem:
        fail(f"the name {name!r} {problem}")
    old = contexts.by_name.get(name)
    if old is None and server is None:
        fail(f"there is no context {name!r} yet; give its --server")
    texts = {"server": server, "admin_server": admin_server}
    files = {"token_file": token_file, "tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key}
    given: dict[str, str | Path] = {key: text for key, text in texts.items() if text is not None}
    given |= {key: file.absolute() for key, file in files.items() if file is not None}
    if server is not None and admin_server is None:
        given["admin_server"] = ""  # the former one belonged to the former server
    new = replace(old or Context(server=""), **given)  # type: ignore[arg-type]
    new = replace(new, admin_server=new.admin_server or None)
    Target(new)  # ends the command when it cannot be used
    current = contexts.current if contexts.by_name else name
    _write(config, Contexts(current, {**contexts.by_name, name: new}))
    _report(name, new, current)


@app.command("use")
def use_context(name: NameArgument, config: ConfigOption = None) -> None:
    """Make a context the current one."""
    contexts = _read(config)
    if name not in contexts.by_name:
        fail(contexts.missing(name), Exit.NOT_FOUND)
    _write(config, replace(contexts, current=name))
    _report(name, contexts.by_name[name], name)


@app.command("delete")
def delete_context(name: NameArgument, config: ConfigOption = None) -> None:
    """Delete a context."""
    contexts = _read(config)
    if name not in contexts.by_name:
        fail(contexts.missing(name), Exit.NOT_FOUND)
    left = {key: context for key, context in contexts.by_name.items() if key != name}
    _write(config, Contexts(None if contexts.current == name else contexts.current, left))
    OUT.print(f"context {name}: deleted")


def _report(name: str, context: Context, current: str | None) -> None:
    servers = context.server + (f", admin at {context.admin_server}" if context.admin_server else "")
    OUT.print(f"context {name}: {servers}" + (" (current)" if name == current else ""))


def _read(config: Path | None) -> Contexts:
    try:
        return read_contexts(config or default_path())
    except ContextError as error:
        fail(str(error))


def _write(config: Path | None, contexts: Contexts) -> None:
    try:
        write_contexts(config or default_path(), contexts)
    except ContextError as error:
        fail(str(error))
