"""Connections to one Redis or Valkey. Every call is bounded in time, and what fails is FeedUnavailable, whose text
holds no password."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from policy_service.errors import FeedUnavailable, StartupError

TIMEOUT_S = 5.0
SCHEMES = ("redis", "rediss", "unix")

Word = str | bytes | int

_OPTIONS = {"db", "username", "password", "client_name"}
_TLS_OPTIONS = {
    f"ssl_{name}"
    for name in ("ca_certs", "ca_path", "certfile", "keyfile", "password", "cert_reqs", "check_hostname", "ciphers")
}
_HOW = (
    "give redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], the same with rediss:// for TLS, or unix:///PATH; special "
    "characters of a user or password are written as %XX; the query takes "
    f"{', '.join(sorted(_OPTIONS))} and, with TLS, {', '.join(sorted(_TLS_OPTIONS))}"
)


class RedisLocation:
    """A Redis and the prefix of the keys in it. `text` is for people: no user, no password, no query. Raises
    StartupError, which does not show the URL: any part of one that is wrong may be of its password."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url, self.prefix = url, prefix
        try:
            parts = urlsplit(url)
            _check(parts)
            self.text = _text(parts)
            connection = self.pool(TIMEOUT_S).make_connection()
        except (TypeError, ValueError, RedisError):
            raise StartupError(f"the URL of Redis is not one that can be used; {_HOW}") from None
        if isinstance(connection, SSLConnection):
            try:
                connection.ssl_context.get()
            except (OSError, ValueError) as error:
                problem = getattr(error, "strerror", None) or type(error).__name__
                words = f"the TLS files or options of {self.text} cannot be used ({problem}); check ssl_... in its URL"
                raise StartupError(words) from None

    def __repr__(self) -> str:
        return f"RedisLocation({self.text!r}, {self.prefix!r})"

    def pool(self, timeout_s: float) -> Any:
        """Connects when it is used. Our own options win over the URL's."""
        pool: Any = ConnectionPool.from_url(self.url, protocol=2)  # its types differ between releases
        pool.connection_kwargs.update(
            socket_timeout=None,  # `command` bounds it all; the library's own swallows cancellations on Python 3.11
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # who calls tries again, and looks first at what has become of it
        )
        if pool.connection_class is SSLConnection:
            pool.connection_kwargs.setdefault("ssl_check_hostname", True)
        return pool

    @property
    def secrets(self) -> set[str]:
        """What no text may show."""
        parts = urlsplit(self.url)
        query = parse_qsl(parts.query)
        found = {parts.password or "", *(value for name, value in query if name in ("password", "ssl_password"))}
        return {form for secret in found if secret for form in (secret, unquote(secret))}


class Script:
    """A Lua script, which runs as one step."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha1 = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisConnection:
    """As many connections as there are calls at the same time. `timeout_s` bounds each call, with connecting."""

    def __init__(self, location: RedisLocation, timeout_s: float = TIMEOUT_S) -> None:
        self._location, self._timeout_s = location, timeout_s
        self._client: Any = Redis(connection_pool=location.pool(timeout_s))
        self._client.response_callbacks.clear()  # answers as Redis sends them, with every release of the library

    async def command(self, *words: Word, block_s: float = 0.0) -> Any:
        """Runs a command. `block_s`: how long the command itself waits. Raises FeedUnavailable."""
        bound_s = self._timeout_s + block_s
        try:
            async with asyncio.timeout(bound_s):
                return await self._client.execute_command(*words)
        except NoScriptError:
            raise
        except TimeoutError:
            raise self._unavailable(f"no answer within {bound_s:g} s") from None
        except (RedisError, OSError) as error:
            raise self._unavailable(f"{error}" or type(error).__name__) from None

    async def run(self, script: Script, keys: Sequence[Word], arguments: Sequence[Word]) -> Any:
        """Runs a script. Raises FeedUnavailable."""
        rest = (len(keys), *keys, *arguments)
        try:
            return await self.command("EVALSHA", script.sha1, *rest)
        except NoScriptError:
            return await self.command("EVAL", script.text, *rest)

    def _unavailable(self, problem: str) -> FeedUnavailable:
        for secret in self._location.secrets:
            problem = problem.replace(secret, "***")
        return FeedUnavailable(f"{self._location.text}: {problem}")

    async def close(self) -> None:
        """May be called twice."""
        with contextlib.suppress(RedisError, OSError):  # from who does not say good-bye in time
            await self._client.connection_pool.disconnect()


def _check(parts: SplitResult) -> None:
    """Raises ValueError. What the library would skip in silence is an error: it may be of an unquoted password."""
    options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)) if parts.query else {}
    known = _OPTIONS | (_TLS_OPTIONS if parts.scheme == "rediss" else set())
    if parts.scheme not in SCHEMES or parts.fragment or not options.keys() <= known:
        raise ValueError
    database = parts.path.strip("/")
    if parts.scheme == "unix":
        usable = bool(database) and not parts.hostname and "@" not in parts.path
    else:
        usable = bool(parts.hostname) and (not database or (database.isascii() and database.isdigit()))
    if not usable:
        raise ValueError
    (parts.hostname or "").encode("idna")


def _text(parts: SplitResult) -> str:
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{parts.port or 6379}/{parts.path.strip('/') or 0}"
