"""Who makes a call, as a service sees it."""

from collections.abc import Callable
from typing import NamedTuple


class Caller(NamedTuple):
    """The authenticated principal's name, the network address the call came from (`ipv4:HOST:PORT`), and how many
    seconds are left until its deadline (None: there is none). The latter two are found out only when asked for."""

    name: str
    peer: Callable[[], str]
    remaining_s: Callable[[], float | None]
