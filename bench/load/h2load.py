"""nghttp2's load generator, whose numbers can be compared with other people's: it sends one request again and again,
and looks at nothing of an answer but its HTTP status."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

from bench.load.call import Call
from bench.load.generator import CONNECTIONS, STREAMS

_RATE = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_REQUESTS = re.compile(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded")


def missing() -> str:
    """What to install; empty when it is there."""
    return "" if shutil.which("h2load") else "h2load is missing: it is in Debian's package nghttp2-client"


async def h2load(folder: Path, port: int, call: Call, seconds: int, warm_up_s: int = 1) -> float:
    """Requests a second."""
    body = folder / "h2load-body"
    body.write_bytes(b"\0" + len(call.message).to_bytes(4) + call.message)
    process = await asyncio.create_subprocess_exec(
        *("h2load", f"--clients={CONNECTIONS}", f"--max-concurrent-streams={STREAMS}", "--threads=1"),
        *(f"--duration={seconds}", f"--warm-up-time={warm_up_s}", f"--data={body}"),
        *("--header=content-type: application/grpc", "--header=te: trailers"),
        f"http://127.0.0.1:{port}{call.path.decode()}",
        stdout=asyncio.subprocess.PIPE,
    )
    output = (await process.communicate())[0].decode()
    rate, requests = _RATE.search(output), _REQUESTS.search(output)
    if rate is None or requests is None or requests[1] != requests[2] or not float(rate[1]):
        raise RuntimeError(f"h2load says: {output}")
    return float(rate[1])
