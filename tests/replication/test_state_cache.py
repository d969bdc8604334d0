"""The disk cache: what is read back is what was written, or nothing, and no disk stops the replica."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy_service.domain.changes import Position
from policy_service.domain.feed import ChangePart, Manifest, checksum
from policy_service.errors import Untrusted
from policy_service.replication import cache as cache_module
from policy_service.replication.cache import MAGIC, Cached, StateCache
from policy_service.replication.replica import Condition, Replica
from tests.replication.feeds import Chronicle, FaultyFeed, caught_up, following, in_no_time, now, replica_of, until
from tests.store.support import dump, member, model, only, team

POSITION = Position("e", 7, "1" * 64, "2" * 32)
CHUNKS = [b"[]", b"chunk", b"x" * 100]
MANIFEST = Manifest(
    position=POSITION, ancestors=("d",), checksums=tuple(checksum(chunk) for chunk in CHUNKS), signature=b"\x00sig"
)
NEXT = POSITION._replace(revision=8)
PARTS = [
    ChangePart(position=NEXT, previous_hash="1" * 64, last=False, payload=b"p0", signature=b"s"),
    ChangePart(position=NEXT, previous_hash="1" * 64, part=1, payload=b"", signature=b""),
]
NOTHING = Manifest(position=Position("e", 0, "0" * 64, "0" * 32), checksums=(checksum(b"[]"),))


async def written(path: Path, parts: list[ChangePart] = PARTS, age_s: float | None = 5.0) -> bytes:
    """A cache with everything in it; its content."""
    cache = StateCache(path)
    cache.begin(MANIFEST)
    for chunk in CHUNKS:
        cache.chunk(chunk)
    await cache.commit()
    for part in parts:
        cache.append(part)
    if age_s is not None:
        cache.mark(age_s)
    cache.close()
    return path.read_bytes()


async def content(cached: Cached | None) -> tuple[Manifest, list[bytes], list[ChangePart]] | None:
    """What of it can be compared."""
    if cached is None:
        return None
    return cached.snapshot.manifest, [chunk async for chunk in cached.snapshot.chunks], cached.parts


def files(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


async def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cache"
    written_content = await written(path)
    cached = StateCache(path).read()
    assert cached is not None
    assert await content(cached) == (MANIFEST, CHUNKS, PARTS)
    assert cached.end == len(written_content)
    assert 0 < cached.journal_bytes < cached.end
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert files(path) == {"cache"}


async def test_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert StateCache(tmp_path / "folder" / "cache").read() is None
    assert caplog.records == []


async def test_a_file_that_others_can_read_is_not_left_so(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    for name in ("cache", "cache.new"):
        (tmp_path / name).write_bytes(b"from before")
        (tmp_path / name).chmod(0o666)
    await written(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    cache = StateCache(path)
    cached = cache.read()
    assert cached is not None
    cache.resume(cached)
    cache.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_stands_where_the_new_file_goes_is_not_followed(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"somebody's")
    (tmp_path / "cache.new").symlink_to(elsewhere)
    await written(path)
    assert elsewhere.read_bytes() == b"somebody's"
    assert await content(StateCache(path).read()) == (MANIFEST, CHUNKS, PARTS)


async def test_a_restart_goes_on_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    await written(path, PARTS[:1])
    torn = cache_module._frame(b"p", b"x" * 1_000)[:-1]
    path.write_bytes(path.read_bytes() + torn)
    cache = StateCache(path)
    cached = cache.read()
    assert cached is not None
    cache.resume(cached)
    cache.append(PARTS[1])
    cache.close()
    assert await content(StateCache(path).read()) == (MANIFEST, CHUNKS, PARTS)


async def test_a_torn_tail_is_what_a_crash_leaves(tmp_path: Path) -> None:
    """Cut anywhere, the file is worth what is whole in it, and nothing without the whole snapshot."""
    path = tmp_path / "cache"
    whole = await written(path, PARTS, None)
    snapshot_bytes = len(whole) - sum(len(cache_module._frame(*part_frame(part))) for part in PARTS)
    worth: list[int | None] = []
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        cached = StateCache(path).read()
        worth.append(None if cached is None else len(cached.parts))
        assert path.exists() == (cached is not None), "what is worth nothing is set aside"
        if cached is not None:
            assert await content(cached) == (MANIFEST, CHUNKS, PARTS[: len(cached.parts)])
    assert worth[:snapshot_bytes] == [None] * snapshot_bytes
    assert set(worth[snapshot_bytes:]) == {0, 1, 2}
    assert worth[-1] == 2


@pytest.mark.parametrize("bit", [0x01, 0x80])
async def test_no_damaged_byte_is_overlooked(tmp_path: Path, bit: int, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache"
    whole = await written(path)
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes((whole[at] ^ bit,)) + whole[at + 1 :])
        caplog.clear()
        assert StateCache(path).read() is None, f"byte {at} of {len(whole)}"
        assert [record.getMessage() for record in caplog.records] == ["the state cache is not used"]
        assert files(path) == {"cache.damaged"}


@settings(max_examples=200, deadline=None, database=None)
@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_no_cache(tmp_path_factory: pytest.TempPathFactory, garbage: bytes, has_magic: bool) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage"
    path.write_bytes((MAGIC if has_magic else b"") + garbage)
    assert StateCache(path).read() is None


def framed(*frames: tuple[bytes, bytes]) -> bytes:
    return MAGIC + b"".join(cache_module._frame(kind, body) for kind, body in frames)


def part_frame(part: ChangePart) -> tuple[bytes, bytes]:
    return b"p", cache_module._joined(part.header, part.signature, part.payload)


def manifest_frame(manifest: Manifest) -> tuple[bytes, bytes]:
    return b"m", cache_module._joined(manifest.header, manifest.signature)


NEWER = part_frame(replace(PARTS[0], format=99))


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [(b"c", b"[]")],
        [manifest_frame(MANIFEST)],
        [(b"m", b"")],
        [(b"m", b"\xff" * 8)],
        [(b"m", cache_module._joined(b"{}", b""))],
        [manifest_frame(replace(MANIFEST, format=99)), *((b"c", chunk) for chunk in CHUNKS)],
        [manifest_frame(MANIFEST), *((b"c", chunk) for chunk in CHUNKS), (b"f", b"no time")],
        [manifest_frame(MANIFEST), *((b"c", chunk) for chunk in CHUNKS), NEWER],
        [manifest_frame(MANIFEST), *((b"c", chunk) for chunk in CHUNKS), (b"p", b"\x00\x00")],
    ],
    ids=["empty", "no manifest", "no chunks", "short", "long", "no header", "newer", "no time", "newer part", "part"],
)
def test_frames_that_are_whole_and_make_no_sense(tmp_path: Path, frames: list[tuple[bytes, bytes]]) -> None:
    path = tmp_path / "cache"
    path.write_bytes(framed(*frames))
    assert StateCache(path).read() is None
    assert files(path) == {"cache.damaged"}


# Writing


async def test_what_is_begun_is_not_the_cache_until_it_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    before = await written(path)
    cache = StateCache(path)
    cache.begin(replace(MANIFEST, position=POSITION._replace(revision=9)))
    cache.chunk(CHUNKS[0])
    assert path.read_bytes() == before
    cache.begin(replace(MANIFEST, checksums=(checksum(b"[]"),)))
    cache.chunk(b"[]")
    cache.append(PARTS[0])
    assert path.read_bytes() == before
    await cache.commit()
    cache.append(PARTS[1])
    cache.close()
    assert await content(StateCache(path).read()) == (replace(MANIFEST, checksums=(checksum(b"[]"),)), [b"[]"], PARTS)
    assert files(path) == {"cache"}


@pytest.mark.parametrize("commits", [False, True])
async def test_a_kill_leaves_the_old_file_or_the_new_one(tmp_path: Path, commits: bool) -> None:
    path = tmp_path / "cache"
    await written(path)
    program = f"""
import asyncio, os, signal
from pathlib import Path
from tests.replication.test_state_cache import MANIFEST, PARTS, StateCache, replace
cache = StateCache(Path({str(path)!r}))
cache.begin(replace(MANIFEST, checksums=()))
cache.append(PARTS[0])
if {commits}:
    asyncio.run(cache.commit())
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    kept_content = await content(StateCache(path).read())
    assert kept_content == ((replace(MANIFEST, checksums=()), [], PARTS[:1]) if commits else (MANIFEST, CHUNKS, PARTS))
    await written(path)
    assert files(path) == {"cache"}, "what the killed one had begun is overwritten"


def blocked_by_a_file(path: Path) -> None:
    path.parent.write_bytes(b"")


def blocked_by_a_directory(path: Path) -> None:
    (path / "something").mkdir(parents=True)


def blocked_where_it_is_begun(path: Path) -> None:
    (path.with_name("cache.new") / "something").mkdir(parents=True)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process can grow beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("block", [blocked_by_a_file, blocked_by_a_directory, blocked_where_it_is_begun])
async def test_a_path_that_cannot_be_used(tmp_path: Path, block: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "folder" / "cache"
    block(path)
    cache = StateCache(path)
    assert cache.read() is None
    for _ in range(2):
        cache.begin(MANIFEST)
        cache.chunk(CHUNKS[0])
        cache.append(PARTS[0])
        await cache.commit()
        cache.append(PARTS[0])
        cache.mark(1.0)
        assert not cache.has_outgrown
    cache.close()
    assert {record.getMessage() for record in caplog.records} == {"the state cache is left alone"}
    if path.parent.is_dir():
        assert not (path.parent / "cache.new").is_file(), "nothing is left over"


@pytest.mark.parametrize("fits", ["nothing", "the begin", "the snapshot"])
async def test_a_disk_that_is_full(tmp_path: Path, fits: str) -> None:
    path = tmp_path / "cache"
    big = replace(PARTS[0], payload=b"x" * 200_000)
    before = await written(path, PARTS)
    cache = StateCache(path)
    with disk_of({"nothing": 0, "the begin": 70_000, "the snapshot": 100_000}[fits]):
        cache.begin(replace(MANIFEST, checksums=(checksum(b"y" * 80_000),)))
        cache.chunk(b"y" * 80_000)
        await cache.commit()
        cache.append(big)
        cache.append(PARTS[0])
        cache.mark(1.0)
    cache.append(PARTS[0])
    cache.close()
    if fits != "the snapshot":
        assert path.read_bytes() == before
    else:
        kept_content = await content(StateCache(path).read())
        assert kept_content is not None
        assert kept_content[2] == [], "nothing comes after what was torn"
    assert files(path) == {"cache"}


async def test_outgrown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for a new snapshot, over a restart too, and no longer once one is begun, whether that can be written or
    not."""
    path = tmp_path / "cache"
    monkeypatch.setattr(cache_module, "MAX_JOURNAL_BYTES", 600)
    await written(path)
    cache = StateCache(path)
    cached = cache.read()
    assert cached is not None
    cache.resume(cached)
    assert not cache.has_outgrown
    cache.append(PARTS[0])
    cache.append(PARTS[0])
    assert cache.has_outgrown
    cache.close()
    cache = StateCache(path)
    cached = cache.read()
    assert cached is not None
    cache.resume(cached)
    assert cache.has_outgrown
    (tmp_path / "cache.new" / "something").mkdir(parents=True)
    cache.begin(MANIFEST)
    assert not cache.has_outgrown


async def test_marks_come_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache"
    cache = StateCache(path)
    cache.begin(MANIFEST)
    cache.mark(1.0)
    cache.chunk(b"[]")
    await cache.commit()
    sizes = [path.stat().st_size]
    for _ in range(5):
        cache.mark(1.0)
        sizes.append(path.stat().st_size)
    assert len(set(sizes)) == 2, "the first one only"
    monkeypatch.setattr(cache_module, "MARK_S", -1.0)
    cache.mark(1.0)
    assert path.stat().st_size > sizes[-1]
    cache.close()


# A replica with a cache


@asynccontextmanager
async def restarted(origin: Chronicle, path: Path, **fields: Any) -> AsyncIterator[Replica]:
    """A replica that has begun from its cache, and may follow a feed that is down."""
    feed, cache = FaultyFeed(origin), StateCache(path)
    feed.is_down = True
    replica = replica_of(feed, cache=cache, **fields)
    await replica.begin()
    yield replica
    cache.close()


async def found(origin: Chronicle, path: Path) -> dict[str, Any]:
    """All that a restart would serve."""
    async with restarted(origin, path) as replica:
        assert replica.state is not None
        return dump(replica.state)


async def kept(path: Path) -> Chronicle:
    """What an authority had while a replica with a cache followed it, and the set after the snapshot."""
    origin = await Chronicle.start(team("t"), member("t", "ann", only("a")), model("a"))
    async with following(replica_of(FaultyFeed(origin), cache=StateCache(path))) as replica:
        await caught_up(replica, origin)
        await origin.put(member("t", "bob", only("a", "b")))
        await caught_up(replica, origin)
    return origin


@in_no_time
async def test_a_restart_with_nobody_there_serves_at_once_and_is_stale(tmp_path: Path) -> None:
    origin = await kept(tmp_path / "cache")
    async with restarted(origin, tmp_path / "cache") as replica:
        assert replica.state is not None
        assert dump(replica.state) == dump(origin.state)
        assert (replica.condition, replica.age_s) == (Condition.STALE, None)
        async with following(replica):
            await asyncio.sleep(100)
        assert replica.condition is Condition.STALE
        assert replica.failure is not None


@in_no_time
async def test_a_restart_goes_on_without_a_snapshot(tmp_path: Path) -> None:
    origin = await kept(tmp_path / "cache")
    await origin.put(model("later"))
    feed = FaultyFeed(origin)
    replica = replica_of(feed, cache=StateCache(tmp_path / "cache"))
    await replica.begin()
    async with following(replica):
        await caught_up(replica, origin)
        await origin.put(model("later still"))
        await caught_up(replica, origin)
    assert feed.calls["snapshot"] == 0
    assert await found(origin, tmp_path / "cache") == dump(origin.state), "what came since is in the file"


@in_no_time
async def test_a_restart_after_the_log_was_trimmed_or_the_epoch_changed(tmp_path: Path) -> None:
    for change in ("trimmed", "epoch"):
        path = tmp_path / change
        origin = await kept(path)
        if change == "trimmed":
            await origin.put(model("b"))
            await origin.forget_log(model("c"))
        else:
            await origin.begin_epoch()
        feed = FaultyFeed(origin)
        replica = replica_of(feed, cache=StateCache(path))
        await replica.begin()
        async with following(replica):
            await caught_up(replica, origin)
        assert feed.calls["snapshot"] == 1
        assert await found(origin, path) == dump(origin.state)


@in_no_time
async def test_a_policy_ages_over_restarts(tmp_path: Path) -> None:
    """It may be used for 50 s at most; the file says that it was 40 s old."""
    path = tmp_path / "cache"
    origin = await kept(path)
    for age_s, is_too_old in ((40.0, False), (60.0, True)):
        cache = StateCache(path)
        cached = cache.read()
        assert cached is not None
        cache.resume(cached)
        cache.mark(age_s)
        cache.close()
        for _ in range(2):
            async with restarted(origin, path, max_policy_age_s=50.0) as replica:
                assert replica.is_too_old is is_too_old
                await asyncio.sleep(20)
                assert replica.is_too_old


@in_no_time
async def test_a_policy_of_unknown_age_is_as_old_as_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody ever answered for a head: no restart makes it younger."""
    path = tmp_path / "cache"
    times = iter([1e9, *([1e9 + 60] * 10)])
    monkeypatch.setattr(cache_module.time, "time", lambda: next(times))
    await written_empty(path)
    async with restarted(await Chronicle.start(), path, max_policy_age_s=50.0) as replica:
        assert replica.state is not None
        assert replica.is_too_old


async def written_empty(path: Path) -> None:
    """The cache of a policy with nothing in it."""
    cache = StateCache(path)
    cache.begin(NOTHING)
    cache.chunk(b"[]")
    await cache.commit()
    cache.close()


@in_no_time
async def test_an_old_policy_is_known_to_be_old_after_a_restart(tmp_path: Path) -> None:
    """The feed holds what an authority wrote long ago, and says so; then the replica restarts, and the feed is gone."""
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin, authoritative=False)
    feed.show(origin.copied())
    await asyncio.sleep(1_000)
    replica = replica_of(feed, cache=StateCache(tmp_path / "cache"), max_policy_age_s=500.0)
    async with following(replica):
        await until(lambda: replica.age_s is not None)
        assert replica.is_too_old
    async with restarted(origin, tmp_path / "cache", max_policy_age_s=500.0) as again:
        assert again.state is not None
        assert again.is_too_old


@in_no_time
async def test_a_cache_that_is_not_signed_as_it_has_to_be_is_set_aside(tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise Untrusted("nobody signed it")

    origin = await kept(tmp_path / "cache")
    async with restarted(origin, tmp_path / "cache", verify=refuse) as replica:
        assert replica.state is None
    assert files(tmp_path / "cache") == {"cache.damaged"}


@in_no_time
async def test_parts_are_verified_too(tmp_path: Path) -> None:
    def refuse(item: object) -> None:
        if isinstance(item, ChangePart):
            raise Untrusted("nobody signed it")

    origin = await kept(tmp_path / "cache")
    async with restarted(origin, tmp_path / "cache", verify=refuse) as replica:
        assert replica.state is None


DAMAGES = {
    "another digest": (Manifest(position=POSITION, checksums=(checksum(b"[]"),)), [b"[]"], []),
    "no payload": (Manifest(position=POSITION, checksums=(checksum(b"{"),)), [b"{"], []),
    "another chunk": (Manifest(position=POSITION, checksums=(checksum(b"{}"),)), [b"[]"], []),
    "too many chunks": (
        NOTHING,
        [b"[]", b"[]"],
        [],
    ),
    "a part that does not go on": (
        NOTHING,
        [b"[]"],
        PARTS,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@in_no_time
async def test_a_file_that_is_whole_and_holds_no_policy_is_set_aside(tmp_path: Path, damage: str) -> None:
    manifest, chunks, parts = DAMAGES[damage]
    path = tmp_path / "cache"
    path.write_bytes(
        framed(
            manifest_frame(manifest),
            *((b"c", chunk) for chunk in chunks),
            *(part_frame(part) for part in parts),
        )
    )
    origin = await Chronicle.start(team("t"))
    replica = replica_of(FaultyFeed(origin), cache=StateCache(path))
    await replica.begin()
    assert replica.state is None
    assert files(path) == {"cache.damaged"}
    async with following(replica):
        await caught_up(replica, origin)
    assert files(path) == {"cache", "cache.damaged"}


@in_no_time
async def test_what_is_loaded_and_not_served_does_not_replace_the_cache(tmp_path: Path) -> None:
    """A feed that is not the authority's word goes back."""
    path = tmp_path / "cache"
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin, authoritative=False)
    async with following(replica_of(feed, cache=StateCache(path))) as replica:
        await caught_up(replica, origin)
        old = origin.copied()
        await origin.put(team("u"))
        await caught_up(replica, origin)
        feed.show(old)
        await until(lambda: replica.counters["snapshots_loaded"] > 1)
        await asyncio.sleep(10)
    assert await found(origin, path) == dump(origin.state)


@in_no_time
async def test_a_cache_that_has_outgrown_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_JOURNAL_BYTES", 2_000)
    path = tmp_path / "cache"
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, cache=StateCache(path))) as replica:
        for at in range(40):
            await origin.put(model("m", f"{at}"))
            await caught_up(replica, origin)
    assert 2 <= feed.calls["snapshot"] <= 10
    assert await found(origin, path) == dump(origin.state)


@in_no_time
async def test_a_snapshot_that_leaves_much_to_catch_up_with_is_no_reason_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_JOURNAL_BYTES", 1_000)
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    await origin.feed.snapshot()
    for at in range(20):
        await origin.put(model("m", f"{at}"))
    async with following(replica_of(feed, cache=StateCache(tmp_path / "cache"))) as replica:
        await caught_up(replica, origin)
        assert replica.counters["change_sets_applied"] == 20
        await asyncio.sleep(60)
    assert feed.calls["snapshot"] == 1


@pytest.mark.parametrize("block", [blocked_by_a_file, blocked_by_a_directory, blocked_where_it_is_begun])
@in_no_time
async def test_a_replica_whose_disk_fails_goes_on(tmp_path: Path, block: Any) -> None:
    path = tmp_path / "folder" / "cache"
    block(path)
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    replica = replica_of(feed, cache=StateCache(path))
    await replica.begin()
    async with following(replica):
        for at in range(5):
            await origin.put(model("m", f"{at}"))
            await caught_up(replica, origin)
    assert feed.calls["snapshot"] == 1


@in_no_time
async def test_a_disk_that_fails_when_the_cache_has_outgrown_makes_no_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "MAX_JOURNAL_BYTES", 500)
    origin = await Chronicle.start(team("t"))
    feed = FaultyFeed(origin)
    async with following(replica_of(feed, cache=StateCache(tmp_path / "cache"))) as replica:
        await caught_up(replica, origin)
        (tmp_path / "cache.new" / "something").mkdir(parents=True)
        for at in range(10):
            await origin.put(model("m", f"{at}"))
        began = now()
        await until(lambda: now() > began + 60)
        await caught_up(replica, origin)
    assert feed.calls["snapshot"] <= 2


@in_no_time
async def test_a_disk_that_is_full_stops_no_replica(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache"
    origin = await Chronicle.start(team("t"))
    async with following(replica_of(FaultyFeed(origin), cache=StateCache(path))) as replica:
        await caught_up(replica, origin)
        old = dump(origin.state)
        with disk_of(path.stat().st_size + 10):
            for at in range(3):
                await origin.put(model("m", f"{at}"))
                await caught_up(replica, origin)
    left_alone = [record.levelno for record in caplog.records if "left alone" in record.getMessage()]
    assert left_alone == [logging.ERROR], "said once"
    assert await found(origin, path) == old
