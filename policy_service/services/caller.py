"""Who makes a call, as a service sees it."""

from typing import NamedTuple


class Caller(NamedTuple):
    """The authenticated principal's name and the network address the call came from."""

    name: str
    peer: str
