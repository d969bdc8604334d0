"""Which server a command talks to, and how: the options that every such command has, and the configuration file."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import grpc
import typer

from policy_client import (
    TLS,
    Aborted,
    AccessClient,
    AdminClient,
    AlreadyExists,
    NotFound,
    PolicyClientError,
)
from policy_client.access import DEFAULT_RETRY
from policy_client.connection import Connection
from policy_service.cli.console import ERR, Exit, fail
from policy_service.cli.contexts import FILES, Context, ContextError, default_path, read_contexts
from policy_service.cli.files import why_unreadable
from policy_service.cli.options import command_of
from policy_service.v1 import access_pb2

DEFAULT_SERVER = "127.0.0.1:50051"
TIMEOUT_S = 5.0  # a person waits, not a request
P = ParamSpec("P")
_ACCESS_RPCS = access_pb2.DESCRIPTOR.services_by_name["AccessService"].methods_by_name
_PANEL = "Server"


def complete_context(ctx: typer.Context, incomplete: str) -> list[str]:
    """For completion by the shell: the names in the file. It asks no server, and what goes wrong would be written into
    the line that somebody types, so nothing may."""
    with contextlib.suppress(Exception):
        names = read_contexts(Path(ctx.params.get("config") or default_path())).by_name
        return sorted(name for name in names if name.startswith(incomplete))
    return []


def _option(name: str, env: str, words: str, metavar: str, **more: Any) -> Any:
    return typer.Option(
        name, envvar=f"POLICY_SERVICE_{env}", help=words, metavar=metavar, rich_help_panel=_PANEL, **more
    )


ConfigOption = Annotated[
    Path | None,
    _option("--config", "CONFIG", "Configuration file. Default: ~/.config/policy-service/config.yaml.", "FILE"),
]


# Not POLICY_SERVICE_TLS_CERT and _KEY: those are the server's own, and where it runs they may be set.
_ENVIRONMENT = {"token_file": "TOKEN_FILE", "tls_ca": "TLS_CA", "tls_cert": "CLIENT_CERT", "tls_key": "CLIENT_KEY"}


class Target:
    """A server and how to talk to it. Ends the command when the context does not do."""

    def __init__(self, context: Context) -> None:
        self.server = context.server
        self.admin_server = context.admin_server or context.server
        try:
            token = None if context.token_file is None else _token(context.token_file)
            secured = context.tls_ca or context.tls_cert or context.tls_key
            tls = TLS(ca=context.tls_ca, cert=context.tls_cert, key=context.tls_key) if secured else None
            self._options: dict[str, Any] = {"token": token, "tls": tls}
            for server in (self.server, self.admin_server):
                AccessClient(server, **self._options)  # checks the options; it connects to nothing
        except (OSError, ValueError) as error:
            fail(str(error))

    def access(self) -> AccessClient:
        """A client for checks."""
        return AccessClient(self.server, timeout_s=TIMEOUT_S, **self._options)

    def admin(self) -> AdminClient:
        """A client for administration."""
        return AdminClient(self.admin_server, **self._options)

    def replication(self) -> Connection:
        """A bare connection to where ReplicationService is. Close it."""
        return Connection(self.admin_server, channel=None, retry=DEFAULT_RETRY, timeout_s=TIMEOUT_S, **self._options)

    def explain(self, error: PolicyClientError) -> str:
        """The error for a person at a terminal: what it was, and what to do."""
        server = self.server if error.rpc in _ACCESS_RPCS else self.admin_server
        words = error.message
        for violation in error.violations:
            # The message has them all, unless the server shortened it.
            if violation.description not in words:
                words += f"; {violation.field}: {violation.description}"
        if error.may_fail_open:
            return f"no answer from {server}: {words}"
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return f"{server} does not offer {error.rpc}; give the address it is served at with --server"
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            return f"{words} (--token-file, or --tls-cert with --tls-key, says who you are)"
        return words


def _token(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the token file {file} cannot be read: {why_unreadable(error)}")


def exit_status(error: PolicyClientError) -> Exit:
    """What a script is told of the error."""
    if error.may_fail_open:
        return Exit.NO_ANSWER
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    return Exit.CONFLICT if isinstance(error, (Aborted, AlreadyExists)) else Exit.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Which server, and how to talk to it."""

    server: Annotated[
        str | None, _option("--server", "SERVER", f"HOST:PORT or unix:PATH. Default: {DEFAULT_SERVER}.", "TARGET")
    ] = None
    context: Annotated[
        str | None,
        _option("--context", "CONTEXT", "Use this context of the file.", "NAME", autocompletion=complete_context),
    ] = None
    config: ConfigOption = None
    token_file: Annotated[
        Path | None, _option("--token-file", "TOKEN_FILE", "File with the token to send.", "FILE")
    ] = None
    tls_ca: Annotated[
        Path | None, _option("--tls-ca", "TLS_CA", "Talk TLS; PEM authorities the server may be from.", "FILE")
    ] = None
    tls_cert: Annotated[
        Path | None, _option("--tls-cert", "CLIENT_CERT", "Talk TLS; PEM certificate to show.", "FILE")
    ] = None
    tls_key: Annotated[Path | None, _option("--tls-key", "CLIENT_KEY", "PEM key of --tls-cert.", "FILE")] = None

    def target(self) -> Target:
        """What they say. A server that is named is not sent the token of a context, which is for another."""
        if self.server is not None and self.context is not None:
            fail("--server and --context, or POLICY_SERVICE_SERVER and _CONTEXT, each name a server; give one")
        chosen = self._context() if self.server is None else Context(server=self.server)
        files = {key: getattr(self, key) for key in FILES}
        own: dict[str, Any] = {key: path for key, path in files.items() if path is not None}
        for key, path in own.items():
            variable = f"POLICY_SERVICE_{_ENVIRONMENT[key]}"
            if getattr(chosen, key) is not None and str(path) == os.environ.get(variable):
                fail(f"the context and {variable} each say {key}; unset the variable, or name the server with --server")
        return Target(replace(chosen, **own))

    def _context(self) -> Context:
        if self.config is not None and not self.config.exists():
            fail(f"the configuration file {self.config} does not exist")  # and the default server is not meant
        try:
            contexts = read_contexts(self.config or default_path())
            name = contexts.current if self.context is None else self.context
            return Context(server=DEFAULT_SERVER) if name is None else contexts.get(name)
        except ContextError as error:
            fail(str(error))


def on_server(command: Callable[Concatenate[Target, P], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A command line command of an async function whose first argument is the server to talk to: it gets the options
    that say which, and what goes wrong on the way ends it with a message and an exit status."""

    def run(server_options: ServerOptions, **arguments: Any) -> None:
        target = server_options.target()
        try:
            asyncio.run(command(target, **arguments))  # type: ignore[call-arg]
        except PolicyClientError as error:
            fail(target.explain(error), exit_status(error))
        except UnicodeEncodeError:
            fail("what was given is not UTF-8 text")
        except KeyboardInterrupt:
            ERR.print("interrupted")
            raise typer.Exit(Exit.INTERRUPTED) from None

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    first = inspect.Parameter("server_options", inspect.Parameter.KEYWORD_ONLY, annotation=ServerOptions)
    return command_of(run, [*own, first], command)
