"""The fleet of the soak: a Redis, an authority and replicas on both feeds, each a process of its own."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

from policy_client import AccessClient, AdminClient
from policy_service.replication.signing import make_keys
from tests.replication.redis_servers import PREFIX, RedisServer
from tests.support.process import PROGRAM, Serving, launch

MAX_STALENESS_S = 3.0


@dataclass
class Member:
    """A process that can be ended in any way and started again at its address."""

    name: str
    database: Path
    options: list[str]
    listen: str = "127.0.0.1:0"
    process: Serving | None = None

    async def start(self) -> None:
        self.process = await (await launch(self.database, *self.options, listen=self.listen)).started()
        self.listen = self.process.target

    async def kill(self) -> None:
        assert self.process is not None
        await self.process.kill()

    async def stop(self) -> None:
        assert self.process is not None
        assert await self.process.stop() == 0, self.process.lines[-5:]

    async def pause(self, seconds: float) -> None:
        assert self.process is not None
        self.process.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.process.signal(signal.SIGCONT)


class Fleet:
    """`replicas` by name; those named `redis-` follow Redis, the others gRPC."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        self.redis, self.folder = redis, folder
        make_keys(folder / "key")
        common = [f"--redis-prefix={PREFIX}"]
        publishing = [f"--publish={redis.url()}", f"--signing-key={folder / 'key'}", "--drain-timeout-s=2"]
        self.authority = Member("authority", folder / "policy.db", [*common, *publishing])
        self.replicas: dict[str, Member] = {}

    async def start(self) -> None:
        await self.authority.start()
        verify = f"--verify-key={self.folder / 'key.pub'}"
        own = ["--role=replica", f"--max-staleness={MAX_STALENESS_S}", f"--redis-prefix={PREFIX}", verify]
        for feed, url in (("redis", self.redis.url()), ("grpc", f"grpc://{self.authority.listen}")):
            for number, more in enumerate(([f"--state-cache={self.folder / feed}.cache"], [])):
                name = f"{feed}-{number}"
                asked = [f"--authority={self.authority.listen}"] if feed == "redis" else []
                options = [*own, f"--follow={url}", *asked, *more]
                self.replicas[name] = Member(name, self.folder / "unused.db", options)
        await asyncio.gather(*(replica.start() for replica in self.replicas.values()))

    async def end(self) -> None:
        for member in (self.authority, *self.replicas.values()):
            if member.process is not None:
                await member.kill()

    async def run(self, *words: str) -> None:
        """Runs the command line on the authority's database."""
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *words,
            f"--database={self.authority.database}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()

    def admin(self) -> AdminClient:
        return AdminClient(self.authority.listen)

    def access(self, member: Member) -> AccessClient:
        return AccessClient(member.listen, timeout_s=5.0)
