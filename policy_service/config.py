"""What `serve` is configured with, validated: one frozen `Config`. Insecure exposure is refused here."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from policy_service.errors import StartupError

DEFAULT_LISTEN = "127.0.0.1:50051"
DEFAULT_ADMIN_LISTEN = "127.0.0.1:50052"


@dataclass(frozen=True, slots=True)
class Address:
    """`HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`, as grpc takes it. Port 0 lets the system choose."""

    text: str

    def __post_init__(self) -> None:
        if self.is_unix:
            valid = len(self.text) > len("unix:")
        else:
            host, _, port = self.text.rpartition(":")
            valid = bool(host) and port.isascii() and port.isdigit() and int(port) <= 65535
            valid = valid and (":" not in host or (host.startswith("[") and host.endswith("]")))
        if not valid:
            raise StartupError(f"{self.text!r} is no address; give HOST:PORT, [IPv6]:PORT or unix:PATH")

    @property
    def is_unix(self) -> bool:
        return self.text.startswith("unix:")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        if self.is_unix:
            return True
        host = self.text.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


@dataclass(frozen=True, slots=True)
class Listener:
    """An address and what is served there."""

    address: Address
    reads: bool
    admin: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The options of `serve`. `database` None keeps everything in memory. Raises StartupError when inconsistent."""

    listen: Address = Address(DEFAULT_LISTEN)
    admin_listen: Address | None = None
    database: Path | None = None
    credentials: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    insecure_listen: bool = False
    log_retention_days: float | None = None
    drain_timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise StartupError("--tls-cert and --tls-key belong together; give both")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise StartupError("--tls-client-ca needs --tls-cert and --tls-key")
        for listener in self.listeners:
            self._refuse_exposure(listener)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """One for everything when the admin address is the read address, else two."""
        default = self.listen if self.listen.is_local else Address(DEFAULT_ADMIN_LISTEN)
        admin = self.admin_listen or default
        if admin == self.listen:
            return (Listener(self.listen, reads=True, admin=True),)
        return (Listener(self.listen, reads=True, admin=False), Listener(admin, reads=False, admin=True))

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
