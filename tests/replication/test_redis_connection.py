"""URLs, users, passwords, TLS; and that no text shows a password."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from policy_service.errors import FeedUnavailable, StartupError
from policy_service.replication.redis_connection import RedisConnection, RedisLocation, Script
from tests.replication import origin as origins
from tests.replication.origin import Origin, eventually, followed, publishing
from tests.replication.redis_servers import PREFIX, RedisServer, front, redis_server

SECRET = "s3cr3t/@:?#%"
QUOTED = "s3cr3t%2F%40%3A%3F%23%25"
USERS = (
    "user default off",
    f"user policy-authority on >{SECRET} ~{PREFIX}:* +@read +@write +@scripting +@connection +time",
    f"user policy-replica on >{SECRET} ~{PREFIX}:* +@read +@scripting +@connection +time",
)


@asynccontextmanager
async def connected(url: str, timeout_s: float = 5.0) -> AsyncIterator[RedisConnection]:
    connection = RedisConnection(RedisLocation(url, PREFIX), timeout_s)
    try:
        yield connection
    finally:
        await connection.close()


# URLs

LOCATIONS = {
    "redis://h": "redis://h:6379/0",
    "redis://h:1234/2": "redis://h:1234/2",
    "redis://u:p@h:1/": "redis://h:1/0",
    "rediss://:p@h": "rediss://h:6379/0",
    "redis://[::1]:7": "redis://[::1]:7/0",
    "unix:///run/redis.sock": "unix:///run/redis.sock",
    "unix://u:p@/run/redis.sock?db=3&password=p": "unix:///run/redis.sock",
    "redis://h?client_name=x&username=u&password=p": "redis://h:6379/0",
    "rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false": "rediss://h:6379/0",
}


@pytest.mark.parametrize(("url", "text"), LOCATIONS.items())
def test_a_location_for_people(url: str, text: str) -> None:
    location = RedisLocation(url, "prefix")
    assert location.text == text
    assert repr(location) == f"RedisLocation({text!r}, 'prefix')"


WRONG = (
    "",
    "redis",
    "http://h",
    "redis://",
    "redis:///0",
    "redis://:1234",
    "redis://h:port",
    "redis://h:70000",
    "redis://h/zero",
    "redis://h/0/s3cr3t",
    "redis://h?db=zero",
    "redis://h?db",
    "redis://h?s3cr3t",
    "redis://h?s3cr3t=1",
    "redis://h?socket_timeout=0",
    "redis://h?protocol=3",
    "redis://h?decode_responses=1",
    "redis://h?ssl_cert_reqs=none",
    "rediss://h?ssl_cert_reqs=s3cr3t",
    "redis://h#s3cr3t",
    "redis://:s3cr3t/1@h",
    "redis://:12/s3cr3t@h",
    "redis://user:12/3@h",
    "redis://user:12?s3cr3t@h",
    "redis://user:12#s3cr3t@h",
    "redis://[::1",
    f"redis://{'h' * 64}.example",
    "unix://",
    "unix:///",
    "unix://s3cr3t/run/redis.sock",
    "unix://:s3/cr3t@/run/redis.sock",
)


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(StartupError, match="the URL of Redis is not one that can be used; give redis://") as caught:
        RedisLocation(url, "prefix")
    message = str(caught.value)
    assert not any(part in message for part in ("s3cr3t", "s3/cr3t", "user:12"))
    assert "\n" not in message
    assert caught.value.__suppress_context__


def test_tls_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "garbage").write_text("garbage")
    for name in ("absent", "garbage"):
        with pytest.raises(StartupError, match=r"the TLS files or options of rediss://h:6379/0 cannot be used"):
            RedisLocation(f"rediss://:s3cr3t@h?ssl_ca_certs={tmp_path / name}", "prefix")


# Users and databases


async def test_a_password(redis: RedisServer) -> None:
    await redis.command("CONFIG", "SET", "requirepass", SECRET)
    async with connected(redis.url(password=QUOTED)) as connection:
        assert await connection.command("PING") == b"PONG"
    async with connected(redis.url() + f"?password={QUOTED}") as connection:
        assert await connection.command("PING") == b"PONG"


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_users_with_no_more_rights_than_they_need(kind: str) -> None:
    origin = await Origin.make()
    async with redis_server(kind, *USERS) as redis:
        async with publishing(origin, redis.location(user="policy-authority", password=QUOTED)) as running:
            await eventually(lambda: running.is_well, "publishes well")
            async with origins.redis_feed(redis.location(user="policy-replica", password=QUOTED)) as feed:
                await origin.grow(3)
                await origin.assert_equal(await followed(feed, origin.position))
        assert running.reports == [None]
        async with publishing(origin, redis.location(user="policy-replica", password=QUOTED)) as running:
            await eventually(lambda: bool(running.problem), "reported")
            assert re.search("no permissions|can't run this command", running.problem)


async def test_a_database_number(redis: RedisServer) -> None:
    async with connected(redis.url() + "?db=3") as connection:
        await connection.command("SET", "a", "b")
    assert await redis.keys() == []
    assert b"db3:keys=1" in await redis.command("INFO", "keyspace")


async def test_a_database_number_in_the_path(redis: RedisServer) -> None:
    async with front(redis) as passing, connected(f"redis://127.0.0.1:{passing.port}/4") as connection:
        await connection.command("SET", "a", "b")
    assert b"db4:keys=1" in await redis.command("INFO", "keyspace")


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """The server's side, and the file of who signed its certificate."""
    ca, file = trustme.CA(), tmp_path_factory.mktemp("pki") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context, file


async def test_tls(redis: RedisServer, authority: tuple[ssl.SSLContext, Path], origin: Origin) -> None:
    context, file = authority
    async with front(redis, context) as passing:
        location = RedisLocation(f"rediss://127.0.0.1:{passing.port}?ssl_ca_certs={file}", PREFIX)
        async with publishing(origin, location), origins.redis_feed(location) as feed:
            await origin.grow(3)
            await origin.assert_equal(await followed(feed, origin.position))


@pytest.mark.parametrize(
    ("host", "options", "words"),
    [
        ("127.0.0.1", "", "certificate verify failed"),
        ("localhost", "?ssl_ca_certs={file}", "certificate verify failed: Hostname mismatch"),
    ],
    ids=["unknown authority", "another host"],
)
async def test_tls_that_is_not_to_be_trusted(
    redis: RedisServer, authority: tuple[ssl.SSLContext, Path], host: str, options: str, words: str
) -> None:
    context, file = authority
    async with front(redis, context) as passing:
        url = f"rediss://:{QUOTED}@{host}:{passing.port}{options.format(file=file)}"
        async with connected(url) as connection:
            with pytest.raises(FeedUnavailable, match=words):
                await connection.command("PING")


async def test_plain_text_where_tls_is_expected(redis: RedisServer) -> None:
    async with front(redis) as passing, connected(f"rediss://127.0.0.1:{passing.port}", timeout_s=0.5) as connection:
        with pytest.raises(FeedUnavailable):
            await connection.command("PING")


# Failures


async def test_a_password_is_in_no_text(
    redis: RedisServer, origin: Origin, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    await redis.command("CONFIG", "SET", "requirepass", "another")
    texts: list[str] = []
    for location in (
        redis.location(password=QUOTED),
        redis.location(user="user", password=QUOTED),
        RedisLocation(redis.url() + f"?password={QUOTED}", PREFIX),
    ):
        async with origins.redis_feed(location) as feed, publishing(origin, location) as running:
            with pytest.raises(FeedUnavailable) as caught:
                await feed.head()
            await eventually(lambda running=running: bool(running.problem), "reported")
            texts += [str(caught.value), repr(caught.value), running.problem, repr(location), feed.location, repr(feed)]
            texts.append(repr(vars(feed)["_redis"]))
    await redis.kill()
    async with connected(redis.url(password=QUOTED)) as connection:
        with pytest.raises(FeedUnavailable) as caught:
            await connection.command("PING")
        texts.append(str(caught.value))
    texts += [caplog.text, *capfd.readouterr()]
    texts += [str(getattr(record, "fields", "")) for record in caplog.records]
    assert "invalid username-password pair" in texts[0]
    assert not [text for text in texts if "s3cr3t" in text]


async def test_an_answer_that_repeats_the_password_is_masked(redis: RedisServer) -> None:
    """Servers repeat the words of a command that they do not know."""
    await redis.command("ACL", "SETUSER", "user", "on", f">{SECRET}", "+@all")
    async with connected(redis.url("user", QUOTED)) as connection:
        for form in (SECRET, QUOTED):
            with pytest.raises(FeedUnavailable, match=r"\*\*\*") as caught:
                await connection.command("NO-SUCH-COMMAND", form)
            assert form not in str(caught.value)


async def test_not_a_redis(redis: RedisServer) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server, connected(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}") as connection:
        with pytest.raises(FeedUnavailable):
            await connection.command("PING")


async def test_a_script_is_sent_when_the_server_does_not_know_it(redis: RedisServer) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    async with connected(redis.url()) as connection:
        for _ in range(2):
            assert await connection.run(script, ["key"], [b"\xff"]) == [b"key", b"\xff"]
            await redis.command("SCRIPT", "FLUSH")


async def test_a_script_that_fails(redis: RedisServer) -> None:
    async with connected(redis.url()) as connection:
        await connection.command("SET", "key", "x")
        with pytest.raises(FeedUnavailable, match="WRONGTYPE"):
            await connection.run(Script("return redis.call('XLEN', KEYS[1])"), ["key"], [])


async def test_a_call_ends_in_time_however_the_server_hangs(redis: RedisServer) -> None:
    async with connected(redis.url(), timeout_s=0.2) as connection:
        await connection.command("PING")
        redis.pause()
        for _ in range(2):
            with pytest.raises(FeedUnavailable, match=r"no answer within 0\.2 s"):
                await connection.command("PING")
        redis.resume()
        async with asyncio.timeout(20):
            while True:
                try:
                    await connection.command("PING")
                    break
                except FeedUnavailable:
                    continue


async def test_a_call_can_be_cancelled_at_any_moment(redis: RedisServer) -> None:
    async def call_on_and_on(connection: RedisConnection) -> None:
        while True:
            await connection.command("PING")

    async with connected(redis.url()) as connection:
        for round_ in range(300):
            task = asyncio.create_task(call_on_and_on(connection))
            for _ in range(round_ % 30):
                await asyncio.sleep(0)
            task.cancel()
            async with asyncio.timeout(20):
                await asyncio.wait([task])
            assert task.cancelled()
