"""`python -m bench.probed serve ...`: policy-service as it is, with a probe of its event loop. SIGUSR1 makes it write
to standard error what the probe has seen since the last time."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from bench.gaps import Probe
from policy_service.cli import serve
from policy_service.cli.main import main
from policy_service.config import Config
from policy_service.server import Server


async def start(config: Config, owns_process: bool = False) -> Server:
    """In place of Server.start: the same, with the probe."""
    probe = Probe()
    probing = asyncio.create_task(probe.run())

    def report() -> None:
        print(f"gaps: {json.dumps(probe.gaps()._asdict())}", file=sys.stderr, flush=True)

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, report)
    server = await Server.start(config, owns_process)
    server._stack.callback(probing.cancel)
    return server


class _Probed:
    start = staticmethod(start)


if __name__ == "__main__":
    serve.Server = _Probed  # type: ignore[assignment, attr-defined]
    main()
