"""The credentials file of a server: read at the start, and again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from policy_service.config import Config
from policy_service.errors import StartupError
from policy_service.listeners import read_file
from policy_service.services.auth import Credentials, parse_credentials
from policy_service.services.health import HealthService

POLL_S = 1.0
CHECK = "credentials"  # the name of the task and of its health

log = logging.getLogger(__name__)


class CredentialsFile:
    """`current` is what holds; None where none are configured. Raises StartupError."""

    def __init__(self, config: Config) -> None:
        self._config, self._path = config, config.credentials
        self.current: Credentials | None = None
        if self._path is not None:
            self._seen = _identity(self._path)  # before it is read: a change meanwhile is noticed later
            self.current = _read(self._path, config)

    async def follow(self, health: HealthService) -> None:
        """Reads the file again when it changes. One that is wrong changes nothing and is reported."""
        assert self._path is not None  # noqa: S101 - there is nothing to follow without
        while True:
            await asyncio.sleep(POLL_S)
            identity = _identity(self._path)
            if identity == self._seen:
                continue
            self._seen = identity
            try:
                self.current = _read(self._path, self._config)
            except StartupError as error:
                log.error("credentials not read again; the former ones hold", extra={"fields": {"error": str(error)}})
                health.set(CHECK, serving=False)
            else:
                log.info("credentials read again", extra={"fields": {"path": str(self._path)}})
                health.set(CHECK, serving=True)


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _read(path: Path, config: Config) -> Credentials:
    credentials = parse_credentials(read_file(path, "--credentials").decode(errors="replace"), str(path))
    exposed = config.exposed_reads
    if credentials.opens_checks_to_all and exposed and not config.insecure_listen:
        raise StartupError(
            f"{path}: anonymous opens checks to everybody who reaches {exposed[0].text}; "
            "remove it, or allow that with --insecure-listen"
        )
    return credentials
