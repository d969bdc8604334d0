"""Where checks get the policy from, and whether that has reached the revision that a caller asks for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from policy_service.domain.state import State
from policy_service.errors import InvalidArgument, PreconditionFailed, Violation


class Reading(NamedTuple):
    """The policy, for one run without an `await`, and whether it may be older than the configured staleness."""

    state: State
    stale: bool


class PolicySource(Protocol):
    """An authority's state or a replica's."""

    def read(self) -> Reading:
        """The policy now. Raises Unavailable when there is none that may be used."""

    async def reach(self, wanted: str, remaining_s: Callable[[], float | None]) -> None:
        """Returns once the policy is at the revision (`at_least_revision`) or beyond; waits if that may help, less
        than `remaining_s`. Raises InvalidArgument, RevisionNotReached, PreconditionFailed (EPOCH_SUPERSEDED)."""


_REVISION = re.compile(r"([0-9a-z]{1,64})\.(0|[1-9][0-9]{0,17})")


def has_reached(state: State, wanted: str) -> bool:
    """Whether the state is at the revision or beyond. Raises InvalidArgument for what is none, PreconditionFailed
    (EPOCH_SUPERSEDED) for one of a lineage that this one has replaced."""
    parsed = _REVISION.fullmatch(wanted)
    if parsed is None:
        words = "is no revision; send back one that an answer carried, or leave it empty"
        raise InvalidArgument([Violation("at_least_revision", words)])
    epoch, number = parsed.groups()
    if epoch in state.ancestors:
        words = f"revision {wanted!r} is from before a backup was restored; read without it, and use the new revision"
        raise PreconditionFailed("EPOCH_SUPERSEDED", wanted, words)
    return epoch == state.position.epoch and int(number) <= state.position.revision
