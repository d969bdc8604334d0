"""How the commands reach a server, and how they tell what went wrong. Standard output is for answers, standard error
for the rest; the exit status of a failure is 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import grpc
import typer
from rich.console import Console

from policy_client import TLS, AccessClient, AdminClient, PolicyClientError
from policy_client.access import DEFAULT_RETRY
from policy_client.connection import Connection

DEFAULT_SERVER = "127.0.0.1:50051"
EXIT_FAILED = 2
# What is printed are names and messages: nothing in them is markup, and a line stays a line for grep.
OUT = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
ERR = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)

ServerOption = Annotated[
    str, typer.Option("--server", envvar="POLICY_SERVICE_SERVER", metavar="TARGET", help="HOST:PORT or unix:PATH.")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="POLICY_SERVICE_TOKEN_FILE", help="File with the token to send."),
]
TlsCaOption = Annotated[
    Path | None,
    typer.Option("--tls-ca", envvar="POLICY_SERVICE_TLS_CA", help="Talk TLS; PEM authorities the server may be from."),
]
# Not POLICY_SERVICE_TLS_CERT and _KEY: those are the server's own, and where it runs they may be set.
TlsCertOption = Annotated[
    Path | None,
    typer.Option("--tls-cert", envvar="POLICY_SERVICE_CLIENT_CERT", help="Talk TLS; PEM certificate to show."),
]
TlsKeyOption = Annotated[
    Path | None,
    typer.Option("--tls-key", envvar="POLICY_SERVICE_CLIENT_KEY", help="PEM key of --tls-cert."),
]


class Target:
    """A server and how to talk to it. Ends the command with status 2 when the options do not do."""

    def __init__(
        self, server: str, token_file: Path | None, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None
    ) -> None:
        self.server = server
        try:
            token = None if token_file is None else token_file.read_text().strip()
            tls = TLS(ca=tls_ca, cert=tls_cert, key=tls_key) if tls_ca or tls_cert or tls_key else None
            self._options: dict[str, Any] = {"token": token, "tls": tls}
            AccessClient(server, **self._options)  # checks the options; it connects to nothing
        except (OSError, ValueError) as error:
            fail(str(error))

    def access(self, timeout_s: float) -> AccessClient:
        """A client for checks."""
        return AccessClient(self.server, timeout_s=timeout_s, **self._options)

    def admin(self) -> AdminClient:
        """A client for administration."""
        return AdminClient(self.server, **self._options)

    def connection(self, timeout_s: float) -> Connection:
        """A bare connection, for other services. Close it."""
        return Connection(self.server, channel=None, retry=DEFAULT_RETRY, timeout_s=timeout_s, **self._options)

    def explain(self, error: PolicyClientError) -> str:
        """The error for a person at a terminal: what it was, and what to do."""
        words = error.message
        for violation in error.violations:
            # The message has them all, unless the server shortened it.
            if violation.description not in words:
                words += f"; {violation.field}: {violation.description}"
        if error.may_fail_open:
            return f"no answer from {self.server}: {words}"
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return f"{self.server} does not offer {error.rpc}; give the address it is served at with --server"
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            return f"{words} (--token-file, or --tls-cert with --tls-key, says who you are)"
        return words


def fail(message: str) -> NoReturn:
    """Ends the command."""
    ERR.print(f"policy-service: {message}", style="red")
    raise typer.Exit(EXIT_FAILED)
