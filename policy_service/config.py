"""What `serve` is configured with, validated: one frozen `Config`. Insecure exposure is refused here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from policy_service.addresses import Address
from policy_service.errors import StartupError
from policy_service.replication.following import DEFAULT_PREFIX, REDIS_SCHEMES, Follow

DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_ADMIN_LISTEN = "127.0.0.1:50052"
_LISTEN = Address(DEFAULT_LISTEN)


@dataclass(frozen=True, slots=True)
class Listener:
    """An address and what is served there."""

    address: Address
    reads: bool
    admin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityAccess:
    """How a replica shows an authority who it is, and knows who answers."""

    token_file: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The options of `serve`. `database` None keeps everything in memory; with `follow` this is a replica, which has
    none. Raises StartupError when inconsistent."""

    listen: Address = _LISTEN
    admin_listen: Address | None = None
    database: Path | None = None
    credentials: Path | None = None
    ext_authz_config: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    insecure_listen: bool = False
    data_plane: Address | None = None
    data_plane_processes: int = 1
    log_retention_days: float | None = None
    drain_timeout_s: float = 10.0
    follow: Follow | None = None
    authority_access: AuthorityAccess = AuthorityAccess()
    publish: str | None = None
    redis_prefix: str = DEFAULT_PREFIX
    signing_key: Path | None = None

    def __post_init__(self) -> None:
        if self.publish is not None and self.publish.partition("://")[0] not in REDIS_SCHEMES:
            raise StartupError("--publish takes redis://, rediss:// or unix://")
        if self.follow is not None and (self.publish is not None or self.signing_key is not None):
            raise StartupError("--publish and --signing-key are the authority's; a replica publishes nothing")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise StartupError("--tls-cert and --tls-key belong together; give both")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise StartupError("--tls-client-ca needs --tls-cert and --tls-key")
        for listener in self.listeners:
            self._refuse_exposure(listener)
        if self.data_plane is not None:
            if self.data_plane.is_unix:
                raise StartupError("--data-plane is no Unix socket; give HOST:PORT")
            self._refuse_exposure(Listener(self.data_plane, reads=True, admin=False))
        if self.data_plane_processes < 1:
            raise StartupError("--data-plane-processes is less than 1")

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """One for everything when the admin address is the read address, else two."""
        default = self.listen if self.listen.is_local else Address(DEFAULT_ADMIN_LISTEN)
        admin = self.admin_listen or default
        if admin == self.listen:
            return (Listener(self.listen, reads=True, admin=True),)
        return (Listener(self.listen, reads=True, admin=False), Listener(admin, reads=False, admin=True))

    @property
    def exposed_reads(self) -> list[Address]:
        """Where checks are answered for other machines."""
        addresses = [listener.address for listener in self.listeners if listener.reads]
        if self.data_plane is not None:
            addresses.append(self.data_plane)
        return [address for address in addresses if not address.is_local]

    @property
    def has_tls(self) -> bool:
        return self.tls_cert is not None

    def _refuse_exposure(self, listener: Listener) -> None:
        if listener.address.is_local or (self.has_tls and self.credentials is not None):
            return
        missing = [
            option
            for option, given in (
                ("--credentials", self.credentials is not None),
                ("--tls-cert and --tls-key", self.has_tls),
            )
            if not given
        ]
        where = f"{listener.address.text} is reached from other machines and needs {' and '.join(missing)}"
        if listener.admin:
            raise StartupError(f"{where}, since AdminService is served there; or listen on loopback")
        if not self.insecure_listen:
            raise StartupError(f"{where}; or allow checks without them with --insecure-listen")
