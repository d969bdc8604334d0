"""Addresses as grpc takes them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from policy_service.errors import StartupError


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
