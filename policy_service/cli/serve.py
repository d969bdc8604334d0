"""`policy-service serve`: runs the server until SIGTERM or SIGINT, then drains it."""

from __future__ import annotations

import asyncio
import inspect
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from policy_service.addresses import Address
from policy_service.cli.options import command_of
from policy_service.config import DEFAULT_ADMIN_LISTEN, DEFAULT_LISTEN, AuthorityAccess, Config
from policy_service.errors import StartupError
from policy_service.logs import set_up_logs
from policy_service.replication.following import DEFAULT_PREFIX, Follow
from policy_service.server import Server

DEFAULT_DATABASE = Path("policy-service.db")


class Role(StrEnum):
    """What an instance is."""

    AUTHORITY = "authority"
    REPLICA = "replica"


class WhenStale(StrEnum):
    """What a replica does with checks while its policy is stale."""

    SERVE = "serve"
    REFUSE = "refuse"


def _env(name: str) -> str:
    return f"POLICY_SERVICE_{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What `serve` takes."""

    listen: Annotated[
        str, typer.Option(envvar=_env("LISTEN"), help="Where checks are answered: HOST:PORT or unix:PATH.")
    ] = DEFAULT_LISTEN
    admin_listen: Annotated[
        str | None,
        typer.Option(
            envvar=_env("ADMIN_LISTEN"),
            help=f"Where the policy is administered. Default: as --listen when that is local, else "
            f"{DEFAULT_ADMIN_LISTEN}.",
        ),
    ] = None
    database: Annotated[
        Path, typer.Option(envvar=_env("DATABASE"), help="The SQLite file; made when it is not there.")
    ] = DEFAULT_DATABASE
    in_memory: Annotated[
        bool, typer.Option("--in-memory", envvar=_env("IN_MEMORY"), help="Keep nothing: no file, all gone at the end.")
    ] = False
    credentials: Annotated[
        Path | None,
        typer.Option(envvar=_env("CREDENTIALS"), help="YAML file of principals; read again when it changes."),
    ] = None
    ext_authz_config: Annotated[
        Path | None,
        typer.Option(envvar=_env("EXT_AUTHZ_CONFIG"), help="YAML file that says how Envoy's ext_authz is answered."),
    ] = None
    tls_cert: Annotated[
        Path | None, typer.Option(envvar=_env("TLS_CERT"), help="PEM certificate chain of the server.")
    ] = None
    tls_key: Annotated[Path | None, typer.Option(envvar=_env("TLS_KEY"), help="PEM key of the server.")] = None
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(envvar=_env("TLS_CLIENT_CA"), help="PEM certificates that client certificates must chain to."),
    ] = None
    insecure_listen: Annotated[
        bool,
        typer.Option(
            "--insecure-listen",
            envvar=_env("INSECURE_LISTEN"),
            help="Let --listen be reached from other machines in plaintext or without credentials.",
        ),
    ] = False
    data_plane: Annotated[
        str | None,
        typer.Option(
            envvar=_env("DATA_PLANE"),
            metavar="HOST:PORT",
            help="Where the fast data plane answers checks, too; needs the extra `dataplane`.",
        ),
    ] = None
    data_plane_processes: Annotated[
        int,
        typer.Option(envvar=_env("DATA_PLANE_PROCESSES"), min=1, help="Its processes, which share the port."),
    ] = 1
    log_retention_days: Annotated[
        float | None,
        typer.Option(envvar=_env("LOG_RETENTION_DAYS"), min=0.0, help="Days to keep the audit log. Default: for ever."),
    ] = None
    drain_timeout_s: Annotated[
        float, typer.Option(envvar=_env("DRAIN_TIMEOUT_S"), min=0.0, help="Seconds that running calls get at the end.")
    ] = 10.0
    publish: Annotated[
        str | None,
        typer.Option(envvar=_env("PUBLISH"), metavar="URL", help="Redis to publish every change to, for replicas."),
    ] = None
    signing_key: Annotated[
        Path | None,
        typer.Option(envvar=_env("SIGNING_KEY"), help="PEM private key that signs what followers get; see keygen."),
    ] = None
    redis_prefix: Annotated[
        str, typer.Option(envvar=_env("REDIS_PREFIX"), help="What the keys in Redis begin with.")
    ] = DEFAULT_PREFIX
    role: Annotated[
        Role, typer.Option(envvar=_env("ROLE"), help="The authority owns the database; a replica follows one.")
    ] = Role.AUTHORITY
    follow: Annotated[
        str | None,
        typer.Option(
            envvar=_env("FOLLOW"),
            metavar="URL",
            help="What a replica follows: redis://..., rediss://..., unix://... or grpc://HOST:PORT.",
        ),
    ] = None
    authority: Annotated[
        str | None,
        typer.Option(
            envvar=_env("AUTHORITY"),
            metavar="HOST:PORT",
            help="Where the authority's ReplicationService is, for a replica that follows Redis.",
        ),
    ] = None
    verify_key: Annotated[
        Path | None,
        typer.Option(envvar=_env("VERIFY_KEY"), help="PEM public key; nothing that it did not sign is taken."),
    ] = None
    trust_redis: Annotated[
        bool,
        typer.Option(
            "--trust-redis", envvar=_env("TRUST_REDIS"), help="Follow Redis without a key: its writers write policy."
        ),
    ] = False
    state_cache: Annotated[
        Path | None,
        typer.Option(envvar=_env("STATE_CACHE"), help="File that keeps a replica's policy over a restart."),
    ] = None
    max_staleness: Annotated[
        float,
        typer.Option(envvar=_env("MAX_STALENESS"), metavar="SECONDS", help="Beyond this age a policy is stale."),
    ] = 10.0
    when_stale: Annotated[
        WhenStale, typer.Option(envvar=_env("WHEN_STALE"), help="Whether stale answers are given, marked, or refused.")
    ] = WhenStale.SERVE
    max_policy_age: Annotated[
        float,
        typer.Option(envvar=_env("MAX_POLICY_AGE"), metavar="SECONDS", help="Beyond this age checks are refused."),
    ] = 86_400.0
    revision_wait: Annotated[
        float,
        typer.Option(
            envvar=_env("REVISION_WAIT"), min=0.0, metavar="SECONDS", help="How long at_least_revision is waited for."
        ),
    ] = 2.0
    follow_token_file: Annotated[
        Path | None, typer.Option(envvar=_env("FOLLOW_TOKEN_FILE"), help="File with the token for the authority.")
    ] = None
    follow_tls_ca: Annotated[
        Path | None, typer.Option(envvar=_env("FOLLOW_TLS_CA"), help="Talk TLS to the authority; PEM authorities.")
    ] = None
    follow_tls_cert: Annotated[
        Path | None, typer.Option(envvar=_env("FOLLOW_TLS_CERT"), help="PEM certificate to show to the authority.")
    ] = None
    follow_tls_key: Annotated[
        Path | None, typer.Option(envvar=_env("FOLLOW_TLS_KEY"), help="PEM key of --follow-tls-cert.")
    ] = None

    def config(self) -> Config:
        """Raises StartupError for options that do not go together."""
        return Config(
            listen=Address(self.listen),
            admin_listen=None if self.admin_listen is None else Address(self.admin_listen),
            database=None if self.in_memory else self.database,
            credentials=self.credentials,
            ext_authz_config=self.ext_authz_config,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            tls_client_ca=self.tls_client_ca,
            insecure_listen=self.insecure_listen,
            data_plane=None if self.data_plane is None else Address(self.data_plane),
            data_plane_processes=self.data_plane_processes,
            log_retention_days=self.log_retention_days,
            drain_timeout_s=self.drain_timeout_s,
            follow=self._followed(),
            authority_access=AuthorityAccess(
                token_file=self.follow_token_file,
                tls_ca=self.follow_tls_ca,
                tls_cert=self.follow_tls_cert,
                tls_key=self.follow_tls_key,
            ),
            publish=self.publish,
            redis_prefix=self.redis_prefix,
            signing_key=self.signing_key,
        )

    def _followed(self) -> Follow | None:
        if self.role is Role.AUTHORITY:
            self._refuse_replicas_options()
            return None
        if self.follow is None:
            raise StartupError("--role replica needs --follow with what to follow")
        return Follow.of(
            self.follow,
            authority=self.authority,
            redis_prefix=self.redis_prefix,
            verify_key=self.verify_key,
            trust_redis=self.trust_redis,
            state_cache=self.state_cache,
            max_staleness_s=self.max_staleness,
            max_policy_age_s=self.max_policy_age,
            refuse_when_stale=self.when_stale is WhenStale.REFUSE,
            revision_wait_s=self.revision_wait,
        )

    def _refuse_replicas_options(self) -> None:
        for name in ("follow", "authority", "verify_key", "state_cache", "trust_redis"):
            if getattr(self, name):
                option = f"--{name.replace('_', '-')}"
                raise StartupError(f"{option} goes with --role replica; an authority follows nobody")


def _serve_with(options: ServeOptions) -> None:
    """Start the server: an authority with a database, or a replica that follows one."""
    set_up_logs()
    try:
        healthy = asyncio.run(_serve(options.config()))
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
    server = await Server.start(config, owns_process=True)
    waiting = [asyncio.create_task(event.wait()) for event in (asked_to_stop, server.failed)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await server.stop()
    return not server.failed.is_set()


serve = command_of(_serve_with, inspect.signature(_serve_with, eval_str=True).parameters.values(), _serve_with)
