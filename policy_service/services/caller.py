"""Who makes a call, as a service sees it."""

from collections.abc import Callable
from typing import NamedTuple


class Caller(NamedTuple):
    """The authenticated principal's name, the network address the call came from, and how many seconds are left until
    its deadline (None: there is none)."""

    name: str
    peer: str
    remaining_s: Callable[[], float | None]
