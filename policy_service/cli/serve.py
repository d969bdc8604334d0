"""`policy-service serve`: runs the server until SIGTERM or SIGINT, then drains it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from policy_service.config import DEFAULT_ADMIN_LISTEN, DEFAULT_LISTEN, Address, Config
from policy_service.errors import StartupError
from policy_service.logs import set_up_logs
from policy_service.server import Server

DEFAULT_DATABASE = Path("policy-service.db")


def _env(name: str) -> str:
    return f"POLICY_SERVICE_{name}"


def serve(
    listen: Annotated[
        str, typer.Option(envvar=_env("LISTEN"), help="Where checks are answered: HOST:PORT or unix:PATH.")
    ] = DEFAULT_LISTEN,
    admin_listen: Annotated[
        str | None,
        typer.Option(
            envvar=_env("ADMIN_LISTEN"),
            help=f"Where the policy is administered. Default: as --listen when that is local, else "
            f"{DEFAULT_ADMIN_LISTEN}.",
        ),
    ] = None,
    database: Annotated[
        Path, typer.Option(envvar=_env("DATABASE"), help="The SQLite file; made when it is not there.")
    ] = DEFAULT_DATABASE,
    in_memory: Annotated[
        bool, typer.Option("--in-memory", envvar=_env("IN_MEMORY"), help="Keep nothing: no file, all gone at the end.")
    ] = False,
    credentials: Annotated[
        Path | None,
        typer.Option(envvar=_env("CREDENTIALS"), help="YAML file of principals; read again when it changes."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(envvar=_env("TLS_CERT"), help="PEM certificate chain of the server.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(envvar=_env("TLS_KEY"), help="PEM key of the server.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(envvar=_env("TLS_CLIENT_CA"), help="PEM certificates that client certificates must chain to."),
    ] = None,
    insecure_listen: Annotated[
        bool,
        typer.Option(
            "--insecure-listen",
            envvar=_env("INSECURE_LISTEN"),
            help="Let --listen be reached from other machines in plaintext or without credentials.",
        ),
    ] = False,
    log_retention_days: Annotated[
        float | None,
        typer.Option(envvar=_env("LOG_RETENTION_DAYS"), min=0.0, help="Days to keep the audit log. Default: for ever."),
    ] = None,
    drain_timeout_s: Annotated[
        float, typer.Option(envvar=_env("DRAIN_TIMEOUT_S"), min=0.0, help="Seconds that running calls get at the end.")
    ] = 10.0,
) -> None:
    """Start the server."""
    set_up_logs()
    try:
        config = Config(
            listen=Address(listen),
            admin_listen=None if admin_listen is None else Address(admin_listen),
            database=None if in_memory else database,
            credentials=credentials,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            insecure_listen=insecure_listen,
            log_retention_days=log_retention_days,
            drain_timeout_s=drain_timeout_s,
        )
        healthy = asyncio.run(_serve(config))
    except StartupError as error:
        typer.echo(f"policy-service: {error}", err=True)
        raise typer.Exit(2) from None
    if not healthy:
        raise typer.Exit(1)


async def _serve(config: Config) -> bool:
    """Returns False when the server stopped because a part of it failed."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    server = await Server.start(config)
    waiting = [asyncio.create_task(event.wait()) for event in (asked_to_stop, server.failed)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await server.stop()
    return not server.failed.is_set()
